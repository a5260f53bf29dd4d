"""Errors of the convolutional kernels: the fused engine, the reference, the rules of ``infinite_width``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import product

import mpmath as mp
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from _numerics import recursion
from _numerics.cells import UNITS, Cell, compare
from _numerics.regimes import Regime
from ntkbook import cntk, infinite_width, nn
from ntkbook.cntk.recursion import arora, coincident
from ntkbook.cntk.reference import block_sums

SHAPE = (2, 3, 2)  # channels, rows, columns: six positions, all at a border
READOUTS = ("gap", "flatten")
Array = NDArray[np.object_]
Kernels = dict[tuple[int, str], tuple[mp.mpf, mp.mpf]]  # (depth, readout) -> K, Theta


def _patch_sum(a: Array) -> Array:
    rows, columns = a.shape[:2]
    padded = np.pad(a, 1, constant_values=mp.mpf(0))
    return sum(
        padded[s : s + rows, t : t + columns, s : s + rows, t : t + columns]
        for s, t in product(range(3), repeat=2)
    )


def _moments(c: mp.mpf, a: mp.mpf, b: mp.mpf) -> tuple[mp.mpf, mp.mpf]:
    """Return ReLU's two moments by the textbook formula; 0 for a black patch, as the package has it."""
    size = mp.sqrt(a * b)
    if size == 0:
        return mp.mpf(0), mp.mpf(0)
    cosine = max(mp.mpf(-1), min(mp.mpf(1), c / size))
    angle = mp.acos(cosine)
    return size * (mp.sin(angle) + (mp.pi - angle) * cosine) / (2 * mp.pi), (mp.pi - angle) / (2 * mp.pi)


def kernels(
    x: Array, z: Array, depths: Sequence[int], factors: tuple[mp.mpf, mp.mpf] | None = None
) -> Kernels:
    """Return the kernels of Arora et al. for one pair of images, on whole 4-D arrays.

    ``factors`` multiply every covariance and every variance before each ReLU, to see what rounding does; a
    position's covariance with itself in equal images is its variance.
    """
    equal = np.array_equal(x, z)
    weight = mp.mpf(2) / 9
    diagonal = np.einsum("ijij->ij", np.arange(np.prod(x.shape[1:]) ** 2).reshape(*x.shape[1:], *x.shape[1:]))
    sigma, own1, own2 = (_patch_sum(np.tensordot(u, v, axes=(0, 0))) for u, v in ((x, z), (x, x), (z, z)))
    theta = sigma
    v1, v2 = (np.einsum("ijij->ij", own) for own in (own1, own2))
    moments = np.frompyfunc(_moments, 3, 2)
    found: Kernels = {}
    for layer in range(1, max(depths) + 1):
        if factors is not None:
            sigma, v1, v2 = sigma * factors[0], v1 * factors[1], v2 * factors[1]
            if equal:
                sigma.reshape(-1)[diagonal.ravel()] = v1.ravel()
        wide = [np.broadcast_to(v, sigma.shape) for v in (v1[:, :, None, None], v2)]
        kernel, slope = moments(sigma, *wide)
        along = slope * theta
        if layer in depths:
            for readout in READOUTS:
                nngp = weight * _read_out(kernel, readout)
                found[layer, readout] = nngp, nngp + weight * _read_out(along, readout)
        sigma = weight * _patch_sum(kernel)
        theta = sigma + weight * _patch_sum(along)
        v1, v2 = (np.einsum("ijij->ij", weight * _patch_sum(_spread(v / 2))) for v in (v1, v2))
    return found


def _read_out(a: Array, readout: str) -> mp.mpf:
    """Return the mean over all pairs of positions, or the trace."""
    return a.sum() / a.size if readout == "gap" else np.einsum("ijij->", a)


def _spread(v: Array) -> Array:
    """Put a field of variances on the diagonal of a 4-D array."""
    full = np.full((*v.shape, *v.shape), mp.mpf(0), dtype=object)
    for i, j in np.ndindex(v.shape):
        full[i, j, i, j] = v[i, j]
    return full


def _network(depth: int, readout: str, dtype: torch.dtype) -> torch.nn.Module:
    layers: list[torch.nn.Module] = []
    for i in range(depth):
        channels = SHAPE[0] if i == 0 else 1
        layers += [nn.Conv2d(channels, 1, 3, padding="same", w_std=2**0.5, dtype=dtype), torch.nn.ReLU()]
    if readout == "gap":
        layers += [nn.GlobalAvgPool2d(), nn.Linear(1, 1, w_std=2**0.5, dtype=dtype)]
    else:
        layers += [torch.nn.Flatten(), nn.Linear(SHAPE[1] * SHAPE[2], 1, w_std=2**0.5, dtype=dtype)]
    return torch.nn.Sequential(*layers)


def _fused(x: Tensor, z: Tensor, depth: int, readout: str) -> tuple[Tensor, Tensor]:
    pair = cntk(x, z, depth=depth, readout=readout, dtype=x.dtype, return_nngp=True)
    return pair.nngp, pair.ntk


def _reference(x: Tensor, z: Tensor, depth: int, readout: str) -> tuple[Tensor, Tensor]:
    constants = arora(3, (depth,), readout, SHAPE[1] * SHAPE[2], True)
    same = coincident(x, z)
    ((_, _, sums),) = block_sums(x, z, *same, constants, symmetric=False)
    nngp, ntk = constants.finish(sums)
    return nngp[0].to(x.dtype), ntk[0].to(x.dtype)


def _by_rules(x: Tensor, z: Tensor, depth: int, readout: str) -> tuple[Tensor, Tensor]:
    with torch.no_grad():
        kernel = infinite_width(_network(depth, readout, x.dtype))(x, z)
    factor = SHAPE[0] / 2 * (1 if readout == "gap" else SHAPE[1] * SHAPE[2])
    return kernel.nngp * factor, kernel.ntk * factor


ENGINES: dict[str, Callable[[Tensor, Tensor, int, str], tuple[Tensor, Tensor]]] = {
    "cntk, numba": _fused,
    "cntk, reference": _reference,
    "infinite_width, Conv2d": _by_rules,
}


def _on_gpu(x: Tensor, z: Tensor, depth: int, readout: str) -> tuple[Tensor, Tensor]:
    nngp, ntk = _fused(x.cuda(), z.cuda(), depth, readout)
    return nngp.cpu(), ntk.cpu()


def engines() -> dict[str, Callable[[Tensor, Tensor, int, str], tuple[Tensor, Tensor]]]:
    """Return the engines that this machine has."""
    return ENGINES | ({"cntk, Triton": _on_gpu} if torch.cuda.is_available() else {})


def _pairs(row: Regime, dtype: str) -> Iterator[tuple[Array, Array]]:
    for pair in row.in_dtype(dtype):
        yield tuple(np.array([mp.mpf(float(v)) for v in x], dtype=object).reshape(SHAPE) for x in pair)


def measure(rows: Sequence[Regime], dtype: str) -> dict[str, dict[str, Cell]]:
    """Return one cell for each engine, readout and regime."""
    unit = UNITS[dtype]
    found: dict[str, dict[str, Cell]] = {f"{e}, {r}": {} for e in engines() for r in READOUTS}
    for row in rows:
        for cells in found.values():
            cells.update({name: Cell() for name in row.names})
        for x, z in _pairs(row, dtype):
            with mp.workdps(recursion.DIGITS):
                exact, own1, own2 = (kernels(u, v, row.depths) for u, v in ((x, z), (x, x), (z, z)))
                up, down, one = 1 + mp.mpf(unit), 1 - mp.mpf(unit), mp.mpf(1)
                moved = [kernels(x, z, row.depths, f) for f in ((up, one), (down, one), (up, up))]
                tensors = [
                    torch.tensor(v.astype(np.float64), dtype=getattr(torch, dtype)).unsqueeze(0)
                    for v in (x, z)
                ]
                for engine, run in engines().items():
                    for name, depth in zip(row.names, row.depths, strict=True):
                        for readout in READOUTS:
                            at = depth, readout
                            values = run(*tensors, depth, readout)
                            for i, kernel in enumerate(("nngp", "ntk")):
                                truth = exact[at][i], own1[at][i], own2[at][i]
                                change = max(abs(m[at][i] - exact[at][i]) for m in moved)
                                cell = found[f"{engine}, {readout}"][name]
                                compare(cell, kernel, kernel, float(values[i]), truth, change, dtype)
    return found
