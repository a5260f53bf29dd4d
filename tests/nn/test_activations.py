"""The activation modules as finite layers: their functions, their dtypes, what they refuse."""

from __future__ import annotations

import mpmath as mp
import pytest
import torch

from ntkbook import nn

X = [-2.5, -1.0, -0.3, 0.0, 0.7, 1.9]
FUNCTIONS = [
    (nn.Erf(1.5, 0.75, -0.25), lambda x: 1.5 * mp.erf(0.75 * x) - 0.25),
    (nn.SigmoidLike(), lambda x: 0.5 * mp.erf(x / 2.4020563531719796) + 0.5),
    (nn.Sin(1.5, 0.75, 0.5), lambda x: 1.5 * mp.sin(0.75 * x + 0.5)),
    (nn.Cos(1.5, 0.75, 0.5), lambda x: 1.5 * mp.cos(0.75 * x + 0.5)),
    (nn.Rbf(0.3), lambda x: mp.sqrt(2) * mp.sin(mp.sqrt(0.6) * x + mp.pi / 4)),
    (nn.Abs(), abs),
    (nn.Sign(), mp.sign),
    (nn.ABReLU(-0.5, 2.0), lambda x: -0.5 * min(x, 0) + 2 * max(x, 0)),
    (nn.Exp(1.5, 0.5), lambda x: 1.5 * mp.exp(0.5 * x)),
    (nn.Gaussian(1.5, -0.5), lambda x: 1.5 * mp.exp(-0.5 * x**2)),
    (nn.Gabor(), lambda x: mp.exp(-(x**2)) * mp.sin(x)),
    (nn.Monomial(0), lambda x: 1),
    (nn.Monomial(3), lambda x: x**3),
    (nn.RectifiedMonomial(0), lambda x: 1 if x >= 0 else 0),
    (nn.RectifiedMonomial(2), lambda x: max(x, 0) ** 2),
    (nn.Polynomial([0.5, -1.0, 0.25, 2.0]), lambda x: 0.5 - x + 0.25 * x**2 + 2 * x**3),
    (nn.Polynomial([3.0]), lambda x: 3),
    (nn.Hermite(0), lambda x: 1),
    (nn.Hermite(1), lambda x: x),
    (nn.Hermite(5), lambda x: (x**5 - 10 * x**3 + 15 * x) / mp.sqrt(120)),
    (nn.Elementwise(torch.atan), mp.atan),
]
MODULES = pytest.mark.parametrize(("module", "fn"), FUNCTIONS, ids=[repr(m) for m, _ in FUNCTIONS])


@MODULES
def test_values(module: torch.nn.Module, fn) -> None:
    got = module(torch.tensor(X, dtype=torch.float64))
    expected = torch.tensor([float(fn(mp.mpf(x))) for x in X], dtype=torch.float64)
    torch.testing.assert_close(got, expected, rtol=1e-14, atol=1e-14)


@MODULES
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_dtype_shape_and_training_in_a_network(module: torch.nn.Module, fn, dtype: torch.dtype) -> None:
    net = torch.nn.Sequential(torch.nn.Linear(3, 4), module, torch.nn.Linear(4, 2)).to(dtype)
    out = net(torch.ones(5, 3, dtype=dtype))
    assert out.shape == (5, 2)
    assert out.dtype == dtype
    out.sum().backward()
    assert net[2].weight.grad is not None
    assert net[2].weight.grad.isfinite().all()
    assert not list(module.parameters())


@MODULES
def test_prints_its_constants_and_pickles(module: torch.nn.Module, fn) -> None:
    assert repr(module).startswith(type(module).__name__ + "(")
    assert list(module.state_dict()) == []


@pytest.mark.parametrize(
    ("make", "error", "match"),
    [
        (lambda: nn.Erf(a=float("nan")), ValueError, "a must be finite, got nan"),
        (lambda: nn.Sin(b=float("inf")), ValueError, "b must be finite, got inf"),
        (lambda: nn.Rbf(gamma=0.0), ValueError, "gamma must be finite and positive, got 0"),
        (lambda: nn.Gaussian(b=1.0), ValueError, r"b must be negative.*got 1\.0; pass b=-1\.0"),
        (lambda: nn.Monomial(-1), ValueError, "degree must be at least 0, got -1"),
        (lambda: nn.RectifiedMonomial(1.5), TypeError, r"degree must be an integer, got 1\.5"),
        (lambda: nn.Hermite(True), TypeError, "degree must be an integer, got True"),
        (lambda: nn.Polynomial([]), ValueError, "coefficients is empty"),
        (lambda: nn.Polynomial([1.0, float("inf")]), ValueError, "coefficients must be finite"),
        (lambda: nn.Elementwise(3), TypeError, "fn must be callable, got int"),
    ],
)
def test_refusals(make, error, match) -> None:
    with pytest.raises(error, match=match):
        make()
