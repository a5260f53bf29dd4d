"""Errors of ``operators.apply``: derivatives of infinite-width kernels, against differences in 50 digits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product

import mpmath as mp
import numpy as np
import torch

from _numerics import recursion
from _numerics.cells import UNITS, Cell, compare
from _numerics.regimes import Regime
from ntkbook import infinite_width, nn, operators

DIMENSION = 2
W_STD, B_STD = 1.5, 0.25
_STEP = mp.mpf(10) ** -12  # of differences in 100 digits: they leave 1e-24 of the derivative's size
Point = list[mp.mpf]


def erf_kernels(x: Point, z: Point) -> tuple[mp.mpf, mp.mpf]:
    """Return K and Theta of one hidden layer of erf, by its two closed forms (Williams 1997, eq. 11)."""
    w2, b2 = mp.mpf(W_STD) ** 2, mp.mpf(B_STD) ** 2
    c, a, b = (w2 * mp.fdot(u, v) / DIMENSION + b2 for u, v in ((x, z), (x, x), (z, z)))
    cosine = 2 * c / mp.sqrt((1 + 2 * a) * (1 + 2 * b))
    slope = 4 / mp.pi / mp.sqrt((1 + 2 * a) * (1 + 2 * b) - 4 * c**2)
    nngp = w2 * 2 / mp.pi * mp.asin(cosine) + b2
    return nngp, w2 * c * slope + nngp


def sin_kernels(x: Point, z: Point) -> tuple[mp.mpf, mp.mpf]:
    """Return K and Theta of one hidden layer of sines."""
    w2, b2 = mp.mpf(W_STD) ** 2, mp.mpf(B_STD) ** 2
    c, a, b = (w2 * mp.fdot(u, v) / DIMENSION + b2 for u, v in ((x, z), (x, x), (z, z)))
    front = mp.exp(-(a + b) / 2)
    nngp = w2 * front * mp.sinh(c) + b2
    return nngp, w2 * c * front * mp.cosh(c) + nngp


KERNELS: dict[str, tuple[Callable[[], torch.nn.Module], Callable[[Point, Point], tuple[mp.mpf, mp.mpf]]]] = {
    "erf": (nn.Erf, erf_kernels),
    "sine": (nn.Sin, sin_kernels),
}
OPERATORS = {
    "gradients": (operators.partial(0), {(0,): 1}),
    "Laplacians": (operators.laplacian(), {(0, 0): 1, (1, 1): 1}),
}


def _differences(axes: tuple[int, ...]) -> list[tuple[Point, mp.mpf]]:
    """Return shifts and weights of a central difference, of first or second order in one axis."""
    half, one = mp.mpf(1) / 2, mp.mpf(1)
    weights = {1: half, -1: -half} if len(axes) == 1 else {1: one, 0: -2 * one, -1: one}
    return [
        ([sign * _STEP if k == axes[0] else mp.mpf(0) for k in range(DIMENSION)], w / _STEP ** len(axes))
        for sign, w in weights.items()
    ]


def truth(name: str, operator: str, x: Point, z: Point) -> tuple[mp.mpf, mp.mpf]:
    """Return the operator applied to both arguments of K and of Theta."""
    kernels = KERNELS[name][1]
    with mp.workdps(100):
        stencil = [difference for axes in OPERATORS[operator][1] for difference in _differences(axes)]
        nngp = ntk = mp.mpf(0)
        for (shift, weight), (other, factor) in product(stencil, repeat=2):
            k, theta = kernels(_sum(x, shift), _sum(z, other))
            nngp, ntk = nngp + weight * factor * k, ntk + weight * factor * theta
        return nngp, ntk


def _sum(x: Point, shift: Point) -> Point:
    return [u + s for u, s in zip(x, shift, strict=True)]


def measure(rows: Sequence[Regime], dtype: str) -> dict[str, dict[str, Cell]]:
    """Return one cell for each activation, operator and regime."""
    found: dict[str, dict[str, Cell]] = {}
    for name, operator in product(KERNELS, OPERATORS):
        cells = found[f"operators, {operator}, {name}"] = {row.title: Cell() for row in rows}
        for row in rows:
            for pair in row.in_dtype(dtype):
                tensors = [torch.tensor(x[None], dtype=getattr(torch, dtype)) for x in pair]
                try:
                    values = [field(*tensors) for field in _applied(name, operator, dtype)]
                except ValueError as error:
                    cells[row.title].refusals.append(str(error))
                else:
                    _enter(cells[row.title], name, operator, pair, values, dtype)
    return found


def _applied(name: str, operator: str, dtype: str) -> list[Callable[..., torch.Tensor]]:
    """Return the operator of K and of Theta, on both arguments."""
    module, derivative = KERNELS[name][0](), OPERATORS[operator][0]
    net = nn.mlp([DIMENSION, 1, 1], activation=module, w_std=W_STD, b_std=B_STD, dtype=getattr(torch, dtype))
    kernel = infinite_width(net)
    return [
        operators.apply(lambda a, b, f=field: getattr(kernel(a, b), f), derivative, derivative)
        for field in ("nngp", "ntk")
    ]


def _enter(
    cell: Cell,
    name: str,
    operator: str,
    pair: tuple[np.ndarray, np.ndarray],
    values: Sequence[torch.Tensor],
    dtype: str,
) -> None:
    with mp.workdps(recursion.DIGITS):
        x, z = ([mp.mpf(float(v)) for v in point] for point in pair)
        exact, own1, own2 = (truth(name, operator, u, v) for u, v in ((x, z), (x, x), (z, z)))
        unit = mp.mpf(UNITS[dtype])
        moved = [
            truth(name, operator, [u * (1 + s * unit) for u in x], [v * (1 + t * unit) for v in z])
            for s, t in ((1, 1), (1, -1))
        ]
        for i, kernel in enumerate(("nngp", "ntk")):
            change = max(abs(m[i] - exact[i]) for m in moved)
            compare(cell, kernel, kernel, float(values[i]), (exact[i], own1[i], own2[i]), change, dtype)
