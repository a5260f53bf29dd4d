r"""Self-attention and aggregation over graphs.

With positions mixed into :math:`\tilde{\mathcal K} = \alpha \mathcal K + \rho R` (Hron et al. 2020, section
4):

linear scaling, weights :math:`\zeta = \zeta(\sigma_q \sigma_k \tilde{\mathcal K}(x, x))` of each input,

.. math::
    \mathcal K' = \sigma_o^2 \sigma_v^2\, \zeta \mathcal K \zeta'^\top + \sigma_b^2, \qquad
    \Theta' = \sigma_o^2 \sigma_v^2\, \zeta (\Theta + 2 \mathcal K) \zeta'^\top + \sigma_b^2 ;

square-root scaling with the identity, :math:`\langle A, B \rangle` summing over all pairs of positions,

.. math::
    \mathcal K' = \sigma^2 \langle \tilde{\mathcal K}, \mathcal K_v \rangle \tilde{\mathcal K} + \sigma_b^2,
    \qquad \Theta' = \sigma^2 \big[ \langle \tilde{\mathcal K}, \mathcal K_v \rangle (\tilde\Theta + 4
    \tilde{\mathcal K}) + ( \langle \tilde\Theta, \mathcal K_v \rangle + \langle \tilde{\mathcal K}, \Theta_v
    \rangle ) \tilde{\mathcal K} \big] + \sigma_b^2

where values see :math:`\mathcal K_v = \tilde{\mathcal K}` or :math:`\mathcal K`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ntkbook.infinite.inputs import TensorPair
from ntkbook.infinite.kernel import Kernel
from ntkbook.infinite.provenance import fresh_root
from ntkbook.infinite.registry import Call, register_rule
from ntkbook.nn._parametric import Scale
from ntkbook.nn.aggregate import Aggregate
from ntkbook.nn.attention import WEIGHTINGS, SelfAttention


@register_rule(SelfAttention, needs="full", channels="last", fresh=True)
def self_attention(call: Call) -> Kernel:
    """Self-attention over the sequence."""
    layer: SelfAttention = call.target
    k = call.kernel
    if len(k.spatial) != 1 or k.channel_axis != 2 or k.n_channels != layer.in_features:
        raise call.error(
            f"it takes (N, T, {layer.in_features}), channels last, but gets features of shape {k.shape1} "
            f"with channels in dimension {k.channel_axis}; use flatten(2).transpose(1, 2) on images"
        )
    if k.width is not None:
        raise call.error(
            "its limit is known for parameterization='ntk' only, so it cannot follow mup or mean_field"
        )
    if layer.scaling == "sqrt" and layer.weighting != "identity":
        raise call.error(
            f"square-root scaling with weighting={layer.weighting!r} has no closed-form kernel; use "
            "scaling='linear', or weighting='identity'"
        )
    mixed = _with_positions(call, layer, k)
    values = mixed if layer.positions_in_values else _Covariances.of(k)
    out = (_linear if layer.scaling == "linear" else _square_root)(layer, mixed, values)
    return k.with_covariances(
        out.nngp,
        out.ntk,
        lambda: out.cov1,
        lambda: out.cov2,
        shape1=(*k.shape1[:2], layer.out_features),
        shape2=(*k.shape2[:2], layer.out_features),
        roots=fresh_root(call.name, k.roots),
        gaussian=True,
        centred=True,
    )


@dataclass(frozen=True)
class _Covariances:
    nngp: Tensor
    ntk: Tensor
    cov1: Tensor
    cov2: Tensor

    @classmethod
    def of(cls, k: Kernel) -> _Covariances:
        return cls(k.nngp, k.ntk, k.cov1, k.cov2)


def _with_positions(call: Call, layer: SelfAttention, k: Kernel) -> _Covariances:
    """Mix in the positions' covariance R; positions are trained, so that R enters the NTK too."""
    if layer.position_mode is None:
        return _Covariances.of(k)
    if k.spatial[0] != layer.n_tokens:
        raise call.error(f"its positions are for {layer.n_tokens} tokens but it gets {k.spatial[0]}")
    share: float = 1.0
    positions_share: float = 1.0
    if layer.position_mode == "concat":
        share = layer.in_features / (layer.in_features + layer.position_features)
        positions_share = 1 - share
    own = layer.position_covariance(k.spatial[0], k.nngp) * (positions_share * layer.position_std**2)
    return _Covariances(*(t * share + own for t in (k.nngp, k.ntk, k.cov1, k.cov2)))


def _affine(t: Tensor, scale: Scale, b_std: Scale | None) -> Tensor:
    t = t * scale
    return t if b_std is None else t + b_std**2


def _linear(layer: SelfAttention, mixed: _Covariances, values: _Covariances) -> _Covariances:
    weigh = WEIGHTINGS[layer.weighting]
    scores = layer.w_query_std * layer.w_key_std
    g1, g2 = weigh(mixed.cov1 * scores), weigh(mixed.cov2 * scores)  # (N, T, T), rows weigh tokens
    scale = (layer.w_out_std * layer.w_value_std) ** 2

    def through(t: Tensor, left: Tensor, right: Tensor) -> Tensor:
        return left @ t @ right.mT

    return _Covariances(
        _affine(through(values.nngp, g1.unsqueeze(1), g2), scale, layer.b_std),
        _affine(through(values.ntk + 2 * values.nngp, g1.unsqueeze(1), g2), scale, layer.b_std),
        _affine(through(values.cov1, g1, g1), scale, layer.b_std),
        _affine(through(values.cov2, g2, g2), scale, layer.b_std),
    )


def _square_root(layer: SelfAttention, mixed: _Covariances, values: _Covariances) -> _Covariances:
    scale = (layer.w_query_std * layer.w_key_std * layer.w_out_std * layer.w_value_std) ** 2

    def dot(a: Tensor, b: Tensor) -> Tensor:
        return (a * b).sum((-2, -1), keepdim=True)

    attended = dot(mixed.nngp, values.nngp)
    ntk = attended * (mixed.ntk + 4 * mixed.nngp)
    ntk = ntk + (dot(mixed.ntk, values.nngp) + dot(mixed.nngp, values.ntk)) * mixed.nngp
    return _Covariances(
        _affine(attended * mixed.nngp, scale, layer.b_std),
        _affine(ntk, scale, layer.b_std),
        _affine(dot(mixed.cov1, values.cov1) * mixed.cov1, scale, layer.b_std),
        _affine(dot(mixed.cov2, values.cov2) * mixed.cov2, scale, layer.b_std),
    )


@register_rule(Aggregate, needs="full", channels="last", fresh=True)
def aggregate(call: Call) -> Kernel:
    r"""Sum over a graph's edges: :math:`\mathcal K' = A^\top \mathcal K A'`, likewise :math:`\Theta`."""
    k = call.kernel
    if len(k.spatial) != 1 or k.channel_axis != 2:
        raise call.error(f"it takes (N, T, C), channels last, but gets features of shape {k.shape1}")
    given = call.argument(1, "adjacency", None)
    pair = given if isinstance(given, TensorPair) else TensorPair(given, given)
    a1, a2 = (call.target.graph(a).to(k.nngp) for a in pair)
    for a in (a1, a2):
        if tuple(a.shape[-2:]) != k.spatial * 2:
            raise call.error(
                f"adjacency must be ({k.spatial[0]}, {k.spatial[0]}) per input, got {tuple(a.shape)}"
            )
    left = a1.mT if a1.ndim == 2 else a1.mT.unsqueeze(1)

    def cross(t: Tensor) -> Tensor:
        return torch.matmul(torch.matmul(left, t), a2)

    # Equal features on different graphs are not coincident any more.
    coincident = k.coincident if a1.ndim == 2 else None
    return k.with_covariances(
        cross(k.nngp),
        cross(k.ntk),
        lambda: a1.mT @ k.cov1 @ a1,
        lambda: a2.mT @ k.cov2 @ a2,
        coincident=coincident,
    )
