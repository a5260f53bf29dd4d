"""Flattening, and reordering of dimensions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ntkbook.infinite.kernel import Kernel
from ntkbook.infinite.registry import Call, Needs, register_rule


def _flatten_range(target: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[int, int]:
    if isinstance(target, torch.nn.Flatten):
        return target.start_dim, target.end_dim
    given = dict(zip(("start_dim", "end_dim"), args[1:], strict=False)) | dict(kwargs)
    return given.get("start_dim", 0), given.get("end_dim", -1)


def _flatten_needs(target: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Needs:
    # flatten(1, 2) of channels-last images merges positions, and a mean over them may follow.
    return "diagonal" if _flatten_range(target, args, kwargs) == (1, -1) else "keep"


def flatten_all(k: Kernel) -> Kernel:
    r"""Make every entry but the batch a feature: :math:`\mathcal K' = \frac{1}{P} \sum_p \mathcal K(p, p)`.

    Features of different positions have different variances, so that they are no longer identically
    distributed.
    """
    n = len(k.spatial)
    if n == 0:
        return k
    k = k.diagonal()
    features = k.n_channels * math.prod(k.spatial)
    return k.map(
        lambda t: t.flatten(t.ndim - n).mean(-1),
        shape1=(k.shape1[0], features),
        shape2=(k.shape2[0], features),
        channel_axis=1,
        layout="features",
        gaussian=k.gaussian and math.prod(k.spatial) == 1,
    )


@register_rule(torch.nn.Flatten, torch.flatten, "flatten", needs=_flatten_needs)
def flatten(call: Call) -> Kernel:
    """Flatten everything but the batch, or neighbouring spatial dimensions."""
    k = call.kernel
    ndim = len(k.shape1)
    if isinstance(call.target, torch.nn.Flatten):
        chosen = call.target.start_dim, call.target.end_dim
    else:
        chosen = call.argument(1, "start_dim", 0), call.argument(2, "end_dim", -1)
    start, end = (call.dimension(d, ndim) for d in chosen)
    if (start, end) == (1, ndim - 1):
        return flatten_all(k)
    if start == 0 or start <= k.channel_axis <= end:
        raise call.error(
            f"it merges dimensions {start} to {end} of features of shape {k.shape1}, among them the batch "
            f"(0) or, partly, the channels ({k.channel_axis}); flatten all with flatten(1), or positions "
            "alone"
        )
    return _merge_positions(k, start, end)


def _merge_positions(k: Kernel, start: int, end: int) -> Kernel:
    n = len(k.spatial)
    first = k.spatial_dims.index(start)
    last = first + end - start

    def merge(t: Tensor) -> Tensor:
        t = t.flatten(t.ndim - n + first, t.ndim - n + last)
        if k.layout == "full":
            behind = n - (last - first)  # spatial dimensions of the second position now
            t = t.flatten(t.ndim - behind - n + first, t.ndim - behind - n + last)
        return t

    def shape(old: tuple[int, ...]) -> tuple[int, ...]:
        return (*old[:start], math.prod(old[start : end + 1]), *old[end + 1 :])

    channel = k.channel_axis - (end - start if k.channel_axis > end else 0)
    return k.map(merge, shape1=shape(k.shape1), shape2=shape(k.shape2), channel_axis=channel)


@register_rule("view", "reshape", torch.reshape, needs="diagonal")
def reshape(call: Call) -> Kernel:
    """``x.view(x.size(0), -1)`` and its like: a flattening."""
    k = call.kernel
    sizes = call.several(1, "shape")
    features = math.prod(k.shape1[1:])
    if len(sizes) == 2 and (
        (sizes[0] == k.shape1[0] and sizes[1] in (-1, features)) or tuple(sizes) == (-1, features)
    ):
        return flatten_all(k)
    raise call.error(
        f"shape {tuple(sizes)} has no rule; only x.reshape(len(x), -1) does: use flatten, permute, or a "
        "layer instead"
    )


@register_rule("permute", torch.permute)
def permute(call: Call) -> Kernel:
    """Reorder dimensions behind the batch."""
    k = call.kernel
    ndim = len(k.shape1)
    given = call.several(1, "dims")
    dims = tuple(call.dimension(d, ndim) for d in given)
    if sorted(dims) != list(range(ndim)):
        raise call.error(f"dims {given} must name each of the {ndim} dimensions of its features once")
    return _permute(call, k, dims)


@register_rule("transpose", torch.transpose, "swapaxes", torch.swapaxes)
def transpose(call: Call) -> Kernel:
    """Swap two dimensions behind the batch."""
    k = call.kernel
    ndim = len(k.shape1)
    a = call.dimension(call.argument(1, "dim0", None), ndim)
    b = call.dimension(call.argument(2, "dim1", None), ndim)
    dims = list(range(ndim))
    dims[a], dims[b] = dims[b], dims[a]
    return _permute(call, k, tuple(dims))


def _permute(call: Call, k: Kernel, dims: tuple[int, ...]) -> Kernel:
    n = len(k.spatial)
    if dims[0] != 0:
        raise call.error("it moves the batch away from dimension 0; keep the batch first")
    order = [k.spatial_dims.index(d) for d in dims if d in k.spatial_dims]

    def reorder(t: Tensor) -> Tensor:
        batch = t.ndim - n * (2 if k.layout == "full" else 1)
        axes = [batch + i for i in order]
        if k.layout == "full":
            axes += [batch + n + i for i in order]
        return t.permute(*range(batch), *axes)

    return k.map(
        reorder,
        shape1=tuple(k.shape1[d] for d in dims),
        shape2=tuple(k.shape2[d] for d in dims),
        channel_axis=dims.index(k.channel_axis),
    )


@register_rule("contiguous")
@register_rule("clone", torch.clone, fresh=True)
def same_values(call: Call) -> Kernel:
    """Memory layout does not concern kernels."""
    call.argument(None, "memory_format", None)
    return call.kernel
