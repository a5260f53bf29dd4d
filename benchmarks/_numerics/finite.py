"""Errors of ``empirical_ntk`` and ``empirical_nngp``, against forward and backward passes in mpmath."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import mpmath as mp
import numpy as np
import torch
from torch import Tensor

from _numerics import recursion
from _numerics.cells import UNITS, Cell, compare
from _numerics.regimes import DIMENSION, Regime
from ntkbook import empirical_nngp, empirical_ntk, nn

WIDTH = 6
METHODS = ("structured", "jacobian", "vector_product")
Vector = list[mp.mpf]
Pass = tuple[list[Vector], list[Vector], mp.mpf]  # layers' inputs, gradients at their outputs, the output

ACTIVATIONS: dict[str, tuple[Callable[[], torch.nn.Module], Callable[[mp.mpf], tuple[mp.mpf, mp.mpf]]]] = {
    "ReLU": (torch.nn.ReLU, lambda z: (max(z, mp.mpf(0)), mp.mpf(1 if z > 0 else 0))),
    "tanh": (torch.nn.Tanh, lambda z: (mp.tanh(z), mp.sech(z) ** 2)),
}


def network(name: str, depth: int, b_std: float) -> torch.nn.Sequential:
    """Return a network in double precision whose weights single precision can hold."""
    torch.manual_seed(depth)
    sizes = [DIMENSION, *[WIDTH] * depth, 1]
    return nn.mlp(sizes, activation=ACTIVATIONS[name][0](), w_std=1.5, b_std=b_std).double()


def passes(net: torch.nn.Sequential, name: str, x: np.ndarray, shake: mp.mpf) -> Pass:
    """Return what the kernel is made of; preactivations are multiplied by 1 + shake and 1 - shake in turn."""
    values = [mp.mpf(float(v)) for v in x]
    inputs, slopes, weights = [], [], []
    layers = list(net)[::2]
    for i, layer in enumerate(layers):
        scale = mp.mpf(layer.w_std) / mp.sqrt(layer.channels_in)
        matrix = [[scale * mp.mpf(w) for w in row] for row in layer.weight.tolist()]
        offset = [mp.mpf(layer.b_std) * mp.mpf(b) for b in layer.bias.tolist()]
        inputs.append(values)
        z = [
            (mp.fdot(row, values) + b) * (1 + (-1) ** k * shake)
            for k, (row, b) in enumerate(zip(matrix, offset, strict=True))
        ]
        if i == len(layers) - 1:
            break
        values, slope = map(list, zip(*map(ACTIVATIONS[name][1], z), strict=True))
        slopes.append(slope)
        weights.append(matrix)
    weights.append(matrix)
    gradients = [[mp.mpf(1)]]
    for matrix, slope in zip(weights[:0:-1], slopes[::-1], strict=True):
        above = gradients[0]
        gradients.insert(0, [s * mp.fdot(above, [row[k] for row in matrix]) for k, s in enumerate(slope)])
    return inputs, gradients, z[0]


def kernels(net: torch.nn.Sequential, first: Pass, second: Pass) -> tuple[mp.mpf, mp.mpf]:
    """Return the product of the outputs, and the tangent kernel as a sum over the layers."""
    ntk = mp.mpf(0)
    for layer, a, b, g, h in zip(list(net)[::2], first[0], second[0], first[1], second[1], strict=True):
        own = mp.mpf(layer.w_std) ** 2 * mp.fdot(a, b) / layer.channels_in + mp.mpf(layer.b_std) ** 2
        ntk += mp.fdot(g, h) * own
    return first[2] * second[2], ntk


def measure(rows: Sequence[Regime], dtype: str) -> dict[str, dict[str, Cell]]:
    """Return one cell for each method, activation and regime."""
    found: dict[str, dict[str, Cell]] = {f"empirical_ntk, {m}, {a}": {} for a in ACTIVATIONS for m in METHODS}
    with mp.workdps(recursion.DIGITS):
        for row in rows:
            for name, depth in zip(row.names, row.depths, strict=True):
                for activation in ACTIVATIONS:
                    exact_net = network(activation, depth, row.b_std).float().double()
                    for method in METHODS:
                        found[f"empirical_ntk, {method}, {activation}"][name] = Cell()
                    for pair in row.in_dtype(dtype):
                        truths, changes = _truth(exact_net, activation, pair, UNITS[dtype])
                        tensors = [torch.tensor(x[None], dtype=getattr(torch, dtype)) for x in pair]
                        net = network(activation, depth, row.b_std).float().to(getattr(torch, dtype))
                        nngp = empirical_nngp(net, *tensors)
                        for method in METHODS:
                            cell = found[f"empirical_ntk, {method}, {activation}"][name]
                            ntk = empirical_ntk(net, *tensors, method=method)
                            _enter(cell, (nngp, ntk), truths, changes, dtype)
    return found


def _truth(
    net: torch.nn.Sequential, activation: str, pair: tuple[np.ndarray, np.ndarray], unit: float
) -> tuple[list[tuple[mp.mpf, ...]], list[mp.mpf]]:
    a, b = (passes(net, activation, x, mp.mpf(0)) for x in pair)
    exact, own1, own2 = kernels(net, a, b), kernels(net, a, a), kernels(net, b, b)
    moved = []
    for signs in ((1, 1), (1, -1), (-1, -1)):
        both = [passes(net, activation, x, mp.mpf(s * unit)) for x, s in zip(pair, signs, strict=True)]
        moved.append(kernels(net, *both))
    changes = [max(abs(m[i] - exact[i]) for m in moved) for i in (0, 1)]
    return [(exact[i], own1[i], own2[i]) for i in (0, 1)], changes


def _enter(
    cell: Cell,
    values: Sequence[Tensor],
    truths: Sequence[Sequence[mp.mpf]],
    changes: Sequence[mp.mpf],
    dtype: str,
) -> None:
    for i, kernel in enumerate(("nngp", "ntk")):
        compare(cell, kernel, kernel, float(values[i].squeeze()), truths[i], changes[i], dtype)
