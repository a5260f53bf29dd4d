r"""Dual activations of functions with one kink or jump, at zero.

All follow from the moments :math:`M_n = E[u_+^n v_+^n]` of :mod:`ntkbook.infinite.rectified_moments`. With
:math:`\phi(x) = a \min(x, 0) + b \max(x, 0)`,

.. math::
    E[\phi \phi] = (a - b)^2 M_1 + a b\, q_{12}, \qquad E[\phi' \phi'] = (a - b)^2 M_0 + a b,

because :math:`E[u_+ (-v)_+] = M_1 - q_{12} / 2`. At zero variance :math:`\phi'(0) = (a + b) / 2`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ntkbook.infinite.dual_activations import DualMoments, register_dual
from ntkbook.infinite.rectified_moments import orthant_and_ramp, rectified_moment
from ntkbook.nn.activations import ABReLU, Abs, RectifiedMonomial, Sign


def piecewise_linear(a: float, b: float, q11: Tensor, q12: Tensor, q22: Tensor) -> DualMoments:
    """Dual of the function with slope a on the left of zero and b on its right."""
    jump = (a - b) ** 2
    dphi_dphi, phi_phi = orthant_and_ramp(q11, q12, q22)
    if jump != 1.0:
        phi_phi, dphi_dphi = jump * phi_phi, jump * dphi_dphi
    if a * b:
        phi_phi, dphi_dphi = phi_phi + a * b * q12, dphi_dphi + a * b
    return DualMoments(phi_phi, dphi_dphi)


@register_dual(torch.nn.ReLU)
def _relu(module: torch.nn.ReLU, q11: Tensor, q12: Tensor, q22: Tensor) -> DualMoments:
    return piecewise_linear(0.0, 1.0, q11, q12, q22)


@register_dual(torch.nn.LeakyReLU)
def _leaky_relu(module: torch.nn.LeakyReLU, q11: Tensor, q12: Tensor, q22: Tensor) -> DualMoments:
    return piecewise_linear(module.negative_slope, 1.0, q11, q12, q22)


@register_dual(ABReLU)
def _ab_relu(module: ABReLU, q11: Tensor, q12: Tensor, q22: Tensor) -> DualMoments:
    return piecewise_linear(module.a, module.b, q11, q12, q22)


@register_dual(Abs)
def _abs(module: Abs, q11: Tensor, q12: Tensor, q22: Tensor) -> DualMoments:
    return piecewise_linear(-1.0, 1.0, q11, q12, q22)


@register_dual(Sign)
def _sign(module: Sign, q11: Tensor, q12: Tensor, q22: Tensor) -> DualMoments:
    phi_phi = 4.0 * rectified_moment(0, q11, q12, q22) - 1.0
    return DualMoments(phi_phi, torch.zeros_like(phi_phi))


@register_dual(RectifiedMonomial)
def _rectified_monomial(module: RectifiedMonomial, q11: Tensor, q12: Tensor, q22: Tensor) -> DualMoments:
    n = module.degree
    phi_phi = rectified_moment(n, q11, q12, q22)
    if n == 0:
        return DualMoments(phi_phi, torch.zeros_like(phi_phi))
    return DualMoments(phi_phi, n**2 * rectified_moment(n - 1, q11, q12, q22))
