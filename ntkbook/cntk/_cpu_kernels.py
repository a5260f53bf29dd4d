"""The compiled kernels of :mod:`ntkbook.cntk.cpu`: one displacement's recursion on rows of lanes.

Vertical displacements a and a - P of one image pair, run together, have P rows exactly: the first
``height`` = P - a and then a. The first image's rows come in order, the second's from row a on and then
from row 0.

The state is two planes, 2K and 2 dot(K) Theta in the units of :mod:`ntkbook.cntk.scaling`, each a flat
array of rows of W lanes: ``height`` rows, a row of zeros, the other rows, a row of zeros, and a margin of
``pad`` before and after. Tables ``dev1``, ``inv1`` (of the first image) and ``dev2``, ``inv2`` (of the
second) hold the square roots of the scaled variances and their reciprocals, 0 where the variance is 0;
``table`` says where in them the present layer starts. ``masks`` (2 radius + 1, W) say which horizontal
neighbours belong to the same problem.
"""

# The compiler infers the types of what it compiles.
# mypy: allow-untyped-defs, allow-untyped-calls

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numba import njit

from ntkbook.cntk import polynomials
from ntkbook.cntk._lanes import (
    fma,
    load,
    magnitude,
    polynomial,
    positive_part,
    root,
    splat,
    store,
    where_negative,
)
from ntkbook.cntk.scaling import SMALLEST_VARIANCE

_p = polynomial(polynomials.P_SINGLE, polynomials.P_DOUBLE)
_r = polynomial(polynomials.R_SINGLE, polynomials.R_DOUBLE)
_compiled = njit(cache=True, nogil=True, error_model="numpy")


def _make_layer(first: bool, boxed: bool) -> Callable[..., None]:
    """Return the function that takes a state through one layer, from ``source`` to ``target``.

    ``first`` reads products of pixels, whose patch sums may be negative, and has no second field yet.
    ``boxed`` sums 3 x 3 patches on the way; otherwise the patch sums have been taken already.
    """

    @njit
    def across(source, at, left, right):
        return fma(right, load(source, at + 1), fma(left, load(source, at - 1), load(source, at)))

    def layer(
        source, target, pad, plane, height, rows, width, step, masks,
        dev1, inv1, dev2, inv2, table, bias, start,
    ):  # fmt: skip
        zero, one = splat(bias - bias, source), splat(bias - bias + 1, source)
        bias_lanes, start_lanes = splat(bias, source), splat(start, source)
        for part in range(2):
            count = height if part == 0 else rows - height
            for column in range(0, width, step):
                left, right = load(masks, column), load(masks, 2 * width + column)
                at = pad + column if part == 0 else pad + (height + 1) * width + column
                i = table + column if part == 0 else table + height * width + column
                j = table + (rows - height) * width + column if part == 0 else table + column
                here_s = here_t = pair_s = pair_t = rest = zero
                if boxed:  # here: this row, summed across; pair: with the row above
                    here_s = pair_s = across(source, at, left, right)
                    if not first:
                        here_t = pair_t = across(source, at + plane, left, right)
                for _ in range(count):
                    if boxed:
                        next_s = across(source, at + width, left, right)
                        sigma = (pair_s + bias_lanes) + next_s
                        pair_s, here_s = here_s + next_s, next_s
                        if not first:
                            next_t = across(source, at + width + plane, left, right)
                            rest = pair_t + next_t
                            pair_t, here_t = here_t + next_t, next_t
                    else:
                        sigma = load(source, at) + bias_lanes
                        if not first:
                            rest = load(source, at + plane)
                    norm = load(dev1, i) * load(dev2, j)
                    if first:
                        d = positive_part(norm - magnitude(sigma))
                        base = positive_part(sigma)
                        theta = sigma * start_lanes
                    else:
                        d = positive_part(norm - sigma)
                        base = sigma
                        theta = sigma + rest
                    e = d * (load(inv1, i) * load(inv2, j))
                    s = root(e)
                    g = s * _p(e)
                    if first:
                        g = where_negative(sigma, one - g, g)
                    store(target, at, fma(d, s * _r(e), base))
                    store(target, at + plane, theta - g * theta)
                    at += width
                    i += width
                    j += width

    return _compiled(layer)


_FIRST_BOXED, _NEXT_BOXED = _make_layer(True, True), _make_layer(False, True)
_FIRST_BARE, _NEXT_BARE = _make_layer(True, False), _make_layer(False, False)


@_compiled
def _multiply(target, begin, size, step, channels, image, pixels1, at1, pixels2, at2):
    """Write the products of two images' pixels, summed over the channels, from ``begin`` on."""
    for at in range(0, size, step):
        summed = load(pixels1, at1 + at) * load(pixels2, at2 + at)
        for channel in range(1, channels):
            skip = channel * image + at
            summed = fma(load(pixels1, at1 + skip), load(pixels2, at2 + skip), summed)
        store(target, begin + at, summed)


@_compiled
def tabulate(squares, radius, biases, rescale, deviations, inverses):
    """Fill ``deviations`` and ``inverses`` (N, L, P, Q) from squared pixels, summed over channels (N, P, Q).

    What :func:`ntkbook.cntk.scaling.scaled_deviations` says, one image at a time in the cache, in float64.
    """
    images, rows, columns = squares.shape
    down, variance = np.empty((rows, columns)), np.empty((rows, columns))
    for n in range(images):
        for row in range(rows):
            for column in range(columns):
                variance[row, column] = squares[n, row, column]
        for layer in range(len(biases)):
            factor = 1.0 if layer == 0 else rescale[layer - 1]
            for row in range(rows):
                down[row] = 0
                for other in range(max(0, row - radius), min(rows, row + radius + 1)):
                    for column in range(columns):
                        down[row, column] += variance[other, column]
            for row in range(rows):
                for column in range(columns):
                    summed = 0.0
                    for other in range(max(0, column - radius), min(columns, column + radius + 1)):
                        summed += down[row, other]
                    value = factor * summed + biases[layer]
                    variance[row, column] = value
                    deviation = np.sqrt(value) if value > SMALLEST_VARIANCE else 0.0
                    deviations[n, layer, row, column] = deviation
                    inverses[n, layer, row, column] = 1 / deviation if deviation > 0 else 0.0


@_compiled
def _sum_patches(source, scratch, begin, pad, height, width, step, masks, radius):
    """Replace the plane of ``source`` from ``begin`` on by its patch sums, for patches of any ``radius``."""
    for column in range(0, width, step):
        for row in range(height):
            above, below = max(0, row - radius), min(height, row + radius + 1)
            summed = load(source, begin + above * width + column)
            for other in range(above + 1, below):
                summed = summed + load(source, begin + other * width + column)
            store(scratch, pad + row * width + column, summed)
    for column in range(0, width, step):
        for row in range(height):
            at = row * width + column
            summed = load(scratch, pad + at)
            for shift in range(1, radius + 1):
                left = load(masks, (radius - shift) * width + column)
                right = load(masks, (radius + shift) * width + column)
                summed = fma(left, load(scratch, pad + at - shift), summed)
                summed = fma(right, load(scratch, pad + at + shift), summed)
            store(source, begin + at, summed)


@_compiled
def _collect(state, pad, plane, count, width, step, register, sums):
    """Add each lane's sum over ``count`` rows of both planes to ``sums`` (2, W), in double precision."""
    for field in range(2):
        for column in range(0, width, step):
            at = pad + field * plane + column
            summed = load(state, at)
            for row in range(1, count):
                summed = summed + load(state, at + row * width)
            store(register, 0, summed)
            for lane in range(step):
                sums[field, column + lane] += register[lane]


@_compiled
def _aligned(count, like):
    """Return zeros of the dtype of ``like`` from a multiple of 64 bytes on, so that no register straddles."""
    buffer = np.zeros(count + 64 // like.itemsize, like.dtype)
    start = (-buffer.ctypes.data % 64) // like.itemsize
    return buffer[start : start + count]


@_compiled
def _pack(first_problem, shifts, groups, table, packed):
    """Lay the rotated columns of ``table`` (N, D, P, Q) side by side in ``packed``, flat (D, P, W)."""
    images, depth, rows, columns = table.shape
    width = packed.size // (depth * rows)
    packed[:] = 0
    for group in range(groups):
        image, shift = divmod(first_problem + group, shifts)
        if image < images:
            for layer in range(depth):
                for row in range(rows):
                    at = (layer * rows + row) * width + group * columns
                    for column in range(columns - shift):
                        packed[at + column] = table[image, layer, row, column + shift]
                    for column in range(columns - shift, columns):
                        packed[at + column] = table[image, layer, row, column + shift - columns]


@_compiled
def _mask(first_problem, shifts, groups, columns, radius, masks):
    """Write ``masks``, flat (2 radius + 1, W): 1 where that neighbour is in the same problem."""
    width = masks.size // (2 * radius + 1)
    for group in range(groups):
        shift = (first_problem + group) % shifts
        for column in range(columns):
            for offset in range(-radius, radius + 1):
                other = column + offset
                inside = 0 <= other < columns and (other + shift >= columns) == (column + shift >= columns)
                masks[(offset + radius) * width + group * columns + column] = 1 if inside else 0


@_compiled
def run_units(
    units, groups, shifts, pooled, radius, step, images1, dev1, inv1, images2, dev2, inv2, same1, same2,
    upper,     biases, rescale, start, slots, sums,
):  # fmt: skip
    """Run the ``units``, each one row of ``groups`` problems, against every first image.

    ``images1`` (N1, C, P, W) and ``dev1``, ``inv1`` (N1, L, P, W) repeat the columns once per group;
    ``images2``, ``dev2``, ``inv2`` have Q columns. ``pooled`` tells whether displacements other than 0
    are wanted, ``upper`` whether only pairs with first index <= second are wanted, ``slots`` (L,) the
    place of each layer in ``sums`` (N1, problems, D, 2), or -1.
    """
    channels, rows, width = images1.shape[1:]
    layers, columns = dev2.shape[1], dev2.shape[3]
    pad = step * (1 + radius // step)
    plane = (rows + 2) * width + 2 * pad
    state, other, scratch = _aligned(2 * plane, dev1), _aligned(2 * plane, dev1), _aligned(plane, dev1)
    register = _aligned(step, dev1)
    pixels2 = _aligned(channels * rows * width, dev1)
    d2, i2 = _aligned(layers * rows * width, dev1), _aligned(layers * rows * width, dev1)
    i2_same = _aligned(layers * rows * width, dev1)
    masks = _aligned((2 * radius + 1) * width, dev1)
    lane_sums = np.zeros((sums.shape[2], 2, width))
    for unit in units:
        problem = unit * groups
        _pack(problem, shifts, groups, images2, pixels2)
        _pack(problem, shifts, groups, dev2, d2)
        _pack(problem, shifts, groups, inv2, i2)
        _mask(problem, shifts, groups, columns, radius, masks)
        last_image = (problem + groups - 1) // shifts
        for a in range(min(len(images1), last_image + 1) if upper else len(images1)):
            pixels1, d1, i1 = images1[a].reshape(-1), dev1[a].reshape(-1), inv1[a].reshape(-1)
            inverse2 = i2
            for group in range(groups):
                image, shift = divmod(problem + group, shifts)
                if shift == 0 and image < len(same2) and same1[a] == same2[image]:
                    if inverse2 is i2:
                        for at in range(i2.size):
                            i2_same[at] = i2[at]
                        inverse2 = i2_same
                    # Reciprocals of 0 make e = 0 exactly, as it is for an image with itself.
                    for row in range(layers * rows):
                        at = row * width + group * columns
                        i2_same[at : at + columns] = 0
            lane_sums[:] = 0
            for down in range(rows if pooled else 1):
                height = rows - down
                second = (height + 1) * width  # where the second part starts
                for buffer in (state, other):
                    for begin in (pad, pad + plane):
                        buffer[begin + height * width : begin + second] = 0
                        buffer[begin + (rows + 1) * width : begin + (rows + 2) * width] = 0
                skip, size = height * width, rows * width
                _multiply(state, pad, skip, step, channels, size, pixels1, 0, pixels2, down * width)
                _multiply(state, pad + second, size - skip, step, channels, size, pixels1, skip, pixels2, 0)
                i2_now = inverse2 if down == 0 else i2
                for layer in range(layers):
                    table, bias = layer * size, biases[layer]
                    if radius > 1:
                        for begin in range(pad, pad + plane * min(2, layer + 1), plane):
                            _sum_patches(state, scratch, begin, pad, height, width, step, masks, radius)
                            _sum_patches(
                                state, scratch, begin + second, pad, down, width, step, masks, radius
                            )
                    if radius == 1 and layer == 0:
                        _FIRST_BOXED(state, other, pad, plane, height, rows, width, step, masks,
                                     d1, i1, d2, i2_now, table, bias, start)  # fmt: skip
                    elif radius == 1:
                        _NEXT_BOXED(state, other, pad, plane, height, rows, width, step, masks,
                                    d1, i1, d2, i2_now, table, bias, start)  # fmt: skip
                    elif layer == 0:
                        _FIRST_BARE(state, other, pad, plane, height, rows, width, step, masks,
                                    d1, i1, d2, i2_now, table, bias, start)  # fmt: skip
                    else:
                        _NEXT_BARE(state, other, pad, plane, height, rows, width, step, masks,
                                   d1, i1, d2, i2_now, table, bias, start)  # fmt: skip
                    state, other = other, state
                    if slots[layer] >= 0:
                        _collect(state, pad, plane, rows + 1, width, step, register, lane_sums[slots[layer]])
                    if rescale[layer] != 1:
                        for begin in (pad, pad + plane):
                            for at in range(begin, begin + (rows + 1) * width):
                                state[at] *= rescale[layer]
            for group in range(groups):
                if problem + group < sums.shape[1]:
                    for slot in range(sums.shape[2]):
                        for field in range(2):
                            lanes = lane_sums[slot, field, group * columns : (group + 1) * columns]
                            sums[a, problem + group, slot, field] = lanes.sum()
