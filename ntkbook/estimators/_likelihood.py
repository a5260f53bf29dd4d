"""The marginal likelihood of a Gaussian process, and the scales of a network that raise it."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor

from ntkbook._warn import warn

# Of (w_std, b_std, diag_reg). Regularization of 1e-8 keeps Cholesky in float64 sound, whatever the inputs.
_BOUNDS = ((1e-2, 1e2), (1e-5, 1e2), (1e-8, 1e3))


def log_likelihood(white: Tensor, log_determinant: Tensor) -> Tensor:
    r"""Return the log density of whitened targets (N, K), its columns independent.

    .. math:: \log p(Y) = -\tfrac12 \|L^{-1} Y\|^2 - \tfrac{K}{2} \log\det(L L^T) - \tfrac{NK}{2} \log 2\pi
    """
    return -0.5 * (
        white.square().sum() + white.shape[1] * log_determinant + white.numel() * math.log(2 * math.pi)
    )


def regularized(gram: Tensor, diag_reg: float | Tensor) -> Tensor:
    """Return the kernel with noise of variance ``diag_reg`` times the mean of its diagonal."""
    return gram + torch.diag((diag_reg * gram.diagonal().mean()).expand(len(gram)))


def maximize_likelihood(
    gram: Callable[[Tensor, Tensor], Tensor], targets: Tensor, start: tuple[float, float, float]
) -> tuple[float, float, float]:
    """Return (w_std, b_std, diag_reg) at a local maximum of the likelihood, found uphill from ``start``.

    ``gram(w_std, b_std)`` is the training kernel, differentiable. The logarithms of the scales are moved by
    L-BFGS-B, with gradients by autograd.
    """

    def negative(logarithms: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        with torch.enable_grad():
            logs = torch.tensor(logarithms, requires_grad=True)
            w_std, b_std, diag_reg = logs.exp()
            factor = torch.linalg.cholesky(regularized(gram(w_std, b_std), diag_reg))
            white = torch.linalg.solve_triangular(factor, targets, upper=False)
            value = -log_likelihood(white, 2 * factor.diagonal().log().sum()) / targets.numel()
            (gradient,) = torch.autograd.grad(value, logs)
        return float(value.detach()), gradient.numpy()

    result = minimize(negative, np.log(start), jac=True, method="L-BFGS-B", bounds=np.log(_BOUNDS))
    if not result.success:
        warn(
            f"the likelihood was not maximized: {result.message}; the best scales so far are used",
            ConvergenceWarning,
        )
    w_std, b_std, diag_reg = np.exp(result.x).tolist()
    return w_std, b_std, diag_reg
