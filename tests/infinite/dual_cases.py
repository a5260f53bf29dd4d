"""The activations that the tests go through, each with its function in arbitrary precision."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import mpmath as mp
import torch

from ntkbook import nn

Scalar = Callable[[mp.mpf], mp.mpf]


@dataclass(frozen=True)
class Case:
    """A module, its function and derivative in arbitrary precision, and what is special about it."""

    name: str
    module: torch.nn.Module
    fn: Scalar
    slope: Scalar
    smooth: bool = True  # analytic everywhere: no kink at zero
    grows: bool = False  # faster than a polynomial: overflows at huge variances
    degree: int = 1  # growth at infinity


def _step(x: mp.mpf) -> mp.mpf:
    return mp.mpf(1 if x > 0 else 0)


def _sech2(x: mp.mpf) -> mp.mpf:
    return 1 / mp.cosh(x) ** 2


def _hermite(n: int, x: mp.mpf) -> mp.mpf:
    return mp.hermite(n, x / mp.sqrt(2)) / mp.mpf(2) ** (mp.mpf(n) / 2) / mp.sqrt(mp.factorial(n))


_S = 1 / 2.4020563531719796
_POLY = [0.5, -1.0, 0.25, 2.0, -0.125]
with mp.workdps(70):
    _ERF_SLOPE = 2 / mp.sqrt(mp.pi)
    _ROOT_2 = mp.sqrt(2)


CLOSED = [
    Case("identity", torch.nn.Identity(), lambda x: x, lambda x: mp.mpf(1)),
    Case("relu", torch.nn.ReLU(), lambda x: x * _step(x), _step, smooth=False),
    Case(
        "leaky_relu",
        torch.nn.LeakyReLU(0.125),
        lambda x: x * (0.125 + 0.875 * _step(x)),
        lambda x: 0.125 + 0.875 * _step(x),
        smooth=False,
    ),
    Case(
        "ab_relu",
        nn.ABReLU(-0.5, 2.0),
        lambda x: x * (-0.5 + 2.5 * _step(x)),
        lambda x: -0.5 + 2.5 * _step(x),
        smooth=False,
    ),
    Case("abs", nn.Abs(), abs, lambda x: mp.sign(x), smooth=False),
    Case("sign", nn.Sign(), lambda x: mp.sign(x), lambda x: mp.mpf(0), smooth=False, degree=0),
    Case("step", nn.RectifiedMonomial(0), _step, lambda x: mp.mpf(0), smooth=False, degree=0),
    Case("rect_1", nn.RectifiedMonomial(1), lambda x: x * _step(x), _step, smooth=False),
    Case(
        "rect_2",
        nn.RectifiedMonomial(2),
        lambda x: x**2 * _step(x),
        lambda x: 2 * x * _step(x),
        False,
        degree=2,
    ),
    Case(
        "rect_3",
        nn.RectifiedMonomial(3),
        lambda x: x**3 * _step(x),
        lambda x: 3 * x**2 * _step(x),
        False,
        degree=3,
    ),
    Case(
        "rect_5",
        nn.RectifiedMonomial(5),
        lambda x: x**5 * _step(x),
        lambda x: 5 * x**4 * _step(x),
        False,
        degree=5,
    ),
    Case(
        "erf",
        nn.Erf(1.5, 0.75, -0.25),
        lambda x: 1.5 * mp.erf(0.75 * x) - 0.25,
        lambda x: 1.5 * 0.75 * _ERF_SLOPE * mp.exp(-((0.75 * x) ** 2)),
        degree=0,
    ),
    Case(
        "sigmoid_like",
        nn.SigmoidLike(),
        lambda x: 0.5 * mp.erf(_S * x) + 0.5,
        lambda x: 0.5 * _S * _ERF_SLOPE * mp.exp(-((_S * x) ** 2)),
        degree=0,
    ),
    Case("gelu", torch.nn.GELU(), lambda x: x * mp.ncdf(x), lambda x: mp.ncdf(x) + x * mp.npdf(x)),
    Case(
        "sin",
        nn.Sin(1.5, 0.75, 0.5),
        lambda x: 1.5 * mp.sin(0.75 * x + 0.5),
        lambda x: 1.125 * mp.cos(0.75 * x + 0.5),
        degree=0,
    ),
    Case(
        "cos",
        nn.Cos(1.5, 0.75, 0.5),
        lambda x: 1.5 * mp.cos(0.75 * x + 0.5),
        lambda x: -1.125 * mp.sin(0.75 * x + 0.5),
        degree=0,
    ),
    Case(
        "rbf",
        nn.Rbf(0.5),
        lambda x: _ROOT_2 * mp.sin(x + mp.pi / 4),
        lambda x: _ROOT_2 * mp.cos(x + mp.pi / 4),
        degree=0,
    ),
    Case("exp", nn.Exp(1.5, 0.5), lambda x: 1.5 * mp.exp(x / 2), lambda x: 0.75 * mp.exp(x / 2), grows=True),
    Case(
        "gaussian",
        nn.Gaussian(1.5, -0.5),
        lambda x: 1.5 * mp.exp(-(x**2) / 2),
        lambda x: -1.5 * x * mp.exp(-(x**2) / 2),
        degree=0,
    ),
    Case(
        "gabor",
        nn.Gabor(),
        lambda x: mp.exp(-(x**2)) * mp.sin(x),
        lambda x: mp.exp(-(x**2)) * (mp.cos(x) - 2 * x * mp.sin(x)),
        degree=0,
    ),
    Case("power_0", nn.Monomial(0), lambda x: mp.mpf(1), lambda x: mp.mpf(0), degree=0),
    Case("power_2", nn.Monomial(2), lambda x: x**2, lambda x: 2 * x, degree=2),
    Case("power_5", nn.Monomial(5), lambda x: x**5, lambda x: 5 * x**4, degree=5),
    Case(
        "polynomial",
        nn.Polynomial(_POLY),
        lambda x: mp.polyval(_POLY[::-1], x),
        lambda x: mp.polyval([n * _POLY[n] for n in (4, 3, 2, 1)], x),
        degree=4,
    ),
    Case("hermite_0", nn.Hermite(0), lambda x: mp.mpf(1), lambda x: mp.mpf(0), degree=0),
    Case("hermite_4", nn.Hermite(4), lambda x: _hermite(4, x), lambda x: 2 * _hermite(3, x), degree=4),
]

NUMERIC = [
    Case("tanh", torch.nn.Tanh(), mp.tanh, _sech2, degree=0),
    Case(
        "sigmoid",
        torch.nn.Sigmoid(),
        lambda x: (1 + mp.tanh(x / 2)) / 2,
        lambda x: _sech2(x / 2) / 4,
        degree=0,
    ),
    Case(
        "silu",
        torch.nn.SiLU(),
        lambda x: x * (1 + mp.tanh(x / 2)) / 2,
        lambda x: (1 + mp.tanh(x / 2)) / 2 + x * _sech2(x / 2) / 4,
    ),
    Case(
        "softplus", torch.nn.Softplus(), lambda x: mp.log(1 + mp.exp(x)), lambda x: (1 + mp.tanh(x / 2)) / 2
    ),
    Case(
        "elu",
        torch.nn.ELU(),
        lambda x: x if x > 0 else mp.expm1(x),
        lambda x: mp.mpf(1) if x > 0 else mp.exp(x),
        smooth=False,
    ),
    Case(
        "elu_kinked",
        torch.nn.ELU(0.5),
        lambda x: x if x > 0 else 0.5 * mp.expm1(x),
        lambda x: mp.mpf(1) if x > 0 else 0.5 * mp.exp(x),
        smooth=False,
    ),
    Case(
        "mish",
        torch.nn.Mish(),
        lambda x: x * mp.tanh(mp.log(1 + mp.exp(x))),
        lambda x: (
            mp.tanh(mp.log(1 + mp.exp(x))) + x * _sech2(mp.log(1 + mp.exp(x))) * (1 + mp.tanh(x / 2)) / 2
        ),
    ),
    Case(
        "gelu_tanh",
        torch.nn.GELU(approximate="tanh"),
        lambda x: x * (1 + mp.tanh(mp.sqrt(2 / mp.pi) * (x + 0.044715 * x**3))) / 2,
        lambda x: (
            (1 + mp.tanh(mp.sqrt(2 / mp.pi) * (x + 0.044715 * x**3))) / 2
            + x
            * _sech2(mp.sqrt(2 / mp.pi) * (x + 0.044715 * x**3))
            * mp.sqrt(2 / mp.pi)
            * (1 + 0.134145 * x**2)
            / 2
        ),
    ),
    Case("elementwise", nn.Elementwise(torch.atan), mp.atan, lambda x: 1 / (1 + x**2), degree=0),
]
