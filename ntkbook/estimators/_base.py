"""What the estimators share: checked inputs, the kernel, prediction in bounded memory."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, check_X_y, validate_data
from torch import Tensor

from ntkbook._validation import as_float, check_choice, check_positive
from ntkbook.estimators import _networks
from ntkbook.estimators._coefficients import dual_coefficients
from ntkbook.estimators._networks import Activation, Network
from ntkbook.gram import StoredGram
from ntkbook.infinite import InfiniteWidthKernel, Kernel
from ntkbook.nn._parametric import Scale

# Entries of each kernel between one batch of test inputs and the training inputs: 32 MiB.
_BATCH_ENTRIES = 2**22


class NetworkEstimator(BaseEstimator):  # type: ignore[misc]
    """An estimator with the kernel of a network, given or described by its hyperparameters."""

    net: Network | None
    depth: int
    w_std: float
    b_std: float
    activation: Activation
    diag_reg: float
    kernel_: InfiniteWidthKernel
    X_fit_: NDArray[np.float64]

    def _validate(self, X: Any, **options: Any) -> Any:
        """Check inputs as scikit-learn does; a network may take images or sequences."""
        return validate_data(self, X, dtype=np.float64, allow_nd=self.net is not None, **options)

    def _make_kernel(self, n_features: int, **scales: Scale) -> InfiniteWidthKernel:
        """Return the kernel of the network, if need be with other scales than the parameters say."""
        return _networks.network_kernel(
            self.net,
            n_features,
            depth=self.depth,
            w_std=scales.get("w_std", self.w_std),
            b_std=scales.get("b_std", self.b_std),
            activation=self.activation,
        )

    def _across(self, X: NDArray[np.float64]) -> Iterator[Kernel]:
        """Yield the kernel between batches of the rows of X and the training inputs."""
        x_fit = torch.tensor(self.X_fit_)
        size = max(1, _BATCH_ENTRIES // len(x_fit))
        for begin in range(0, len(X), size):
            yield _networks.evaluate(self.kernel_, torch.tensor(X[begin : begin + size]), x_fit)


class NTKPredictor(NetworkEstimator):
    """Kernel regression with one kernel for all outputs, at any training time."""

    dual_coef_: NDArray[np.float64]

    def __init__(
        self,
        net: Network | None = None,
        *,
        kernel: str = "ntk",
        depth: int = _networks.DEPTH,
        w_std: float = _networks.W_STD,
        b_std: float = _networks.B_STD,
        activation: Activation = _networks.ACTIVATION,
        diag_reg: float = 1e-4,
        t: float = math.inf,
    ) -> None:
        self.net = net
        self.kernel = kernel
        self.depth = depth
        self.w_std = w_std
        self.b_std = b_std
        self.activation = activation
        self.diag_reg = diag_reg
        self.t = t

    def __sklearn_tags__(self) -> Any:
        """Say that rows and columns of a precomputed kernel are samples."""
        tags = super().__sklearn_tags__()
        tags.input_tags.pairwise = self.kernel == "precomputed"
        return tags

    def _check_fit(self, X: Any, y: Any, **options: Any) -> tuple[Any, NDArray[Any]]:
        """Return checked inputs and targets; a stored Gram matrix stays where it is."""
        check_choice("kernel", self.kernel, ("ntk", "nngp", "precomputed"))
        check_positive("diag_reg", self.diag_reg, zero_allowed=True)
        if not as_float("t", self.t) >= 0:
            raise ValueError(f"t must not be negative or NaN, got {self.t}")
        if self.kernel == "precomputed" and self.net is not None:
            raise ValueError("net would have no effect with kernel='precomputed'; leave net=None")
        if isinstance(X, StoredGram):
            self._check_stored(X)
            _, y = check_X_y(np.zeros((len(X), 1)), y, **options)
            self.n_features_in_ = X.shape[1]
        else:
            X, y = self._validate(X, y=y, **options)
        if self.kernel == "precomputed" and (X.ndim != 2 or X.shape[0] != X.shape[1]):
            raise ValueError(
                f"with kernel='precomputed' X must be the square Gram matrix of the training inputs, got "
                f"shape {tuple(X.shape)}"
            )
        return X, y

    def _check_stored(self, X: StoredGram) -> None:
        if self.kernel != "precomputed":
            raise TypeError(
                f"X is a StoredGram but kernel={self.kernel!r}; pass inputs, or set kernel='precomputed'"
            )

    def _fit(self, X: Any, targets: NDArray[np.float64], sample_weight: ArrayLike | None) -> Self:
        """Find the coefficients of targets (N, K)."""
        weights = None if sample_weight is None else _weights(sample_weight, X)
        gram: Tensor | StoredGram
        if self.kernel == "precomputed":
            gram = X if isinstance(X, StoredGram) else torch.tensor(X)
        else:
            self.kernel_, self.X_fit_ = self._make_kernel(X.shape[1]), X
            gram = getattr(_networks.evaluate(self.kernel_, torch.tensor(X)), self.kernel)
        coefficients = dual_coefficients(gram, torch.tensor(targets), self.diag_reg, float(self.t), weights)
        self.dual_coef_ = coefficients.numpy()
        return self

    def _outputs(self, X: Any) -> NDArray[np.float64]:
        """Return the prediction (M, K)."""
        check_is_fitted(self)
        coefficients = torch.tensor(self.dual_coef_)
        if isinstance(X, StoredGram):
            self._check_stored(X)
            if X.ndim != 2 or X.shape[1] != len(coefficients):
                raise ValueError(
                    f"X must have shape (M, {len(coefficients)}), the kernel between test and training "
                    f"inputs; got {tuple(X.shape)}"
                )
            return (X @ coefficients).numpy()
        X = self._validate(X, reset=False)
        if self.kernel == "precomputed":
            return (torch.tensor(X) @ coefficients).numpy()
        outputs = [getattr(k, self.kernel) @ coefficients for k in self._across(X)]
        return torch.cat(outputs).numpy()


def _weights(sample_weight: ArrayLike, X: Any) -> Tensor:
    weights = torch.tensor(_check_sample_weight(sample_weight, X, dtype=np.float64))
    if bool((weights < 0).any()) or not bool((weights > 0).any()):
        raise ValueError(
            "sample_weight must not be negative, and not all zero; its smallest entry is "
            f"{float(weights.min()):g}, its largest {float(weights.max()):g}"
        )
    return weights
