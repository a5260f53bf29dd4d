r"""Dual activations of polynomials, exact for every variance.

A power of :math:`u \sim N(0, q)` expands in Hermite polynomials, which the pair keeps orthogonal
(:math:`E[He_l(u / \sqrt{q_{11}}) He_m(v / \sqrt{q_{22}})] = \delta_{lm}\, l!\, \rho^l`). So

.. math::
    E[\phi(u) \phi(v)] = \sum_l l!\; A_l(q_{11})\, A_l(q_{22})\, q_{12}^l

with polynomials :math:`A_l`. No square root of a variance is left, hence nothing is singular anywhere, and
the sum for a single power or a single Hermite polynomial has terms of one sign.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ntkbook.infinite.dual_activations import DualMoments, register_dual
from ntkbook.nn.activations import Hermite, Monomial, Polynomial


def _powers(x: Tensor, degree: int) -> list[Tensor]:
    """Powers 0 to degree by products: exact zeros stay zeros and derivatives stay finite."""
    powers = [torch.ones_like(x)]
    for _ in range(degree):
        powers.append(powers[-1] * x)
    return powers


def _pairings(n: int, k: int) -> int:
    """Count the ways to choose k disjoint pairs of n things: the coefficient of He_(n - 2k) in x^n."""
    return math.factorial(n) // (math.factorial(k) * math.factorial(n - 2 * k) << k)


def _power_like(n: int, q11: Tensor, q12: Tensor, q22: Tensor, shift: float) -> Tensor:
    """Moment of x^n (shift 0) or of He_n (shift 1).

    He_n(sqrt(q) z) = sum_k pairings(n, k) (q - 1)^k sqrt(q)^(n - 2k) He_(n - 2k)(z), and q for q - 1 if x^n.
    """
    across = _powers(q12, n)
    product = (q11 - shift) * (q22 - shift)
    within = _powers(product, n // 2)
    terms = [
        math.factorial(n - 2 * k) * _pairings(n, k) ** 2 * across[n - 2 * k] * within[k]
        for k in range(n // 2 + 1)
    ]
    return sum(terms[1:], start=terms[0].expand_as(q12 * product))


@register_dual(Monomial)
def _monomial(module: Monomial, q11: Tensor, q12: Tensor, q22: Tensor) -> DualMoments:
    r"""E = sum_k (n! / (k! (n-2k)! 2^k))^2 (n-2k)! q12^(n-2k) (q11 q22)^k."""
    n = module.degree
    phi_phi = _power_like(n, q11, q12, q22, shift=0.0)
    if n == 0:
        return DualMoments(phi_phi, torch.zeros_like(phi_phi))
    return DualMoments(phi_phi, n**2 * _power_like(n - 1, q11, q12, q22, shift=0.0))


@register_dual(Hermite)
def _hermite(module: Hermite, q11: Tensor, q12: Tensor, q22: Tensor) -> DualMoments:
    r"""As for a power, with q - 1 for q where it stands alone, over n!; at unit variances rho^n."""
    n = module.degree
    phi_phi = _power_like(n, q11, q12, q22, shift=1.0) / math.factorial(n)
    if n == 0:
        return DualMoments(phi_phi, torch.zeros_like(phi_phi))
    return DualMoments(phi_phi, n**2 * _power_like(n - 1, q11, q12, q22, shift=1.0) / math.factorial(n))


def _hermite_part(coefficients: Sequence[float], order: int, powers: list[Tensor]) -> Tensor:
    """A_l(q) = sum_k c_(l+2k) pairings(l + 2k, k) q^k, the weight of He_l in the polynomial."""
    terms = [
        coefficients[order + 2 * k] * _pairings(order + 2 * k, k) * powers[k]
        for k in range((len(coefficients) - 1 - order) // 2 + 1)
    ]
    return sum(terms[1:], start=terms[0])


def _polynomial_moment(coefficients: Sequence[float], q11: Tensor, q12: Tensor, q22: Tensor) -> Tensor:
    degree = len(coefficients) - 1
    powers1, powers2 = _powers(q11, degree // 2), _powers(q22, degree // 2)
    across = _powers(q12, degree)
    terms = [
        math.factorial(order)
        * across[order]
        * (_hermite_part(coefficients, order, powers1) * _hermite_part(coefficients, order, powers2))
        for order in range(degree + 1)
    ]
    return sum(terms[1:], start=terms[0])


@register_dual(Polynomial)
def _polynomial(module: Polynomial, q11: Tensor, q12: Tensor, q22: Tensor) -> DualMoments:
    c = module.coefficients
    slopes = [n * c[n] for n in range(1, len(c))] or [0.0]
    return DualMoments(_polynomial_moment(c, q11, q12, q22), _polynomial_moment(slopes, q11, q12, q22))
