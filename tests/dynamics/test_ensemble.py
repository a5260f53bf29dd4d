import importlib
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from flow_cases import nan_at
from torch._subclasses.fake_tensor import FakeTensorMode

import ntkbook
from ntkbook import nn
from ntkbook.dynamics import MSEFlow, ensemble, nngp_posterior, spectrum

N, M, K = 6, 3, 2


class FeatureModel:
    """Outputs a(x) u + b(x) w, with u drawn from N(0, 1) and w from 0: a wide network, linearized, exactly.

    Its covariance at the start is a a', and the tangent kernel of both groups of weights a a' + b b'.
    """

    def __init__(self, seed=0, features=9):
        rng = torch.Generator().manual_seed(seed)

        def normal(*shape):
            return torch.randn(*shape, generator=rng, dtype=torch.float64)

        self.maps = normal(4, features) / 2, normal(4, features) / 2
        self.x_train, self.x_test, self.y = normal(N, 4), normal(M, 4), normal(N, K)

    def features(self, x):
        return tuple(torch.tanh(x @ one) for one in self.maps)

    def __call__(self, x1, x2=None):
        (a1, b1), (a2, b2) = self.features(x1), self.features(x1 if x2 is None else x2)
        return SimpleNamespace(nngp=a1 @ a2.T, ntk=a1 @ a2.T + b1 @ b2.T)

    def trained(self, u, steps, learning_rate, train, y, momentum=0.0):
        """Return train and test outputs of models with first weights u, (S, features, K), after descent."""
        a, b = self.features(self.x_train)
        weights = [u, torch.zeros_like(u)] if train == "all" else [u]
        inputs = [a, b][: len(weights)]
        speeds = [torch.zeros_like(u) for _ in weights]
        for _ in range(steps):
            error = sum(x @ w for x, w in zip(inputs, weights, strict=True)) - y
            for i, x in enumerate(inputs):
                speeds[i] = momentum * speeds[i] - learning_rate * x.T @ error / (N * K)
                weights[i] = weights[i] + speeds[i]
        test = self.features(self.x_test)
        outputs = (sum(x @ w for x, w in zip(f, weights, strict=False)) for f in ((a, b), test))
        return tuple(outputs)


MODEL = FeatureModel()


@pytest.mark.parametrize("train", ["all", "last_layer"])
@pytest.mark.parametrize("momentum", [None, 0.7])
@pytest.mark.parametrize("steps", [0, 1, 40])
def test_covariance_is_that_of_the_map_from_first_weights_to_outputs(train, momentum, steps):
    # Outputs are linear in the first weights; training from each unit vector finds the map L, and L L' is
    # their covariance.
    unit = torch.eye(9, dtype=torch.float64)[:, :, None].expand(9, 9, K)
    zero = torch.zeros(1, 9, K, dtype=torch.float64)
    options = {"steps": steps, "learning_rate": 1.5, "train": train, "momentum": momentum or 0.0}
    means = MODEL.trained(zero, y=MODEL.y, **options)
    maps = MODEL.trained(unit, y=torch.zeros(N, K, dtype=torch.float64), **options)
    for points, mean, linear in zip((None, MODEL.x_test), means, maps, strict=True):
        result = ensemble(
            MODEL, MODEL.x_train, MODEL.y, points, steps, train, learning_rate=1.5, momentum=momentum
        )
        torch.testing.assert_close(result.mean, mean[0], rtol=0, atol=1e-12)
        covariance = torch.einsum("sm,sn->mn", linear[..., 0], linear[..., 0])
        torch.testing.assert_close(result.covariance, covariance, rtol=0, atol=1e-12)


def wide_networks(n_networks, width, x, seed):
    """Return outputs and tangent kernels of erf networks with one hidden layer: (S, P), (S, P, P)."""
    rng = torch.Generator().manual_seed(seed)
    w = torch.randn(n_networks, x.shape[1], width, generator=rng, dtype=torch.float64)
    v = torch.randn(n_networks, width, generator=rng, dtype=torch.float64)
    h = x @ w / x.shape[1] ** 0.5  # (S, P, width)
    slope = 2 / math.pi**0.5 * torch.exp(-h.square()) * v[:, None]
    outputs = torch.einsum("spn,sn->sp", torch.erf(h), v) / width**0.5
    tangent = torch.erf(h) @ torch.erf(h).mT / width + (slope @ slope.mT / width) * (x @ x.T / x.shape[1])
    return outputs, tangent


def test_400_linearized_networks_have_this_mean_and_covariance():
    rng = torch.Generator().manual_seed(6)
    x = torch.randn(8, 3, generator=rng, dtype=torch.float64)
    y = torch.sin(2 * x[:5, :1])
    net = torch.nn.Sequential(nn.Linear(3, 1), nn.Erf(), nn.Linear(1, 1))
    steps, learning_rate, n_networks = 60, 0.4, 400
    expected = ensemble(
        ntkbook.infinite_width(net), x[:5], y, x[5:], steps, reduction="sum", learning_rate=learning_rate
    )
    f, tangent = wide_networks(n_networks, 2048, x, seed=1)
    for _ in range(steps):
        f = f - learning_rate * torch.einsum("spn,sn->sp", tangent[:, :, :5], f[:, :5] - y[:, 0])
    assert (f[:, :5] - y[:, 0]).square().mean() < 0.5 * y.square().mean()  # training has done something
    f, mean, covariance = f[:, 5:], expected.mean[:, 0], expected.covariance
    # Kernels fluctuate by about 2048^-1/2 = 2%, which adds a bias far below the errors of 400 draws.
    variance = covariance.diagonal()
    z_mean = (f.mean(0) - mean) / (variance / n_networks).sqrt()
    error = ((variance[:, None] * variance + covariance**2) / n_networks).sqrt()
    z_covariance = (torch.cov(f.T, correction=1) - covariance) / error
    # 3 + 6 numbers: one beyond 5.5 happens once in 10^6 runs, with the heavier tail of a variance.
    assert z_mean.abs().max() < 5.5
    assert z_covariance.abs().max() < 5.5
    untrained = ensemble(ntkbook.infinite_width(net), x[:5], y, x[5:], 0, reduction="sum").covariance
    assert ((torch.cov(f.T) - untrained) / error).abs().max() > 20  # and the check can tell


@pytest.mark.parametrize("t", [0.7, 30.0, math.inf])
def test_the_flow_is_many_small_steps(t):
    steps = math.inf if t == math.inf else 2000
    flow = ensemble(MODEL, MODEL.x_train, MODEL.y, MODEL.x_test, t, reduction="sum")
    rate = 1e-3 if t == math.inf else t / steps
    descent = ensemble(
        MODEL, MODEL.x_train, MODEL.y, MODEL.x_test, steps, reduction="sum", learning_rate=rate
    )
    for one, other in zip(flow, descent, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0.02 if t == 30.0 else 2e-3)


def test_the_mean_is_the_flow_from_zero():
    zero, zero_test = torch.zeros(N, K).double(), torch.zeros(M, K).double()
    t = torch.tensor([0.0, 2.0, math.inf])
    k, k_test = MODEL(MODEL.x_train).ntk, MODEL(MODEL.x_test, MODEL.x_train).ntk
    flow = MSEFlow(k, MODEL.y, diag_reg=0.1)
    result = ensemble(MODEL, MODEL.x_train, MODEL.y, MODEL.x_test, t, diag_reg=0.1)
    assert result.mean.shape == (3, M, K)
    assert result.covariance.shape == (3, M, M)
    torch.testing.assert_close(result.mean, flow.test(t, k_test, zero_test, zero))
    torch.testing.assert_close(result.covariance[0], MODEL(MODEL.x_test).nngp)
    train = ensemble(MODEL, MODEL.x_train, MODEL.y, None, t, diag_reg=0.1)
    torch.testing.assert_close(train.mean, flow.train(t, zero))
    torch.testing.assert_close(train.covariance[0], MODEL(MODEL.x_train).nngp)


def posterior_by_precision(k, y, noise):
    """Return the posterior at the last M points by inverting the covariance of everything."""
    total = k.numpy() + noise * np.diag([1.0] * N + [0.0] * M) + 1e-14 * np.eye(N + M)
    precision = np.linalg.inv(total)
    covariance = np.linalg.inv(precision[N:, N:])
    return -covariance @ precision[N:, :N] @ y.numpy(), covariance


@pytest.mark.parametrize("noise", [0.0, 0.05, 3.0])
def test_the_posterior_is_a_block_of_the_precision_matrix(noise):
    k = MODEL(torch.cat([MODEL.x_train, MODEL.x_test])).nngp
    mean, covariance = nngp_posterior(MODEL, MODEL.x_train, MODEL.y, MODEL.x_test, noise)
    expected = posterior_by_precision(k, MODEL.y, noise)
    # Without noise two inverses of a kernel of condition 1e4 stand on the other side.
    np.testing.assert_allclose(mean, expected[0], rtol=0, atol=1e-8)
    np.testing.assert_allclose(covariance, expected[1], rtol=0, atol=1e-8)


@pytest.mark.parametrize("noise", [0.0, 0.05])
def test_training_the_last_layer_to_the_end_samples_the_posterior(noise):
    diag_reg = noise / float(MODEL(MODEL.x_train).nngp.diagonal().mean())
    trained = ensemble(MODEL, MODEL.x_train, MODEL.y, MODEL.x_test, math.inf, "last_layer", diag_reg=diag_reg)
    posterior = nngp_posterior(MODEL, MODEL.x_train, MODEL.y, MODEL.x_test, noise)
    for one, other in zip(trained, posterior, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-10)
    everything = ensemble(MODEL, MODEL.x_train, MODEL.y, MODEL.x_test, math.inf, diag_reg=diag_reg)
    assert (everything.covariance - posterior.covariance).abs().max() > 0.01  # all layers do not


def test_a_repeated_training_point_without_noise():
    x = MODEL.x_train[[0, 1, 1]]
    y = MODEL.y[[0, 1, 2]]  # with two labels: their mean is what can be learned
    mean, covariance = nngp_posterior(MODEL, x, y, x)
    torch.testing.assert_close(mean[1], (y[1] + y[2]) / 2, rtol=0, atol=1e-11)
    assert covariance.abs().max() < 1e-12
    assert (covariance.diagonal() >= 0).all()
    trained = ensemble(MODEL, x, y, None, math.inf, "last_layer")
    torch.testing.assert_close(trained.mean, mean, rtol=0, atol=1e-11)


def test_rounding_leaves_a_covariance_symmetric_and_its_variances_positive():
    # Forty points on a line: the kernel's condition is 1e16, and the posterior's variance at them is 0.
    x, y = torch.linspace(-1, 1, 40, dtype=torch.float64)[:, None], torch.zeros(40, 1, dtype=torch.float64)

    def kernel(x1, x2=None):
        k = torch.exp(-(x1 - (x1 if x2 is None else x2).T).square())
        return SimpleNamespace(nngp=k, ntk=k)

    for result in (
        nngp_posterior(kernel, x, y, x),
        ensemble(kernel, x, y, x, 1e9, reduction="sum"),
        ensemble(kernel, x, y, x, math.inf),
        ensemble(kernel, x, y, None, 1e9, reduction="sum"),
    ):
        assert torch.equal(result.covariance, result.covariance.T)
        assert (result.covariance.diagonal() >= 0).all()
        assert result.covariance.abs().max() < 1e-7


def test_single_precision_agrees_with_double():
    class Single:
        def __call__(self, *x):
            pair = MODEL(*(one.double() for one in x))
            return SimpleNamespace(nngp=pair.nngp.float(), ntk=pair.ntk.float())

    arguments = MODEL.x_train, MODEL.y, MODEL.x_test
    coarse_arguments = tuple(one.float() for one in arguments)
    for t in (3.0, 100.0):
        fine, coarse = ensemble(MODEL, *arguments, t), ensemble(Single(), *coarse_arguments, t)
        for one, other in zip(fine, coarse, strict=True):
            assert other.dtype == torch.float32
            torch.testing.assert_close(other.double(), one, rtol=0, atol=1e-4)
    fine, coarse = nngp_posterior(MODEL, *arguments, 0.1), nngp_posterior(Single(), *coarse_arguments, 0.1)
    for one, other in zip(fine, coarse, strict=True):
        torch.testing.assert_close(other.double(), one, rtol=0, atol=1e-4)


def spoiled(**changes):
    """Return a kernel function some of whose matrices are replaced: by (N1, N2) and name."""

    def kernel(x1, x2=None):
        pair = MODEL(x1, x2)
        shape = tuple(pair.nngp.shape)
        return SimpleNamespace(
            **{
                name: changes.get(name, lambda k, _: k)(getattr(pair, name), shape)
                for name in ("nngp", "ntk")
            }
        )

    return kernel


X, Y, Z = MODEL.x_train, MODEL.y, MODEL.x_test
BAD = {
    "no such layer": (lambda: ensemble(MODEL, X, Y, Z, 1.0, "first_layer"), "train must be one of"),
    "negative time": (lambda: ensemble(MODEL, X, Y, Z, -1.0), "t must not be negative"),
    "half a step": (lambda: ensemble(MODEL, X, Y, Z, 0.5, learning_rate=0.1), "whole number"),
    "no such reduction": (lambda: ensemble(MODEL, X, Y, Z, 1.0, reduction="none"), "reduction must be"),
    "too few targets": (lambda: ensemble(MODEL, X, Y[:4], Z, 1.0), r"y_train has shape \(4, 2\)"),
    "mixed dtypes": (
        lambda: ensemble(MODEL, X, Y.float(), Z, 1.0),
        r"y_train is torch.float32 but kernel\(x_train\).ntk",
    ),
    "NaN in the kernel": (
        lambda: ensemble(spoiled(ntk=lambda k, _: nan_at(k, (0, 0))), X, Y, Z, 1.0),
        "the kernel's ntk holds 1",
    ),
    "NaN between test points": (
        lambda: ensemble(spoiled(nngp=lambda k, s: nan_at(k, (0, 0)) if s == (M, M) else k), X, Y, Z, 1.0),
        "the kernel's nngp holds 1",
    ),
    "spatial kernel": (
        lambda: ensemble(spoiled(nngp=lambda k, _: k[..., None]), X, Y, Z, 1.0),
        r"the kernel's nngp must have 2 dimensions, got shape \(6, 6, 1\)",
    ),
    "indefinite": (
        lambda: ensemble(spoiled(ntk=lambda k, _: -k), X, Y, Z, 1.0),
        r"kernel\(x_train\).ntk is not positive semi-definite",
    ),
    "transposed cross kernel": (
        lambda: ensemble(spoiled(ntk=lambda k, s: k.T if s == (M, N) else k), X, Y, Z, 1.0),
        r"kernel\(x_test, x_train\).ntk has shape \(6, 3\)",
    ),
    "negative noise": (lambda: nngp_posterior(MODEL, X, Y, Z, -0.1), "noise must be finite and not negative"),
    "posterior of too few": (lambda: nngp_posterior(MODEL, X, Y[:4], Z), r"y_train has shape \(4, 2\)"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_arguments_are_refused_by_name(case):
    call, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        call()


def test_runs_on_a_device_without_mixing_in_cpu_tensors(monkeypatch):
    # Fake tensors hold no values, so the checks that read values are left out here.
    for name in ("check_finite", "_check_symmetric", "_check_semidefinite"):
        monkeypatch.setattr(spectrum, name, lambda *arguments: None)
    monkeypatch.setattr(importlib.import_module("ntkbook.dynamics.ensemble"), "check_finite", lambda _, k: k)

    def kernel(x1, x2=None):
        k = torch.empty(len(x1), len(x1 if x2 is None else x2), device="cuda")
        return SimpleNamespace(nngp=k, ntk=k)

    with FakeTensorMode():
        x, z, y = (torch.empty(*shape, device="cuda") for shape in ((5, 4), (3, 4), (5, 2)))
        for train in ("all", "last_layer"):
            for points, size in ((z, 3), (None, 5)):
                mean, covariance = ensemble(kernel, x, y, points, 2.0, train, diag_reg=0.1)
                assert mean.device.type == covariance.device.type == "cuda"
                assert mean.shape == (size, 2)
                assert covariance.shape == (size, size)
        assert nngp_posterior(kernel, x, y, z, 0.1).covariance.device.type == "cuda"


def test_an_unstable_learning_rate_is_named_with_its_limit():
    with pytest.warns(UserWarning, match="stable limit"):
        ensemble(MODEL, X, Y, Z, 3, learning_rate=1e3)
