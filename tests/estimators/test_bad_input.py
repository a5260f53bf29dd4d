"""What estimators refuse, and in which words."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy_kernels import problem
from scipy import sparse
from sklearn.exceptions import NotFittedError

import ntkbook
from ntkbook import nn
from ntkbook.estimators import NNGPRegressor, NTKClassifier, NTKRegressor

X, Y, X_TEST = problem(n=8)
LABELS = np.array(["cat", "dog"] * 4)
ALL = [NTKRegressor, NTKClassifier, NNGPRegressor]


def targets(make):
    return LABELS if make is NTKClassifier else Y


PARAMETERS = {
    "negative regularization": ({"diag_reg": -1.0}, ValueError, "diag_reg must be finite and not negative"),
    "half a layer": ({"depth": 1.5}, TypeError, "depth must be an integer, got 1.5"),
    "negative depth": ({"depth": -1}, ValueError, "depth must be at least 0, got -1"),
    "negative weights": ({"w_std": -1.0}, ValueError, "w_std must be finite and not negative, got -1"),
    "NaN biases": ({"b_std": math.nan}, ValueError, "b_std must be finite and not negative, got nan"),
    "unknown activation": (
        {"activation": "cubic"},
        ValueError,
        "activation must be a module or one of 'abs'",
    ),
    "not a network": ({"net": "mlp"}, TypeError, "net must be a torch.nn.Module.*got str"),
    "two descriptions": (
        {"net": nn.mlp([4, 1, 1]), "depth": 5, "activation": "erf"},
        ValueError,
        "depth=5, activation='erf' would have no effect, because net is given",
    ),
    "plain layers": ({"net": torch.nn.Linear(4, 1)}, ValueError, "plain torch layers"),
    "spatial outputs": (
        {"net": torch.nn.Sequential(nn.Conv1d(1, 3, 1), nn.Conv1d(3, 1, 1))},
        ValueError,
        r"outputs at \(4,\) positions",
    ),
}


@pytest.mark.parametrize("make", ALL)
@pytest.mark.parametrize("case", PARAMETERS)
def test_parameters_are_refused_by_name(make, case):
    options, error, message = PARAMETERS[case]
    x = X[:, None] if case == "spatial outputs" else X
    with pytest.raises(error, match=message):
        make(**options).fit(x, targets(make))


@pytest.mark.parametrize("make", [NTKRegressor, NTKClassifier])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kernel": "rbf"}, "kernel must be one of 'ntk', 'nngp', 'precomputed'; got 'rbf'"),
        ({"t": -1.0}, "t must not be negative or NaN, got -1"),
        ({"t": math.nan}, "t must not be negative or NaN, got nan"),
        ({"kernel": "precomputed", "net": nn.mlp([4, 1])}, "net would have no effect"),
        ({"kernel": "precomputed"}, r"must be the square Gram matrix.*\(8, 4\)"),
    ],
)
def test_parameters_of_trained_networks_are_refused_by_name(make, options, message):
    with pytest.raises(ValueError, match=message):
        make(**options).fit(X, targets(make))


@pytest.mark.parametrize("make", ALL)
def test_data_are_refused_in_scikit_learns_words(make):
    y = targets(make)
    with pytest.raises(TypeError, match="Sparse data was passed for X, but dense data is required"):
        make().fit(sparse.csr_array(X), y)
    with pytest.raises(ValueError, match="Input X contains NaN"):
        make().fit(np.where(X.mean() < X, np.nan, X), y)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        make().fit(X, y[:5])
    with pytest.raises(ValueError, match="Found array with dim 3"):
        make().fit(X[:, :, None], y)
    with pytest.raises(NotFittedError):
        make().predict(X)
    model = make().fit(X, y)
    with pytest.raises(ValueError, match=r"X has 3 features, but .* is expecting 4 features"):
        model.predict(X_TEST[:, :3])
    with pytest.raises(TypeError, match="Sparse data"):
        model.predict(sparse.csr_array(X_TEST))


def test_labels():
    with pytest.raises(ValueError, match="at least 2 classes in the data, but the data contains only one"):
        NTKClassifier().fit(X, ["cat"] * 8)
    with pytest.raises(ValueError, match="Unknown label type: continuous"):
        NTKClassifier().fit(X, Y[:, 0])
    with pytest.raises(ValueError, match="could not convert string"):
        NTKRegressor().fit(X, LABELS)
    assert set(NTKClassifier().fit(X, LABELS).predict(X_TEST)) <= {"cat", "dog"}


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (-np.ones(8), "sample_weight must not be negative, and not all zero; its smallest entry is -1"),
        (np.zeros(8), "zero"),
        (np.ones(7), r"sample_weight.shape == \(7,\), expected \(8,\)"),
        (np.full(8, np.nan), "contains NaN"),
    ],
)
@pytest.mark.parametrize("make", [NTKRegressor, NTKClassifier])
def test_weights(make, weights, message):
    with pytest.raises(ValueError, match=message):
        make().fit(X, targets(make), sample_weight=weights)


def test_precomputed_kernels():
    k = X @ X.T
    model = NTKRegressor(kernel="precomputed", diag_reg=0.0)
    with pytest.raises(ValueError, match="the training kernel is not symmetric"):
        model.fit(np.triu(k), Y)
    with pytest.raises(
        ValueError, match=r"the training kernel is not positive semi-definite.* eigenvalue is -"
    ):
        model.fit(k - np.eye(8), Y)
    regularized = NTKRegressor(kernel="precomputed", diag_reg=1e-3)
    with pytest.raises(ValueError, match="must be symmetric"):
        regularized.fit(np.triu(k), Y)
    with pytest.raises(torch.linalg.LinAlgError, match="not positive definite"):
        regularized.fit(k - np.eye(8), Y)
    with pytest.raises(ValueError, match="X has 5 features, but NTKRegressor is expecting 8"):
        regularized.fit(k, Y).predict(k[:, :5])


def test_stored_kernels(tmp_path):
    def linear(a, b):
        return a @ b.T

    x = torch.from_numpy(X)
    square = ntkbook.gram(linear, x, store=tmp_path / "square", progress=False)
    tall = ntkbook.gram(linear, x, x[:5], store=tmp_path / "tall", progress=False)
    with pytest.raises(TypeError, match="X is a StoredGram but kernel='ntk'"):
        NTKRegressor().fit(square, Y)
    with pytest.raises(ValueError, match=r"must be the square Gram matrix.*\(8, 5\)"):
        NTKRegressor(kernel="precomputed").fit(tall, Y)
    with pytest.raises(ValueError, match=r"t=inf without sample_weight only; pass its tensor\(\)"):
        NTKRegressor(kernel="precomputed", t=1.0).fit(square, Y)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        NTKRegressor(kernel="precomputed").fit(square, Y[:5])
    model = NTKRegressor(kernel="precomputed").fit(square, Y)
    with pytest.raises(ValueError, match=r"X must have shape \(M, 8\).*got \(8, 5\)"):
        model.predict(tall)
    with pytest.raises(TypeError, match="X is a StoredGram"):
        NTKRegressor().fit(X, Y).predict(square)


def test_posterior():
    with pytest.raises(ValueError, match="return_std and return_cov cannot both be True"):
        NNGPRegressor().fit(X, Y).predict(X, return_std=True, return_cov=True)
    with pytest.raises(ValueError, match=r"optimize=True is for the network that depth .* but net is given"):
        NNGPRegressor(nn.mlp([4, 1, 1]), optimize=True).fit(X, Y)
    for name in ("w_std", "b_std", "diag_reg"):
        with pytest.raises(ValueError, match=f"with optimize=True {name} must be finite and positive, got 0"):
            NNGPRegressor(optimize=True, **{name: 0.0}).fit(X, Y)
