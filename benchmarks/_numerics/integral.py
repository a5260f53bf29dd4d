r"""Gaussian integrals of pairs without a closed form, in extended precision: the truth of the quadrature.

In polar coordinates the kinks at u = 0 and v = 0 are rays, and between them

.. math::
    E[f(u) g(v)] = \frac{1}{2 \pi} \sum_\pm \int_0^\infty r e^{-r^2/2} \left\{
        \int_0^{\pi - \theta} f(\pm \sigma_1 r \sin(\pi - \theta - \beta))\, g(\pm \sigma_2 r \sin\beta)\,
        d\beta + \int_0^\theta f(\pm \sigma_1 r \sin(\theta - \beta))\, g(\mp \sigma_2 r \sin\beta)\, d\beta
    \right\} dr.

Radius and angle are cut into panels, each twice as long as the one before it, that start at zero on the scale
on which an activation changes. On a panel [a, 2a] a function that is analytic off the imaginary axis leaves
a remainder of 5.8^(-2n) after n Gauss-Legendre nodes: 4e-19 for 12, whatever the variances. Evaluations are
in numpy's ``longdouble`` (64 bits of mantissa on x86), angles come from mpmath. :func:`integral` is the same
number by mpmath and a product trapezoidal rule: slow, and the proof of the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mpmath as mp
import numpy as np
from numpy.typing import NDArray

Real = NDArray[Any]
Values = tuple[Real, Real]
Function = Callable[[Real], Values]  # an activation and its slope

EXTENDED = np.longdouble
NODES = 12
END = 10.0  # the density is below 1e-21 beyond
_ROOT = EXTENDED("0.79788456080286535587989211986876")  # sqrt(2 / pi)


def _tanh(x: Real) -> Values:
    t = np.tanh(x)
    return t, (1 - t) * (1 + t)


def _sigmoid(x: Real) -> Values:
    t, slope = _tanh(x / 2)
    return (1 + t) / 2, slope / 4


def _silu(x: Real) -> Values:
    gate, slope = _sigmoid(x)
    return x * gate, gate + x * slope


def _softplus(x: Real) -> Values:
    tail = np.exp(-np.abs(x))
    return np.maximum(x, 0) + np.log1p(tail), np.where(x > 0, 1, tail) / (1 + tail)


def _mish(x: Real) -> Values:
    inner, inner_slope = _softplus(x)
    t, slope = _tanh(inner)
    return x * t, t + x * slope * inner_slope


def _gelu_tanh(x: Real) -> Values:
    root, cubic = x.dtype.type(_ROOT), x.dtype.type(0.044715)
    t, slope = _tanh(root * (x + cubic * x**3))
    return x * (1 + t) / 2, (1 + t) / 2 + x * slope * root * (1 + 3 * cubic * x**2) / 2


def _elu(alpha: float) -> Function:
    def values(x: Real) -> Values:
        left = alpha * np.expm1(np.minimum(x, 0))
        return np.where(x > 0, x, left), np.where(x > 0, 1, left + alpha)

    return values


def _arctan(x: Real) -> Values:
    return np.arctan(x), 1 / (1 + x**2)


# By the names of tests/infinite/dual_cases.py.
FUNCTIONS: dict[str, Function] = {
    "tanh": _tanh,
    "sigmoid": _sigmoid,
    "silu": _silu,
    "softplus": _softplus,
    "elu": _elu(1.0),
    "elu_kinked": _elu(0.5),
    "mish": _mish,
    "gelu_tanh": _gelu_tanh,
    "elementwise": _arctan,
}


def _legendre() -> tuple[list[mp.mpf], list[mp.mpf]]:
    """Nodes and weights on [0, 1] to 30 digits."""
    with mp.workdps(30):
        nodes, weights = [], []
        for guess in np.polynomial.legendre.leggauss(NODES)[0]:
            x = mp.findroot(lambda t: mp.legendre(NODES, t), mp.mpf(guess))
            slope = NODES * (x * mp.legendre(NODES, x) - mp.legendre(NODES - 1, x)) / (x**2 - 1)
            nodes.append((x + 1) / 2)
            weights.append(1 / ((1 - x**2) * slope**2))
        return nodes, weights


def to_extended(x: mp.mpf) -> np.longdouble:
    """Round to extended precision."""
    return EXTENDED(mp.nstr(x, 25))


def to_mp(x: np.longdouble) -> mp.mpf:
    """Convert without loss."""
    return mp.mpf(np.format_float_scientific(x, precision=24, unique=False))


_NODES, _WEIGHTS = ([to_extended(x) for x in part] for part in _legendre())


def panels(end: Any, scale: float, dtype: type) -> tuple[Real, Real]:
    """Nodes and weights on [0, end]: panels of lengths scale, scale, 2 scale, ..., at most about 1."""
    inner = [scale * 2.0**k for k in range(200) if scale * 2.0**k < min(0.75 * end, 1.0)]
    start = inner[-1] if inner else 0.0
    outer = np.linspace(start, float(end), max(1, round(float(end) - start)) + 1)[1:-1]
    cuts = [dtype(0.0), *(dtype(x) for x in (*inner, *outer)), end]
    left, length = np.array(cuts[:-1], dtype), np.diff(np.array(cuts, dtype))
    nodes = left[:, None] + length[:, None] * np.array(_NODES, dtype)
    return nodes.ravel(), (length[:, None] * np.array(_WEIGHTS, dtype)).ravel()


def pair_moments(
    function: Function, q11: mp.mpf, q12: mp.mpf, q22: mp.mpf, dtype: type = EXTENDED
) -> tuple[mp.mpf, mp.mpf]:
    """E[f(u) f(v)] and E[f'(u) f'(v)] of one Gaussian pair."""
    if q11 == 0 or q22 == 0:
        means = zip(_means(function, q11, dtype), _means(function, q22, dtype), strict=True)
        return tuple(to_mp(EXTENDED(a * b)) for a, b in means)
    s1, s2 = (dtype(to_extended(mp.sqrt(q))) for q in (q11, q22))
    theta = mp.atan2(mp.sqrt(max(q11 * q22 - q12**2, mp.mpf(0))), q12)
    largest = float(max(s1, s2))
    r, weight = panels(dtype(END), 1 / (4 + 4 * largest), dtype)
    weight = weight * r * np.exp(-(r**2) / 2) / (2 * dtype(to_extended(mp.pi)))
    sums = [dtype(0.0), dtype(0.0)]
    for sector, sign in ((mp.pi - theta, 1), (theta, -1)):
        if sector > 0:
            length = dtype(to_extended(sector))
            beta, across = panels(length / 2, 1 / (4 + 8 * largest), dtype)
            for near, far in ((beta, length - beta), (length - beta, beta)):
                for side in (1, -1):
                    at_u = function((side * s1 * r)[:, None] * np.sin(far))
                    at_v = function((side * sign * s2 * r)[:, None] * np.sin(near))
                    for i, (f, g) in enumerate(zip(at_u, at_v, strict=True)):
                        sums[i] += weight @ (f * g) @ across
    return to_mp(EXTENDED(sums[0])), to_mp(EXTENDED(sums[1]))


def own_moments(function: Function, q: mp.mpf, dtype: type = EXTENDED) -> tuple[mp.mpf, mp.mpf]:
    """E[f(u)^2] and E[f'(u)^2] of one Gaussian."""
    squares = _means(lambda x: tuple(y**2 for y in function(x)), q, dtype)
    return to_mp(EXTENDED(squares[0])), to_mp(EXTENDED(squares[1]))


def _means(function: Function, q: mp.mpf, dtype: type) -> list[Any]:
    s = dtype(to_extended(mp.sqrt(q)))
    z, weight = panels(dtype(END), 1 / (4 + 4 * float(s)), dtype)
    density = weight * np.exp(-(z**2) / 2) / np.sqrt(2 * dtype(to_extended(mp.pi)))
    return [density @ (a + b) for a, b in zip(function(s * z), function(-s * z), strict=True)]


def integral(fn: Callable[[mp.mpf], mp.mpf], q11: mp.mpf, q12: mp.mpf, q22: mp.mpf) -> mp.mpf:
    """E[f(u) f(v)] to 22 digits, for f analytic within a distance of one of the real axis.

    The trapezoidal rule in two independent variables leaves exp(-2 pi d / (sigma h)) at a pole's distance d.
    """
    with mp.workdps(28):
        h = mp.mpf(1) / 8
        grid = [k * h for k in range(-80, 81)]
        weights = [h * mp.npdf(x) for x in grid]
        slope, rest = q12 / mp.sqrt(q11), mp.sqrt(q22 - q12**2 / q11)
        inner = [
            fn(mp.sqrt(q11) * x)
            * w
            * mp.fsum(fn(slope * x + rest * y) * v for y, v in zip(grid, weights, strict=True))
            for x, w in zip(grid, weights, strict=True)
        ]
        return mp.fsum(inner)


def elu_integral(alpha: float, q11: mp.mpf, q12: mp.mpf, q22: mp.mpf) -> tuple[mp.mpf, mp.mpf]:
    """Both moments of ELU to 22 digits: given u, v's part has a closed form; then an integral over u."""
    with mp.workdps(28):
        s1, rest = mp.sqrt(q11), mp.sqrt(q22 - q12**2 / q11)

        def value(x: mp.mpf) -> mp.mpf:
            m = q12 / s1 * x
            left = mp.exp(m + rest**2 / 2) * mp.ncdf(-(m + rest**2) / rest) - mp.ncdf(-m / rest)
            given = m * mp.ncdf(m / rest) + rest * mp.npdf(m / rest) + alpha * left
            return (s1 * x if x > 0 else alpha * mp.expm1(s1 * x)) * given * mp.npdf(x)

        def slope(x: mp.mpf) -> mp.mpf:
            m = q12 / s1 * x
            left = alpha * mp.exp(m + rest**2 / 2) * mp.ncdf(-(m + rest**2) / rest)
            return (1 if x > 0 else alpha * mp.exp(s1 * x)) * (mp.ncdf(m / rest) + left) * mp.npdf(x)

        cuts = [-12, -6, -3, -1, 0, 1, 3, 6, 12]
        return mp.quad(value, cuts), mp.quad(slope, cuts)
