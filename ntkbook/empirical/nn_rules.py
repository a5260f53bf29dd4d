"""Rules of ``ntkbook.nn`` layers: those of ``torch.nn`` with a factor on each parameter."""

from __future__ import annotations

from torch import Tensor

from ntkbook import nn
from ntkbook.empirical.rules import LayerRule, register_rule
from ntkbook.empirical.torch_rules import conv_cotangents, linear_cotangents, unfold_patches, with_ones


def _scaled(layer: nn.ParametricLayer, features: Tensor, trainable: frozenset[str]) -> Tensor:
    # Factors may be tensors that a marginal likelihood tunes; they are constants to this kernel.
    return with_ones(features * float(layer.weight_scale), trainable, bias_scale=float(layer.bias_scale))


def _linear_features(layer: nn.Linear, x: Tensor, trainable: frozenset[str]) -> Tensor:
    return _scaled(layer, x.reshape(len(x), 1, -1, x.shape[-1]), trainable)


def _conv_features(layer: nn.Conv1d | nn.Conv2d, x: Tensor, trainable: frozenset[str]) -> Tensor:
    windows = layer.windows
    x = windows.pad(x)
    lead: tuple[int, ...] = ()
    if isinstance(layer, nn.Conv1d):
        x, lead = x.unsqueeze(2), (1,)
    patches = unfold_patches(x, lead + windows.kernel, lead + windows.stride, lead + windows.dilation, 1)
    return _scaled(layer, patches, trainable)


def _conv_cotangents(layer: nn.Conv1d | nn.Conv2d, g: Tensor) -> Tensor:
    return conv_cotangents(g, 1)


def _local_features(layer: nn.LocallyConnected2d, x: Tensor, trainable: frozenset[str]) -> Tensor:
    windows = layer.windows
    patches = unfold_patches(windows.pad(x), windows.kernel, windows.stride, (1, 1), 1)  # (n, 1, T, I)
    return _scaled(layer, patches.transpose(1, 2), trainable)  # every position is a group of its own


def _local_cotangents(layer: nn.LocallyConnected2d, g: Tensor) -> Tensor:
    return g.flatten(2).mT.unsqueeze(2)  # (n, T, 1, C)


_AFFINE = ("weight", "bias")
register_rule(nn.Linear, LayerRule(_AFFINE, _linear_features, linear_cotangents))
for _conv in (nn.Conv1d, nn.Conv2d):
    register_rule(_conv, LayerRule(_AFFINE, _conv_features, _conv_cotangents))
register_rule(nn.LocallyConnected2d, LayerRule(_AFFINE, _local_features, _local_cotangents))
