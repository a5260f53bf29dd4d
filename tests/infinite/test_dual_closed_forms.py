"""Closed-form dual activations: formulas against integrals to 30 digits, the code against the formulas."""

from __future__ import annotations

import itertools

import mpmath as mp
import pytest
import torch
from dual_cases import CLOSED, Case
from dual_formulas import DIGITS, formulas

from ntkbook.infinite import dual, dual_diagonal
from ntkbook.nn import Erf, Rbf, Sin

CASES = pytest.mark.parametrize("case", CLOSED, ids=lambda case: case.name)
SMOOTH = pytest.mark.parametrize("case", [c for c in CLOSED if c.smooth], ids=lambda case: case.name)
KINKED = pytest.mark.parametrize("case", [c for c in CLOSED if not c.smooth], ids=lambda case: case.name)


@SMOOTH
def test_formula_equals_integral_to_30_digits(case: Case) -> None:
    # The trapezoidal rule converges as exp(-2 pi^2 / h^2) for a Gaussian times an entire function: h = 1/4
    # leaves 1e-100 of it, and growth off the real axis (erf, Gaussian) the most of 1e-32. Cut at 15:
    # exp(-112).
    with mp.workdps(45):
        h = mp.mpf(1) / 4
        grid = [k * h for k in range(-60, 61)]
        weights = [h * mp.npdf(x) for x in grid]
        q11, q12, q22 = mp.mpf("0.8"), mp.mpf("-0.35"), mp.mpf("0.4")
        rest = mp.sqrt(q22 - q12**2 / q11)
        for moment, fn in zip(formulas(case), (case.fn, case.slope), strict=True):
            inner = [
                fn(mp.sqrt(q11) * x)
                * w
                * mp.fsum(
                    fn(q12 / mp.sqrt(q11) * x + rest * y) * v for y, v in zip(grid, weights, strict=True)
                )
                for x, w in zip(grid, weights, strict=True)
            ]
            assert abs(mp.fsum(inner) - moment(q11, q12, q22)) < mp.mpf(10) ** -30


@KINKED
def test_kinked_formula_equals_integral_to_30_digits(case: Case) -> None:
    # Positively homogeneous functions: the radius integrates in closed form, and the angle splits at the
    # kinks.
    with mp.workdps(45):
        a, b, theta = mp.mpf("0.8"), mp.mpf("0.4"), mp.mpf("2.1")
        covariance = mp.sqrt(a * b) * mp.cos(theta)
        rays = sorted([-mp.pi / 2, mp.pi / 2, theta - mp.pi / 2, theta + mp.pi / 2, 3 * mp.pi / 2])
        for moment, fn, n in zip(
            formulas(case), (case.fn, case.slope), (case.degree, max(case.degree - 1, 0)), strict=True
        ):
            integral = mp.quad(
                lambda t, fn=fn: fn(mp.sqrt(a) * mp.cos(t)) * fn(mp.sqrt(b) * mp.cos(t - theta)), rays
            )
            expected = integral * 2**n * mp.factorial(n) / (2 * mp.pi)
            assert abs(expected - moment(a, covariance, b)) < mp.mpf(10) ** -30


def _triples(dtype: torch.dtype) -> list[tuple[float, float, float]]:
    """Pairs of every kind: ordinary, coincident, antipodal, collinear, orthogonal, zero, tiny, huge."""
    variances = [0.0, 1e-30, 0.7, 3.0, 1e6, 1e12]
    correlations = [-1.0, -1 + 1e-9, -0.8, 0.0, 0.3, 1 - 1e-9, 1.0]
    triples = []
    for v1, v2 in itertools.product(variances, repeat=2):
        for rho in correlations:
            q11, q22 = (torch.tensor(v, dtype=dtype).item() for v in (v1, v2))
            q12 = torch.tensor(rho * (q11 * q22) ** 0.5, dtype=dtype).item()
            triples.append((q11, q12, q22))
    return triples


def _exact(case: Case, triples: list[tuple[float, float, float]]) -> tuple[list[mp.mpf], list[mp.mpf]]:
    value, slope = formulas(case)
    with mp.workdps(DIGITS):
        points = [tuple(mp.mpf(x) for x in t) for t in triples]
        return [value(*p) for p in points], [slope(*p) for p in points]


def _scales(case: Case, triples: list[tuple[float, float, float]]) -> tuple[list[mp.mpf], list[mp.mpf]]:
    """Root of the product of the two variances of phi, and of phi', by which errors are measured."""
    ends = sorted({x for a, _, b in triples for x in (a, b)})
    diagonal = dict(zip(ends, zip(*_exact(case, [(x, x, x) for x in ends]), strict=True), strict=True))
    return tuple(  # type: ignore[return-value]
        [mp.sqrt(abs(diagonal[a][k] * diagonal[b][k])) for a, _, b in triples] for k in (0, 1)
    )


def _condition(
    case: Case, triples: list[tuple[float, float, float]], eps: float
) -> tuple[list[mp.mpf], list[mp.mpf]]:
    """How far the moments move when q12 moves by its own rounding, relative to nothing."""
    moved = []
    for a, c, b in triples:
        limit = (a * b) ** 0.5
        step = 4 * eps * limit
        moved.append((a, c - step if c > 0 else c + step, b))
    v0, s0 = _exact(case, triples)
    v1, s1 = _exact(case, moved)
    return [abs(x - y) for x, y in zip(v0, v1, strict=True)], [
        abs(x - y) for x, y in zip(s0, s1, strict=True)
    ]


@CASES
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_code_equals_formula(case: Case, dtype: torch.dtype) -> None:
    # Errors are relative to the size of the moment's own variable. Inputs are exact, but a result may move as
    # much as it does when q12 is rounded: for a kink near collinear pairs that is the root of the unit of
    # rounding.
    eps = torch.finfo(dtype).eps
    top = 1e6 if case.degree > 3 and dtype == torch.float32 else 1e12
    triples = [t for t in _triples(dtype) if not (case.grows and max(t) > 100) and max(t) <= 2 * top]
    q11, q12, q22 = (torch.tensor(column, dtype=dtype) for column in zip(*triples, strict=True))
    moments = dual(case.module, q11, q12, q22)
    tolerance = 4e-13 if dtype == torch.float64 else 2e-5
    for got, exact, scale, moved in zip(
        moments, _exact(case, triples), _scales(case, triples), _condition(case, triples, eps), strict=True
    ):
        assert got.dtype == dtype
        assert not got.isnan().any()
        for t, g, e, s, c in zip(triples, got.tolist(), exact, scale, moved, strict=True):
            floor = max(1e-200, torch.finfo(dtype).tiny)  # numerical derivatives at 60 digits leave 1e-250
            assert abs(g - e) <= tolerance * s + c + floor, (t, g, float(e), float(s), float(c))


@CASES
def test_near_special_pairs_float32_is_within_a_thousandth_of_float64(case: Case) -> None:
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(40, 16, generator=generator)
    # Collinear with factors, nearly coincident, antipodal: as they come out of a matrix product in float32.
    x = torch.cat([x, 2 * x[:10], -x[:10], x[:10] + 1e-4, 1e-3 * x[:10], 0 * x[:2]])
    moments32 = dual(case.module, *_gram(x))
    moments64 = dual(case.module, *_gram(x.double()))
    for low, high in zip(moments32, moments64, strict=True):
        size = high.diagonal().sqrt()
        assert not low.isnan().any()
        assert ((low - high).abs() <= 1e-3 * size[:, None] * size[None] + 1e-6).all()


@CASES
def test_gram_matrix_is_symmetric_and_positive_semidefinite(case: Case) -> None:
    generator = torch.Generator().manual_seed(6)
    x = torch.randn(30, 8, generator=generator, dtype=torch.float64)
    x = torch.cat([x, 2 * x[:5], -x[:5], x[:3], 0 * x[:1]])
    q11, q12, q22 = _gram(x)
    for moment in dual(case.module, q11, 0.5 * (q12 + q12.T), q22):
        assert torch.equal(moment, moment.T) or torch.allclose(moment, moment.T, rtol=1e-14, atol=0)
        values = torch.linalg.eigvalsh(moment)
        # A kink moves a coincident pair's entry by the root of rounding, 1e-8, where q12 comes from a
        # product.
        assert values.min() >= -(1e-12 if case.smooth else 1e-7) * values.max()


@CASES
def test_diagonal_is_that_of_coincident_pairs(case: Case) -> None:
    q = torch.tensor([0.0, 1e-30, 0.5, 2.0, 50.0], dtype=torch.float64)
    exact = _exact(case, [(x, x, x) for x in q.tolist()])[0]
    expected = torch.tensor([float(e) for e in exact], dtype=torch.float64)
    torch.testing.assert_close(dual_diagonal(case.module, q), expected, rtol=1e-13, atol=1e-300)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_exactly_coincident_pairs_lose_nothing(dtype: torch.dtype) -> None:
    """Not even the root of the unit of rounding: the diagonal of a kernel matrix is exact."""
    q = torch.logspace(-30, 12, 2000, dtype=dtype)
    assert (dual(torch.nn.ReLU(), q, q, q).dphi_dphi == 0.5).all()
    assert (dual(torch.nn.ReLU(), q, -q, q).dphi_dphi == 0.0).all()
    assert (dual(torch.nn.ReLU(), q, -q, q).phi_phi == 0.0).all()
    slope = dual(Erf(), q, q, q).dphi_dphi
    exact = 4 / torch.pi * (1 + 4 * q.double()).rsqrt()
    torch.testing.assert_close(slope.double(), exact, rtol=8 * torch.finfo(dtype).eps, atol=0)


@pytest.mark.parametrize("module", [Rbf(0.5), Sin()], ids=["rbf", "sin"])
def test_huge_variances_that_differ_keep_their_distance(module: torch.nn.Module) -> None:
    # The variance of u - v is above (sigma_1 - sigma_2)^2, at least 50 here; of q11 - q12 nothing is left in
    # single precision, and the pair must not be taken for a coincident one.
    q11 = torch.full((500,), 2.25e12)
    q22 = q11 * (1 + torch.linspace(1e-5, 1e-3, 500))
    for moment in dual(module, q11, (q11 * q22).sqrt(), q22):
        assert moment.max() < 1e-10


@pytest.mark.parametrize("shape", [(700, 300), (40, 90, 5, 5), (100_000,)], ids=str)
def test_large_inputs_are_cut_into_blocks_without_a_trace(shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(7)
    rest = (1,) * (len(shape) - 2)
    q11 = torch.rand(shape[0], *((1, *rest) if len(shape) > 1 else ()), generator=generator)
    q22 = torch.rand(*((1, shape[1], *rest) if len(shape) > 1 else shape), generator=generator)
    q12 = (2 * torch.rand(shape, generator=generator) - 1) * (q11 * q22).sqrt()
    places = torch.randint(q12.numel(), (500,), generator=generator)
    few = [q.expand(shape).flatten()[places] for q in (q11, q12, q22)]
    for whole, part in zip(dual(torch.nn.ReLU(), q11, q12, q22), dual(torch.nn.ReLU(), *few), strict=True):
        assert whole.shape == shape
        torch.testing.assert_close(whole.flatten()[places], part, rtol=1e-6, atol=1e-7)


def _gram(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    q12 = x @ x.T / x.shape[1]
    q = x.square().mean(1)
    return q[:, None], q12, q[None]
