r"""Weight layers: dense, convolution, transposed and locally connected convolution.

With :math:`\mathcal A` the average over a layer's window (the identity for a dense layer),

.. math::
    \mathcal K' = \sigma_w^2 \mathcal A(\mathcal K) + \sigma_b^2, \qquad
    \Theta' = \mathcal K' + \sigma_w^2 \mathcal A(\Theta)

in the NTK parameterization (Jacot et al. 2018, Proposition 1 and Theorem 1). In the standard parameterization
a weight has gradient :math:`h / \sqrt{s}` and a bias 1, so that the first term of :math:`\Theta'` becomes
:math:`\frac{n_\mathrm{in}}{s} \mathcal A(\mathcal K) + 1` (Sohl-Dickstein et al. 2020, section 3): finite
widths enter for s = 1, and the limit s to infinity exists at fixed base width :math:`n_\mathrm{in} / s`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ntkbook.infinite.covariance_maps import convolution, embed_diagonal, transposed_convolution
from ntkbook.infinite.kernel import Kernel
from ntkbook.infinite.provenance import fresh_root
from ntkbook.infinite.registry import Call, register_rule
from ntkbook.nn._parametric import ParametricLayer, Scale
from ntkbook.nn.convolution import Conv1d, Conv2d, ConvTranspose2d, LocallyConnected2d
from ntkbook.nn.linear import Linear
from ntkbook.nn.windows import TransposedWindows, Windows

Map = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Weights:
    """What the rule must know of a layer's random weights."""

    w_std: Scale
    b_std: Scale | None
    channels_in: int
    channels_out: int
    fan_in: int
    parameterization: str = "ntk"
    role: str = "hidden"
    s: float = 1.0

    @classmethod
    def of(cls, layer: ParametricLayer) -> Weights:
        """Read them off a layer of :mod:`ntkbook.nn`."""
        return cls(
            layer.w_std,
            layer.b_std,
            layer.channels_in,
            layer.channels_out,
            layer.fan_in,
            layer.parameterization,
            layer.role,
            layer.s,
        )

    @classmethod
    def of_plain(cls, call: Call, channels_in: int, channels_out: int, area: int = 1) -> Weights:
        """Take what the caller of :func:`infinite_width` says of torch's own layers."""
        w_std, b_std = call.plain_std
        if w_std is None:
            raise call.error(
                "nothing says how its weights are distributed; pass infinite_width(net, w_std=..., b_std=...)"
            )
        has_bias = call.target.bias is not None
        return cls(w_std, b_std if has_bias else None, channels_in, channels_out, channels_in * area)

    def __call__(self, call: Call, average: Map, finish: Map, **changes: Any) -> Kernel:
        """Apply the layer: ``average`` over its window, then ``finish`` into the output's layout."""
        k = call.kernel
        self._check(call, k)
        w2 = self.w_std**2
        b2 = None if self.b_std is None else self.b_std**2
        averaged = average(k.nngp)
        # Sums over n hidden features with weights of variance 1 / n^2 vanish like n^-1/2.
        vanishes = self.parameterization in ("mup", "mean_field") and self.role == "output"

        def affine(t: Tensor) -> Tensor:
            scaled = t * (0.0 if vanishes else w2)
            return scaled if b2 is None else scaled + b2

        nngp = affine(averaged)
        through = average(k.ntk) * w2 if k.has_parameters else None
        own, width = self._own_gradients(k, nngp, averaged, w2, b2)
        if through is not None and vanishes and k.width is not None:
            through = through * (k.width / self.channels_in)
        ntk = own if through is None else through + own
        return k.with_covariances(
            finish(nngp),
            finish(ntk),
            lambda: finish(affine(average(k.cov1))),
            lambda: finish(affine(average(k.cov2))),
            roots=fresh_root(call.name, k.roots),
            gaussian=True,
            centred=True,
            width=width,
            **changes,
        )

    def _own_gradients(
        self, k: Kernel, nngp: Tensor, averaged: Tensor, w2: Scale, b2: Scale | None
    ) -> tuple[Tensor, int | None]:
        """Return the layer's own part of the tangent kernel, and the width that counts as its unit."""
        if self.parameterization == "ntk":
            return nngp, None
        if self.parameterization == "standard":
            own = averaged * (self.fan_in / self.s)
            return (own if self.b_std is None else own + 1.0), None
        if self.role == "output":
            own = averaged * w2
            return (own if b2 is None else own + b2), None
        if self.role == "input":
            return nngp, self.channels_out
        assert k.width is not None  # _check has seen to it
        own = averaged * (w2 * (self.channels_in / k.width))
        return (own if b2 is None else own + b2 * (self.channels_out / k.width)), k.width

    def _check(self, call: Call, k: Kernel) -> None:
        if k.n_channels != self.channels_in:
            raise call.error(
                f"it takes {self.channels_in} channels but gets {k.n_channels}, in dimension "
                f"{k.channel_axis} of features of shape {k.shape1}; mend the layer's size or the shape of "
                "the input"
            )
        scaled = self.parameterization in ("mup", "mean_field")
        if not scaled and k.width is not None:
            raise call.error(
                f"parameterization={self.parameterization!r} follows a mup or mean_field layer, and no "
                "common limit of the tangent kernel exists; use one parameterization in the whole network"
            )
        if self.parameterization == "mean_field" and self.role == "hidden":
            raise call.error(
                "under the mean-field scaling 1/n its outputs vanish at initialization (law of large "
                "numbers), so no kernel limit exists beyond one hidden layer; use parameterization='mup'"
            )
        if scaled and self.role == "input" and k.has_parameters:
            raise call.error(
                f"role='input' of {self.parameterization!r} must act on the network's input, with a fan-in "
                "that stays fixed; use role='hidden' or 'output'"
            )
        if scaled and self.role != "input" and k.width is None:
            raise call.error(
                f"role={self.role!r} of {self.parameterization!r} must follow a layer with role='input' of "
                "the same parameterization; set the first layer's role to 'input'"
            )


def _same(t: Tensor) -> Tensor:
    return t


def _shapes(k: Kernel, channels: int, spatial: tuple[int, ...] | None = None) -> dict[str, tuple[int, ...]]:
    """Return the fields ``shape1`` and ``shape2`` after a layer."""
    space = k.spatial if spatial is None else spatial
    rest = (channels, *space) if k.channel_axis == 1 else (*space, channels)
    return {"shape1": (k.shape1[0], *rest), "shape2": (k.shape2[0], *rest)}


def _dense(call: Call, weights: Weights) -> Kernel:
    k = call.kernel
    if k.channel_axis != len(k.shape1) - 1:
        raise call.error(
            f"a dense layer acts on the last dimension, but channels are dimension {k.channel_axis} of "
            f"features of shape {k.shape1}; flatten or pool first, or use a convolution with kernel_size=1"
        )
    return weights(call, _same, _same, **_shapes(k, weights.channels_out))


@register_rule(Linear, channels="last", fresh=True)
def linear(call: Call) -> Kernel:
    """Dense layer of :mod:`ntkbook.nn`."""
    return _dense(call, Weights.of(call.target))


@register_rule(torch.nn.Linear, channels="last", fresh=True)
def plain_linear(call: Call) -> Kernel:
    """Torch's dense layer, read in the NTK parameterization."""
    layer = call.target
    return _dense(call, Weights.of_plain(call, layer.in_features, layer.out_features))


def _check_images(call: Call, n_spatial: int) -> Kernel:
    k = call.kernel
    if k.channel_axis != 1 or len(k.spatial) != n_spatial:
        raise call.error(
            f"it takes channels in dimension 1 and then {n_spatial} spatial dimensions, but gets features of "
            f"shape {k.shape1} with channels in dimension {k.channel_axis}; permute or reshape the input"
        )
    return k


def _convolve(call: Call, weights: Weights, windows: Windows) -> Kernel:
    k = _check_images(call, len(windows.kernel))
    full = k.layout == "full"
    changes = _shapes(k, weights.channels_out, windows.out_shape(k.spatial))
    return weights(call, lambda t: convolution(t, windows, full=full), _same, **changes)


@register_rule(Conv1d, Conv2d, channels="first", fresh=True)
def conv(call: Call) -> Kernel:
    """Convolutions of :mod:`ntkbook.nn`."""
    return _convolve(call, Weights.of(call.target), call.target.windows)


@register_rule(torch.nn.Conv1d, torch.nn.Conv2d, channels="first", fresh=True)
def plain_conv(call: Call) -> Kernel:
    """Torch's convolutions, read in the NTK parameterization."""
    layer = call.target
    windows = Windows.make(
        len(layer.kernel_size),
        layer.kernel_size,
        layer.stride,
        layer.padding,
        _padding_mode(call),
        layer.dilation,
    )
    return _convolve(call, _plain_weights(call), windows)


def _padding_mode(call: Call) -> str:
    mode: str = call.target.padding_mode
    if mode not in ("zeros", "circular"):
        raise call.error(f"padding_mode={mode!r} has no rule; use 'zeros' or 'circular'")
    return mode


def _plain_weights(call: Call) -> Weights:
    layer = call.target
    if layer.groups != 1:
        raise call.error(
            f"groups={layer.groups} splits the channels, whose number must go to infinity together; use "
            "groups=1"
        )
    area = 1
    for size in layer.kernel_size:
        area *= size
    return Weights.of_plain(call, layer.in_channels, layer.out_channels, area)


def _convolve_transposed(call: Call, weights: Weights, windows: TransposedWindows) -> Kernel:
    k = _check_images(call, 2)
    full = k.layout == "full"
    changes = _shapes(k, weights.channels_out, windows.out_shape(k.spatial))
    return weights(call, lambda t: transposed_convolution(t, windows, full=full), _same, **changes)


@register_rule(ConvTranspose2d, channels="first", fresh=True)
def conv_transpose(call: Call) -> Kernel:
    """Transposed convolution of :mod:`ntkbook.nn`."""
    return _convolve_transposed(call, Weights.of(call.target), call.target.windows)


@register_rule(torch.nn.ConvTranspose2d, channels="first", fresh=True)
def plain_conv_transpose(call: Call) -> Kernel:
    """Torch's transposed convolution, read in the NTK parameterization."""
    layer = call.target
    if set(layer.output_padding) != {0} or set(layer.dilation) != {1}:
        raise call.error("output_padding and dilation have no rule; use ntkbook.nn.ConvTranspose2d")
    windows = TransposedWindows.make(2, layer.kernel_size, layer.stride, layer.padding, _padding_mode(call))
    return _convolve_transposed(call, _plain_weights(call), windows)


@register_rule(LocallyConnected2d, channels="first", needs="diagonal", fresh=True)
def locally_connected(call: Call) -> Kernel:
    """Locally connected layer: different positions have independent weights, hence no covariance."""
    layer = call.target
    k = _check_images(call, 2)
    if k.spatial != layer.input_size:
        raise call.error(f"it was built for images of {layer.input_size} but gets {k.spatial}")
    changes = _shapes(k, layer.channels_out, layer.windows.out_shape(k.spatial))
    finish: Map = (lambda t: embed_diagonal(t, 2)) if call.full else _same
    weights = Weights.of(layer)
    return weights(
        call,
        lambda t: convolution(t, layer.windows, full=False),
        finish,
        layout="full" if call.full else "diagonal",
        **changes,
    )
