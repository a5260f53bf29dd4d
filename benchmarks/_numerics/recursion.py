r"""The kernels of a fully-connected network by the recursion, in high precision.

.. math::
    K^{(1)} = \sigma_w^2\, x \cdot x' / d + \sigma_b^2, \qquad
    K^{(l+1)} = \sigma_w^2\, E[\phi \phi] + \sigma_b^2, \qquad
    \Theta^{(l+1)} = \sigma_w^2\, E[\phi' \phi']\, \Theta^{(l)} + K^{(l+1)} .

Every error in the tables is compared with what rounding alone would do: the same recursion, exact except that
each layer's covariances are off by one unit of rounding (:func:`rounding`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import mpmath as mp
import numpy as np
from dual_cases import CLOSED, NUMERIC, Case
from dual_formulas import formulas

from _numerics import integral

DIGITS = 50
Moments = Callable[[mp.mpf, mp.mpf, mp.mpf], Sequence[mp.mpf]]
Factors = tuple[mp.mpf, mp.mpf, mp.mpf]
Values = tuple[mp.mpf, mp.mpf, mp.mpf]

CASES = {case.name: case for case in (*CLOSED, *NUMERIC)}

# Gains at which signals neither die nor explode in 100 layers; squares are exact in both precisions.
_SUPERLINEAR = {"rect_2", "rect_3", "rect_5", "power_2", "power_5", "polynomial"}
_GAINS = {"identity": 1.0, "abs": 1.0, "ab_relu": 0.6875, "rbf": 1.0, "exp": 0.5, "hermite_4": 0.5}


def gain(case: Case) -> float:
    """Return the standard deviation of the weights at which a case is measured."""
    return 0.25 if case.name in _SUPERLINEAR else _GAINS.get(case.name, 1.5)


@dataclass(frozen=True)
class Truth:
    """Both kernels of a pair, and of its inputs with themselves, after each layer asked for."""

    nngp: Values
    """K(x, x'), K(x, x), K(x', x')."""
    ntk: Values


def moments_of(
    case: Case, dtype: type = integral.EXTENDED
) -> tuple[Moments, Callable[[mp.mpf], Sequence[mp.mpf]]]:
    """E[phi phi] and E[phi' phi'] of a pair, and of one variable with itself."""
    if case.name in integral.FUNCTIONS:
        function = integral.FUNCTIONS[case.name]
        return partial(integral.pair_moments, function, dtype=dtype), partial(
            integral.own_moments, function, dtype=dtype
        )
    value, slope = formulas(case)

    def pair(a: mp.mpf, c: mp.mpf, b: mp.mpf) -> tuple[mp.mpf, mp.mpf]:
        return value(a, c, b), slope(a, c, b)

    return pair, lambda q: pair(q, q, q)


def covariances(x1: np.ndarray, x2: np.ndarray, w2: mp.mpf, b2: mp.mpf) -> Values:
    """Return those after the first layer, from the inputs as they are: (q12, q11, q22)."""
    a, b = ([mp.mpf(float(v)) for v in x] for x in (x1, x2))
    return tuple(w2 * mp.fdot(u, v) / len(a) + b2 for u, v in ((a, b), (a, a), (b, b)))


def run(
    case: Case,
    start: Values,
    w2: mp.mpf,
    b2: mp.mpf,
    depths: Sequence[int],
    *,
    factors: Factors | None = None,
    dtype: type = integral.EXTENDED,
) -> dict[int, Truth]:
    """Return the kernels with the given numbers of hidden layers.

    Parameters
    ----------
    case : Case
        The activation.
    start : tuple
        (q12, q11, q22) after the first layer.
    w2, b2 : mpf
        Variances of weights and biases.
    depths : sequence of int
        Numbers of hidden layers.
    factors : tuple of mpf, optional
        What (q12, q11, q22) are multiplied by before each activation. A covariance stays below the geometric
        mean of its variances.
    dtype : type
        Of the integrals that have no closed form.
    """
    pair, own = moments_of(case, dtype)
    k = theta = start
    found = {}
    for layer in range(1, max(depths) + 1):
        if factors is not None:
            c, a, b = (x * f for x, f in zip(k, factors, strict=True))
            bound = mp.sqrt(a * b)
            k = (max(-bound, min(bound, c)), a, b)
        c, a, b = k
        alone1 = own(a)
        alone2 = alone1 if a == b else own(b)
        together = alone1 if a == b == c else pair(a, c, b)
        moments = (together, alone1, alone2)
        k = tuple(w2 * m[0] + b2 for m in moments)
        theta = tuple(w2 * t * m[1] + new for t, m, new in zip(theta, moments, k, strict=True))
        if layer in depths:
            found[layer] = Truth(k, theta)
    return found


def rounding(
    case: Case,
    start: Values,
    w2: mp.mpf,
    b2: mp.mpf,
    truths: dict[int, Truth],
    unit: float,
    *,
    equal: bool,
) -> dict[int, tuple[mp.mpf, mp.mpf]]:
    """Return how far the exact recursion moves if each layer's covariances are off by a unit of rounding.

    The largest change of K and of Theta after each depth, over the directions that matter. Equal inputs are
    known to be equal, and stay so. One digit is enough: integrals without a closed form are evaluated in
    double precision, and there, in deep networks, with a larger step that is scaled down.
    """
    up, down, one = mp.mpf(1), mp.mpf(-1), mp.mpf(0)
    directions = [(up, up, up)] if equal else [(down, one, one), (up, one, one), (up, up, up)]
    depths, dtype, step = tuple(truths), integral.EXTENDED, mp.mpf(unit)
    if case.name in integral.FUNCTIONS and (max(depths) > 1 or unit > 1e-9):
        dtype, step = np.float64, max(step, mp.mpf(2) ** -30)
    changes = {depth: (mp.mpf(0), mp.mpf(0)) for depth in depths}
    for direction in directions:
        factors = tuple(1 + step * d for d in direction)
        moved = run(case, start, w2, b2, depths, factors=factors, dtype=dtype)
        for depth, truth in truths.items():
            changes[depth] = tuple(
                max(old, abs(after[0] - before[0]) * unit / step)
                for old, after, before in zip(
                    changes[depth],
                    (moved[depth].nngp, moved[depth].ntk),
                    (truth.nngp, truth.ntk),
                    strict=True,
                )
            )
    return changes
