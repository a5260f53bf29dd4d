"""Recognizes networks that the fused convolutional engine computes much faster than the rules do."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, fx

from ntkbook import nn
from ntkbook.cntk import chain_kernels
from ntkbook.infinite.dual_rectified import slopes
from ntkbook.infinite.plan import Plan
from ntkbook.infinite.registry import find_rule
from ntkbook.nn._parametric import ParametricLayer

# Entries of spatial covariance times layers. There the rules need about a fifth of a second a call; the fused
# engine needs half a second once in a process, to be loaded, and then a fraction of their time.
_WORTHWHILE = 1e7


@dataclass(frozen=True)
class Chain:
    """A network ``[Conv2d -> ReLU] x L -> GlobalAvgPool2d or Flatten -> Linear``.

    Attributes
    ----------
    convolutions : tuple of (float, float)
        (w_std, b_std) of each convolution.
    dense : (float, float)
        (w_std, b_std) of the last layer.
    kernel_size : int
        Odd, the same for all; stride 1, zero padding that keeps the size.
    readout : {"gap", "flatten"}
        What stands before the last layer.
    """

    convolutions: tuple[tuple[float, float], ...]
    dense: tuple[float, float]
    kernel_size: int
    readout: Literal["gap", "flatten"]

    def pays(self, x1: Tensor, x2: Tensor | None) -> bool:
        """Whether the work is large enough to load the fused engine for it."""
        positions = x1.shape[-2] * x1.shape[-1]
        pairs = len(x1) * (len(x1) / 2 if x2 is None else len(x2))
        entries = positions if self.readout == "flatten" else positions**2
        return pairs * entries * len(self.convolutions) > _WORTHWHILE

    def kernels(self, x1: Tensor, x2: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return (nngp, ntk), each (N1, N2)."""
        return chain_kernels(
            x1,
            x2,
            convolutions=self.convolutions,
            dense=self.dense,
            kernel_size=self.kernel_size,
            readout=self.readout,
        )

    def variances(self, x: Tensor) -> Tensor:
        """Return the NNGP of each input with itself, (N,)."""
        return torch.cat([self.kernels(image.unsqueeze(0), None)[0].flatten() for image in x])


def find_chain(plan: Plan) -> Chain | None:
    """Return the chain that a traced network is, or None if it is another network."""
    nodes = [node for node in plan.nodes if node.op != "output"]
    in_a_row = all(after.all_input_nodes == [before] for before, after in pairwise(nodes))
    if not in_a_row or nodes[0].op != "placeholder":
        return None
    targets = [(node, plan.target(node)) for node in nodes[1:]]
    if not all(_has_our_rule(target) for _, target in targets):
        return None
    convolutions = []
    while len(targets) >= 2 and _is_convolution(targets[0][1]) and _is_relu(*targets[1]):
        convolutions.append(targets[0][1])
        targets = targets[2:]
    sizes = {layer.windows.kernel[0] for layer in convolutions}
    if len(sizes) != 1 or not targets or not _is_plain(targets[-1][1], nn.Linear):
        return None
    readout = _readout(targets[:-1])
    if readout is None:
        return None
    dense = targets[-1][1]
    return Chain(tuple(map(_stds, convolutions)), _stds(dense), sizes.pop(), readout)


def _has_our_rule(target: Any) -> bool:
    """Whether nobody has registered another rule, or dual of the ReLU, in place of ours."""
    entry = find_rule(target)
    ours = entry is not None and entry.rule.__module__.startswith("ntkbook.infinite.")
    return ours and slopes(torch.nn.ReLU()) is not None


def _is_plain(layer: Any, kind: type[ParametricLayer]) -> bool:
    return (
        type(layer) is kind
        and layer.parameterization == "ntk"
        and not isinstance(layer.w_std, Tensor)
        and not isinstance(layer.b_std, Tensor)
    )


def _is_convolution(layer: Any) -> bool:
    if not _is_plain(layer, nn.Conv2d):
        return False
    windows = layer.windows
    height, width = windows.kernel
    keeps_size = windows.padding in ("same", (height // 2, width // 2))
    return bool(
        height == width
        and height % 2 == 1
        and keeps_size
        and windows.stride == (1, 1)
        and windows.padding_mode == "zeros"
        and set(windows.dilation) <= {1}
    )


def _is_relu(node: fx.Node, target: Any) -> bool:
    if isinstance(target, torch.nn.Module):
        return type(target) is torch.nn.ReLU
    return target in (torch.relu, F.relu, "relu")


def _readout(targets: list[tuple[fx.Node, Any]]) -> Literal["gap", "flatten"] | None:
    kinds = [type(target) for _, target in targets]
    flattens = bool(targets) and kinds[-1] is torch.nn.Flatten and targets[-1][1].start_dim == 1
    if kinds == [nn.GlobalAvgPool2d]:
        return "gap"
    if kinds == [torch.nn.AdaptiveAvgPool2d, torch.nn.Flatten] and flattens:
        return "gap" if targets[0][1].output_size in (1, (1, 1)) else None
    if kinds == [torch.nn.Flatten] and flattens and targets[0][1].end_dim == -1:
        return "flatten"
    return None


def _stds(layer: Any) -> tuple[float, float]:
    return float(layer.w_std), 0.0 if layer.b_std is None else float(layer.b_std)
