"""Bayesian regression with the prior that a wide network is at initialization."""

from __future__ import annotations

import math
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import RegressorMixin
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from ntkbook._validation import check_positive
from ntkbook.dynamics.mse_flow import MSEFlow
from ntkbook.estimators import _networks
from ntkbook.estimators._base import NetworkEstimator
from ntkbook.estimators._coefficients import warn_if_singular
from ntkbook.estimators._networks import Activation, Network


class NNGPRegressor(RegressorMixin, NetworkEstimator):  # type: ignore[misc]
    r"""Gaussian-process regression with the covariance of an infinitely wide random network.

    With the prior :math:`f \sim GP(0, \mathcal K)` and targets :math:`Y = f(X) + \varepsilon` with noise of
    variance :math:`\lambda`, the posterior at test inputs is Gaussian with

    .. math::
        \mu = \mathcal K(x, X)(\mathcal K(X, X) + \lambda I)^{-1} Y, \qquad
        \Sigma = \mathcal K(x, x) - \mathcal K(x, X)(\mathcal K(X, X) + \lambda I)^{-1}\mathcal K(X, x)

    Parameters
    ----------
    net, depth, w_std, b_std, activation
        As in :class:`NTKRegressor`.
    diag_reg : float
        The variance of the noise, in units of the mean of the training kernel's diagonal.

    Attributes
    ----------
    noise_variance_ : float
        :math:`\lambda`.
    log_marginal_likelihood_value_ : float
        :math:`\log p(Y)`, the sum over independent outputs; minus infinity for a singular kernel without
        noise, under which almost no Y has a density.
    dual_coef_ : ndarray, shape (N,) or (N, K)
        :math:`(\mathcal K + \lambda I)^{-1} Y`.
    kernel_, X_fit_, n_features_in_
        As in :class:`NTKRegressor`.

    Raises
    ------
    ValueError, InfiniteWidthError
        As in :class:`NTKRegressor`.

    Warns
    -----
    UserWarning
        If ``diag_reg`` is 0 and the kernel is singular: how many eigenvalues count as 0.

    Notes
    -----
    Everything is done in float64. With noise: Cholesky, :math:`N^3/3` operations. Without, or should Cholesky
    fail because ``diag_reg`` is as small as rounding: one eigendecomposition, about :math:`10 N^3`, and the
    pseudo-inverse on the kernel's range. `predict` of M inputs makes the kernel in batches of at most
    32 MiB; the standard deviation costs another :math:`N^2 M`, the covariance an M x M matrix.

    The noise and the network's scales may be chosen by the likelihood: with gradients, see
    :class:`ntkbook.gpytorch_kernel.NetworkKernel`.

    Source: Lee et al. (2018), equations 8 and 9.

    Examples
    --------
    >>> import numpy as np
    >>> from ntkbook.estimators import NNGPRegressor
    >>> model = NNGPRegressor(depth=1, activation="erf").fit([[-1.0], [0.0], [1.0]], [1.0, 0.0, 1.0])
    >>> mean, std = model.predict([[0.0], [3.0]], return_std=True)
    >>> bool(std[0] < 0.1 * std[1])
    True
    """

    dual_coef_: NDArray[np.float64]
    _factor: Tensor
    _is_triangular: bool

    def __init__(
        self,
        net: Network | None = None,
        *,
        depth: int = _networks.DEPTH,
        w_std: float = _networks.W_STD,
        b_std: float = _networks.B_STD,
        activation: Activation = _networks.ACTIVATION,
        diag_reg: float = 1e-4,
    ) -> None:
        self.net = net
        self.depth = depth
        self.w_std = w_std
        self.b_std = b_std
        self.activation = activation
        self.diag_reg = diag_reg

    def fit(self, X: Any, y: Any) -> Self:
        """Compute the training kernel, its factor and the coefficients.

        Parameters
        ----------
        X : array-like, shape (N, d), or the shape that ``net`` takes
        y : array-like, shape (N,) or (N, K)

        Returns
        -------
        self
        """
        check_positive("diag_reg", self.diag_reg, zero_allowed=True)
        X, y = self._validate(X, y=y, y_numeric=True, multi_output=True)
        targets = torch.tensor(np.asarray(y, dtype=np.float64).reshape(len(y), -1))
        self.kernel_, self.X_fit_ = self._make_kernel(X.shape[1]), X
        gram = _networks.matrix(self.kernel_, "nngp", torch.tensor(X))
        self.noise_variance_ = float(self.diag_reg * gram.diagonal().mean())
        self._factor, self._is_triangular, log_determinant = _factorize(gram, targets, self.diag_reg)
        white = self._whiten(targets)  # (rank, K)
        coefficients = (
            torch.linalg.solve_triangular(self._factor.mT, white, upper=True)
            if self._is_triangular
            else self._factor @ white
        )
        self.dual_coef_ = coefficients.numpy().reshape(y.shape)
        self.log_marginal_likelihood_value_ = float(
            -0.5 * (white.square().sum() + targets.shape[1] * log_determinant)
            - 0.5 * targets.numel() * math.log(2 * math.pi)
        )
        return self

    def predict(self, X: Any, return_std: bool = False, return_cov: bool = False) -> Any:
        """Return the posterior of the network's noiseless outputs.

        Parameters
        ----------
        X : array-like, shape (M, d), or the shape that ``net`` takes
        return_std, return_cov : bool
            At most one of them.

        Returns
        -------
        mean : ndarray, shape (M,) or (M, K)
        std : ndarray, shape (M,) or (M, K)
            If ``return_std``. Equal for all outputs, which share kernel and noise.
        cov : ndarray, shape (M, M) or (M, M, K)
            If ``return_cov``; likewise. Add ``noise_variance_`` to its diagonal for targets with noise.
        """
        if return_std and return_cov:
            raise ValueError("return_std and return_cov cannot both be True; the former is in the latter")
        check_is_fitted(self)
        x = self._validate(X, reset=False)
        outputs = self.dual_coef_.shape[1:]
        mean, whitened, variance = [], [], []
        coefficients = torch.tensor(self.dual_coef_)
        for rows, across in self._across(x, "nngp"):
            mean.append(across @ coefficients)
            if return_std or return_cov:
                white = self._whiten(across.mT)  # (rank, m)
            if return_std:
                variance.append(self._prior_variance(x[rows]) - white.square().sum(0))
            if return_cov:
                whitened.append(white)
        result = torch.cat(mean).numpy()
        if return_std:
            std = torch.cat(variance).clamp(min=0.0).sqrt().numpy()
            return result, _for_each(std, outputs)
        if return_cov:
            white = torch.cat(whitened, dim=1)
            cov = _networks.matrix(self.kernel_, "nngp", torch.tensor(x)) - white.mT @ white
            return result, _for_each(cov.numpy(), outputs)
        return result

    def _whiten(self, values: Tensor) -> Tensor:
        """Return W v, where W^T W is the inverse of the training covariance."""
        whitened: Tensor
        if self._is_triangular:
            whitened = torch.linalg.solve_triangular(self._factor, values, upper=False)
        else:
            whitened = self._factor.mT @ values
        return whitened

    def _prior_variance(self, x: NDArray[np.float64]) -> Tensor:
        """Return the kernel's diagonal, from small blocks along it."""
        blocks = [x[begin : begin + 64] for begin in range(0, len(x), 64)]
        return torch.cat(
            [_networks.matrix(self.kernel_, "nngp", torch.tensor(block)).diagonal() for block in blocks]
        )

    def __sklearn_tags__(self) -> Any:
        """Say that several targets are welcome."""
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


def _factorize(gram: Tensor, targets: Tensor, diag_reg: float) -> tuple[Tensor, bool, Tensor]:
    """Return a factor of the regularized kernel, whether it is triangular, and the log determinant."""
    if diag_reg > 0:
        regularized = gram.clone()
        regularized.diagonal().add_(diag_reg * gram.diagonal().mean())
        factor, info = torch.linalg.cholesky_ex(regularized)
        if int(info) == 0:
            return factor, True, 2 * factor.diagonal().log().sum()
    flow = MSEFlow(gram, targets, diag_reg=diag_reg)
    warn_if_singular(flow)
    kept = flow.eigenvalues > 0
    values = flow.eigenvalues[kept]
    log_determinant = values.log().sum() if bool(kept.all()) else values.new_tensor(math.inf)
    return flow.eigenvectors[:, kept] * values.rsqrt(), False, log_determinant


def _for_each(values: NDArray[np.float64], outputs: tuple[int, ...]) -> NDArray[np.float64]:
    """Repeat along a last axis of outputs, where there is one."""
    return np.repeat(values[..., None], outputs[0], axis=-1) if outputs else values
