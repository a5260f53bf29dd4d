r"""The CNTK on CUDA, by Triton: one warp per row of problems, neighbours by shuffles.

The layout is that of :mod:`ntkbook.cntk.cpu`, turned to a GPU. The lanes of a warp are the columns of
``GROUPS`` problems side by side, a problem being a horizontal rotation of one image pair; vertical
displacements a and a - P fill its P rows exactly. A warp takes such a row of problems through all layers,
row after row and in place. Horizontal neighbours come by warp shuffles (``tl.gather``), vertical ones are
the registers of the rows before. The rest of the state is in a scratch area of 8 kB, which stays in the
first-level cache; each lane reads there only what it wrote itself, so nothing has to be synchronized. No
division meets a black border: reciprocals of 0 are stored as 0.

Single precision and 3 x 3 patches run here; the rest goes to :mod:`ntkbook.cntk.reference`, which runs on
CUDA too.
"""

# The compiler infers the types of what it compiles.
# mypy: allow-untyped-defs, allow-untyped-calls, allow-incomplete-defs, allow-untyped-decorators

from __future__ import annotations

from collections.abc import Iterator

import torch
import triton
import triton.language as tl
from torch import Tensor

from ntkbook.cntk import polynomials, reference
from ntkbook.cntk.recursion import Recursion, even_slices
from ntkbook.cntk.scaling import Scaling, scaled_deviations

_WARPS = 4096  # resident at most: 16 on each of 256 multiprocessors; more would only need more scratch
_PARTIAL_BYTES = 32_000_000  # of the partial sums of a block of pairs

_P = tl.constexpr(polynomials.P_SINGLE)
_R = tl.constexpr(polynomials.R_SINGLE)


@triton.jit
def _horner(coefficients: tl.constexpr, DEGREE: tl.constexpr, e):
    result = coefficients[DEGREE] + e * 0.0
    for k in tl.static_range(DEGREE):
        result = result * e + coefficients[DEGREE - 1 - k]
    return result


@triton.jit
def _across(row, left, right, lanes, factor, LANES: tl.constexpr):
    """Return ``factor`` times the masked sum of each lane and its two neighbours."""
    before = tl.gather(row, (lanes + LANES - 1) % LANES, 0)
    after = tl.gather(row, (lanes + 1) % LANES, 0)
    return factor * (row + left * before + right * after)


@triton.jit
def _moments(sigma, theta, norm, inverse, FIRST: tl.constexpr):
    """Return the layer's (2K, 2 dot(K) Theta); only the first layer's ``sigma`` may be negative."""
    if FIRST:
        d = tl.maximum(norm - tl.abs(sigma), 0.0)
        base = tl.maximum(sigma, 0.0)
    else:
        d = tl.maximum(norm - sigma, 0.0)
        base = sigma
    e = d * inverse
    s = tl.sqrt(e)
    g = s * _horner(_P, 5, e)
    if FIRST:
        g = tl.where(sigma < 0, 1.0 - g, g)
    return base + d * (s * _horner(_R, 4, e)), theta - g * theta


@triton.jit
def _layer(
    state_s, state_t, dev1, inv1, dev2, inv2, alive, apart, down, lanes, left, right, factor, bias, start,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, LANES: tl.constexpr, FIRST: tl.constexpr,
):  # fmt: skip
    """Take the state through one layer, in place, and return the sums over its rows.

    The table pointers are those of row 0 and of each lane's column, those to the state of row 0 and each
    lane.
    """
    zero = left * 0.0
    above_s, above_t, here_t, total_s, total_t = zero, zero, zero, zero, zero
    here_s = _across(tl.load(state_s), left, right, lanes, factor, LANES)
    if not FIRST:
        here_t = _across(tl.load(state_t), left, right, lanes, factor, LANES)
    for row in range(ROWS):
        inside = alive & (row + 1 < ROWS)
        next_s, next_t = tl.load(state_s + LANES, inside, 0.0), zero
        next_s = _across(next_s, left, right, lanes, factor, LANES)
        if not FIRST:
            next_t = _across(tl.load(state_t + LANES, inside, 0.0), left, right, lanes, factor, LANES)
        # Rows ROWS - down - 1 and ROWS - down belong to different displacements.
        joined = tl.where(row + 1 + down == ROWS, 0.0, 1.0)
        sigma = above_s + here_s + joined * next_s + bias
        rest = above_t + here_t + joined * next_t
        above_s, above_t, here_s, here_t = joined * here_s, joined * here_t, next_s, next_t
        # The second image's rows start at ``down`` and wrap around.
        below = row + down - tl.where(row + down >= ROWS, ROWS, 0)
        norm = tl.load(dev1 + row * COLUMNS, alive, 0.0) * tl.load(dev2 + below * COLUMNS, alive, 0.0)
        inverse = tl.load(inv1 + row * COLUMNS, alive, 0.0) * tl.load(inv2 + below * COLUMNS, apart, 0.0)
        theta = sigma * start if FIRST else sigma + rest
        kernel, through = _moments(sigma, theta, norm, inverse, FIRST)
        tl.store(state_s, kernel)
        tl.store(state_t, through)
        total_s += kernel
        total_t += through
        state_s += LANES
        state_t += LANES
    return total_s, total_t


@triton.jit
def cntk_kernel(
    images1, dev1, inv1, same1, images2, dev2, inv2, same2, biases, factors, slots, work, scratch, out,
    n_work, n1, n2, units, channels, layers, start,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, LANES: tl.constexpr, GROUPS: tl.constexpr,
    SHIFTS: tl.constexpr,     DOWNS: tl.constexpr,
):  # fmt: skip
    """Run every program's share of ``work``, numbers (a * units + unit) * DOWNS + down.

    Each is one row of problems, with the image a and the displacement ``down``. ``scratch`` is (programs,
    2, ROWS, LANES); ``out`` is (D, 2, n1, units, DOWNS, LANES): lane sums of both fields per depth.
    """
    PLANE: tl.constexpr = ROWS * COLUMNS
    lanes = tl.arange(0, LANES)
    column = lanes % COLUMNS
    state_s = scratch + tl.program_id(0) * (2 * ROWS * LANES) + lanes
    state_t = state_s + ROWS * LANES
    field = n1 * units * DOWNS * LANES
    for index in range(tl.program_id(0), n_work, tl.num_programs(0)):
        item = tl.load(work + index)
        down, unit, a = item % DOWNS, item // DOWNS % units, item // DOWNS // units
        problem = unit * GROUPS + lanes // COLUMNS
        shift = problem % SHIFTS
        alive = (lanes < GROUPS * COLUMNS) & (problem // SHIFTS < n2)
        image = tl.where(alive, problem // SHIFTS, 0)
        rotated = (column + shift) % COLUMNS
        left = tl.where(alive & (column > 0) & (rotated > 0), 1.0, 0.0)
        right = tl.where(alive & (column < COLUMNS - 1) & (rotated < COLUMNS - 1), 1.0, 0.0)
        equal = tl.load(same2 + image) == tl.load(same1 + a)
        apart = alive & ((equal & (shift == 0) & (down == 0)) == 0)
        for row in range(ROWS):
            below = row + down - tl.where(row + down >= ROWS, ROWS, 0)
            product = left * 0.0
            for channel in range(channels):
                at1 = (a * channels + channel) * PLANE + row * COLUMNS + column
                at2 = (image * channels + channel) * PLANE + below * COLUMNS + rotated
                product += tl.load(images1 + at1, alive, 0.0) * tl.load(images2 + at2, alive, 0.0)
            tl.store(state_s + row * LANES, product)
        d1, i1 = dev1 + a * layers * PLANE + column, inv1 + a * layers * PLANE + column
        d2, i2 = dev2 + image * layers * PLANE + rotated, inv2 + image * layers * PLANE + rotated
        to = out + item * LANES + lanes
        total_s, total_t = _layer(
            state_s, state_t, d1, i1, d2, i2, alive, apart, down, lanes, left, right, 1.0,
            tl.load(biases), start, ROWS, COLUMNS, LANES, True,
        )  # fmt: skip
        slot = tl.load(slots)
        if slot >= 0:
            tl.store(to + 2 * slot * field, total_s)
            tl.store(to + (2 * slot + 1) * field, total_t)
        for layer in range(1, layers):
            skip = layer * PLANE
            total_s, total_t = _layer(
                state_s, state_t, d1 + skip, i1 + skip, d2 + skip, i2 + skip, alive, apart, down, lanes, left,
                right, tl.load(factors + layer - 1), tl.load(biases + layer), start,
                ROWS, COLUMNS, LANES, False,
            )  # fmt: skip
            slot = tl.load(slots + layer)
            if slot >= 0:
                tl.store(to + 2 * slot * field, total_s)
                tl.store(to + (2 * slot + 1) * field, total_t)


def block_sums(
    x1: Tensor, x2: Tensor, same1: Tensor, same2: Tensor, recursion: Recursion, *, symmetric: bool
) -> Iterator[tuple[slice, slice, Tensor]]:
    """Yield what :func:`ntkbook.cntk.reference.block_sums` yields, from the same arguments."""
    if x1.dtype != torch.float32 or recursion.kernel_size != 3:
        yield from reference.block_sums(x1, x2, same1, same2, recursion, symmetric=symmetric)
        return
    channels, height, width = x1.shape[1:]
    largest = float(torch.maximum(x1.abs().max(), x2.abs().max()))
    scaling = Scaling.of(recursion, largest, (channels, height, width))
    partial = 8 * len(recursion.depths) * (height * width if recursion.readout == "gap" else 1) * width
    size = max(1, int((_PARTIAL_BYTES / partial) ** 0.5))
    for rows in even_slices(len(x1), size):
        for columns in even_slices(len(x2), size):
            if not symmetric or columns.start >= rows.start:
                launch = _Launch(x1[rows], x2[columns], same1[rows], same2[columns], recursion, scaling)
                yield rows, columns, launch.run(symmetric and rows == columns)


class _Launch:
    """One block of pairs: its tables on the device, and the kernel run on them."""

    def __init__(
        self, x1: Tensor, x2: Tensor, same1: Tensor, same2: Tensor, recursion: Recursion, scaling: Scaling
    ) -> None:
        self._recursion, self._scaling, self._device = recursion, scaling, x1.device
        self._shape = x1.shape
        self._count = len(x2)
        self._tables = [*self._tables_of(x1, same1), *self._tables_of(x2, same2)]

    def _tables_of(self, images: Tensor, same: Tensor) -> list[Tensor]:
        scaled = images / self._scaling.pixel
        deviations = scaled_deviations(scaled, self._recursion, self._scaling)
        inverses = torch.where(deviations > 0, 1 / deviations, 0.0)
        return [scaled.contiguous(), deviations.float(), inverses.float(), same.to(self._device)]

    def run(self, upper: bool) -> Tensor:
        """Return the sums (D, 2, n1, n2); if ``upper``, only those with first index <= second."""
        recursion, scaling, device = self._recursion, self._scaling, self._device
        n1, channels, height, width = self._shape
        lanes = max(32, triton.next_power_of_2(width))
        pooled = recursion.readout == "gap"
        groups, shifts, downs = lanes // width, width if pooled else 1, height if pooled else 1
        depths, layers = recursion.depths, len(recursion.biases)
        units = -(-self._count * shifts // groups)
        slots = [depths.index(layer) if layer in depths else -1 for layer in range(1, layers + 1)]
        out = torch.zeros(len(depths), 2, n1, units, downs, lanes, device=device)
        work = torch.arange(n1 * units * downs, device=device).view(n1, units, downs)
        if upper:
            last_image = (torch.arange(units, device=device) * groups + groups - 1) // shifts
            work = work[last_image >= torch.arange(n1, device=device)[:, None]]
        constants = [torch.tensor(v, device=device) for v in (scaling.biases, (*scaling.rescale, 1.0), slots)]
        warps = min(_WARPS, work.numel())
        scratch = torch.zeros(warps, 2, height, lanes, device=device)
        cntk_kernel[(warps,)](
            *self._tables, *constants, work.flatten(), scratch, out,
            work.numel(), n1, self._count, units, channels, layers, float(recursion.train_ends),
            ROWS=height, COLUMNS=width, LANES=lanes, GROUPS=groups, SHIFTS=shifts, DOWNS=downs,
            num_warps=1, num_stages=1, enable_fp_fusion=True,
        )  # fmt: skip
        by_lane = out.double().sum(4)[..., : groups * width]  # (D, 2, n1, units, groups * Q)
        problems = by_lane.unflatten(-1, (groups, width)).sum(-1).flatten(3)[..., : self._count * shifts]
        unscale = torch.tensor([scaling.unscale[d - 1] for d in depths], dtype=torch.float64, device=device)
        sums: Tensor = problems.unflatten(-1, (self._count, shifts)).sum(-1)
        return sums * unscale[:, None, None, None]
