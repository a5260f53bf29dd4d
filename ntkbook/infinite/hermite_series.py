r"""Gaussian moments of pairs by one-dimensional integrals, where a series in the correlation converges.

Normalized Hermite polynomials diagonalize the correlation of a Gaussian pair (Mehler's formula): with
coefficients :math:`a_k(\sigma) = E[f(\sigma z) he_k(z)]` of each variable on its own,

.. math::
    E[f(u) g(v)] = \sum_{k \ge 0} a_k(\sigma_1)\, b_k(\sigma_2)\, \rho^k.

For N by N pairs that is N integrals and N^2 short sums instead of N^2 double integrals. The price is slow
convergence for functions that change faster than their argument's deviation, near :math:`|\rho| = 1`: every
pair comes with an estimate of what the series leaves out, by which the caller decides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from ntkbook.infinite.gaussian_pair import frame
from ntkbook.infinite.radial_nodes import graded_nodes

Pair = tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]

TERMS = 256
_END = 14.0  # the density is below 1e-42 beyond, and the largest polynomial times its root below 1e-9
_NEAR, _FAR = 48, 160  # nodes up to 1.5, and beyond; he_255 has a wavelength of 0.4 there
_BLOCK = 1 << 15


def series_moments(
    pairs: Sequence[Pair], q11: Tensor, q12: Tensor, q22: Tensor, tolerance: float
) -> tuple[Tensor, Tensor]:
    """Sum the series for every pair of variables, and say where it has converged.

    Parameters
    ----------
    pairs : sequence of (callable, callable)
        The functions f, g.
    q11, q12, q22 : Tensor
        Variances and covariance; they broadcast.
    tolerance : float
        Largest remainder allowed, relative to the root of the two second moments.

    Returns
    -------
    moments : Tensor
        (len(pairs), *broadcast shape).
    converged : Tensor
        Boolean, of the broadcast shape: whether the estimated remainders of all moments are within the
        tolerance.

    Examples
    --------
    >>> one = torch.ones(1, dtype=torch.float64)
    >>> series_moments([(torch.sin, torch.sin)], one, 0.5 * one, one, 1e-13)   # sinh(1/2) / e
    (tensor([[0.1917]], dtype=torch.float64), tensor([True]))
    """
    first = {f: _Expansion(f, q11) for f, _ in pairs}
    second = {g: _Expansion(g, q22) for _, g in pairs}
    pair = frame(q11, q12, q22)
    rho = (pair.covariance / pair.width).clamp(-1.0, 1.0)
    power = rho.abs() ** TERMS
    converged = torch.ones_like(rho, dtype=torch.bool)
    sums = []
    for f, g in pairs:
        left, right = first[f], second[g]
        remainder = power * left.tail * right.tail
        converged = converged & (remainder <= tolerance * left.norm * right.norm)
        sums.append(_sum(left.coefficients, right.coefficients, rho))
    return torch.stack(sums), converged


class _Expansion:
    """Hermite coefficients of a function at every variance, (TERMS, *variance shape); its norm, its tail."""

    def __init__(self, function: Callable[[Tensor], Tensor], variance: Tensor) -> None:
        coefficients = _coefficients(function, variance.reshape(-1, 1).double())
        squares = coefficients.square()
        shape = variance.shape
        self.coefficients = coefficients.reshape(TERMS, *shape).to(variance.dtype)
        self.norm = squares.sum(0).sqrt().reshape(shape).to(variance.dtype)
        # The last quarter stands for all that follows: terms fall at least like a power of k. Twice, to be
        # safe.
        self.tail = 2.0 * squares[3 * TERMS // 4 :].sum(0).sqrt().reshape(shape).to(variance.dtype)


def _coefficients(function: Callable[[Tensor], Tensor], variance: Tensor) -> Tensor:
    """E[f(sigma z) he_k(z)] for k below TERMS: (TERMS, V) from variances (V, 1)."""
    deviation = variance.clamp(min=0.0).sqrt()
    z, weight = graded_nodes(_NEAR, _FAR, _END, 1.0 / (1.0 + deviation))  # (V, nodes)
    weight = weight * torch.exp(-0.5 * z.square()) * (2.0 * torch.pi) ** -0.5
    right, left = function(deviation * z) * weight, function(-deviation * z) * weight
    parts = (right + left, right - left)  # polynomials of even and odd degree
    previous, current = torch.zeros_like(z), torch.ones_like(z)
    rows = []
    for k in range(TERMS):
        rows.append((parts[k % 2] * current).sum(1))
        previous, current = current, (z * current - k**0.5 * previous) / (k + 1) ** 0.5
    return torch.stack(rows)


def _sum(left: Tensor, right: Tensor, rho: Tensor) -> Tensor:
    """Horner's rule in the correlation, on blocks of rows that stay in cache."""
    sizes = (left.flatten(1).abs().amax(1) * right.flatten(1).abs().amax(1)).tolist()
    floor = 1e-3 * torch.finfo(rho.dtype).eps * max(sizes)
    terms = max((k + 1 for k, size in enumerate(sizes) if size > floor), default=1)
    blocks = []
    for a, b, r in _row_blocks(left[:terms], right[:terms], rho):
        total = (a[-1] * b[-1]).expand_as(r).clone()
        for k in range(terms - 2, -1, -1):
            total.mul_(r).addcmul_(a[k], b[k])
        blocks.append(total)
    return torch.cat(blocks) if len(blocks) > 1 else blocks[0]


def _row_blocks(left: Tensor, right: Tensor, rho: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    if rho.ndim == 0:
        yield left, right, rho
        return
    rows = len(rho)
    size = max(1, _BLOCK * rows // rho.numel())
    for start in range(0, rows, size):
        stop = min(start + size, rows)
        a, b = (
            t[:, start:stop] if t.ndim == rho.ndim + 1 and t.shape[1] == rows else t for t in (left, right)
        )
        yield a, b, rho[start:stop]
