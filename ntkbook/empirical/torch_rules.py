"""Rules of ``torch.nn`` layers: linear, convolution, embedding, and the affine part of normalizations."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ntkbook.empirical.rules import LayerRule, register_rule


def with_ones(features: Tensor, trainable: frozenset[str], *, bias_scale: float = 1.0) -> Tensor:
    """Return features (..., I) of the weight, then the constant one of the bias, if they take part."""
    if "bias" not in trainable:
        return features
    ones = features.new_full((1,), bias_scale).expand(*features.shape[:-1], 1)
    if "weight" not in trainable:
        return ones
    # Patches are transposed views; joined as they lie in memory, they are copied at full speed.
    return torch.cat([features.mT, ones.mT], dim=-2).mT


def linear_features(layer: nn.Linear, x: Tensor, trainable: frozenset[str]) -> Tensor:
    """Return (n, 1, T, I): every leading axis after the batch is a position."""
    positions = x.reshape(len(x), 1, -1, x.shape[-1])
    return with_ones(positions, trainable)


def linear_cotangents(layer: nn.Module, g: Tensor) -> Tensor:
    """Return (n, 1, T, O)."""
    return g.reshape(len(g), 1, -1, g.shape[-1])


def unfold_patches(
    x: Tensor, kernel_size: Sequence[int], stride: Sequence[int], dilation: Sequence[int], groups: int
) -> Tensor:
    """Return the patches of a padded image batch (n, C, H, W) as (n, groups, T, C / groups * kernel)."""
    patches = F.unfold(x, tuple(kernel_size), tuple(dilation), 0, tuple(stride))  # (n, C * kernel, T)
    return patches.reshape(len(x), groups, -1, patches.shape[-1]).mT


def _conv_features(layer: nn.Conv1d | nn.Conv2d, x: Tensor, trainable: frozenset[str]) -> Tensor:
    one = isinstance(layer, nn.Conv1d)
    # torch itself pads explicitly by these amounts wherever padding is not symmetric zeros.
    pads: list[int] = list(layer._reversed_padding_repeated_twice)
    if any(pads):
        mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
        x = F.pad(x, pads, mode=mode)
    if one:
        x = x.unsqueeze(2)
    lead = (1,) if one else ()
    patches = unfold_patches(
        x, (*lead, *layer.kernel_size), (*lead, *layer.stride), (*lead, *layer.dilation), layer.groups
    )
    return with_ones(patches, trainable)


def _conv_cotangents(layer: nn.Conv1d | nn.Conv2d, g: Tensor) -> Tensor:
    return conv_cotangents(g, layer.groups)


def conv_cotangents(g: Tensor, groups: int) -> Tensor:
    """Return the gradient (n, C, ...) of a convolution's output as (n, groups, T, C / groups)."""
    return g.reshape(len(g), groups, g.shape[1] // groups, -1).mT


def _embedding_features(layer: nn.Embedding, x: Tensor, trainable: frozenset[str]) -> Tensor:
    tokens = x.reshape(len(x), 1, -1).long()
    return tokens if layer.padding_idx is None else tokens.masked_fill(tokens == layer.padding_idx, -1)


def _embedding_applies(layer: nn.Embedding) -> str:
    if layer.max_norm is not None:
        return "max_norm changes the weights during the call"
    return "scale_grad_by_freq mixes the samples of a batch" if layer.scale_grad_by_freq else ""


def _size(shape: Sequence[int]) -> int:
    return torch.Size(shape).numel()


def _layer_norm_features(layer: nn.LayerNorm, x: Tensor, trainable: frozenset[str]) -> Tensor:
    d = _size(layer.normalized_shape)
    unit = (
        F.layer_norm(x, layer.normalized_shape, None, None, layer.eps).reshape(len(x), -1, d).mT
    )  # (n, d, T)
    return with_ones(unit.unsqueeze(-1), trainable)


def _layer_norm_cotangents(layer: nn.LayerNorm, g: Tensor) -> Tensor:
    return g.reshape(len(g), -1, _size(layer.normalized_shape)).mT.unsqueeze(-1)


def _channel_features(unit: Tensor, trainable: frozenset[str]) -> Tensor:
    unit = unit.reshape(len(unit), unit.shape[1], -1, 1)  # (n, C, T, 1)
    return with_ones(unit, trainable)


def _group_norm_features(layer: nn.GroupNorm, x: Tensor, trainable: frozenset[str]) -> Tensor:
    return _channel_features(F.group_norm(x, layer.num_groups, None, None, layer.eps), trainable)


def _batch_norm_features(layer: nn.BatchNorm2d, x: Tensor, trainable: frozenset[str]) -> Tensor:
    unit = F.batch_norm(x, layer.running_mean, layer.running_var, None, None, False, 0.0, layer.eps)
    return _channel_features(unit, trainable)


def _channel_cotangents(layer: nn.Module, g: Tensor) -> Tensor:
    return g.reshape(len(g), g.shape[1], -1, 1)


_AFFINE = ("weight", "bias")
register_rule(nn.Linear, LayerRule(_AFFINE, linear_features, linear_cotangents))
for _conv in (nn.Conv1d, nn.Conv2d):
    register_rule(_conv, LayerRule(_AFFINE, _conv_features, _conv_cotangents))
register_rule(
    nn.Embedding, LayerRule(("weight",), _embedding_features, linear_cotangents, _embedding_applies)
)
register_rule(nn.LayerNorm, LayerRule(_AFFINE, _layer_norm_features, _layer_norm_cotangents))
register_rule(nn.GroupNorm, LayerRule(_AFFINE, _group_norm_features, _channel_cotangents))
for _norm in (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d):
    register_rule(_norm, LayerRule(_AFFINE, _batch_norm_features, _channel_cotangents))
