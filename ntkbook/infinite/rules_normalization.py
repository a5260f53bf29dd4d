r"""Layer normalization and dropout.

Over channels (and positions) the mean of centred features converges to 0 and their second moment to the
average variance, so that

.. math::
    \mathcal K'(p, p') = \frac{\mathcal K(p, p')}{\sqrt{(\bar v(p) + \epsilon)(\bar v'(p') + \epsilon)}},
    \qquad \Theta'(p, p') = \frac{\Theta(p, p')}{\sqrt{(\bar v(p) + \epsilon)(\bar v'(p') + \epsilon)}} .

The gradient through the statistics vanishes in the limit: each channel's share in them does.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ntkbook._validation import check_positive
from ntkbook.infinite.kernel import Kernel, at_first, at_second
from ntkbook.infinite.registry import Call, register_rule


@register_rule(torch.nn.LayerNorm, fresh=True)
def layer_norm(call: Call) -> Kernel:
    """Torch's layer norm without trained scale and shift."""
    norm = call.target
    if norm.elementwise_affine:
        raise call.error(
            "its trained scale and shift have no rule; use LayerNorm(..., elementwise_affine=False)"
        )
    return _normalize(call, norm.normalized_shape, norm.eps)


@register_rule(F.layer_norm, fresh=True)
def functional_layer_norm(call: Call) -> Kernel:
    """``F.layer_norm`` without scale and shift."""
    if call.argument(2, "weight", None) is not None or call.argument(3, "bias", None) is not None:
        raise call.error("its scale and shift have no rule; pass neither weight nor bias")
    return _normalize(call, call.argument(1, "normalized_shape", ()), call.argument(4, "eps", 1e-5))


def _normalize(call: Call, normalized_shape: Sequence[int], eps: float) -> Kernel:
    k = call.kernel
    ndim = len(k.shape1)
    if not isinstance(normalized_shape, Sequence):
        raise call.error(
            f"normalized_shape must be a tuple, got {normalized_shape!r}; use (n,) for one dimension"
        )
    try:
        check_positive("eps", eps, zero_allowed=True)
    except (TypeError, ValueError) as error:
        raise call.error(f"{error}; use a small number such as 1e-5") from error
    axes = range(ndim - len(normalized_shape), ndim)
    if tuple(k.shape1[axis] for axis in axes) != tuple(normalized_shape):
        raise call.error(
            f"normalized_shape {tuple(normalized_shape)} does not end the features' shape {k.shape1}"
        )
    if k.channel_axis not in axes:
        raise call.error(
            f"it normalizes dimensions {list(axes)} but channels are dimension {k.channel_axis}; its "
            "statistics converge only if channels are among them: permute channels last, or normalize all "
            "dimensions"
        )
    if not k.centred:
        raise call.error(
            "it follows an activation or acts on the network's input, whose channels have a mean that no "
            "rule carries; put it behind a weight layer"
        )
    averaged = [1 + i for i, d in enumerate(k.spatial_dims) if d in axes]
    n = len(k.spatial)

    def inverse_deviation(v: Tensor) -> Tensor:
        mean = v.mean(averaged, keepdim=True) if averaged else v
        return (mean + eps).rsqrt()

    r1, r2 = (inverse_deviation(v) for v in k.variances())
    first = [at_first(r, n if k.layout == "full" else 0) for r in (r1, r2)]
    second = [at_second(r, n if k.layout == "full" else 0) for r in (r1, r2)]

    def cross(t: Tensor) -> Tensor:
        return t * first[0].unsqueeze(1) * second[1].unsqueeze(0)

    return k.with_covariances(
        cross(k.nngp),
        cross(k.ntk),
        lambda: k.cov1 * first[0] * second[0],
        lambda: k.cov2 * first[1] * second[1],
    )


@register_rule(torch.nn.Dropout)
def dropout(call: Call) -> Kernel:
    """Dropout: the identity in evaluation mode."""
    return drop(call, call.target.p, training=call.target.training)


@register_rule(F.dropout, torch.dropout)
def functional_dropout(call: Call) -> Kernel:
    """``F.dropout`` with a fixed ``training``."""
    p = call.argument(1, "p", 0.5)
    training = call.argument(2, "train" if call.target is torch.dropout else "training", True)
    return drop(call, p, training=training)


def drop(call: Call, p: float, *, training: bool) -> Kernel:
    r"""Apply an independent mask to every feature, position and input.

    With ``keep = 1 - p``, a feature's product with itself has mean :math:`\mathcal K / keep`, all others
    :math:`\mathcal K`; only one batch against itself holds features with one mask.
    """
    k = call.kernel
    if not isinstance(p, int | float) or not 0 <= p <= 1:
        raise call.error(f"p={p!r} is no probability; use a number from 0 to below 1")
    if p == 0 or not training:
        return k
    if p == 1:
        raise call.error("p=1 drops every feature; use p < 1")
    if not k.has_parameters:
        raise call.error(
            "it drops entries of the network's input, whose finite number does not average; drop hidden "
            "features"
        )
    gain = 1 / (1 - p)
    spatial = k.spatial if k.layout == "full" else ()
    own = _gains(k.nngp, math.prod(spatial), gain).reshape((*spatial, *spatial))
    between: Tensor | float = 1.0
    if k.symmetric:
        between = _gains(k.nngp, len(k.nngp) * math.prod(spatial), gain)
        between = between.reshape(len(k.nngp), *spatial, len(k.nngp), *spatial).movedim(1 + len(spatial), 1)
        if k.layout == "diagonal":
            between = at_first(between, len(k.spatial))
    return k.with_covariances(
        k.nngp * between,
        k.ntk * between,
        lambda: k.cov1 * own,
        lambda: k.cov2 * own,
        gaussian=False,
        coincident=None,
    )


def _gains(like: Tensor, n: int, gain: float) -> Tensor:
    """Return (n, n): ``gain`` where the two agree, 1 elsewhere."""
    return 1 + (gain - 1) * torch.eye(n, dtype=like.dtype, device=like.device)
