r"""Piecewise-linear activations when no gradient is wanted: both kernels in one pass, in place.

For :math:`\phi(x) = a \min(x, 0) + b \max(x, 0)` and a pair of variances :math:`q_{11}, q_{22}` and
covariance :math:`q_{12} = c \sqrt{q_{11} q_{22}}`, with :math:`\theta = \arccos c` (Cho and Saul 2009,
equations 3 to 6),

.. math::
    E[\phi \phi] = \frac{(a - b)^2}{2 \pi} \sqrt{q_{11} q_{22}} \,(\sin\theta + (\pi - \theta)\, c) + a b\,
    q_{12}, \qquad E[\phi' \phi'] = \frac{(a - b)^2}{2 \pi} (\pi - \theta) + a b .

About twenty operations on the pairs, against a hundred of the differentiable route in
:mod:`ntkbook.infinite.dual_rectified`, which is its naive twin in the tests. Both sine and angle come from
:math:`1 - |c|`, so that coincident inputs give exactly :math:`\theta = 0`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def rectify(a: float, b: float, q11: Tensor, q12: Tensor, q22: Tensor, ntk: Tensor) -> tuple[Tensor, Tensor]:
    r"""Return the NNGP covariance and the tangent kernel after the activation, of the shape of ``q12``.

    Variances broadcast against ``q12``; nothing is differentiable. A pair with a zero variance has a right
    angle.
    """
    inverse1, half1, deviation1 = _unit(q11)
    inverse2, half2, deviation2 = _unit(q22)
    gain = (a - b) ** 2 / (2 * math.pi)
    cosine = q12 * inverse1
    cosine *= inverse2
    size = cosine.abs()
    one = half1 + half2  # 1 up to the rounding that the cosine has too
    gap = (one - size).clamp_(min=0.0)
    sine = one.add_(size).mul_(gap).sqrt_()
    acute = gap.mul_(0.5).sqrt_().asin_()  # half the angle between u and v or -v
    supplement = acute.mul_(-2.0).add_(math.pi / 2).copysign_(cosine).add_(math.pi / 2)  # pi - theta
    phi_phi = sine.addcmul_(supplement, cosine).mul_(deviation1 * gain).mul_(deviation2)
    slope = supplement.mul_(gain)
    if a * b:
        phi_phi.add_(q12, alpha=a * b)
        slope.add_(a * b)
    return phi_phi, slope.mul_(ntk)


def _unit(variance: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return 1 / deviation, half the variance in its own units, deviation; at zero 0, 1/2, 0."""
    positive = variance > 0
    inverse = torch.where(positive, variance, 1.0).rsqrt() * positive
    # The products in the order of the cosine's: equal inputs round equally, and their gap is exactly 0.
    unit = variance * inverse * inverse
    return inverse, torch.where(positive, unit, 1.0) * 0.5, variance * inverse
