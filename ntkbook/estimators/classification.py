"""Classification by regression on zero-centred one-hot targets."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets

from ntkbook.estimators._base import NTKPredictor


class NTKClassifier(ClassifierMixin, NTKPredictor):  # type: ignore[misc]
    r"""Classify by what an infinitely wide network does after training on zero-centred one-hot targets.

    .. math::
        \hat y(x) = \arg\max_k f_k(x), \qquad f(x) = \Theta(x, X)\, \varphi_t(\Theta(X, X) + \lambda I)\, Y,
        \qquad Y_{ik} = \mathbf 1[y_i = k] - \frac1K

    with the kernel, the time and the regularization of :class:`NTKRegressor`.

    Parameters
    ----------
    net, kernel, depth, w_std, b_std, activation, diag_reg, t
        As in :class:`NTKRegressor`.

    Attributes
    ----------
    classes_ : ndarray, shape (K,)
        The labels, sorted; numbers or strings.
    dual_coef_ : ndarray, shape (N, K)
    kernel_, X_fit_, n_features_in_
        As in :class:`NTKRegressor`.

    Raises
    ------
    ValueError
        If y is not made of labels, or holds one class only; else as in :class:`NTKRegressor`.

    Warns
    -----
    UserWarning
        As in :class:`NTKRegressor`.

    Notes
    -----
    Cost, memory and treatment of singular kernels as in :class:`NTKRegressor`; all classes share one
    factorization.

    Sources: Lee et al. (2018), section 3, for the targets; Arora et al. (2020) for kernels of wide networks
    as classifiers on small data.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from ntkbook.estimators import NTKClassifier
    >>> x, y = load_digits(return_X_y=True)
    >>> x = x / 16
    >>> model = NTKClassifier(depth=3, activation="erf").fit(x[:500], y[:500])
    >>> model.score(x[500:1000], y[500:1000])
    0.956
    """

    classes_: NDArray[Any]

    def fit(self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Compute the training kernel and the coefficients.

        Parameters
        ----------
        X : array-like, shape (N, d), or the shape that ``net`` takes, or a Gram matrix
        y : array-like, shape (N,)
            Labels, of any kind that scikit-learn takes.
        sample_weight : array-like, shape (N,), optional

        Returns
        -------
        self
        """
        X, y = self._check_fit(X, y)
        check_classification_targets(y)
        self.classes_, indices = np.unique(y, return_inverse=True)
        n_classes = len(self.classes_)
        if n_classes < 2:
            raise ValueError(
                "NTKClassifier needs samples of at least 2 classes in the data, but the data contains only "
                f"one class: {self.classes_[0]!r}"
            )
        return self._fit(X, np.eye(n_classes)[indices] - 1 / n_classes, sample_weight)

    def decision_function(self, X: Any) -> NDArray[np.float64]:
        r"""Return the outputs :math:`f_k`; of two classes, the second less the first.

        Parameters
        ----------
        X : array-like, shape (M, d), or the shape that ``net`` takes, or a kernel (M, N)

        Returns
        -------
        ndarray, shape (M, K), or (M,) for two classes
        """
        outputs = self._outputs(X)
        return outputs[:, 1] - outputs[:, 0] if len(self.classes_) == 2 else outputs

    def predict(self, X: Any) -> NDArray[Any]:
        """Return the label with the largest output.

        Parameters
        ----------
        X : array-like, shape (M, d), or the shape that ``net`` takes, or a kernel (M, N)

        Returns
        -------
        ndarray, shape (M,)
        """
        largest = self._outputs(X).argmax(axis=1)
        return np.asarray(self.classes_[largest])

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        r"""Return the outputs read as probabilities: uncalibrated.

        .. math:: p_k(x) = \frac{\max(f_k(x) + 1/K, 0)}{\sum_j \max(f_j(x) + 1/K, 0)}

        Least squares on one-hot targets estimates the conditional mean of the target, which is the
        probability of each class, and the estimates sum to 1; but nothing keeps them positive. What is
        negative is set to 0 and the rest rescaled, which keeps the order. The numbers rank; as frequencies
        they are no better than the regression is, and exact zeros occur. For calibrated probabilities wrap
        the classifier in :class:`sklearn.calibration.CalibratedClassifierCV`.

        Parameters
        ----------
        X : array-like, shape (M, d), or the shape that ``net`` takes, or a kernel (M, N)

        Returns
        -------
        ndarray, shape (M, K)
            In the order of ``classes_``.
        """
        positive = np.maximum(self._outputs(X) + 1 / len(self.classes_), 0)
        return np.asarray(positive / positive.sum(axis=1, keepdims=True))
