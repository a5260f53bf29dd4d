"""scikit-learn's own suite for estimators, whole, and what users of scikit-learn do with estimators."""

from __future__ import annotations

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from ntkbook import data
from ntkbook.estimators import NNGPRegressor, NTKClassifier, NTKRegressor


@parametrize_with_checks([NTKRegressor(), NTKClassifier(), NNGPRegressor()])
def test_scikit_learns_own_checks(estimator, check):
    check(estimator)


@pytest.mark.parametrize(("activation", "accuracy"), [("relu", 0.934), ("erf", 0.956)])
def test_accuracy_on_digits(activation, accuracy):
    # The values are those of the reference implementation of infinitely wide networks.
    split = data.digits(500, 500)
    model = NTKClassifier(depth=3, w_std=2**0.5, b_std=0.1, activation=activation, diag_reg=1e-4)
    model.fit(split.x_train.numpy(), split.y_train.argmax(1).numpy())
    assert model.score(split.x_test.numpy(), split.y_test.argmax(1).numpy()) == accuracy
