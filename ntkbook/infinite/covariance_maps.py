"""Linear maps of spatial covariances: windows, transposed windows, and embeddings of diagonals.

Every function takes covariances with any leading batch dimensions and the spatial dimensions last: (..., *S)
in the diagonal layout, (..., *S, *S) in the full layout.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ntkbook.nn.windows import TransposedWindows, Windows, pad_axis


def spatial_axes(t: Tensor, n_spatial: int, i: int, *, full: bool) -> tuple[int, ...]:
    """Return the axis (diagonal layout) or the two axes (full layout) of spatial dimension ``i``."""
    return (t.ndim - 2 * n_spatial + i, t.ndim - n_spatial + i) if full else (t.ndim - n_spatial + i,)


def window_sum(t: Tensor, windows: Windows, i: int, axes: Sequence[int]) -> Tensor:
    """Sum over the windows of dimension ``i``, all ``axes`` moving together.

    One axis: plain sums. Two axes p, p': sums over (p + a, p' + a), which is what a shared filter does.
    """
    n = t.shape[axes[0]]
    size = windows.out_size(i, n)
    before, after = windows.pads(i, n)
    for axis in axes:
        t = pad_axis(t, axis, before, after, windows.padding_mode)
    stride, dilation = windows.stride[i], windows.dilation[i]

    def tap(a: int) -> Tensor:
        part = t
        for axis in axes:
            part = part.narrow(axis, a * dilation, (size - 1) * stride + 1)
            if stride > 1:
                part = part.unfold(axis, 1, stride).squeeze(-1)
        return part

    if windows.kernel[i] == 1:
        return tap(0)
    total = tap(0) + tap(1)
    for a in range(2, windows.kernel[i]):
        total += tap(a)
    return total


def convolution(t: Tensor, windows: Windows, *, full: bool) -> Tensor:
    """Average over windows, positions p and p' moving together: what a convolution of unit weights does."""
    n = len(windows.kernel)
    for i in range(n):
        t = window_sum(t, windows, i, spatial_axes(t, n, i, full=full))
    return t / math.prod(windows.kernel)


def pooling(t: Tensor, windows: Windows, divisors: Sequence[Tensor]) -> Tensor:
    """Pool both positions independently; ``divisors[i]``, (out,) or (), divides dimension ``i``."""
    n = len(windows.kernel)
    for i in range(n):
        for axis in spatial_axes(t, n, i, full=True):
            t = window_sum(t, windows, i, (axis,))
            divisor = divisors[i]
            t = t / (divisor if divisor.ndim == 0 else divisor.reshape((-1,) + (1,) * (t.ndim - 1 - axis)))
    return t


def transposed_convolution(t: Tensor, windows: TransposedWindows, *, full: bool) -> Tensor:
    """Average over taps: what a transposed convolution of unit weights does."""
    n = len(windows.kernel)
    for i in range(n):
        t = _transposed_sum(t, windows, i, spatial_axes(t, n, i, full=full))
    return t / math.prod(windows.kernel)


def _transposed_sum(t: Tensor, windows: TransposedWindows, i: int, axes: Sequence[int]) -> Tensor:
    n, stride = t.shape[axes[0]], windows.stride[i]
    full_size = windows.full_size(i, n)
    total: Tensor | None = None
    for a in range(windows.kernel[i]):
        tap = t
        for axis in axes:
            tap = _spread(tap, axis, a, stride, full_size)
        total = tap if total is None else total + tap
    assert total is not None
    for axis in axes:
        total = windows.fit_axis(total, axis, i, n)
    return total


def _spread(t: Tensor, axis: int, start: int, stride: int, size: int) -> Tensor:
    """Put the entries of one axis at ``start, start + stride, ...`` of ``size`` zeros."""
    where = start + stride * torch.arange(t.shape[axis], device=t.device)
    shape = list(t.shape)
    shape[axis] = size
    return t.new_zeros(shape).index_add(axis, where, t)


def embed_diagonal(t: Tensor, n_spatial: int) -> Tensor:
    """Return (..., *S) as (..., *S, *S), zero wherever positions differ."""
    shape = t.shape[t.ndim - n_spatial :]
    batch = t.shape[: t.ndim - n_spatial]
    return torch.diag_embed(t.flatten(t.ndim - n_spatial)).reshape(*batch, *shape, *shape)
