"""scikit-learn's own suite for estimators, whole, and what users of scikit-learn do with estimators."""

from __future__ import annotations

import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from numpy_kernels import OPTIONS, plain, problem
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.model_selection import GridSearchCV, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import get_tags
from sklearn.utils.estimator_checks import parametrize_with_checks

from ntkbook import data, nn
from ntkbook.estimators import NNGPRegressor, NTKClassifier, NTKRegressor

ALL = [NTKRegressor, NTKClassifier, NNGPRegressor]
NET = nn.mlp([4, 3, 1], activation=nn.Erf(), w_std=1.3, b_std=0.4)


@parametrize_with_checks(
    [NTKRegressor(), NTKClassifier(), NNGPRegressor(), NTKClassifier(kernel="nngp", diag_reg=0.0, t=100.0)]
)
def test_scikit_learns_own_checks(estimator, check):
    check(estimator)


@pytest.mark.parametrize(("activation", "accuracy"), [("relu", 0.934), ("erf", 0.956)])
def test_accuracy_on_digits(activation, accuracy):
    # The values are those of the reference implementation of infinitely wide networks.
    split = data.digits(500, 500)
    model = NTKClassifier(depth=3, w_std=2**0.5, b_std=0.1, activation=activation, diag_reg=1e-4)
    model.fit(split.x_train.numpy(), split.y_train.argmax(1).numpy())
    assert model.score(split.x_test.numpy(), split.y_test.argmax(1).numpy()) == accuracy


def test_grid_search_over_every_hyperparameter_in_a_pipeline():
    x, y, _ = problem(n=24)
    grid = {
        "depth": [0, 2],
        "w_std": [1.0, 1.5],
        "b_std": [0.1, 0.3],
        "activation": ["relu", nn.Erf()],
        "diag_reg": [0.3, 1e-3],
    }
    for estimator in (NTKRegressor(), NNGPRegressor()):
        name = type(estimator).__name__.lower()
        search = GridSearchCV(
            make_pipeline(StandardScaler(), estimator), {f"{name}__{k}": v for k, v in grid.items()}, cv=3
        ).fit(x, y)
        scores = search.cv_results_["mean_test_score"]
        assert len(scores) == 32
        # Without hidden layers the activation alone has no effect; every other combination is its own.
        assert len(np.unique(scores.round(9))) == 24
        best = clone(estimator).set_params(**{k.split("__")[1]: v for k, v in search.best_params_.items()})
        scaler = StandardScaler().fit(x)
        expected = best.fit(scaler.transform(x), y).predict(scaler.transform(x))
        np.testing.assert_allclose(search.predict(x), expected, rtol=0, atol=1e-10)


def test_cross_validation_slices_a_precomputed_kernel():
    x, y, _ = problem()
    direct = cross_val_predict(NTKRegressor(**OPTIONS), x, y, cv=4)
    sliced = cross_val_predict(NTKRegressor(kernel="precomputed"), plain(x, x)[1], y, cv=4)
    np.testing.assert_allclose(sliced, direct, rtol=0, atol=1e-9)


def test_tags():
    assert get_tags(NTKRegressor()).target_tags.multi_output
    assert get_tags(NNGPRegressor()).target_tags.multi_output
    assert not get_tags(NTKClassifier()).target_tags.multi_output


def test_targets_can_be_centred():
    x, y, x_test = problem()
    model = TransformedTargetRegressor(NTKRegressor(**OPTIONS), transformer=StandardScaler())
    far = model.fit(x, y + 1000).predict(x_test)
    np.testing.assert_allclose(far - 1000, model.fit(x, y).predict(x_test), rtol=0, atol=1e-9)


@pytest.mark.parametrize("net", [None, NET])
@pytest.mark.parametrize("make", ALL)
def test_pickle_and_clone(make, net):
    x, y, x_test = problem()
    targets = y[:, 0] > 0 if make is NTKClassifier else y
    model = make(net, diag_reg=0.01).fit(x, targets)
    copy = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(copy.predict(x_test), model.predict(x_test))
    fresh = clone(model)
    assert not hasattr(fresh, "dual_coef_")
    assert fresh.diag_reg == 0.01
    np.testing.assert_array_equal(fresh.fit(x, targets).predict(x_test), model.predict(x_test))


@pytest.mark.parametrize("make", ALL)
def test_frames_and_single_precision_are_taken(make):
    pandas = pytest.importorskip("pandas")
    x, y, x_test = (a.astype(np.float32) for a in problem())
    targets = y[:, 0] > 0 if make is NTKClassifier else y[:, 0]
    frame, frame_test = (pandas.DataFrame(a, columns=list("abcd")) for a in (x, x_test))
    model = make().fit(frame, targets)
    assert model.feature_names_in_.tolist() == list("abcd")
    expected = make().fit(x.astype(float), targets).predict(x_test.astype(float))
    np.testing.assert_array_equal(model.predict(frame_test), expected)
    with pytest.raises(ValueError, match="feature names"):
        model.predict(frame_test[["b", "a", "c", "d"]])


def test_results_do_not_depend_on_torchs_default_dtype():
    x, y, x_test = problem()
    expected = NTKRegressor().fit(x, y).predict(x_test)
    torch.set_default_dtype(torch.float16)
    try:
        np.testing.assert_array_equal(NTKRegressor().fit(x, y).predict(x_test), expected)
    finally:
        torch.set_default_dtype(torch.float32)


def run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_the_extras_are_named_when_missing():
    for library, module, extra in (
        ("sklearn", "estimators", "sklearn"),
        ("gpytorch", "gpytorch_kernel", "gpytorch"),
    ):
        missing = run(f"import sys; sys.modules['{library}'] = None; import ntkbook.{module}")
        assert f"pip install 'ntkbook[{extra}]'" in missing.stderr
