r"""Pooling over windows and over all positions.

Pooling is linear and acts on both positions of the covariance alone,

.. math::
    \mathcal K'(p, p') = \frac{1}{|\Omega_p||\Omega_{p'}|}
    \sum_{a \in \Omega_p, b \in \Omega_{p'}} \mathcal K(a, b),

and likewise for :math:`\Theta`: it needs the full spatial covariance of its input.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ntkbook.infinite.covariance_maps import pooling
from ntkbook.infinite.kernel import Kernel
from ntkbook.infinite.registry import Call, register_rule
from ntkbook.nn.pooling import AvgPool2d, GlobalAvgPool2d, GlobalSumPool2d, SumPool2d, WindowPool2d
from ntkbook.nn.windows import Windows


def _pool(call: Call, windows: Windows, divisors: Sequence[Tensor]) -> Kernel:
    k = call.kernel
    out = windows.out_shape(k.spatial)
    return k.map(
        lambda t: pooling(t, windows, divisors),
        shape1=(*k.shape1[:2], *out),
        shape2=(*k.shape2[:2], *out),
    )


def _images(call: Call, n_spatial: int) -> Kernel:
    k = call.kernel
    if k.channel_axis != 1 or len(k.spatial) != n_spatial:
        raise call.error(
            f"it pools {n_spatial} spatial dimensions behind the channels, but gets features of shape "
            f"{k.shape1} with channels in dimension {k.channel_axis}; permute or reshape the input"
        )
    return k


@register_rule(AvgPool2d, SumPool2d, needs="full", channels="first", fresh=True)
def window_pool(call: Call) -> Kernel:
    """Pools of :mod:`ntkbook.nn`."""
    pool: WindowPool2d = call.target
    k = _images(call, 2)
    divisors = [pool.divisors(i, n, k.nngp) for i, n in enumerate(k.spatial)]
    return _pool(call, pool.windows, divisors)


@register_rule(torch.nn.AvgPool1d, torch.nn.AvgPool2d, needs="full", channels="first", fresh=True)
def plain_window_pool(call: Call) -> Kernel:
    """Torch's average pools."""
    pool = call.target
    n_spatial = 1 if isinstance(pool, torch.nn.AvgPool1d) else 2
    k = _images(call, n_spatial)
    if pool.ceil_mode:
        raise call.error("ceil_mode=True has no rule; use ntkbook.nn.AvgPool2d with padding='same'")
    size = pool.kernel_size if isinstance(pool.kernel_size, int) else tuple(pool.kernel_size)
    windows = Windows.make(n_spatial, size, pool.stride if pool.stride is not None else size, pool.padding)
    divisors = [
        windows.counts(i, n, k.nngp, include_pad=pool.count_include_pad) for i, n in enumerate(k.spatial)
    ]
    override = getattr(pool, "divisor_override", None)
    if override is not None:
        if override == 0:
            raise call.error("divisor_override=0 divides by zero; use another number, or None for the mean")
        divisors = [k.nngp.new_full((), override), *(k.nngp.new_ones(()) for _ in divisors[1:])]
    return _pool(call, windows, divisors)


def _reduce(k: Kernel, positions: Sequence[int], *, mean: bool, keepdim: bool) -> Kernel:
    """Average or sum over spatial dimensions, numbered among the spatial ones."""
    n = len(k.spatial)

    def reduce(t: Tensor) -> Tensor:
        axes = [t.ndim - n + i for i in positions] + [t.ndim - 2 * n + i for i in positions]
        return t.mean(axes, keepdim=keepdim) if mean else t.sum(axes, keepdim=keepdim)

    gone = {k.spatial_dims[i] for i in positions}

    def shape(old: tuple[int, ...]) -> tuple[int, ...]:
        if keepdim:
            return tuple(1 if axis in gone else size for axis, size in enumerate(old))
        return tuple(size for axis, size in enumerate(old) if axis not in gone)

    channel = k.channel_axis if keepdim else k.channel_axis - sum(axis < k.channel_axis for axis in gone)
    left = keepdim or len(positions) < n
    return k.map(
        reduce,
        shape1=shape(k.shape1),
        shape2=shape(k.shape2),
        channel_axis=channel,
        layout=k.layout if left else "features",
    )


@register_rule(GlobalAvgPool2d, needs="full", channels="first", fresh=True)
def global_average(call: Call) -> Kernel:
    """Average over all positions."""
    return _reduce(_images(call, 2), (0, 1), mean=True, keepdim=False)


@register_rule(GlobalSumPool2d, needs="full", channels="first", fresh=True)
def global_sum(call: Call) -> Kernel:
    """Sum over all positions."""
    return _reduce(_images(call, 2), (0, 1), mean=False, keepdim=False)


@register_rule(
    torch.nn.AdaptiveAvgPool1d, torch.nn.AdaptiveAvgPool2d, needs="full", channels="first", fresh=True
)
def adaptive_average(call: Call) -> Kernel:
    """Torch's global average pool, which keeps dimensions of size 1."""
    n_spatial = 1 if isinstance(call.target, torch.nn.AdaptiveAvgPool1d) else 2
    k = _images(call, n_spatial)
    size = call.target.output_size
    if any(n != 1 for n in (size if isinstance(size, tuple) else (size,))):
        raise call.error(
            f"output_size={size} has no rule; use output_size=1, or ntkbook.nn.AvgPool2d with a stride"
        )
    return _reduce(k, range(n_spatial), mean=True, keepdim=True)


def _reduction(call: Call, *, mean: bool) -> Kernel:
    k = call.kernel
    dims, keepdim = call.argument(1, "dim", None), call.argument(2, "keepdim", False)
    if not isinstance(keepdim, bool):
        raise call.error(f"keepdim must be True or False, got {keepdim!r}; give dimensions as one tuple")
    ndim = len(k.shape1)
    several = dims if isinstance(dims, tuple | list) else () if dims is None else (dims,)
    chosen = {call.dimension(d, ndim) for d in several or range(ndim)}
    if len(chosen) < len(several):
        raise call.error(f"dim={tuple(several)} names a dimension twice; name each once")
    if 0 in chosen or k.channel_axis in chosen:
        raise call.error(
            f"it reduces dimensions {sorted(chosen)} of features of shape {k.shape1}, among them the batch "
            f"(0) or the channels ({k.channel_axis}); only spatial dimensions can be averaged at infinite "
            "width"
        )
    positions = [k.spatial_dims.index(d) for d in sorted(chosen)]
    return _reduce(k, positions, mean=mean, keepdim=keepdim)


@register_rule(torch.mean, "mean", needs="full", fresh=True)
def mean_rule(call: Call) -> Kernel:
    """``x.mean(dim)`` over positions."""
    return _reduction(call, mean=True)


@register_rule(torch.sum, "sum", needs="full", fresh=True)
def sum_over_positions(call: Call) -> Kernel:
    """``x.sum(dim)`` over positions."""
    return _reduction(call, mean=False)
