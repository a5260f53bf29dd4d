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
from ntkbook.dynamics.spectrum import decompose
from ntkbook.estimators import _networks
from ntkbook.estimators._base import NetworkEstimator
from ntkbook.estimators._coefficients import warn_if_singular
from ntkbook.estimators._likelihood import log_likelihood, maximize_likelihood, regularized
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
    optimize : bool
        Whether :meth:`fit` moves ``w_std``, ``b_std`` and ``diag_reg`` from the given values uphill to a
        local maximum of the marginal likelihood, by L-BFGS-B with gradients through the kernel. Not with
        ``net``.

    Attributes
    ----------
    w_std_, b_std_, diag_reg_ : float
        The values in use: as given, or with ``optimize`` those found.
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
    pseudo-inverse on the kernel's range. A :meth:`predict` of M inputs makes the kernel in batches, as in
    :class:`NTKRegressor`; the standard deviation costs another :math:`N^2 M`, the covariance an
    :math:`M \times M` matrix and an :math:`M \times N` one.

    ``optimize`` keeps several :math:`N \times N` matrices for each layer in memory while it runs. To learn a
    scale for every layer, see :class:`ntkbook.gpytorch_kernel.NetworkKernel`.

    Source: Lee et al. (2018), equations 8 and 9.

    Examples
    --------
    >>> import numpy as np
    >>> from ntkbook.estimators import NNGPRegressor
    >>> model = NNGPRegressor(depth=1, activation="erf")
    >>> model = model.fit([[-1.0], [0.0], [1.0]], [1.0, 0.0, 1.0])
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
        optimize: bool = False,
    ) -> None:
        self.net = net
        self.depth = depth
        self.w_std = w_std
        self.b_std = b_std
        self.activation = activation
        self.diag_reg = diag_reg
        self.optimize = optimize

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
        x = torch.tensor(X)
        self.w_std_, self.b_std_, self.diag_reg_ = self.w_std, self.b_std, self.diag_reg
        if self.optimize:
            self.w_std_, self.b_std_, self.diag_reg_ = self._learned_scales(x, targets)
        self.kernel_ = self._make_kernel(x.shape[1], w_std=self.w_std_, b_std=self.b_std_)
        self.X_fit_ = X
        gram = _networks.evaluate(self.kernel_, x).nngp
        self.noise_variance_ = float(self.diag_reg_ * gram.diagonal().mean())
        self._factor, self._is_triangular, log_determinant = _factorize(gram, self.diag_reg_)
        white = self._whiten(targets)  # (rank, K)
        coefficients = (
            torch.linalg.solve_triangular(self._factor.mT, white, upper=True)
            if self._is_triangular
            else self._factor @ white
        )
        self.dual_coef_ = coefficients.numpy().reshape(y.shape)
        self.log_marginal_likelihood_value_ = float(log_likelihood(white, log_determinant))
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
        coefficients = torch.tensor(self.dual_coef_)
        mean, variance, whitened = [], [], []
        for kernel in self._across(x):
            mean.append(kernel.nngp @ coefficients)
            if return_std or return_cov:
                white = self._whiten(kernel.nngp.mT)  # (rank, m)
            if return_std:
                variance.append(kernel.cov1 - white.square().sum(0))
            if return_cov:
                whitened.append(white)
        result = torch.cat(mean).numpy()
        if return_std:
            std = torch.cat(variance).clamp(min=0.0).sqrt().numpy()
            return result, _for_each(std, outputs)
        if return_cov:
            white = torch.cat(whitened, dim=1)
            cov = _networks.evaluate(self.kernel_, torch.tensor(x)).nngp - white.mT @ white
            return result, _for_each(cov.numpy(), outputs)
        return result

    def _learned_scales(self, x: Tensor, targets: Tensor) -> tuple[float, float, float]:
        if self.net is not None:
            raise ValueError(
                "optimize=True is for the network that depth and activation describe, but net is given; "
                "learn the scales of its layers with ntkbook.gpytorch_kernel.NetworkKernel"
            )
        start = (self.w_std, self.b_std, self.diag_reg)
        for name, value in zip(("w_std", "b_std", "diag_reg"), start, strict=True):
            check_positive(f"with optimize=True {name}", value)

        def gram(w_std: Tensor, b_std: Tensor) -> Tensor:
            return self._make_kernel(x.shape[1], w_std=w_std, b_std=b_std)(x).nngp

        return maximize_likelihood(gram, targets, start)

    def _whiten(self, values: Tensor) -> Tensor:
        """Return W v, where W^T W is the inverse of the training covariance."""
        whitened: Tensor
        if self._is_triangular:
            whitened = torch.linalg.solve_triangular(self._factor, values, upper=False)
        else:
            whitened = self._factor.mT @ values
        return whitened

    def __sklearn_tags__(self) -> Any:
        """Say that several targets are welcome."""
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


def _factorize(gram: Tensor, diag_reg: float) -> tuple[Tensor, bool, Tensor]:
    """Return a factor of the regularized kernel, whether it is triangular, and the log determinant."""
    if diag_reg > 0:
        factor, info = torch.linalg.cholesky_ex(regularized(gram, diag_reg))
        if int(info) == 0:
            return factor, True, 2 * factor.diagonal().log().sum()
    spectrum = decompose("the training kernel", gram, diag_reg)
    warn_if_singular(spectrum)
    kept = spectrum.eigenvalues > 0
    values = spectrum.eigenvalues[kept]
    log_determinant = values.log().sum() if bool(kept.all()) else values.new_tensor(math.inf)
    return spectrum.eigenvectors[:, kept] * values.rsqrt(), False, log_determinant


def _for_each(values: NDArray[np.float64], outputs: tuple[int, ...]) -> NDArray[np.float64]:
    """Repeat along a last axis of outputs, where there is one."""
    return np.repeat(values[..., None], outputs[0], axis=-1) if outputs else values
