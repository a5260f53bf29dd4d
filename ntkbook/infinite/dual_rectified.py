r"""Dual activations of functions with one kink or jump, at zero.

All follow from the moments :math:`M_n = E[u_+^n v_+^n]` of :mod:`ntkbook.infinite.rectified_moments`. With
:math:`\phi(x) = a \min(x, 0) + b \max(x, 0)`,

.. math::
    E[\phi \phi] = (a - b)^2 M_1 + a b\, q_{12}, \qquad E[\phi' \phi'] = (a - b)^2 M_0 + a b,

because :math:`E[u_+ (-v)_+] = M_1 - q_{12} / 2`. At zero variance :math:`\phi'(0) = (a + b) / 2`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ntkbook._validation import check_square
from ntkbook.infinite.dual_activations import DualMoments, register_dual, rule_of
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


# Slopes left and right of zero.
_SLOPES: dict[type[torch.nn.Module], Callable[[Any], tuple[float, float]]] = {
    torch.nn.ReLU: lambda module: (0.0, 1.0),
    torch.nn.LeakyReLU: lambda module: (check_square("negative_slope", module.negative_slope), 1.0),
    ABReLU: lambda module: (check_square("a", module.a), check_square("b", module.b)),
    Abs: lambda module: (-1.0, 1.0),
}


@register_dual(*_SLOPES)
def _piecewise_linear(module: torch.nn.Module, q11: Tensor, q12: Tensor, q22: Tensor) -> DualMoments:
    return piecewise_linear(*_SLOPES[type(module)](module), q11, q12, q22)


def slopes(module: torch.nn.Module) -> tuple[float, float] | None:
    """Return the slopes left and right of zero.

    None if the module is not piecewise linear, or has been given another dual since.
    """
    if type(module) not in _SLOPES or rule_of(module) is not _piecewise_linear:
        return None
    return _SLOPES[type(module)](module)


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
