"""Textbook formulas of the dual activations, in arbitrary precision: the naive twins of the package's.

They cancel, divide by zero at collinear pairs and overflow, all of which 60 digits and a hair's breadth
forgive.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import mpmath as mp
from dual_cases import _POLY, _S, Case

from ntkbook import nn

Moment = Callable[[mp.mpf, mp.mpf, mp.mpf], mp.mpf]
DIGITS = 60


def _angle(a: mp.mpf, c: mp.mpf, b: mp.mpf) -> mp.mpf:
    if a == 0 or b == 0:
        return mp.pi / 2
    return mp.acos(min(mp.mpf(1), max(mp.mpf(-1), c / mp.sqrt(a * b))))


def _orthant(a: mp.mpf, c: mp.mpf, b: mp.mpf) -> mp.mpf:
    return (mp.pi - _angle(a, c, b)) / (2 * mp.pi)


def _arc_cosine_1(a: mp.mpf, c: mp.mpf, b: mp.mpf) -> mp.mpf:
    t = _angle(a, c, b)
    return mp.sqrt(a * b) * (mp.sin(t) + (mp.pi - t) * mp.cos(t)) / (2 * mp.pi)


def rectified(n: int) -> Moment:
    """Integral of (sin t sin(L - t))^n over the sector [0, L] where both are positive, by powers of a cosine.

    The integrand is ((cos(2 t - L) - cos L) / 2)^n, and the radius integrates to 2^n n!.
    """

    def moment(a: mp.mpf, c: mp.mpf, b: mp.mpf) -> mp.mpf:
        length = mp.pi - _angle(a, c, b)
        cos, sin = mp.cos(length), mp.sin(length)
        powers = [length, sin]  # integrals of cos^k over [0, L]
        for k in range(2, n + 1):
            powers.append((cos ** (k - 1) * sin + (k - 1) * powers[k - 2]) / k)
        total = mp.fsum(math.comb(n, k) * (-cos) ** (n - k) * powers[k] for k in range(n + 1))
        return mp.sqrt(a * b) ** n * mp.factorial(n) * total / (2 * mp.pi)

    return moment


def _two_slopes(a: float, b: float) -> tuple[Moment, Moment]:
    def value(q1: mp.mpf, q12: mp.mpf, q2: mp.mpf) -> mp.mpf:
        return (mp.mpf(a) - b) ** 2 * _arc_cosine_1(q1, q12, q2) + mp.mpf(a) * b * q12

    def slope(q1: mp.mpf, q12: mp.mpf, q2: mp.mpf) -> mp.mpf:
        return (mp.mpf(a) - b) ** 2 * _orthant(q1, q12, q2) + mp.mpf(a) * b

    return value, slope


def _erf(a: float, b: float, c: float) -> Moment:
    def value(q1: mp.mpf, q12: mp.mpf, q2: mp.mpf) -> mp.mpf:
        p = 2 * mp.mpf(b) ** 2
        return c**2 + a**2 * 2 / mp.pi * mp.asin(p * q12 / mp.sqrt((1 + p * q1) * (1 + p * q2)))

    return value


def _gelu(q1: mp.mpf, q12: mp.mpf, q2: mp.mpf) -> mp.mpf:
    d = mp.sqrt((1 + q1) * (1 + q2) - q12**2)
    first = (q12**2 + q1 * q2 * d**2) / ((1 + q1) * (1 + q2) * d)
    return q12 / 4 + (first + q12 * mp.atan(q12 / d)) / (2 * mp.pi)


def _sin(a: float, b: float, phase: mp.mpf) -> Moment:
    def value(q1: mp.mpf, q12: mp.mpf, q2: mp.mpf) -> mp.mpf:
        half = -(q1 + q2) / 2
        p = mp.mpf(b) ** 2
        return mp.mpf(a) ** 2 / 2 * (mp.exp(p * (half + q12)) - mp.cos(2 * phase) * mp.exp(p * (half - q12)))

    return value


def _gaussian(a: float, b: float) -> Moment:
    def value(q1: mp.mpf, q12: mp.mpf, q2: mp.mpf) -> mp.mpf:
        return mp.mpf(a) ** 2 / mp.sqrt((1 + 2 * b * q1) * (1 + 2 * b * q2) - 4 * b**2 * q12**2)

    return value


def _gabor(q1: mp.mpf, q12: mp.mpf, q2: mp.mpf) -> mp.mpf:
    d = (1 + 2 * q1) * (1 + 2 * q2) - 4 * q12**2
    return mp.exp(-(1 - (1 + q1 + q2) / d) / 2) * mp.sinh(q12 / d) / mp.sqrt(d)


def _polynomial(coefficients: list[mp.mpf]) -> Moment:
    """Isserlis: E[u^m v^n] = sum over k pairings across of the count of pairings times the covariances."""

    def value(q1: mp.mpf, q12: mp.mpf, q2: mp.mpf) -> mp.mpf:
        total = mp.mpf(0)
        for m, cm in enumerate(coefficients):
            for n, cn in enumerate(coefficients):
                for k in range(min(m, n) + 1):
                    if (m - k) % 2 == 0 and (n - k) % 2 == 0:
                        i, j = (m - k) // 2, (n - k) // 2
                        count = mp.mpf(math.factorial(m) * math.factorial(n)) / (
                            math.factorial(i) * math.factorial(j) * math.factorial(k) * 2 ** (i + j)
                        )
                        total += cm * cn * count * q1**i * q2**j * q12**k
        return total

    return value


def _hermite_coefficients(n: int) -> list[mp.mpf]:
    rows: list[list[mp.mpf]] = [[mp.mpf(1)], [mp.mpf(0), mp.mpf(1)]]
    for k in range(1, n):
        shifted, below = [mp.mpf(0), *rows[k]], [*rows[k - 1], mp.mpf(0), mp.mpf(0)]
        rows.append([x - k * y for x, y in zip(shifted, below, strict=True)])
    return [x / mp.sqrt(mp.factorial(n)) for x in rows[n]]


def _zero(q1: mp.mpf, q12: mp.mpf, q2: mp.mpf) -> mp.mpf:
    return mp.mpf(0)


def formulas(case: Case) -> tuple[Moment, Moment]:
    """E[phi phi] and E[phi' phi'] of a closed case; the second by differentiation where it is analytic."""
    m = case.module
    if isinstance(m, nn.RectifiedMonomial):
        n = m.degree
        if n == 0:
            return _orthant, _zero
        lower = rectified(n - 1)
        return rectified(n), lambda a, c, b: n**2 * lower(a, c, b)
    kinked = {
        "relu": (0.0, 1.0),
        "leaky_relu": (0.125, 1.0),
        "ab_relu": (-0.5, 2.0),
        "abs": (-1.0, 1.0),
    }
    if case.name in kinked:
        return _two_slopes(*kinked[case.name])
    if case.name == "sign":
        return lambda a, c, b: 4 * _orthant(a, c, b) - 1, _zero
    with mp.workdps(DIGITS):
        analytic: dict[str, Moment] = {
            "identity": _polynomial([mp.mpf(0), mp.mpf(1)]),
            "erf": _erf(1.5, 0.75, -0.25),
            "sigmoid_like": _erf(0.5, _S, 0.5),
            "gelu": _gelu,
            "sin": _sin(1.5, 0.75, mp.mpf(0.5)),
            "cos": _sin(1.5, 0.75, mp.mpf(0.5) + mp.pi / 2),
            "rbf": lambda a, c, b: mp.exp(-(a + b - 2 * c) / 2),
            "exp": lambda a, c, b: mp.mpf(1.5) ** 2 * mp.exp((a + b + 2 * c) / 8),
            "gaussian": _gaussian(1.5, 0.5),
            "gabor": _gabor,
            "power_0": _polynomial([mp.mpf(1)]),
            "power_2": _polynomial([mp.mpf(c) for c in (0, 0, 1)]),
            "power_5": _polynomial([mp.mpf(c) for c in (0, 0, 0, 0, 0, 1)]),
            "polynomial": _polynomial([mp.mpf(c) for c in _POLY]),
            "hermite_0": _polynomial(_hermite_coefficients(0)),
            "hermite_4": _polynomial(_hermite_coefficients(4)),
        }
    value = analytic[case.name]

    def slope(a: mp.mpf, c: mp.mpf, b: mp.mpf) -> mp.mpf:
        return mp.diff(lambda t: value(a, t, b), c)

    return value, slope
