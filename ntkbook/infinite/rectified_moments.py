r"""Moments of rectified Gaussian pairs, from which every activation with a kink at zero is built.

For centred jointly Gaussian :math:`u, v` with variances :math:`q_{11}, q_{22}`, covariance :math:`q_{12}`
and angle :math:`\theta`,

.. math::
    M_n = E[u_+^n v_+^n] = \frac{(q_{11} q_{22})^{n/2}}{2 \pi} J_n(\theta),

the arc-cosine kernels of Cho and Saul (2009, eqs. 1-4). Here :math:`M_0 = (\pi - \theta) / 2 \pi`,
:math:`M_1 = q_{12} M_0 + S / 2 \pi` with :math:`S = \sqrt{q_{11} q_{22} - q_{12}^2}`, and integration by
parts gives, for :math:`n \ge 2` and :math:`\ell_n = q_{11} E[u_+^{n-1} v_+^{n+1}]`,

.. math::
    M_n = n\, q_{12} M_{n-1} + (n - 1)\, \ell_{n-1}, \qquad
    \ell_n = n\, q_{11} q_{22} M_{n-1} + (n - 1)\, q_{12}\, \ell_{n-1}.

Derivatives. By Price's theorem :math:`\partial M_n / \partial q_{12} = n^2 M_{n-1}`; those in the variances
follow because :math:`M_n` is homogeneous of degree n. Two do not exist: :math:`\partial M_0 / \partial q_{12}
= 1 / (2 \pi S)` at :math:`S = 0`, and the derivatives in a variance that is zero. Both are the tip of a cone
in the network's inputs; their value here is 0, the mean of the one-sided derivatives. With it the gradient of
a kernel's diagonal :math:`k(x, x)` in :math:`x`, and the first two derivatives of :math:`M_1` in the inputs
at coincident inputs, come out right.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from ntkbook.infinite.gaussian_pair import (
    Frame,
    Partials,
    Unit,
    Value,
    frame,
    frame_of,
    push_forward,
    reciprocal,
    sine,
    unit,
    with_partials,
)

_TURN = 2.0 * math.pi
_BLOCK = 1 << 15  # elements: a few intermediates of this size fit a core's cache


def rectified_moment(degree: int, q11: Tensor, q12: Tensor, q22: Tensor) -> Tensor:
    r""":math:`M_n = E[u_+^n v_+^n]`, of the broadcast shape of the three arguments.

    Parameters
    ----------
    degree : int
        The power :math:`n \ge 0`.
    q11, q12, q22 : Tensor
        Variance of u, covariance, variance of v; they broadcast.

    Notes
    -----
    About 20 elementwise passes for n = 0 and 1, and 6 more per further degree. Errors are a few units of
    rounding relative to :math:`(q_{11} q_{22})^{n/2} (2n - 1)!!`, except that near :math:`\rho = \pm 1`
    rounding in the inputs themselves moves :math:`M_0` by the square root of the unit of rounding.

    Examples
    --------
    >>> import torch
    >>> one = torch.ones(1, dtype=torch.float64)
    >>> rectified_moment(1, one, one, one)       # E[relu(u)^2] = 1/2
    tensor([0.5000], dtype=torch.float64)
    >>> rectified_moment(3, one, -one, one)      # never both positive
    tensor([0.], dtype=torch.float64)
    """
    return with_partials(_value(degree), _partials(degree), q11, q12, q22)


def orthant_and_ramp(q11: Tensor, q12: Tensor, q22: Tensor) -> tuple[Tensor, Tensor]:
    """Return M_0 and M_1 together, at little more than the cost of one; differentiable as each alone.

    Examples
    --------
    >>> one = torch.ones(1)
    >>> orthant_and_ramp(one, 0 * one, one)      # 1/4 and 1 / (2 pi)
    (tensor([0.2500]), tensor([0.1592]))
    """
    result: tuple[Tensor, Tensor] = _OrthantAndRamp.apply(q11, q12, q22)  # type: ignore[no-untyped-call]
    return result


class _OrthantAndRamp(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(q11: Tensor, q12: Tensor, q22: Tensor) -> tuple[Tensor, Tensor]:
        unit1, unit2 = unit(q11), unit(q22)
        blocks = [_block(*part) for part in _row_blocks(unit1, q12, unit2)]
        if len(blocks) == 1:
            return blocks[0]
        orthant, ramp = zip(*blocks, strict=True)
        return torch.cat(orthant), torch.cat(ramp)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: tuple[Tensor, Tensor]) -> None:
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, ...]:
        q = ctx.saved_tensors
        slopes = zip(_partials(0)(*q), _partials(1)(*q), strict=True)
        return tuple(
            (grads[0] * a + grads[1] * b).sum_to_size(x.shape) for x, (a, b) in zip(q, slopes, strict=True)
        )

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor | None) -> tuple[Tensor, Tensor]:
        q = ctx.saved_tensors
        return push_forward(tangents, _partials(0)(*q)), push_forward(tangents, _partials(1)(*q))


def _row_blocks(unit1: Unit, q12: Tensor, unit2: Unit) -> Iterator[tuple[Unit, Tensor, Unit]]:
    """Cut large matrices on a CPU into blocks of rows whose intermediates stay in its cache."""
    rows = len(q12) if q12.ndim else 1
    ranks = {q12.ndim, *(t.ndim for t in (*unit1, *unit2))}
    if (
        q12.device.type != "cpu"
        or q12.numel() <= 2 * _BLOCK
        or len(ranks) > 1
        or not _rows_fit(rows, unit1, unit2)
    ):
        return iter([(unit1, q12, unit2)])
    size = max(1, _BLOCK * rows // q12.numel())

    def cut(t: Tensor) -> Sequence[Tensor]:
        return torch.split(t, size) if len(t) == rows else [t] * -(-rows // size)

    units1 = (Unit(*parts) for parts in zip(*map(cut, unit1), strict=True))
    units2 = (Unit(*parts) for parts in zip(*map(cut, unit2), strict=True))
    return zip(units1, cut(q12), units2, strict=True)


def _rows_fit(rows: int, *units: Unit) -> bool:
    return all(len(t) in (1, rows) for u in units for t in u)


def _block(unit1: Unit, q12: Tensor, unit2: Unit) -> tuple[Tensor, Tensor]:
    pair = frame_of(unit1, q12, unit2)
    turns = pair.acute_angle().div_(_TURN)
    ramp = torch.addcmul(pair.sine().div_(_TURN), turns, pair.covariance.abs(), value=-1.0)
    ramp = ramp.clamp(min=0.0).mul_(pair.scale)
    # A positive covariance adds half of itself, and has the acute angle; a negative one its supplement.
    ramp = ramp.add_(q12.clamp(min=0.0), alpha=0.5)
    return torch.where(pair.covariance >= 0, 0.5 - turns, turns), ramp


def _value(degree: int) -> Value:
    def value(q11: Tensor, q12: Tensor, q22: Tensor) -> Tensor:
        pair = frame(q11, q12, q22)
        acute = pair.acute_angle()
        if degree == 0:
            return _orthant(pair, acute)
        if degree == 1:
            # sin - angle * cos is small near collinear pairs, where it adds to a large term or stands alone.
            cap = (pair.sine() - acute * pair.covariance.abs()).clamp(min=0.0)
            return 0.5 * q12.clamp(min=0.0) + cap.mul_(pair.scale / _TURN)
        return _high_moment(degree, pair, acute)

    return value


def _orthant(pair: Frame, acute: Tensor) -> Tensor:
    """M_0, the probability that both are positive."""
    part = acute / _TURN
    return torch.where(pair.covariance >= 0, 0.5 - part, part)


def _high_moment(degree: int, pair: Frame, acute: Tensor) -> Tensor:
    """M_n for n > 1 by the recursion, at unit variances so that none of their powers overflows."""
    cosine = pair.covariance / pair.width
    part = pair.sine() / pair.width / _TURN
    orthant = _orthant(pair, acute)
    moment, mixed = cosine * orthant + part, orthant + cosine * part  # M_1 and l_1
    for n in range(2, degree + 1):
        moment, mixed = n * cosine * moment + (n - 1) * mixed, n * moment + (n - 1) * cosine * mixed
    return moment.clamp(min=0.0) * pair.scale**degree


def _partials(degree: int) -> Partials:
    def partials(q11: Tensor, q12: Tensor, q22: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        if degree == 0:
            slope = reciprocal(sine(q11, q12, q22)) / _TURN
            half = -0.5 * q12 * slope
        else:
            slope = degree**2 * rectified_moment(degree - 1, q11, q12, q22)
            if degree == 1:
                half = 0.5 * sine(q11, q12, q22) / _TURN
            else:
                half = 0.5 * (degree * rectified_moment(degree, q11, q12, q22) - q12 * slope)
        return half * reciprocal(q11), slope, half * reciprocal(q22)

    return partials
