"""NTKRegressor and NTKClassifier against scikit-learn's kernel ridge, MSEFlow, and kernels in NumPy."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
import torch
from numpy_kernels import OPTIONS, plain, problem
from sklearn.kernel_ridge import KernelRidge

import ntkbook
from ntkbook import nn
from ntkbook.dynamics import MSEFlow
from ntkbook.estimators import NTKClassifier, NTKRegressor, _base
from ntkbook.gram import StoredGram
from ntkbook.infinite import InfiniteWidthKernel
from ntkbook.solve import JitterWarning

CHOICE = {"nngp": 0, "ntk": 1}


@pytest.mark.parametrize("kernel", CHOICE)
@pytest.mark.parametrize("outputs", [1, 3])
def test_infinite_time_is_kernel_ridge(kernel, outputs):
    x, y, x_test = problem(outputs=outputs)
    k, k_test = plain(x, x)[CHOICE[kernel]], plain(x_test, x)[CHOICE[kernel]]
    ridge = KernelRidge(alpha=0.01 * np.diag(k).mean(), kernel="precomputed").fit(k, y)
    model = NTKRegressor(kernel=kernel, diag_reg=0.01, **OPTIONS).fit(x, y)
    # condition number below 1e4
    np.testing.assert_allclose(model.predict(x_test), ridge.predict(k_test), rtol=0, atol=1e-11)
    np.testing.assert_allclose(model.dual_coef_, ridge.dual_coef_, rtol=0, atol=1e-11)


@pytest.mark.parametrize("diag_reg", [0.0, 0.02])
@pytest.mark.parametrize("t", [0.0, 3.0, 500.0, math.inf])
def test_every_time_is_that_of_the_flow(t, diag_reg):
    x, y, x_test = problem()
    k, k_test = (torch.from_numpy(plain(a, x)[1]) for a in (x, x_test))
    flow = MSEFlow(k, torch.from_numpy(y), diag_reg=diag_reg)
    start, start_test = torch.zeros(y.shape).double(), torch.zeros(len(x_test), y.shape[1]).double()
    expected = flow.test(t, k_test, start_test, start)
    model = NTKRegressor(diag_reg=diag_reg, t=t, **OPTIONS).fit(x, y)
    np.testing.assert_allclose(model.predict(x_test), expected, rtol=0, atol=1e-10)


def test_classifier_is_ridge_regression_on_centred_one_hot_targets():
    x, y, x_test = problem()
    labels = np.array(["b", "a", "c"])[np.digitize(y[:, 0], [-0.3, 0.3])]
    k, k_test = plain(x, x)[1], plain(x_test, x)[1]
    targets = (labels[:, None] == np.array(["a", "b", "c"])) - 1 / 3
    outputs = (
        KernelRidge(alpha=0.01 * np.diag(k).mean(), kernel="precomputed").fit(k, targets).predict(k_test)
    )
    model = NTKClassifier(diag_reg=0.01, **OPTIONS).fit(x, labels)
    np.testing.assert_allclose(model.decision_function(x_test), outputs, rtol=0, atol=1e-11)
    assert model.predict(x_test).tolist() == [["a", "b", "c"][i] for i in outputs.argmax(1)]
    raw = np.where(outputs + 1 / 3 > 0, outputs + 1 / 3, 0.0)
    assert (raw == 0).any()  # so that clipping is put to the test
    np.testing.assert_allclose(
        model.predict_proba(x_test), raw / raw.sum(1, keepdims=True), rtol=0, atol=1e-10
    )


def test_two_classes_are_regression_on_plus_and_minus_one():
    x, y, x_test = problem()
    labels = y[:, 0] > 0
    regressor = NTKRegressor(diag_reg=0.01, **OPTIONS).fit(x, np.where(labels, 1.0, -1.0))
    classifier = NTKClassifier(diag_reg=0.01, **OPTIONS).fit(x, labels)
    f = regressor.predict(x_test)
    np.testing.assert_allclose(classifier.decision_function(x_test), f, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(classifier.predict(x_test), f > 0)
    np.testing.assert_allclose(
        classifier.predict_proba(x_test)[:, 1], np.clip((f + 1) / 2, 0, 1), rtol=0, atol=1e-12
    )


@pytest.mark.parametrize(("t", "diag_reg"), [(math.inf, 0.01), (math.inf, 0.0), (40.0, 0.0), (40.0, 0.01)])
def test_weights_count_like_repetitions(t, diag_reg):
    x, y, x_test = problem(n=12)
    weights = np.arange(12) % 4  # zeros among them
    model = NTKRegressor(t=t, diag_reg=diag_reg, **OPTIONS)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        weighted = model.fit(x, y, sample_weight=weights).predict(x_test)
        warnings.filterwarnings("ignore", "the training kernel is singular")
        repeated = model.fit(np.repeat(x, weights, axis=0), np.repeat(y, weights, axis=0)).predict(x_test)
    np.testing.assert_allclose(weighted, repeated, rtol=0, atol=1e-9)
    plainly = model.fit(x, y).predict(x_test)
    assert np.abs(plainly - weighted).max() > 1e-3


def test_contradicting_repetitions_get_the_mean_and_a_warning():
    x, y, x_test = problem(n=6)
    twice = np.vstack([x, x[:2]])
    targets = np.vstack([y, y[:2] + 2.0])
    model = NTKRegressor(diag_reg=0.0, **OPTIONS)
    with pytest.warns(UserWarning, match="singular: 2 of its 8 eigenvalues are below") as caught:
        model.fit(twice, targets)
    assert caught[0].filename == __file__
    merged = y + np.array([[1.0]] * 2 + [[0.0]] * 4)
    np.testing.assert_allclose(model.predict(x), merged, rtol=0, atol=1e-10)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        alone = NTKRegressor(diag_reg=0.0, **OPTIONS).fit(x, merged)
        faint = NTKRegressor(diag_reg=1e-9, **OPTIONS).fit(twice, targets)
    np.testing.assert_allclose(model.predict(x_test), alone.predict(x_test), rtol=0, atol=1e-9)
    # First order in diag_reg, times the inverse of the smallest eigenvalue.
    np.testing.assert_allclose(model.predict(x_test), faint.predict(x_test), rtol=0, atol=1e-6)


def test_regularization_at_rounding_is_raised_with_a_warning():
    x, y, _ = problem(n=10)
    with pytest.warns(JitterWarning, match="added"):
        NTKRegressor(diag_reg=1e-18, **OPTIONS).fit(np.vstack([x] * 3), np.vstack([y] * 3))


@pytest.mark.parametrize("kernel", ["ntk", "nngp"])
def test_a_given_network_is_used(kernel):
    x, y, x_test = problem()
    layers = [nn.Linear(4, 7, w_std=1.3, b_std=0.4), nn.Erf(), nn.Linear(7, 5, w_std=1.3, b_std=0.4)]
    net = torch.nn.Sequential(*layers, nn.Erf(), nn.Linear(5, 2, w_std=1.3, b_std=0.4))
    described = NTKRegressor(kernel=kernel, **OPTIONS).fit(x, y).predict(x_test)
    torch_net = torch.nn.Sequential(torch.nn.Linear(4, 7), nn.Erf(), torch.nn.Linear(7, 5), nn.Erf())
    torch_net.append(torch.nn.Linear(5, 2))
    for given in (net, ntkbook.infinite_width(torch_net, w_std=1.3, b_std=0.4)):
        outputs = NTKRegressor(given, kernel=kernel).fit(x, y).predict(x_test)
        np.testing.assert_allclose(outputs, described, rtol=0, atol=1e-12)


def test_an_activation_may_be_a_module():
    x, y, x_test = problem()
    options = {**OPTIONS, "activation": nn.Erf()}
    outputs = NTKRegressor(**options).fit(x, y).predict(x_test)
    np.testing.assert_array_equal(outputs, NTKRegressor(**OPTIONS).fit(x, y).predict(x_test))


def test_images_through_a_convolutional_network():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(14, 1, 4, 4))
    net = nn.cnn([1, 3], 1)
    k = ntkbook.infinite_width(net)(torch.from_numpy(x)).ntk.numpy()
    labels = rng.integers(2, size=10)
    model = NTKClassifier(net, diag_reg=0.1).fit(x[:10], labels)
    ridge = KernelRidge(alpha=0.1 * np.diag(k)[:10].mean(), kernel="precomputed")
    ridge.fit(k[:10, :10], 2.0 * labels - 1)
    np.testing.assert_allclose(
        model.decision_function(x[10:]), ridge.predict(k[10:, :10]), rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("t", [math.inf, 30.0])
def test_a_precomputed_kernel_serves_as_well(t):
    x, y, x_test = problem()
    k, k_test = plain(x, x)[1], plain(x_test, x)[1]
    direct = NTKRegressor(t=t, **OPTIONS).fit(x, y)
    model = NTKRegressor(kernel="precomputed", t=t).fit(k, y)
    np.testing.assert_allclose(model.predict(k_test), direct.predict(x_test), rtol=0, atol=1e-9)


def test_a_stored_gram_matrix_is_never_loaded(tmp_path, monkeypatch):
    x, y, x_test = problem(n=40)
    kernel = ntkbook.infinite_width(nn.mlp([4, 1, 1, 1], activation=nn.Erf(), w_std=1.3, b_std=0.4))

    def ntk(a, b):
        return kernel(a, b).ntk

    stores = [
        ntkbook.gram(ntk, torch.from_numpy(a), b, tile_size=7, store=tmp_path / name, progress=False)
        for name, a, b in (("train", x, None), ("test", x_test, torch.from_numpy(x)))
    ]

    def forbidden(*_):
        raise AssertionError("the whole matrix was read")

    monkeypatch.setattr(StoredGram, "tensor", forbidden)
    monkeypatch.setattr(StoredGram, "__array__", forbidden)
    labels = np.where(y[:, 0] > 0, "up", "down")
    for stored, direct, targets in (
        (NTKRegressor(kernel="precomputed", diag_reg=0.01), NTKRegressor(diag_reg=0.01, **OPTIONS), y),
        (NTKClassifier(kernel="precomputed", diag_reg=0.01), NTKClassifier(diag_reg=0.01, **OPTIONS), labels),
    ):
        stored.fit(stores[0], targets)
        direct.fit(x, targets)
        # Conjugate gradients stop at a residual of 1e-8.
        np.testing.assert_allclose(stored.dual_coef_, direct.dual_coef_, rtol=0, atol=1e-6)
        if targets is y:
            np.testing.assert_allclose(stored.predict(stores[1]), direct.predict(x_test), rtol=0, atol=1e-6)
        else:
            assert stored.predict(stores[1]).tolist() == direct.predict(x_test).tolist()


@pytest.mark.parametrize("make", [NTKRegressor, NTKClassifier])
def test_prediction_goes_in_batches_and_leaves_the_training_kernel_alone(make, monkeypatch):
    x, y, x_test = problem(n=30, m=50)
    model = make(**OPTIONS).fit(x, (y[:, 0] > 0).astype(float))
    whole = model.predict(x_test)
    calls, call = [], InfiniteWidthKernel.__call__

    def recorded(self, x1, x2=None):
        assert x2 is not None
        calls.append((len(x1), len(x2)))
        return call(self, x1, x2)

    monkeypatch.setattr(InfiniteWidthKernel, "__call__", recorded)
    monkeypatch.setattr(_base, "_BATCH_ENTRIES", 30 * 20)
    np.testing.assert_allclose(model.predict(x_test), whole, rtol=0, atol=1e-12)
    assert calls == [(20, 30), (20, 30), (10, 30)]
