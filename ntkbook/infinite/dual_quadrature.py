"""Dual activations without a closed form, by the quadrature of :mod:`ntkbook.infinite.quadrature`.

Errors in float64, relative to the moment at coincident inputs: 1e-11 for E[phi phi] and 1e-8 for E[phi' phi']
up to variances of 100; 3e-6 and 5e-3 at any variance; in float32 1e-5 and 1e-4. For the activations here, the
worst at variances up to 25 is E[phi' phi'] of GELU's tanh form, 4e-10, the others below 1e-11. That form is
integrated as itself, not as the GELU it approximates.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ntkbook._validation import check_choice, check_number
from ntkbook.infinite.dual_activations import DualMoments, register_dual
from ntkbook.infinite.dual_smooth import gelu
from ntkbook.infinite.gaussian_pair import with_partials
from ntkbook.infinite.known_derivatives import ELU, GELUTanh, Logistic, Mish, SiLU, Softplus, Tanh
from ntkbook.infinite.quadrature import Function, derivative, gaussian_moments
from ntkbook.nn.activations import Elementwise


def _by_quadrature(fn: Function, q11: Tensor, q12: Tensor, q22: Tensor, *, smooth: bool) -> DualMoments:
    slope = derivative(fn)
    return DualMoments(*gaussian_moments(((fn, fn), (slope, slope)), q11, q12, q22, smooth=smooth))


_SMOOTH: dict[type[torch.nn.Module], Function] = {
    torch.nn.Tanh: Tanh(),
    torch.nn.Sigmoid: Logistic(),
    torch.nn.SiLU: SiLU(),
    torch.nn.Mish: Mish(),
}


@register_dual(*_SMOOTH)
def _smooth_module(module: torch.nn.Module, q11: Tensor, q12: Tensor, q22: Tensor) -> DualMoments:
    return _by_quadrature(_SMOOTH[type(module)], q11, q12, q22, smooth=True)


@register_dual(torch.nn.GELU)
def _gelu(module: torch.nn.GELU, q11: Tensor, q12: Tensor, q22: Tensor) -> DualMoments:
    if check_choice("approximate", module.approximate, ("none", "tanh")) == "none":
        return gelu(q11, q12, q22)
    return _by_quadrature(GELUTanh(), q11, q12, q22, smooth=True)


@register_dual(torch.nn.Softplus)
def _softplus(module: torch.nn.Softplus, q11: Tensor, q12: Tensor, q22: Tensor) -> DualMoments:
    if not check_number("beta", module.beta):
        raise ValueError("beta must not be 0, by which Softplus divides, got 0; use a positive number")
    if check_number("threshold", module.threshold) < 20:
        raise ValueError(
            f"Softplus(threshold={module.threshold}) has a jump where it turns linear, which the quadrature "
            "would miss; use a threshold of at least 20"
        )
    return _by_quadrature(Softplus(beta=float(module.beta)), q11, q12, q22, smooth=True)


@register_dual(torch.nn.ELU)
def _elu(module: torch.nn.ELU, q11: Tensor, q12: Tensor, q22: Tensor) -> DualMoments:
    fn = ELU(alpha=check_number("alpha", module.alpha))
    if fn.alpha == 1.0:
        return _by_quadrature(fn, q11, q12, q22, smooth=False)
    slope = derivative(fn)  # jumps at zero
    (phi_phi,) = gaussian_moments(((fn, fn),), q11, q12, q22, smooth=False)
    dphi_dphi = with_partials(
        lambda *q: gaussian_moments(((slope, slope),), *q, smooth=False)[0], _refuse_elu, q11, q12, q22
    )
    return DualMoments(phi_phi, dphi_dphi)


def _refuse_elu(q11: Tensor, q12: Tensor, q22: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    raise RuntimeError(
        "the tangent kernel of ELU with alpha other than 1 is not differentiable by quadrature, because its "
        "slope jumps at zero; use alpha=1, or detach the kernel's ntk"
    )


@register_dual(Elementwise)
def _elementwise(module: Elementwise, q11: Tensor, q12: Tensor, q22: Tensor) -> DualMoments:
    return _by_quadrature(module.fn, q11, q12, q22, smooth=False)
