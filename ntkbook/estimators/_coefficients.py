"""Kernel regression's coefficients at any training time, with weights of the samples."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ntkbook._warn import warn
from ntkbook.dynamics.spectrum import Spectrum, decompose
from ntkbook.gram import StoredGram
from ntkbook.solve import solve


def dual_coefficients(
    gram: Tensor | StoredGram, targets: Tensor, diag_reg: float, t: float, weights: Tensor | None = None
) -> Tensor:
    r"""Return A such that k(x, X) A is the prediction at time t, (N, K) in float64.

    .. math:: A = W^{1/2} \varphi_t(W^{1/2} \Theta W^{1/2} + \lambda I)\, W^{1/2} Y,
        \qquad \varphi_t(\mu) = \frac{1 - e^{-\mu t / (K \sum_i w_i)}}{\mu}

    with :math:`\lambda` = ``diag_reg`` times the weighted mean of the diagonal. A sample of weight 2 counts
    like two equal samples. Of a singular kernel only the range takes part.
    """
    if isinstance(gram, StoredGram):
        if t != math.inf or weights is not None:
            raise ValueError(
                "a stored Gram matrix is solved without being loaded, which serves t=inf without "
                "sample_weight only; pass its tensor() instead"
            )
        return solve(gram, targets, diag_reg)
    if weights is None:
        return _regularized(gram, targets, diag_reg, t, total=len(gram))
    used = weights > 0
    root, total = weights[used].sqrt()[:, None], float(weights.sum())
    # diag_reg counts in units of the mean of the diagonal, which is a sum over N.
    inside = _regularized(
        root * gram[used][:, used] * root.mT, root * targets[used], diag_reg * len(root) / total, t, total
    )
    coefficients = torch.zeros_like(targets)
    coefficients[used] = root * inside
    return coefficients


def _regularized(gram: Tensor, targets: Tensor, diag_reg: float, t: float, total: float) -> Tensor:
    if t == math.inf and diag_reg > 0:
        return solve(gram, targets, diag_reg)
    spectrum = decompose("the training kernel", gram, diag_reg)
    if t == math.inf:
        warn_if_singular(spectrum)
    kept = spectrum.eigenvalues > 0
    values, vectors = spectrum.eigenvalues[kept], spectrum.eigenvectors[:, kept]
    gain = -torch.expm1(-values * t / (total * targets.shape[1])) / values
    coefficients: Tensor = vectors @ (gain[:, None] * (vectors.mT @ targets))
    return coefficients


def warn_if_singular(spectrum: Spectrum) -> None:
    """Say how much of the training kernel the pseudo-inverse leaves out."""
    missing = int((spectrum.eigenvalues == 0).sum())
    if missing:
        warn(
            f"the training kernel is singular: {missing} of its {len(spectrum.eigenvalues)} eigenvalues are "
            f"below {float(spectrum.noise):.3g}, what rounding can do to them, and the pseudo-inverse leaves "
            "their directions out, so that equal inputs get the mean of their targets. Pass diag_reg > 0, or "
            "remove repeated inputs"
        )
