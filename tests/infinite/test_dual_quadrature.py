"""The quadrature against closed forms, against an independent quadrature, and against random draws."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from dual_cases import NUMERIC, Case
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from ntkbook import nn
from ntkbook.infinite import dual, dual_diagonal
from ntkbook.infinite.hermite_series import series_moments
from ntkbook.infinite.known_derivatives import ELU, GELUTanh, Logistic, Mish, SiLU, Softplus, Tanh
from ntkbook.infinite.quadrature import derivative, gaussian_moments

CASES = pytest.mark.parametrize("case", NUMERIC, ids=lambda case: case.name)
# A closed form, and the same function as the quadrature sees it. Erf is the hardest smooth one at large
# variances.
PEERS = {
    "erf": (nn.Erf(), torch.erf),
    "gelu": (torch.nn.GELU(), F.gelu),
    "relu": (torch.nn.ReLU(), F.relu),
    "rectified cube": (nn.RectifiedMonomial(3), lambda x: x.clamp(min=0.0) ** 3),
    "gaussian": (nn.Gaussian(), lambda x: torch.exp(-x.square())),
}
ANGLES = torch.tensor([0.0, 1e-7, 1e-3, 0.3, 1.5, 2.8, 3.1415, torch.pi], dtype=torch.float64)


def _grid(deviations: list[float]) -> tuple[Tensor, Tensor, Tensor]:
    s = torch.tensor(deviations, dtype=torch.float64)
    s1, s2, angle = torch.meshgrid(s, s, ANGLES, indexing="ij")
    return s1**2, s1 * s2 * angle.cos(), s2**2


def _errors(peer: str, dtype: torch.dtype, deviations: list[float]) -> list[float]:
    """Largest error of each moment, relative to the root of the product of its two second moments."""
    closed, fn = PEERS[peer]
    q11, q12, q22 = _grid(deviations)
    rounded = [q.to(dtype) for q in (q11, q12, q22)]
    numeric = dual(nn.Elementwise(fn), *rounded)
    exact = dual(closed, *(q.double() for q in rounded))
    ends = [dual(closed, q, q, q) for q in (q11, q22)]
    return [
        float(((n - e).abs() / (a * b).sqrt().clamp(min=1e-30)).max())
        for n, e, a, b in zip(numeric, exact, *ends, strict=True)
    ]


@pytest.mark.parametrize("peer", list(PEERS))
@pytest.mark.parametrize(
    ("deviations", "value_tolerance", "slope_tolerance"),
    [([1e-15, 1e-3, 0.3, 1.0, 3.0, 10.0], 1e-11, 1e-8), ([30.0, 100.0, 1e3, 1e6], 3e-6, 5e-3)],
    ids=["variances to 100", "variances to 1e12"],
)
def test_error_in_float64_is_as_stated(
    peer: str, deviations: list[float], value_tolerance: float, slope_tolerance: float
) -> None:
    value, slope = _errors(peer, torch.float64, deviations)
    # A bump that vanishes at infinity is as hard as a slope.
    assert value < (slope_tolerance if peer == "gaussian" else value_tolerance)
    assert slope < slope_tolerance


@pytest.mark.parametrize("peer", ["erf", "gelu", "relu"])
def test_error_in_float32_is_as_stated(peer: str) -> None:
    # Angles of a thousandth are lost in float32 inputs: a kink turns that into the root of rounding.
    value, slope = _errors(peer, torch.float32, [1e-3, 0.3, 1.0, 3.0, 10.0])
    assert value < 1e-5
    assert slope < (3e-4 if peer == "relu" else 1e-4)


def _reference(case: Case, which: int, a: float, c: float, b: float) -> float:
    """Composite Gauss-Legendre in two independent normals, cut where u or v changes sign."""
    nodes, weights = np.polynomial.legendre.leggauss(400)
    unit, unit_weights = 0.5 * (nodes + 1), 0.5 * weights
    rho = c / np.sqrt(a * b)
    rest = np.sqrt(max(1 - rho**2, 0.0))
    total = 0.0
    for low, high in ((-9.0, 0.0), (0.0, 9.0)):
        x = (low + (high - low) * unit)[:, None]
        cut = np.clip(-rho * x / rest, -9, 9) if rest > 0 else np.zeros_like(x)
        for start, stop in ((-9.0 + 0 * cut, cut), (cut, 9.0 + 0 * cut)):
            y = start + (stop - start) * unit[None]
            density = np.exp(-(x**2 + y**2) / 2) / (2 * np.pi)
            u, v = np.sqrt(a) * x, np.sqrt(b) * (rho * x + rest * y)
            area = (high - low) * unit_weights[:, None] * (stop - start) * unit_weights[None]
            total += float((_values(case, which, u) * _values(case, which, v) * density * area).sum())
    return total


def _values(case: Case, which: int, x: np.ndarray) -> np.ndarray:
    """The activation or its slope by torch's own modules and autograd."""
    t = torch.tensor(x, requires_grad=True)
    if which == 0:
        return case.module(t).detach().numpy()
    return torch.autograd.grad(case.module(t).sum(), t)[0].numpy()


@CASES
@pytest.mark.parametrize("which", [0, 1], ids=["phi_phi", "dphi_dphi"])
def test_agrees_with_an_independent_quadrature(case: Case, which: int) -> None:
    triples = [(0.5, -0.3, 0.7), (1.0, 0.999999, 1.0), (2.0, 2.0, 2.0), (9.0, -4.0, 2.0), (100.0, 30.0, 16.0)]
    q = [torch.tensor(column, dtype=torch.float64) for column in zip(*triples, strict=True)]
    expected = torch.tensor([_reference(case, which, *t) for t in triples], dtype=torch.float64)
    # Softplus as a torch module jumps by 2e-9 where it becomes a line, far out in the tail.
    torch.testing.assert_close(dual(case.module, *q)[which], expected, rtol=1e-9, atol=1e-11)


@CASES
def test_module_and_reference_function_are_the_same(case: Case) -> None:
    """The integrand of a module is its own forward, not a relative of it: moments without correlation."""
    q = torch.tensor([0.3, 2.0], dtype=torch.float64)
    nodes, weights = np.polynomial.hermite_e.hermegauss(120)
    z, w = torch.tensor(nodes), torch.tensor(weights) / np.sqrt(2 * np.pi)
    mean = torch.stack([(w * case.module(s * z)).sum() for s in q.sqrt()])
    got = dual(case.module, q, torch.zeros_like(q), q.flip(0)).phi_phi
    # Gauss-Hermite with 120 nodes: 1e-9 for functions with poles at distance pi, 1e-4 for a kink.
    torch.testing.assert_close(got, mean * mean.flip(0), rtol=0, atol=1e-8 if case.smooth else 1e-3)


@CASES
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_special_pairs(case: Case, dtype: torch.dtype) -> None:
    q = torch.tensor([0.0, 1e-30, 1e-6, 1.0, 1e6, 1e12], dtype=dtype)
    together, apart = dual(case.module, q, q, q), dual(case.module, q, -q, q)
    for moment in (*together, *apart):
        assert moment.isfinite().all()
    torch.testing.assert_close(together.phi_phi, dual_diagonal(case.module, q))
    zero = torch.zeros(1, dtype=dtype)
    at_zero = case.module(zero)
    torch.testing.assert_close(together.phi_phi[:1], at_zero**2, rtol=1e-5, atol=1e-12)
    for moment, opposite in zip(together, apart, strict=True):  # Cauchy-Schwarz
        assert (opposite.abs() <= moment * (1 + 1e-4) + 1e-12).all()


@CASES
def test_gram_matrix_is_symmetric_and_positive_semidefinite(case: Case) -> None:
    x = torch.randn(12, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    x = torch.cat([x, 3 * x[:3], -x[:3], x[:2], 0 * x[:1]])
    q12, q = x @ x.T, x.square().sum(1)
    for moment in dual(case.module, q[:, None], 0.5 * (q12 + q12.T), q[None]):
        torch.testing.assert_close(moment, moment.T, rtol=1e-12, atol=1e-12)
        values = torch.linalg.eigvalsh(moment)
        assert values.min() > -1e-8 * values.max()


def test_agrees_with_random_draws() -> None:
    # 4e6 draws; the largest of 27 deviations in units of its standard error exceeds 6 once in 2e7 runs.
    generator = torch.Generator().manual_seed(3)
    z = torch.randn(2, 4_000_000, generator=generator, dtype=torch.float64)
    q11, q12, q22 = 1.3, -0.6, 0.8
    u = q11**0.5 * z[0]
    v = q12 / q11**0.5 * z[0] + (q22 - q12**2 / q11) ** 0.5 * z[1]
    for module in [case.module for case in NUMERIC] + [
        torch.nn.ReLU(),
        torch.nn.GELU(),
        nn.Gabor(),
        nn.Sin(),
    ]:
        product = module(u) * module(v)
        error = float(product.std()) / len(u) ** 0.5
        expected = dual(module, *(torch.tensor([q], dtype=torch.float64) for q in (q11, q12, q22))).phi_phi
        assert abs(float(product.mean() - expected)) < 6 * error


@pytest.mark.parametrize(
    ("known", "fn"),
    [
        (Tanh(), torch.tanh),
        (Logistic(), torch.sigmoid),
        (Softplus(beta=1.5), lambda x: -F.logsigmoid(-1.5 * x) / 1.5),
        (SiLU(), F.silu),
        (Mish(), lambda x: x * torch.tanh(-F.logsigmoid(-x))),
        (GELUTanh(), lambda x: x * torch.sigmoid((8 / torch.pi) ** 0.5 * (x + 0.044715 * x**3))),
        (ELU(alpha=0.5), lambda x: F.elu(x, alpha=0.5)),
    ],
)
def test_known_derivatives_equal_those_of_autograd(known, fn) -> None:
    x = torch.linspace(-6, 6, 50, dtype=torch.float64)
    for _ in range(5):
        torch.testing.assert_close(known(x), fn(x), rtol=1e-10, atol=1e-11)
        known, fn = known.derivative(), derivative(fn)


def test_several_moments_at_once_equal_each_alone() -> None:
    q11, q12, q22 = (torch.tensor([q], dtype=torch.float64) for q in (0.9, 0.4, 1.7))
    pairs = ((torch.tanh, torch.atan), (torch.sigmoid, torch.sin))
    both = gaussian_moments(pairs, q11, q12, q22, smooth=True)
    for pair, value in zip(pairs, both, strict=True):
        assert torch.equal(gaussian_moments((pair,), q11, q12, q22, smooth=True)[0], value)
        swapped = gaussian_moments((pair[::-1],), q22, q12, q11, smooth=True)[0]
        torch.testing.assert_close(swapped, value, rtol=1e-13, atol=1e-14)


def _square_of_pairs(scale: float, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    x = scale * torch.randn(24, 10, generator=torch.Generator().manual_seed(2), dtype=dtype)
    x = torch.cat([x, x[:3], -x[:3], 2 * x[:2], x[:2] + 1e-4, 0 * x[:1]])
    q12, q = x @ x.T / 10, x.square().mean(1)
    return q[:, None], q12, q[None]


@CASES
@pytest.mark.parametrize("scale", [1e-6, 0.3, 1.0, 5.0, 100.0])
def test_series_and_double_integral_agree(case: Case, scale: float) -> None:
    """Two independent routes to one number, on every pair; the series takes those that it can."""
    q = _square_of_pairs(scale, torch.float64)
    # With a variance for each pair there are too many for the series to pay.
    flat = [x.expand_as(q[1]).reshape(-1) for x in q]
    for by_series, by_integral in zip(dual(case.module, *q), dual(case.module, *flat), strict=True):
        size = by_series.diagonal().abs().sqrt() + 1e-30
        error = (by_series - by_integral.reshape(by_series.shape)).abs() / (size[:, None] * size[None])
        # The cube inside the approximate GELU makes it change faster than the others.
        ordinary = 1e-9 if case.name == "gelu_tanh" else 1e-11
        assert error.max() < (ordinary if scale <= 5 else 1e-7) + _lost_by_torch(case, scale)


def _lost_by_torch(case: Case, scale: float) -> float:
    """Return the error of the ELU itself: PyTorch 2.6 takes exp(x) - 1, later ones expm1."""
    x = -scale * torch.logspace(-1, 1, 20, dtype=torch.float64)
    if case.name != "elu" or torch.equal(case.module(x), torch.expm1(x)):
        return 0.0
    return torch.finfo(torch.float64).eps / scale


def test_series_settles_most_ordinary_pairs_and_says_which() -> None:
    q = _square_of_pairs(1.0, torch.float64)
    moments, converged = series_moments([(torch.tanh, torch.tanh)], *q, 1e-13)
    assert converged.float().mean() > 0.9
    exact = dual(torch.nn.Tanh(), *q).phi_phi
    torch.testing.assert_close(moments[0][converged], exact[converged], rtol=0, atol=1e-13)
    kinked = series_moments([(torch.relu, torch.relu)], *q, 1e-13)[1]
    assert not kinked.diagonal()[:-1].any()  # a kink converges as a power of k at coincident pairs
    assert kinked[0, 5]


def test_series_route_has_the_same_gradients() -> None:
    q = _square_of_pairs(1.0, torch.float64)
    n = len(q[1])
    weights = torch.randn(n, n, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    gradients = []
    for shape in ((n, n), (n * n,)):
        inputs = [x.clone().requires_grad_(True) for x in q]
        full = [x.expand(n, n).reshape(-1) if len(shape) == 1 else x for x in inputs]
        value, slope = dual(torch.nn.Softplus(), *full)
        loss = (value.reshape(n, n) * weights).sum() + (slope.reshape(n, n) * weights.T).sum()
        gradients.append(torch.autograd.grad(loss, inputs))
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


def test_series_gives_way_where_values_cannot_be_read() -> None:
    q11, q12, q22 = _square_of_pairs(1.0, torch.float64)
    expected = dual(torch.nn.Tanh(), q11, q12, q22).phi_phi
    stacked = torch.stack([q12, 0.5 * q12])
    mapped = torch.func.vmap(lambda c: dual(torch.nn.Tanh(), q11, c, q22).phi_phi)(stacked)
    torch.testing.assert_close(mapped[0], expected, rtol=1e-10, atol=1e-12)
    with FakeTensorMode() as mode:
        fakes = [mode.from_tensor(q) for q in (q11, q12, q22)]
        assert dual(torch.nn.Tanh(), *fakes).phi_phi.shape == q12.shape


def test_kink_away_from_zero_has_the_error_that_is_documented() -> None:
    hard = nn.Elementwise(F.hardtanh)
    one = torch.ones(1, dtype=torch.float64)
    x = torch.linspace(-9, 9, 2_000_001, dtype=torch.float64)
    density = torch.exp(-x.square() / 2) / (2 * torch.pi) ** 0.5
    expected = (F.hardtanh(x) ** 2 * density).sum() * (x[1] - x[0])
    assert abs(float(dual_diagonal(hard, one) - expected)) < 1e-3
