r"""Dual activations in closed form of smooth functions.

Throughout :math:`s = q_{11} + q_{22}` and :math:`\Delta = q_{11} q_{22} - q_{12}^2`. Each formula is arranged
so that it neither cancels near collinear pairs nor overflows at large variances, and so that autograd through
it is as accurate as the value.

Sources: erf, Williams (1997, eq. 11); GELU, Tsuchida et al. (2021, "Avoiding kernel fixed points"); sine,
cosine, exponential and Gaussian are characteristic functions of, or Gaussian integrals over, the pair. The
derivative moments follow by Price's theorem, :math:`E[\phi' \phi'] = \partial E[\phi \phi] / \partial
q_{12}`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ntkbook.infinite.dual_activations import DualMoments, register_dual
from ntkbook.infinite.gaussian_pair import determinant
from ntkbook.nn.activations import Cos, Erf, Exp, Gabor, Gaussian, Rbf, SigmoidLike, Sin


@register_dual(torch.nn.Identity)
def _identity(module: torch.nn.Identity, q11: Tensor, q12: Tensor, q22: Tensor) -> DualMoments:
    phi_phi: Tensor = torch.broadcast_tensors(q11, q12, q22)[1]  # type: ignore[no-untyped-call]
    return DualMoments(phi_phi, torch.ones_like(phi_phi))


@register_dual(Erf, SigmoidLike)
def _erf(module: Erf, q11: Tensor, q12: Tensor, q22: Tensor) -> DualMoments:
    r"""E = c^2 + (2 a^2 / pi) arctan(2 b^2 q12 / sqrt D), D = 1 + 2 b^2 s + 4 b^4 Delta."""
    b2 = 2.0 * module.b**2
    root = (1.0 + b2 * (q11 + q22) + b2**2 * determinant(q11, q12, q22)).sqrt()
    factor = 2.0 * module.a**2 / math.pi
    return DualMoments(module.c**2 + factor * torch.atan2(b2 * q12, root), factor * b2 / root)


def gelu(q11: Tensor, q12: Tensor, q22: Tensor) -> DualMoments:
    r"""Dual of x times the normal distribution function of x.

    With :math:`D^2 = 1 + s + \Delta` and :math:`A = \arctan(q_{12} / D)`,

    .. math::
        E[\phi \phi] &= \frac{q_{12}}{4} + \frac{1}{2 \pi} \left[ q_{12} A
            + \frac{q_{11}}{1 + q_{11}} \frac{q_{22}}{1 + q_{22}} D
            + \frac{q_{12}}{1 + q_{11}} \frac{q_{12}}{1 + q_{22}} \frac1D \right], \\
        E[\phi' \phi'] &= \frac14 + \frac{A}{2 \pi} + \frac{q_{12}}{2 \pi D} \left[
            \frac{1}{D^2} + \frac{1}{1 + q_{11}} + \frac{1}{1 + q_{22}} \right].
    """
    inverse1, inverse2 = 1.0 / (1.0 + q11), 1.0 / (1.0 + q22)
    root = (1.0 + q11 + q22 + determinant(q11, q12, q22)).sqrt()
    angle = torch.atan2(q12, root)
    bracket = (
        q12 * angle + (q11 * inverse1) * (q22 * inverse2) * root + (q12 * inverse1) * (q12 * inverse2) / root
    )
    ratio = q12 / root
    slopes = angle + ratio * (1.0 / root.square() + inverse1 + inverse2)
    return DualMoments(0.25 * q12 + bracket / (2.0 * math.pi), 0.25 + slopes / (2.0 * math.pi))


def _half_gap(q11: Tensor, q12: Tensor, q22: Tensor) -> Tensor:
    r"""Half the variance of u - v, (q11 + q22) / 2 - q12, with its derivative.

    It is at least half the square of the deviations' difference, :math:`(\sigma_1 - \sigma_2)^2 / 2`: at huge
    variances all that is left of it where the covariance has been rounded away.
    """
    gap = 0.5 * ((q11 - q12) + (q22 - q12))
    deviations = q11.detach().clamp(min=0.0).sqrt() + q22.detach().clamp(min=0.0).sqrt()
    difference = (q11.detach() - q22.detach()) / deviations.clamp(min=torch.finfo(q11.dtype).tiny)
    return gap + (0.5 * difference.square() - gap.detach()).clamp(min=0.0)


def _even_odd(q11: Tensor, q12: Tensor, q22: Tensor) -> tuple[Tensor, Tensor]:
    """E[cos u cos v] and E[sin u sin v], that is exp(-s/2) times cosh and sinh of q12.

    Written with the smaller of the two exponentials factored out, which keeps sinh relatively accurate at
    small q12 and finite at large. Each branch sees only arguments of its own sign, so that gradients of the
    other are finite.
    """
    plus = torch.exp(-_half_gap(q11, q12, q22))
    minus = torch.exp(-_half_gap(q11, -q12, q22))
    odd = torch.where(
        q12 >= 0,
        -0.5 * plus * torch.expm1(-2.0 * q12.clamp(min=0.0)),
        0.5 * minus * torch.expm1(2.0 * q12.clamp(max=0.0)),
    )
    return 0.5 * (plus + minus), odd


def _sinusoid(
    amplitude: float, frequency: float, sin2: float, cos2: float, q11: Tensor, q12: Tensor, q22: Tensor
) -> DualMoments:
    r"""Dual of a sin(b x + c): a^2 [sin^2(c) E cos cos + cos^2(c) E sin sin] of the scaled pair."""
    b2 = frequency**2
    even, odd = _even_odd(b2 * q11, b2 * q12, b2 * q22)
    a2 = amplitude**2
    return DualMoments(a2 * (sin2 * even + cos2 * odd), a2 * b2 * (cos2 * even + sin2 * odd))


@register_dual(Sin)
def _sin(module: Sin, q11: Tensor, q12: Tensor, q22: Tensor) -> DualMoments:
    sin2, cos2 = math.sin(module.c) ** 2, math.cos(module.c) ** 2
    return _sinusoid(module.a, module.b, sin2, cos2, q11, q12, q22)


@register_dual(Cos)
def _cos(module: Cos, q11: Tensor, q12: Tensor, q22: Tensor) -> DualMoments:
    sin2, cos2 = math.cos(module.c) ** 2, math.sin(module.c) ** 2
    return _sinusoid(module.a, module.b, sin2, cos2, q11, q12, q22)


@register_dual(Rbf)
def _rbf(module: Rbf, q11: Tensor, q12: Tensor, q22: Tensor) -> DualMoments:
    r"""E = exp(-gamma (q11 + q22 - 2 q12))."""
    phi_phi = torch.exp(-2.0 * module.gamma * _half_gap(q11, q12, q22))
    return DualMoments(phi_phi, 2.0 * module.gamma * phi_phi)


@register_dual(Exp)
def _exp(module: Exp, q11: Tensor, q12: Tensor, q22: Tensor) -> DualMoments:
    r"""E = a^2 exp(b^2 (s / 2 + q12)); infinite where that leaves the floating-point range."""
    b2 = module.b**2
    phi_phi = module.a**2 * torch.exp(b2 * (0.5 * (q11 + q22) + q12))
    return DualMoments(phi_phi, b2 * phi_phi)


@register_dual(Gaussian)
def _gaussian(module: Gaussian, q11: Tensor, q12: Tensor, q22: Tensor) -> DualMoments:
    r"""E = a^2 / sqrt D, D = 1 - 2 b s + 4 b^2 Delta; E' = 4 a^2 b^2 q12 / D^(3/2)."""
    b2 = -2.0 * module.b
    d = 1.0 + b2 * (q11 + q22) + b2**2 * determinant(q11, q12, q22)
    phi_phi = module.a**2 * d.rsqrt()
    return DualMoments(phi_phi, b2**2 * (q12 / d) * phi_phi)


@register_dual(Gabor)
def _gabor(module: Gabor, q11: Tensor, q12: Tensor, q22: Tensor) -> DualMoments:
    r"""Sine moment of the pair whose inverse covariance is larger by twice the identity.

    With D = 1 + 2 s + 4 Delta that pair has covariance c = q12 / D and variances that add up to t = (s + 4
    Delta) / D = 1 - (1 + s) / D, so E = exp(-t / 2) sinh(c) / sqrt D, and both |c| and t are below 1.
    """
    s = q11 + q22
    delta = determinant(q11, q12, q22)
    d = 1.0 + 2.0 * s + 4.0 * delta
    c = q12 / d
    front = torch.exp(-0.5 * (s + 4.0 * delta) / d) * d.rsqrt()
    rest = (1.0 + s) / d
    slopes = 4.0 * c * (1.0 + rest) * torch.sinh(c) + (1.0 / d + 8.0 * c.square()) * torch.cosh(c)
    return DualMoments(front * torch.sinh(c), front * slopes)
