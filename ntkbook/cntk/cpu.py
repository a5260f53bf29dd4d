r"""The CNTK on a CPU: one displacement at a time, all layers inside the first-level cache.

Layout. A displacement (a, b) between the positions of two images is a 2-D problem of its own (see
:mod:`ntkbook.cntk.reference`). Its columns are the lanes of a row: horizontally, displacements b and b -
Q of one image pair fill one row of exactly Q lanes (the second image's columns are rotated by b), with
masks where the two meet. Several such *problems* (rotations, then images) stand side by side until a row
is a whole number of vector registers. Vertically a problem has P - |a| rows. Its state, two planes of P x
W numbers in two copies, and the layer's tables fit into 48 kB.

Arithmetic. Per entry and layer: a masked 3 x 3 sum of two fields (8 operations), the two moments by
:mod:`ntkbook.cntk.polynomials` (about 20) and one square root. The state is (2K, 2 dot(K) Theta) in the
units of :mod:`ntkbook.cntk.scaling`; ``deviation`` and ``inverse`` tables hold the square roots of the
variances and their reciprocals, 0 where the variance is 0.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ntkbook.cntk._cpu_kernels import run_units, tabulate
from ntkbook.cntk._lanes import lane_count
from ntkbook.cntk.recursion import Recursion, even_slices
from ntkbook.cntk.scaling import Scaling

Floats = NDArray[Any]

_STATE_BYTES = 16_384  # of a state and its copy: a third of a first-level cache
_TABLE_BYTES = 4_000_000  # of one block of images' tables; two blocks are alive at a time


def block_sums(
    x1: Tensor, x2: Tensor, same1: Tensor, same2: Tensor, recursion: Recursion, *, symmetric: bool
) -> Iterator[tuple[slice, slice, Tensor]]:
    """Yield (rows, columns, sums): the sums that :meth:`Recursion.finish` takes, (D, 2, n1, n2), by blocks.

    Parameters
    ----------
    x1, x2 : Tensor, (N1, C, P, Q) and (N2, C, P, Q)
        The images on the CPU, in the dtype to work in: float32 or float64.
    same1, same2 : Tensor of int, (N1,) and (N2,)
        Equal numbers mark equal images, see :func:`ntkbook.cntk.recursion.coincident`.
    recursion : Recursion
        The constants.
    symmetric : bool
        Whether x2 is x1. Then only blocks on and above the diagonal come, and those on it are filled only
        there.
    """
    shape = (x1.shape[1], x1.shape[2], x1.shape[3])
    largest = max(float(x1.abs().max()), float(x2.abs().max()))
    plan = _Plan.of(recursion, shape, x1.numpy().dtype)
    scaling = Scaling.of(recursion, largest, shape)
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        for rows in even_slices(len(x1), plan.block):
            first = _Tables.of(x1[rows], recursion, scaling, pool)
            repeated = first.repeated(plan)
            for columns in even_slices(len(x2), plan.block):
                if symmetric and columns.start < rows.start:
                    continue
                diagonal = symmetric and columns == rows
                second = first if diagonal else _Tables.of(x2[columns], recursion, scaling, pool)
                marks = same1[rows].numpy(), same2[columns].numpy()
                yield rows, columns, _run(plan, scaling, recursion, repeated, second, *marks, diagonal, pool)


@dataclass(frozen=True)
class _Plan:
    """How problems are laid out; see the module's docstring.

    Attributes
    ----------
    groups : int
        Problems side by side in a row.
    width : int
        Lanes of a row, W: ``groups`` times Q, filled up to whole registers.
    shifts : int
        Problems per image pair: the Q rotations, or 1 for flattening.
    pooled : bool
        Whether all displacements are wanted, or only (0, 0).
    step : int
        Lanes of a register.
    block : int
        Images in a block.
    """

    groups: int
    width: int
    shifts: int
    pooled: bool
    step: int
    block: int

    @classmethod
    def of(cls, recursion: Recursion, shape: tuple[int, int, int], dtype: np.dtype[Any]) -> _Plan:
        channels, rows, columns = shape
        step = lane_count(dtype)
        most = max(1, _STATE_BYTES // (4 * rows * columns * dtype.itemsize))

        def waste(groups: int) -> tuple[float, int]:
            return -(-groups * columns // step) * step / (groups * columns), -groups

        groups = min(range(1, most + 1), key=waste)
        width = -(-groups * columns // step) * step
        pooled = recursion.readout == "gap"
        layers = len(recursion.biases)
        bytes_per_image = (2 * layers + channels) * rows * width * dtype.itemsize
        return cls(
            groups=groups,
            width=width,
            shifts=columns if pooled else 1,
            pooled=pooled,
            step=step,
            block=max(1, _TABLE_BYTES // bytes_per_image),
        )


@dataclass(frozen=True)
class _Tables:
    """Scaled pixels (N, C, P, Q) and, per layer, deviations and their reciprocals (N, L, P, Q)."""

    pixels: Floats
    deviations: Floats
    inverses: Floats

    @classmethod
    def of(cls, images: Tensor, recursion: Recursion, scaling: Scaling, pool: ThreadPoolExecutor) -> _Tables:
        pixels = (images / scaling.pixel).contiguous()
        squares = pixels.double().square().sum(1).numpy()
        shape = (len(images), len(scaling.biases), *squares.shape[1:])
        deviations, inverses = np.empty(shape, pixels.numpy().dtype), np.empty(shape, pixels.numpy().dtype)
        biases, rescale = np.array(scaling.biases), np.array((*scaling.rescale, 1.0))

        def fill(part: slice) -> None:
            tabulate(
                squares[part], recursion.kernel_size // 2, biases, rescale, deviations[part], inverses[part]
            )

        share = -(-len(images) // torch.get_num_threads())
        list(pool.map(fill, even_slices(len(images), share)))
        return cls(pixels.numpy(), deviations, inverses)

    def repeated(self, plan: _Plan) -> _Tables:
        """Return the tables with their columns once per group, filled up with zeros to the width of a row."""

        def repeat(table: Floats) -> Floats:
            wide = np.zeros((*table.shape[:-1], plan.width), table.dtype)
            wide[..., : plan.groups * table.shape[-1]] = np.tile(table, plan.groups)
            return wide

        return _Tables(repeat(self.pixels), repeat(self.deviations), repeat(self.inverses))


def _run(
    plan: _Plan,
    scaling: Scaling,
    recursion: Recursion,
    first: _Tables,
    second: _Tables,
    same1: NDArray[np.int64],
    same2: NDArray[np.int64],
    upper: bool,
    pool: ThreadPoolExecutor,
) -> Tensor:
    """Return one block's sums, (D, 2, n1, n2)."""
    dtype = first.pixels.dtype
    n1, n2 = len(first.pixels), len(second.pixels)
    problems = n2 * plan.shifts
    slots = np.full(len(recursion.biases), -1)
    slots[np.array(recursion.depths) - 1] = np.arange(len(recursion.depths))
    sums = np.zeros((n1, problems, len(recursion.depths), 2))
    constants = (
        np.array(scaling.biases, dtype),
        np.array((*scaling.rescale, 1.0), dtype),
        dtype.type(recursion.train_ends),
    )

    def work(units: NDArray[np.int64]) -> None:
        run_units(
            units, plan.groups, plan.shifts, plan.pooled, recursion.kernel_size // 2, plan.step,
            first.pixels, first.deviations, first.inverses, second.pixels, second.deviations, second.inverses,
            same1, same2, upper, *constants, slots, sums,
        )  # fmt: skip

    # From the last: on a diagonal block a later image meets more of the others, and what is long goes first.
    units = np.arange(-(-problems // plan.groups))[::-1].copy()
    # A unit's sums have one writer and one place, so the number of threads changes no bit of them.
    shares = np.array_split(units, min(len(units), 8 * torch.get_num_threads()))
    list(pool.map(work, shares))
    by_pair = sums.reshape(n1, n2, plan.shifts, len(recursion.depths), 2).sum(2)  # (n1, n2, D, 2)
    unscale = np.array(scaling.unscale)[np.array(recursion.depths) - 1]
    return torch.from_numpy((by_pair * unscale[:, None]).transpose(2, 3, 0, 1).copy())
