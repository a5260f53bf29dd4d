"""Regression by a wide network trained on the squared loss."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import RegressorMixin

from ntkbook.estimators._base import NTKPredictor


class NTKRegressor(RegressorMixin, NTKPredictor):  # type: ignore[misc]
    r"""Predict what an infinitely wide network does after training on the squared loss.

    The mean, over initializations, of networks trained for time t by gradient flow is kernel regression with
    the neural tangent kernel :math:`\Theta`:

    .. math::
        f_t(x) = \Theta(x, X)\, \varphi_t(\Theta(X, X) + \lambda I)\, Y, \qquad
        \varphi_t(\mu) = \frac{1 - e^{-\mu t / (NK)}}{\mu}, \qquad \varphi_\infty(\mu) = \frac1\mu

    on the loss :math:`\frac{1}{2NK}\sum_{ik}(f_{ik}-y_{ik})^2`.

    Parameters
    ----------
    net : torch.nn.Module or InfiniteWidthKernel, optional
        The network, made of layers of :mod:`ntkbook.nn`; its widths and the values of its parameters do not
        matter. For plain torch layers pass ``ntkbook.infinite_width(net, w_std=..., b_std=...)``. By default
        a fully-connected network described by the next parameters, which are for this case only.
    kernel : {"ntk", "nngp", "precomputed"}
        ``"ntk"`` trains all layers, ``"nngp"`` the last one alone. With ``"precomputed"``, X holds kernels:
        (N, N) in :meth:`fit`, (M, N) in :meth:`predict`; arrays, or the result of :func:`ntkbook.gram` with a
        store, which is then never loaded whole.
    depth : int
        Hidden layers; by default 3. 0 is a linear model.
    w_std, b_std : float
        Of every layer, as in :class:`ntkbook.nn.Linear`; by default ``2**0.5`` and ``0.1``.
    activation : str or torch.nn.Module
        ``"relu"``, ``"erf"``, ``"gelu"``, ``"tanh"``, ``"leaky_relu"``, ``"abs"``, ``"sin"``, ``"cos"``,
        ``"rbf"``, ``"elu"``, ``"silu"``, ``"softplus"``, ``"sigmoid"``, ``"identity"``, or a module; by
        default ``"relu"``.
    diag_reg : float
        :math:`\lambda` in units of the mean of the training kernel's diagonal.
    t : float
        The training time, in units of :class:`ntkbook.dynamics.MSEFlow` with ``reduction="mean"``.

    Attributes
    ----------
    dual_coef_ : ndarray, shape (N,) or (N, K)
        Predictions are :math:`\Theta(x, X)` times these.
    kernel_ : InfiniteWidthKernel
        Not set with a precomputed kernel.
    X_fit_ : ndarray
        The training inputs. Not set with a precomputed kernel.
    n_features_in_ : int
        Columns of X.

    Raises
    ------
    ValueError
        If a parameter, or X or y, is not what it must be, in scikit-learn's words where it has them; if a
        precomputed kernel is asymmetric.
    ValueError, torch.linalg.LinAlgError
        If a precomputed kernel has a negative eigenvalue that ``diag_reg`` does not make up for; the first
        where the route is the eigendecomposition.
    InfiniteWidthError
        If the network has no exact limit, or does not fit the inputs.

    Warns
    -----
    UserWarning
        If ``diag_reg`` is 0, ``t`` is infinite and the kernel is singular: how many eigenvalues count as 0.

    Notes
    -----
    Everything is done in float64. With ``diag_reg > 0`` and infinite time: Cholesky, :math:`N^3/3`
    operations, with graded jitter and a :class:`ntkbook.solve.JitterWarning` that says the amount, should
    ``diag_reg`` be as small as rounding. Otherwise: one eigendecomposition, about :math:`10 N^3`, and the
    pseudo-inverse on the kernel's range, which is where training ends; eigenvalues that rounding cannot tell
    from 0 count as 0. Memory in :meth:`fit`: four :math:`N \times N` matrices, with the eigendecomposition
    five. In :meth:`predict` the kernel of M test inputs is made in batches of at most :math:`2^{22}` entries,
    32 MiB for each of its two parts, in :math:`O(MN)` operations for each layer of a dense network; the
    training kernel is not made again.

    The prior mean is 0: centre the targets, for instance by
    :class:`sklearn.compose.TransformedTargetRegressor`. Inputs are best scaled, as for a network.
    A sample of weight 2 counts like two equal samples.

    Sources: Jacot et al. (2018), section 5; Lee et al. (2019), equation 15.

    Examples
    --------
    >>> import numpy as np
    >>> from ntkbook.estimators import NTKRegressor
    >>> x = np.linspace(-1, 1, 20)[:, None]
    >>> model = NTKRegressor(depth=2, activation="erf", diag_reg=1e-6)
    >>> model = model.fit(x, np.sin(3 * x[:, 0]))
    >>> bool(abs(model.predict([[0.5]]) - np.sin(1.5)) < 1e-2)
    True
    """

    def fit(self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Compute the training kernel and the coefficients.

        Parameters
        ----------
        X : array-like, shape (N, d), or the shape that ``net`` takes, or a Gram matrix
        y : array-like, shape (N,) or (N, K)
        sample_weight : array-like, shape (N,), optional

        Returns
        -------
        self
        """
        X, y = self._check_fit(X, y, y_numeric=True, multi_output=True)
        targets = np.asarray(y, dtype=np.float64)
        self._fit(X, targets.reshape(len(targets), -1), sample_weight)
        self.dual_coef_ = self.dual_coef_.reshape(targets.shape)
        return self

    def predict(self, X: Any) -> NDArray[np.float64]:
        """Predict the targets.

        Parameters
        ----------
        X : array-like, shape (M, d), or the shape that ``net`` takes, or a kernel (M, N)

        Returns
        -------
        ndarray, shape (M,) or (M, K)
        """
        return self._outputs(X)

    def __sklearn_tags__(self) -> Any:
        """Say that several targets are welcome."""
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
