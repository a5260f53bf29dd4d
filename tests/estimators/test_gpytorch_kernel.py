"""NetworkKernel against kernels in NumPy, differences, GPyTorch's own machinery and NNGPRegressor."""

from __future__ import annotations

import copy
import pickle

import gpytorch
import numpy as np
import pytest
import torch
from gpytorch.constraints import GreaterThan, Positive
from numpy_kernels import erf_kernels, problem

from ntkbook import nn
from ntkbook.estimators import NNGPRegressor
from ntkbook.gpytorch_kernel import NetworkKernel

W_STD, B_STD = [1.3, 0.8, 1.7], [0.4, 0.2]  # the layer in the middle has no bias
WHICH = {"nngp": 0, "ntk": 1}


def network():
    layers = [nn.Linear(4, 3, w_std=1.3, b_std=0.4), nn.Erf(), nn.Linear(3, 3, w_std=0.8), nn.Erf()]
    return torch.nn.Sequential(*layers, nn.Linear(3, 1, w_std=1.7, b_std=0.2)).double()


def make(kernel="nngp", **options):
    return NetworkKernel(network(), kernel, **options)


def in_numpy(x1, x2, kernel="nngp", w_std=W_STD, b_std=B_STD):
    return erf_kernels(x1, x2, w_std, [b_std[0], 0.0, b_std[1]])[WHICH[kernel]]


class GP(gpytorch.models.ExactGP):
    def __init__(self, x, y, kernel, likelihood):
        super().__init__(x, y, likelihood)
        self.mean_module = gpytorch.means.ZeroMean()
        self.covar_module = kernel

    def forward(self, x):
        return gpytorch.distributions.MultivariateNormal(self.mean_module(x), self.covar_module(x))


def gaussian_process(kernel, noise=0.05):
    x, y, x_test = (torch.from_numpy(a) for a in problem(outputs=1))
    likelihood = gpytorch.likelihoods.GaussianLikelihood().double()
    likelihood.noise = noise
    return GP(x, y[:, 0], kernel, likelihood).double(), x, y[:, 0], x_test


@pytest.mark.parametrize("kernel", WHICH)
def test_values(kernel):
    x, _, x_test = problem()
    made = make(kernel)
    for a, b in ((x, x), (x_test, x), (x[:7], x[2:9])):
        values = made(torch.from_numpy(a), torch.from_numpy(b)).to_dense()
        np.testing.assert_allclose(values.detach(), in_numpy(a, b, kernel), rtol=0, atol=1e-12)
    square = made(torch.from_numpy(x)).to_dense()
    np.testing.assert_allclose(square.detach(), in_numpy(x, x, kernel), rtol=0, atol=1e-12)
    with torch.no_grad():
        assert torch.equal(made(torch.from_numpy(x)).to_dense(), square)


@pytest.mark.parametrize("kernel", WHICH)
def test_diagonal(kernel):
    x = np.random.default_rng(1).normal(size=(70, 4))  # three blocks
    made = make(kernel)
    diagonal = made(torch.from_numpy(x), diag=True)
    np.testing.assert_allclose(diagonal.detach(), in_numpy(x, x, kernel).diagonal(), rtol=0, atol=1e-12)
    lazily = made(torch.from_numpy(x)).diagonal()
    assert torch.equal(lazily, diagonal)
    gradient, expected = (
        torch.autograd.grad(values.sum(), made.raw_w_std)[0]
        for values in (diagonal, made(torch.from_numpy(x)).to_dense().diagonal())
    )
    torch.testing.assert_close(gradient, expected, rtol=1e-12, atol=0)
    pairs = made(torch.from_numpy(x), torch.from_numpy(x[::-1].copy()), diag=True)
    np.testing.assert_allclose(pairs.detach(), in_numpy(x, x[::-1], kernel).diagonal(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("kernel", WHICH)
def test_gradients_in_every_scale_and_in_the_inputs(kernel):
    x, _, _ = problem(n=6)
    weights = np.random.default_rng(2).normal(size=(6, 6))
    made = make(kernel)
    inputs = torch.from_numpy(x).requires_grad_()
    (made(inputs).to_dense() * torch.from_numpy(weights)).sum().backward()
    h = 1e-5  # truncation 1e-10 of the third derivative, rounding 1e-11 of the value

    def slope(index, scales, others, order):
        moved = [list(scales), list(scales)]
        moved[0][index] += h
        moved[1][index] -= h
        values = [in_numpy(x, x, kernel, **{order: m, **others}) for m in moved]
        return ((values[0] - values[1]) / (2 * h) * weights).sum()

    # The derivative of softplus is 1 - exp(-softplus).
    for raw, scales, name, others in (
        (made.raw_w_std, W_STD, "w_std", {"b_std": B_STD}),
        (made.raw_b_std, B_STD, "b_std", {"w_std": W_STD}),
    ):
        expected = [slope(i, scales, others, name) * (1 - np.exp(-value)) for i, value in enumerate(scales)]
        np.testing.assert_allclose(raw.grad, expected, rtol=1e-7, atol=1e-7)
    step = np.zeros_like(x)
    step[2, 1] = h
    change = in_numpy(x + step, x + step, kernel) - in_numpy(x - step, x - step, kernel)
    assert inputs.grad[2, 1].item() == pytest.approx((change / (2 * h) * weights).sum(), rel=1e-6)


def test_equal_inputs_keep_gradients_of_their_own():
    first = torch.from_numpy(problem(n=5)[0]).requires_grad_()
    second = first.detach().clone().requires_grad_()
    weights = torch.arange(25.0).reshape(5, 5).double()
    own = torch.autograd.grad((make()(first, second).to_dense() * weights).sum(), (first, second))
    (both,) = torch.autograd.grad((make()(first).to_dense() * weights).sum(), first)
    torch.testing.assert_close(own[0] + own[1], both, rtol=1e-10, atol=1e-10)
    assert not torch.allclose(own[0], own[1])


def test_marginal_likelihood_and_predictions_are_those_of_the_estimator():
    kernel = gpytorch.kernels.ScaleKernel(make())
    kernel.outputscale = 1.0
    model, x, y, x_test = gaussian_process(kernel)
    noise = model.likelihood.noise.item()
    diagonal = in_numpy(x.numpy(), x.numpy()).diagonal().mean()
    peer = NNGPRegressor(network(), diag_reg=noise / diagonal).fit(x.numpy(), y.numpy())
    objective = gpytorch.mlls.ExactMarginalLogLikelihood(model.likelihood, model)
    model.train()
    value = objective(model(x), y).item() * len(y)
    assert value == pytest.approx(peer.log_marginal_likelihood_value_, rel=1e-9)
    model.eval()
    with torch.no_grad():
        posterior = model(x_test)
    mean, cov = peer.predict(x_test.numpy(), return_cov=True)
    np.testing.assert_allclose(posterior.mean, mean, rtol=0, atol=1e-9)
    np.testing.assert_allclose(posterior.covariance_matrix, cov, rtol=0, atol=1e-9)
    np.testing.assert_allclose(posterior.stddev**2, cov.diagonal(), rtol=0, atol=1e-9)


@pytest.mark.parametrize("kernel", WHICH)
def test_training_learns_every_scale(kernel):
    model, x, y, _ = gaussian_process(gpytorch.kernels.ScaleKernel(make(kernel)))
    inner = model.covar_module.base_kernel
    before = torch.cat([inner.w_std, inner.b_std]).detach().clone()
    objective = gpytorch.mlls.ExactMarginalLogLikelihood(model.likelihood, model)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    losses = []
    model.train()
    for _ in range(40):
        optimizer.zero_grad()
        loss = -objective(model(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.05
    after = torch.cat([inner.w_std, inner.b_std]).detach()
    assert bool(((after - before).abs() > 1e-3).all())


def test_active_dims_choose_columns():
    x = np.random.default_rng(3).normal(size=(5, 7))
    columns = [6, 0, 3, 2]
    values = make(active_dims=columns)(torch.from_numpy(x)).to_dense()
    np.testing.assert_allclose(values.detach(), in_numpy(x[:, columns], x[:, columns]), rtol=0, atol=1e-12)


def test_only_the_scales_are_parameters_and_the_network_is_left_alone():
    net = network()
    kernel = NetworkKernel(net)
    assert [name for name, _ in kernel.named_parameters()] == ["raw_w_std", "raw_b_std"]
    np.testing.assert_allclose(kernel.w_std.detach(), W_STD, rtol=1e-14)
    np.testing.assert_allclose(kernel.b_std.detach(), B_STD, rtol=1e-14)
    kernel.w_std = 2.1
    np.testing.assert_allclose(kernel.w_std.detach(), [2.1] * 3, rtol=1e-14)
    kernel(torch.ones(2, 4).double()).to_dense()
    with pytest.raises(ValueError, match="channels"):
        kernel(torch.ones(2, 5).double()).to_dense()
    assert [layer.w_std for layer in net if isinstance(layer, nn.Linear)] == W_STD
    assert [layer.b_std for layer in net if isinstance(layer, nn.Linear)] == [0.4, None, 0.2]


def test_networks_without_biases():
    kernel = NetworkKernel(nn.mlp([4, 1, 1], activation=nn.Erf(), w_std=1.5, dtype=torch.float64))
    x, _, _ = problem()
    values = kernel(torch.from_numpy(x)).to_dense()
    expected = erf_kernels(x, x, [1.5, 1.5], [0.0, 0.0])[0]
    np.testing.assert_allclose(values.detach(), expected, rtol=0, atol=1e-12)
    assert kernel.b_std.shape == (0,)


def test_copies_pickles_and_state():
    x = torch.from_numpy(problem()[0])
    kernel = make()
    values = kernel(x).to_dense()
    values.sum().backward()
    for other in (copy.deepcopy(kernel), pickle.loads(pickle.dumps(kernel))):
        assert torch.equal(other(x).to_dense(), values)
        other.w_std = 1.0
        assert not torch.allclose(other(x).to_dense(), values)
    assert torch.equal(kernel(x).to_dense(), values)
    fresh = make(w_std_constraint=Positive())
    fresh.w_std = 1.0
    fresh.load_state_dict(kernel.state_dict())
    assert torch.equal(fresh(x).to_dense(), values)


def test_constraints_are_those_given():
    kernel = NetworkKernel(network(), w_std_constraint=GreaterThan(0.5))
    with torch.no_grad():
        kernel.raw_w_std.fill_(-30.0)
    np.testing.assert_allclose(kernel.w_std.detach(), 0.5, rtol=1e-6)


def test_precision_follows_the_network_and_the_inputs():
    x = problem()[0]
    expected = in_numpy(x, x)
    values = NetworkKernel(network().float())(torch.from_numpy(x).float()).to_dense()
    assert values.dtype == torch.float32
    np.testing.assert_allclose(values.detach(), expected, rtol=0, atol=1e-5)


REFUSED = {
    "batch shape": (
        lambda: NetworkKernel(network(), batch_shape=torch.Size([2])),
        r"batch_shape=\(2,\) is not supported",
    ),
    "unknown kernel": (lambda: NetworkKernel(network(), "rbf"), "kernel must be one of 'nngp', 'ntk'"),
    "no scales": (lambda: NetworkKernel(torch.nn.Sequential(torch.nn.ReLU())), "no layer with a w_std"),
    "plain layers": (lambda: NetworkKernel(torch.nn.Linear(4, 1)), "plain torch layers"),
    "zero": (lambda: NetworkKernel(nn.mlp([4, 1], b_std=0.0)), "learned scales are positive"),
    "batches": (
        lambda: make()(torch.ones(2, 3, 4).double()).to_dense(),
        r"without batches .* got \(2, 3, 4\)",
    ),
    "wrong number": (lambda: setattr(make(), "w_std", torch.ones(2)), "w_std must be one positive .* or 3"),
    "negative scale": (lambda: setattr(make(), "b_std", -1.0), "b_std must be one positive number"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_supported_is_refused(case):
    call, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.filterwarnings("ignore:The last_dim_is_batch argument is deprecated")
def test_last_dim_is_batch_is_refused():
    with pytest.raises(ValueError, match="last_dim_is_batch=True; use one kernel for each"):
        make()(torch.ones(3, 4).double(), last_dim_is_batch=True).to_dense()
