"""The kernel as an operator: products, adjoint, SciPy's solvers, eigenvalues."""

import numpy as np
import pytest
import torch
from empirical_zoo import ZOO
from naive_kernel import naive_ntk
from scipy.sparse.linalg import LinearOperator, aslinearoperator, cg, eigsh

from ntkbook import NTKOperator, ntk_vector_product
from ntkbook.empirical.network import Network, exact_operators
from ntkbook.empirical.tangents import TangentMaps

NAMES = [
    "mlp",
    "convolution_2d",
    "embedding",
    "multi_head_attention",
    "tied_linear_layers",
    "image_output",
    "lstm",
]


@pytest.mark.parametrize("name", [*NAMES, "embedding_bag", "call_without_graph_beside_functional_use"])
def test_products_agree_with_the_dense_kernel(name):
    net, x1, x2 = ZOO[name]()
    v = torch.randn_like(net(x2).detach())
    kernel = naive_ntk(net, x1, x2)
    expected = torch.einsum("ijab,jb->ia", kernel, v.flatten(1)).reshape(len(x1), *v.shape[1:])
    scale = float(kernel.abs().max()) * float(v.abs().sum())
    for chunk_size in (None, 1, 2):
        found = ntk_vector_product(net, x1, x2, v, chunk_size=chunk_size)
        assert found.shape == expected.shape
        assert float((found - expected).abs().max()) < 1e-12 * scale


def test_modes_of_pushing_forward():
    for name, mode in (
        ("mlp", "forward"),
        ("multi_head_attention", "forward"),
        ("call_without_graph_beside_functional_use", "backward"),  # forward mode looks into no_grad blocks
        ("embedding_bag", "rows"),
    ):
        net, x1, _ = ZOO[name]()
        with exact_operators(), torch.no_grad():
            assert TangentMaps(Network(net, x1), x1).mode == mode, name


def dense(net, x1, x2=None):
    kernel = naive_ntk(net, x1, x2)
    n1, n2, k, _ = kernel.shape
    return kernel.transpose(1, 2).reshape(n1 * k, n2 * k)


def test_operator_is_what_scipy_asks_for():
    net, x1, x2 = ZOO["convolution_2d"]()
    matrix = dense(net, x1, x2).numpy()
    operator = NTKOperator(net, x1, x2)
    assert operator.shape == matrix.shape
    scipy_operator = aslinearoperator(operator)
    assert isinstance(scipy_operator, LinearOperator)
    rng = np.random.default_rng(0)
    v, u = rng.normal(size=(matrix.shape[1], 3)), rng.normal(size=matrix.shape[0])
    assert np.allclose(scipy_operator @ v, matrix @ v, rtol=1e-11, atol=1e-12)
    assert np.allclose(scipy_operator.rmatvec(u), matrix.T @ u, rtol=1e-11, atol=1e-12)
    assert np.allclose((operator @ torch.from_numpy(v)).numpy(), matrix @ v, rtol=1e-11, atol=1e-12)


def test_eigenvalues_and_solves():
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(4, 40), torch.nn.Tanh(), torch.nn.Linear(40, 2)).double()
    x = torch.randn(6, 4, dtype=torch.float64)
    matrix = dense(net, x)
    operator = NTKOperator(net, x)
    expected = torch.linalg.eigvalsh(matrix).flip(0)
    assert torch.allclose(operator.top_eigenvalues(3), expected[:3], rtol=1e-10)
    assert np.allclose(eigsh(operator, k=1, return_eigenvectors=False), float(expected[0]), rtol=1e-10)
    b = torch.randn(12, dtype=torch.float64)
    solution, failed = cg(operator, b.numpy(), rtol=1e-12, maxiter=200)
    assert failed == 0
    assert torch.allclose(torch.from_numpy(solution), torch.linalg.solve(matrix, b), rtol=1e-6)


def test_operator_keeps_the_parameters_it_was_made_with():
    net, x1, _ = ZOO["mlp"]()
    operator = NTKOperator(net, x1)
    v = torch.randn(operator.shape[1], dtype=torch.float64)
    before = operator @ v
    with torch.no_grad():
        net[0].weight.mul_(3.0)
    assert torch.equal(operator @ v, before)
    assert not torch.allclose(NTKOperator(net, x1) @ v, before)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_an_operator_of_a_network_in_half_precision(dtype):
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(3, 32), torch.nn.Tanh(), torch.nn.Linear(32, 2)).to(dtype)
    x, v = torch.randn(6, 3).to(dtype), torch.randn(6, 2).to(dtype)
    operator = NTKOperator(net, x)
    found = operator @ v.reshape(-1)
    assert found.dtype == dtype
    assert torch.equal(ntk_vector_product(net, x, None, v), found.reshape(6, 2))
    # NumPy's side: the same numbers, in a dtype that it has.
    assert operator.matvec(v.reshape(-1).float().numpy()).dtype == operator.dtype
    assert np.array_equal(operator.matvec(v.reshape(-1).float().numpy()), found.float().numpy())
    largest = operator.top_eigenvalues(2)
    matrix = dense(net.double(), x.double())
    exact, scale = matrix @ v.reshape(-1).double(), float(matrix.abs().max()) * float(v.abs().sum())
    # Rounding of each layer's products, forward and back: some ten times the unit of the dtype.
    tolerance = 10 * torch.finfo(dtype).eps
    assert float((found.double() - exact).abs().max()) < tolerance * scale
    assert largest.dtype == dtype
    expected = torch.linalg.eigvalsh(matrix).flip(0)[:2]
    assert float((largest.double() - expected).abs().max()) < tolerance * float(expected[0])
