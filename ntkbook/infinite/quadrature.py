r"""Gaussian moments of any function of one variable, by a quadrature that adapts to each pair.

Activations change on a scale of about one around zero, where they may have a kink; a Gaussian pair has scales
:math:`\sigma_1, \sigma_2` that may be tiny or huge, and a density that collapses to a line at
:math:`\rho = \pm 1`. A fixed Gauss-Hermite grid resolves neither. In polar coordinates
:math:`u = \sigma_1 r \sin(\cdot)`, :math:`v = \sigma_2 r \sin(\cdot)` the lines u = 0 and v = 0 are rays, at
every radius, and the density is the same for all pairs:

.. math::
    E[f(u) g(v)] = \frac{1}{2 \pi} \int_0^\infty r e^{-r^2/2} \left\{
        \int_0^{\pi - \theta} \sum_\pm f(\pm \sigma_1 r \sin(\pi - \theta - \beta))\, g(\pm \sigma_2 r \sin
        \beta)\, d\beta
      + \int_0^{\theta} \sum_\pm f(\pm \sigma_1 r \sin(\theta - \beta))\, g(\mp \sigma_2 r \sin \beta)\,
      d\beta
    \right\} dr.

The first sector holds the pairs of equal signs, the second those of opposite signs. Each sector is cut in its
middle and has Gauss-Legendre nodes under a hyperbolic-sine map that crowds them towards the ray, on the scale
:math:`1 / (\sigma r)`; the radius is treated likewise on [0, 1.5] and evenly up to 9, beyond which the
density is below 1e-17. At :math:`\theta = 0` the second sector is empty and nothing is singular.

Error of the rule in float64, measured against closed forms (erf, GELU, rectified powers, a Gaussian bump) and
relative to :math:`\sqrt{E[f(u)^2] E[g(v)^2]}`: for variances up to 100, below 1e-11 for functions that do not
vanish at infinity and below 1e-8 for those that do, such as most slopes; for any variances, below 3e-6 and
5e-3. In float32, which uses fewer nodes: 1e-5 and 1e-4 for variances up to 100. It needs functions that are
analytic, on a scale not much below one, on each side of zero.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ntkbook.infinite.gaussian_pair import frame, push_forward, reciprocal
from ntkbook.infinite.hermite_series import series_moments
from ntkbook.infinite.known_derivatives import KnownFunction
from ntkbook.infinite.radial_nodes import crowded_nodes, graded_nodes

Function = Callable[[Tensor], Tensor]
Pair = tuple[Function, Function]


@dataclass(frozen=True)
class _Integrands:
    # A class of its own, because function transforms take tuples among the arguments apart.
    pairs: tuple[Pair, ...]
    smooth: bool


class _Counts(NamedTuple):
    near: int  # radii up to 1.5
    far: int  # radii beyond
    angles: int  # per half sector


_COUNTS = {torch.float64: _Counts(24, 20, 24)}
_COUNTS_SHORT = _Counts(12, 12, 12)
_END = 9.0
_CROWDING = (
    2.0  # multiplies the scale at which angles crowd; 2 balances resolution of the ray and of the rest
)
# Elements of one intermediate: small enough for a CPU's cache, large enough to fill an accelerator.
_ELEMENTS = {"cpu": 1 << 16}
_ELEMENTS_ELSEWHERE = 1 << 24
# Below two pairs of variables per variance the coefficients of the series cost more than they save.
_PAIRS_PER_VARIANCE = 2
_REMAINDER = 1e3  # remainder allowed to the series, in units of rounding


def gaussian_moments(
    pairs: tuple[Pair, ...], q11: Tensor, q12: Tensor, q22: Tensor, *, smooth: bool
) -> tuple[Tensor, ...]:
    r"""Return :math:`E[f(u) g(v)]` for several (f, g), each of the broadcast shape of the three tensors.

    Parameters
    ----------
    pairs : tuple of (callable, callable)
        Elementwise functions of a tensor. They are differentiated by autograd where gradients are asked for.
    q11, q12, q22 : Tensor
        Variance of u, covariance, variance of v; they broadcast.
    smooth : bool
        Whether the functions are twice differentiable. If so, the derivative in a variance is Price's
        :math:`E[f''(u) g(v)] / 2`; if not, the same after an integration by parts, :math:`(E[u f'(u) g(v)] -
        q_{12} E[f'(u) g'(v)]) / 2 q_{11}`, which is right for a kink at zero too but returns 0 where the
        variance is 0.

    Notes
    -----
    Cost: 8448 evaluations of each of f and g per pair of variables in float64, 2304 in other
    dtypes; memory, a few intermediates of 0.5 MB on a CPU, 128 MB elsewhere. On a CPU, where reading a value
    does not make anything wait, N by N pairs first go through :mod:`ntkbook.infinite.hermite_series`, which
    takes 416 evaluations per variance and at most 256 terms per pair, and only the pairs that it cannot
    settle are integrated.

    Examples
    --------
    >>> one = torch.ones(1, dtype=torch.float64)
    >>> gaussian_moments(((torch.erf, torch.erf),), one, 0.5 * one, one, smooth=True)  # 2/pi arcsin(1/3)
    (tensor([0.2163], dtype=torch.float64),)
    """
    stacked = _stacked_moments(_Integrands(pairs, smooth), q11, q12, q22)
    return stacked.unbind(0)


def derivative(function: Function) -> Function:
    """Return the derivative of an elementwise function: its own, if it knows it, else by autograd.

    Examples
    --------
    >>> derivative(torch.sin)(torch.zeros(2))
    tensor([1., 1.])
    """
    if isinstance(function, KnownFunction):
        return function.derivative()

    def slope(x: Tensor) -> Tensor:
        # Forward mode: one pass, no graph, and it nests for higher derivatives.
        result: Tensor = torch.func.jvp(function, (x,), (torch.ones_like(x),))[1]
        return result

    return slope


def _times_argument(function: Function) -> Function:
    return lambda x: x * function(x)


class _Moments(torch.autograd.Function):
    """Moments stacked in a leading dimension, with Price's derivatives, which are again such moments."""

    generate_vmap_rule = True

    @staticmethod
    def forward(integrands: _Integrands, q11: Tensor, q12: Tensor, q22: Tensor) -> Tensor:
        return _integrate(integrands.pairs, q11, q12, q22)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.integrands = inputs[0]
        ctx.save_for_backward(*inputs[1:])
        ctx.save_for_forward(*inputs[1:])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        q = ctx.saved_tensors
        slopes = _partials(ctx.integrands, *q)
        return None, *((grad * p).sum(0).sum_to_size(x.shape) for x, p in zip(q, slopes, strict=True))

    @staticmethod
    def jvp(ctx: Any, _integrands: None, *tangents: Tensor | None) -> Tensor:
        return push_forward(tangents, _partials(ctx.integrands, *ctx.saved_tensors))


def _stacked_moments(integrands: _Integrands, q11: Tensor, q12: Tensor, q22: Tensor) -> Tensor:
    stacked: Tensor = _Moments.apply(integrands, q11, q12, q22)  # type: ignore[no-untyped-call]
    return stacked


def _partials(
    integrands: _Integrands, q11: Tensor, q12: Tensor, q22: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Differentiate the stacked moments in (q11, q12, q22)."""
    pairs, smooth = integrands.pairs, integrands.smooth
    slopes = [(derivative(f), derivative(g)) for f, g in pairs]
    if smooth:
        left = tuple((derivative(df), g) for (df, _), (_, g) in zip(slopes, pairs, strict=True))
        right = tuple((f, derivative(dg)) for (_, dg), (f, _) in zip(slopes, pairs, strict=True))
    else:
        left = tuple((_times_argument(df), g) for (df, _), (_, g) in zip(slopes, pairs, strict=True))
        right = tuple((f, _times_argument(dg)) for (_, dg), (f, _) in zip(slopes, pairs, strict=True))
    moments = _stacked_moments(_Integrands((*slopes, *left, *right), smooth), q11, q12, q22)
    across, left_moments, right_moments = moments.chunk(3)
    if smooth:
        return 0.5 * left_moments, across, 0.5 * right_moments
    return (
        0.5 * (left_moments - q12 * across) * reciprocal(q11),
        across,
        0.5 * (right_moments - q12 * across) * reciprocal(q22),
    )


def _integrate(pairs: tuple[Pair, ...], q11: Tensor, q12: Tensor, q22: Tensor) -> Tensor:
    """Sum the series where it pays and converges, and integrate in two dimensions where not."""
    full = torch.broadcast_tensors(q11, q12, q22)  # type: ignore[no-untyped-call]
    shape = full[0].shape
    flat = [q.reshape(-1) for q in full]
    if q12.device.type != "cpu" or len(flat[0]) < _PAIRS_PER_VARIANCE * (q11.numel() + q22.numel()):
        return _integrate_in_blocks(pairs, *flat).reshape(len(pairs), *shape)
    try:
        moments, converged = series_moments(pairs, q11, q12, q22, _REMAINDER * torch.finfo(q12.dtype).eps)
        rest = (~converged).reshape(-1).nonzero().squeeze(1)
    except RuntimeError:  # values cannot be read: fake tensors, or a batch inside torch.func.vmap
        return _integrate_in_blocks(pairs, *flat).reshape(len(pairs), *shape)
    if len(rest):
        moments.view(len(pairs), -1)[:, rest] = _integrate_in_blocks(pairs, *(q[rest] for q in flat))
    return moments


def _integrate_in_blocks(pairs: tuple[Pair, ...], q11: Tensor, q12: Tensor, q22: Tensor) -> Tensor:
    """Integrate in two dimensions for P pairs of variables, given as vectors: (len(pairs), P)."""
    counts = _COUNTS.get(q12.dtype, _COUNTS_SHORT)
    elements = _ELEMENTS.get(q12.device.type, _ELEMENTS_ELSEWHERE)
    block = max(1, elements // ((counts.near + counts.far) * counts.angles))
    blocks = zip(*(torch.split(q.reshape(-1, 1, 1), block) for q in (q11, q12, q22)), strict=True)
    return torch.cat([_integrate_block(pairs, counts, *q) for q in blocks], dim=1)


def _integrate_block(
    pairs: tuple[Pair, ...], counts: _Counts, q11: Tensor, q12: Tensor, q22: Tensor
) -> Tensor:
    deviation1, deviation2 = q11.clamp(min=0.0).sqrt(), q22.clamp(min=0.0).sqrt()
    scale = 1.0 / (1.0 + torch.maximum(deviation1, deviation2))
    radius, weight = _radii(counts, scale)  # (P, R, 1)
    crowd = _CROWDING / (1.0 + radius * (1.0 / scale - 1.0))
    pair = frame(q11, q12, q22)
    acute = pair.acute_angle()
    equal = torch.where(pair.covariance >= 0, math.pi - acute, acute)  # pi - theta, accurate at both ends
    opposite = torch.where(pair.covariance >= 0, acute, math.pi - acute)
    firsts, seconds = {f for f, _ in pairs}, {g for _, g in pairs}
    totals = [torch.zeros_like(q12.reshape(-1)) for _ in pairs]
    for sector, sign in ((equal, 1.0), (opposite, -1.0)):
        angle, angle_weight = crowded_nodes(counts.angles, 0.5 * sector, crowd)  # (P, R, A)
        angle_weight = angle_weight * weight
        near, far = radius * angle.sin(), radius * (sector - angle).sin()
        for left, right in ((far, near), (near, far)):
            for side in (1.0, -1.0):
                u, v = side * deviation1 * left, side * sign * deviation2 * right
                weighted = {f: f(u) * angle_weight for f in firsts}
                plain = {g: g(v) for g in seconds}
                for total, (f, g) in zip(totals, pairs, strict=True):
                    total += torch.einsum("prs,prs->p", weighted[f], plain[g])
    return torch.stack(totals) / (2.0 * math.pi)


def _radii(counts: _Counts, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Radii and weights, with the density r exp(-r^2 / 2): (P, R, 1)."""
    radius, weight = graded_nodes(counts.near, counts.far, _END, scale)
    weight = weight * radius * torch.exp(-0.5 * radius.square())
    return radius.transpose(1, 2), weight.transpose(1, 2)
