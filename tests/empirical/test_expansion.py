"""Taylor expansions: exact on polynomials, errors of the right order, a constant kernel."""

import math

import pytest
import torch
from empirical_zoo import ZOO
from naive_kernel import naive_ntk
from torch import nn

from ntkbook import empirical_ntk, linearize, taylor_expand

SMOOTH = ["multi_head_attention", "mlp_without_bias", "tied_embedding_and_readout", "image_output", "lstm"]


def moved(expansion, size, seed=0):
    """Move an expansion's parameters by a direction of the given size, and return the original so moved."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in expansion.parameters():
            p.add_(size * torch.randn(p.shape, generator=generator, dtype=p.dtype))
    return expansion.net


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
@pytest.mark.parametrize("name", SMOOTH)
def test_error_has_the_order_of_the_first_missing_term(name, degree):
    net, x, _ = ZOO[name]()
    errors = []
    for size in (0.04, 0.02):
        expansion = taylor_expand(net, degree)
        exact = moved(expansion, size)(x)
        errors.append(float((expansion(x) - exact).detach().norm()))
    order = math.log2(errors[0] / errors[1])
    # The next term changes the slope by an amount of order size.
    assert abs(order - (degree + 1)) < 0.35, errors


def test_polynomials_are_reproduced():
    # Two linear layers in a row are of degree 2 in their parameters.
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 5), nn.Linear(5, 2)).double()
    x = torch.randn(4, 3, dtype=torch.float64)
    for degree, same in ((1, False), (2, True), (3, True)):
        expansion = taylor_expand(net, degree)
        exact = moved(expansion, 1.0)(x)
        assert torch.allclose(expansion(x), exact, rtol=1e-12) is same


@pytest.mark.parametrize(
    "name", ["mlp", "convolution_2d", "residual_block_with_batch_norm", "frozen_first_layer"]
)
def test_linearization_in_closed_form(name):
    net, x, _ = ZOO[name]()
    linear = linearize(net)
    jacobian = torch.func.jacrev(lambda p: torch.func.functional_call(net, p, (x,)))(
        {k: p.detach() for k, p in net.named_parameters()}
    )
    start = {k: p.detach().clone() for k, p in net.named_parameters()}
    moved(linear, 0.5)
    expected = net(x).detach()
    for (key, old), p in zip(start.items(), linear.parameters(), strict=True):
        expected = expected + torch.tensordot(jacobian[key], p.detach() - old, dims=p.ndim)
    assert torch.allclose(linear(x), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    "name", ["mlp", "convolution_2d", "layer_norm_last", "embedding", "frozen_first_layer"]
)
def test_kernel_of_a_linearization_is_constant(name):
    net, x1, x2 = ZOO[name]()
    expected = naive_ntk(net, x1, x2)
    linear = linearize(net)
    moved(linear, 1.0)
    for method in ("auto", "jacobian"):
        found = empirical_ntk(linear, x1, x2, method=method)
        assert float((found - expected).abs().max()) < 1e-10 * float(expected.abs().max())
    assert float((naive_ntk(linear, x1, x2) - expected).abs().max()) < 1e-10 * float(expected.abs().max())


def test_expansion_trains_like_a_linear_model():
    # Gradient descent on the squared loss moves the outputs by -learning_rate * Theta (f - y), exactly.
    net, x, _ = ZOO["mlp"]()
    linear = linearize(net)
    y = torch.randn(3, 3, dtype=torch.float64)
    kernel = naive_ntk(net, x)
    optimizer = torch.optim.SGD(linear.parameters(), lr=0.01)
    outputs = linear(x).detach()
    for _ in range(5):
        optimizer.zero_grad()
        (0.5 * (linear(x) - y) ** 2).sum().backward()
        optimizer.step()
        outputs = outputs - 0.01 * torch.einsum("ijab,jb->ia", kernel, outputs - y)
        assert torch.allclose(linear(x), outputs, rtol=1e-10, atol=1e-12)


def test_expansion_leaves_the_network_alone_and_survives_saving():
    net, x, _ = ZOO["mlp"]()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    quadratic = taylor_expand(net, 2)
    moved(quadratic, 0.3)
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    other = taylor_expand(ZOO["mlp"]()[0], 2)
    other.load_state_dict(quadratic.state_dict())
    assert torch.equal(other(x), quadratic(x))
    assert [p.shape for p in quadratic.parameters()] == [p.shape for p in net.parameters()]


class PotentialField(nn.Module):
    """The force of a network's potential: the network takes a derivative by itself."""

    def __init__(self):
        super().__init__()
        self.potential = nn.Sequential(nn.Linear(3, 6), nn.Tanh(), nn.Linear(6, 1))

    def forward(self, x):
        return -torch.func.vmap(torch.func.grad(lambda row: self.potential(row).squeeze()))(x)


def test_a_network_may_differentiate_inside():
    torch.manual_seed(0)
    net, x = PotentialField().double(), torch.randn(4, 3, dtype=torch.float64)
    expected = naive_ntk(net, x)
    found = empirical_ntk(net, x)
    assert float((found - expected).abs().max()) < 1e-10 * float(expected.abs().max())
