"""NNGPRegressor against scikit-learn's GaussianProcessRegressor, and its likelihood by differences."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
import torch
from numpy_kernels import B_STD, DEPTH, OPTIONS, W_STD, plain, problem
from scipy.stats import multivariate_normal
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import Kernel

from ntkbook import data, infinite_width, nn
from ntkbook.dynamics import nngp_posterior
from ntkbook.estimators import NNGPRegressor, NTKRegressor, _base


class NumpyKernel(Kernel):
    """The NNGP of OPTIONS, written out in NumPy, for scikit-learn's Gaussian processes."""

    def __init__(self):
        """Have no parameters, and say so in a signature."""

    def __call__(self, X, Y=None, eval_gradient=False):
        k = plain(X, X if Y is None else Y)[0]
        return (k, np.empty((*k.shape, 0))) if eval_gradient else k

    def diag(self, X):
        return self(X).diagonal().copy()

    def is_stationary(self):
        return False


@pytest.mark.parametrize("outputs", [None, 1, 3])
@pytest.mark.parametrize("noise", [1e-3, 0.1])
def test_posterior_and_likelihood_are_scikit_learns(outputs, noise):
    x, y, x_test = problem(outputs=outputs or 1)
    y = y[:, 0] if outputs is None else y
    diag_reg = noise / plain(x, x)[0].diagonal().mean()
    peer = GaussianProcessRegressor(NumpyKernel(), alpha=noise, optimizer=None).fit(x, y)
    model = NNGPRegressor(diag_reg=diag_reg, **OPTIONS).fit(x, y)
    mean, std = model.predict(x_test, return_std=True)
    _, cov = model.predict(x_test, return_cov=True)
    peer_mean, peer_std = peer.predict(x_test, return_std=True)
    _, peer_cov = peer.predict(x_test, return_cov=True)
    if outputs == 1:  # scikit-learn drops this axis from its results, here it follows y
        peer_mean, peer_std, peer_cov = (a[..., None] for a in (peer_mean, peer_std, peer_cov))
    for ours, theirs in ((mean, peer_mean), (std, peer_std), (cov, peer_cov)):
        assert ours.shape == theirs.shape
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-10)
    np.testing.assert_array_equal(model.predict(x_test), mean)
    assert model.noise_variance_ == pytest.approx(noise, rel=1e-12)
    assert model.log_marginal_likelihood_value_ == pytest.approx(
        peer.log_marginal_likelihood_value_, rel=1e-11
    )


@pytest.mark.parametrize("noise", [0.0, 0.05])
def test_posterior_is_that_of_the_dynamics_module(noise):
    x, y, x_test = problem(n=12)
    sizes = [4] + [1] * DEPTH + [1]
    kernel = infinite_width(nn.mlp(sizes, activation=nn.Erf(), w_std=W_STD, b_std=B_STD))
    # The last input comes again: without noise the kernel is singular.
    x, y = np.vstack([x, x[-1:]]), np.vstack([y, y[-1:] + 1.0])
    expected = nngp_posterior(kernel, *(torch.from_numpy(a) for a in (x, y, x_test)), noise=noise)
    model = NNGPRegressor(diag_reg=noise / plain(x, x)[0].diagonal().mean(), **OPTIONS)
    if noise == 0:
        with pytest.warns(UserWarning, match="singular: 1 of its 13 eigenvalues") as caught:
            model.fit(x, y)
        assert caught[0].filename == __file__
        assert model.log_marginal_likelihood_value_ == -math.inf
    else:
        model.fit(x, y)
    mean, cov = model.predict(x_test, return_cov=True)
    _, std = model.predict(x_test, return_std=True)
    np.testing.assert_allclose(mean, expected.mean, rtol=0, atol=1e-9)
    np.testing.assert_allclose(cov[..., 0], expected.covariance, rtol=0, atol=1e-9)
    np.testing.assert_allclose(std[:, 1] ** 2, expected.covariance.diagonal(), rtol=0, atol=1e-9)


def test_without_noise_the_data_are_certain():
    x, y, _ = problem(n=12)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = NNGPRegressor(diag_reg=0.0, **OPTIONS).fit(x, y)
    mean, std = model.predict(x, return_std=True)
    np.testing.assert_allclose(mean, y, rtol=0, atol=1e-10)
    # The square root of rounding in a variance of about 1.
    np.testing.assert_allclose(std, 0, atol=1e-6)
    density = sum(multivariate_normal(cov=plain(x, x)[0]).logpdf(column) for column in y.T)
    assert model.log_marginal_likelihood_value_ == pytest.approx(density, rel=1e-9)


def test_the_mean_is_that_of_last_layer_training():
    x, y, x_test = problem()
    trained = NTKRegressor(kernel="nngp", diag_reg=0.01, **OPTIONS).fit(x, y).predict(x_test)
    np.testing.assert_allclose(NNGPRegressor(diag_reg=0.01, **OPTIONS).fit(x, y).predict(x_test), trained)


def test_batches_change_nothing(monkeypatch):
    x, y, x_test = problem(m=50)
    model = NNGPRegressor(**OPTIONS).fit(x, y)
    whole = [model.predict(x_test, **{name: True}) for name in ("return_std", "return_cov")]
    monkeypatch.setattr(_base, "_BATCH_ENTRIES", 30 * 7)
    for name, (mean, spread) in zip(("return_std", "return_cov"), whole, strict=True):
        mean_again, spread_again = model.predict(x_test, **{name: True})
        np.testing.assert_allclose(mean_again, mean, rtol=0, atol=1e-12)
        np.testing.assert_allclose(spread_again, spread, rtol=0, atol=1e-12)


@pytest.mark.parametrize("activation", ["relu", "erf"])
def test_optimizing_ends_where_the_likelihood_is_flat(activation):
    split = data.diabetes(80)
    x, y = split.x_train.numpy(), split.y_train.numpy()[:, 0]
    start = NNGPRegressor(depth=1, activation=activation, diag_reg=0.01).fit(x, y)
    end = NNGPRegressor(depth=1, activation=activation, diag_reg=0.01, optimize=True).fit(x, y)
    assert end.log_marginal_likelihood_value_ > start.log_marginal_likelihood_value_ + 10
    assert (start.w_std_, start.b_std_, start.diag_reg_) == (2**0.5, 0.1, 0.01)
    scales = np.array([end.w_std_, end.b_std_, end.diag_reg_])

    def likelihood(logarithms):
        w_std, b_std, diag_reg = np.exp(logarithms)
        model = NNGPRegressor(depth=1, activation=activation, w_std=w_std, b_std=b_std, diag_reg=diag_reg)
        return model.fit(x, y).log_marginal_likelihood_value_

    place = np.log(scales)
    assert likelihood(place) == pytest.approx(end.log_marginal_likelihood_value_, abs=1e-8)
    for direction in np.eye(3):
        slope = (likelihood(place + 1e-4 * direction) - likelihood(place - 1e-4 * direction)) / 2e-4
        # L-BFGS stops at a gradient of 1e-5 or a gain of 2e-9, for each target; curvatures are about 10.
        at_a_bound = scales[1] < 2e-5 and direction[1] == 1
        assert abs(slope) < 0.05 or at_a_bound


def test_the_parameters_stay_as_given():
    x, y, _ = problem()
    model = NNGPRegressor(optimize=True, depth=1).fit(x, y)
    assert model.w_std == 2**0.5
    assert model.w_std_ != model.w_std
    assert model.kernel_.net[0].w_std == model.w_std_
