import math
import warnings

import numpy as np
import pytest
import torch
from flow_cases import nan_at, problem
from scipy.integrate import solve_ivp
from scipy.linalg import expm
from torch._subclasses.fake_tensor import FakeTensorMode

from ntkbook.dynamics import MSEFlow, propagator, spectrum

REDUCTIONS = ("sum", "mean")


def rate(reduction, y):
    return 1.0 if reduction == "sum" else 1 / y.numel()


def by_ode(p, t, c, k):
    """Integrate training and test outputs together; no linear algebra of the closed form enters."""
    k, k_test, y = k.numpy(), p["k_test"].numpy(), p["y"].numpy()
    n, outputs = y.shape

    def velocity(_, state):
        residual = state[: n * outputs].reshape(n, outputs) - y
        return -c * np.concatenate([(k @ residual).ravel(), (k_test @ residual).ravel()])

    start = np.concatenate([p["f0"].numpy().ravel(), p["f0_test"].numpy().ravel()])
    end = solve_ivp(velocity, (0, t), start, rtol=1e-11, atol=1e-12, method="DOP853").y[:, -1]
    return end[: n * outputs].reshape(n, outputs), end[n * outputs :].reshape(-1, outputs)


def regularized(k, diag_reg):
    return k + diag_reg * k.diagonal().mean() * torch.eye(len(k), dtype=k.dtype)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("diag_reg", [0.0, 0.3])
@pytest.mark.parametrize("features", [12, 4])  # a kernel of full rank, and one of rank 4 on 7 points
def test_agrees_with_an_ode_solver(reduction, diag_reg, features):
    p = problem(features=features)
    flow = MSEFlow(p["k"], p["y"], reduction, diag_reg)
    for t in (0.3, 2.0, 30.0):
        train, test = by_ode(p, t, rate(reduction, p["y"]), regularized(p["k"], diag_reg))
        # the solver's tolerance is 1e-11 per step
        np.testing.assert_allclose(flow.train(t, p["f0"]), train, rtol=0, atol=1e-8)
        np.testing.assert_allclose(flow.test(t, p["k_test"], p["f0_test"], p["f0"]), test, rtol=0, atol=1e-8)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_agrees_with_the_matrix_exponential_and_an_explicit_inverse(reduction):
    p, t = problem(), 1.7
    c = rate(reduction, p["y"])
    k, residual = p["k"].numpy(), (p["f0"] - p["y"]).numpy()
    decay = expm(-c * t * k)
    flow = MSEFlow(p["k"], p["y"], reduction=reduction)
    np.testing.assert_allclose(flow.train(t, p["f0"]), p["y"].numpy() + decay @ residual, rtol=0, atol=1e-12)
    moved = p["k_test"].numpy() @ np.linalg.inv(k) @ (np.eye(len(k)) - decay) @ residual
    np.testing.assert_allclose(
        flow.test(t, p["k_test"], p["f0_test"], p["f0"]), p["f0_test"].numpy() - moved, rtol=0, atol=1e-11
    )


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("features", [12, 4])
def test_steps_agree_with_gradient_descent_on_the_parameters(reduction, features):
    p = problem(features=features)
    x, y = p["x"], p["y"]
    learning_rate = 0.3 if reduction == "sum" else 4.0
    x_test = p["k_test"] @ torch.linalg.pinv(x.T)  # the test inputs, recovered from the kernel
    w = torch.linalg.pinv(x) @ p["f0"]
    f0, f0_test = x @ w, x_test @ w
    w.requires_grad_()
    flow = MSEFlow(p["k"], y, reduction, learning_rate=learning_rate)
    for step in range(1, 41):
        error = (x @ w - y) ** 2
        (gradient,) = torch.autograd.grad(0.5 * (error.sum() if reduction == "sum" else error.mean()), w)
        w = (w - learning_rate * gradient).detach().requires_grad_()
        if step in (1, 2, 40):
            torch.testing.assert_close(flow.train(step, f0), (x @ w).detach(), rtol=0, atol=1e-12)
            torch.testing.assert_close(
                flow.test(step, x_test @ x.T, f0_test, f0), (x_test @ w).detach(), rtol=0, atol=1e-11
            )


def test_a_slow_mode_keeps_its_digits():
    # One mode, eigenvalue 1e-14: after one unit of time the output has moved by 1e-14 of the residual.
    k, y = torch.tensor([[1e-14]], dtype=torch.float64), torch.ones(1, 1, dtype=torch.float64)
    zero = torch.zeros_like(y)
    for flow in (MSEFlow(k, y, "sum"), MSEFlow(k, y, "sum", learning_rate=1.0)):
        assert flow.test(1.0, k, zero, zero).item() == pytest.approx(1e-14, rel=1e-12, abs=0)
        assert flow.train(1e14, zero).item() == pytest.approx(1 - math.exp(-1), rel=1e-12)


def test_at_time_zero_nothing_has_moved():
    p = problem()
    flow = MSEFlow(p["k"], p["y"])
    torch.testing.assert_close(flow.train(0.0, p["f0"]), p["f0"], rtol=0, atol=1e-14)
    torch.testing.assert_close(
        flow.test(0.0, p["k_test"], p["f0_test"], p["f0"]), p["f0_test"], rtol=0, atol=0
    )


@pytest.mark.parametrize("learning_rate", [None, 0.2])
@pytest.mark.parametrize("features", [12, 4])
def test_infinite_time_is_the_pseudo_inverse(features, learning_rate):
    p = problem(features=features)
    flow = MSEFlow(p["k"], p["y"], "sum", learning_rate=learning_rate)
    inverse = torch.linalg.pinv(p["k"], hermitian=True, rtol=1e-10)
    residual = p["y"] - p["f0"]
    train = p["f0"] + p["k"] @ inverse @ residual
    test = p["f0_test"] + p["k_test"] @ inverse @ residual
    torch.testing.assert_close(flow.train(math.inf, p["f0"]), train, rtol=0, atol=1e-11)
    torch.testing.assert_close(
        flow.test(math.inf, p["k_test"], p["f0_test"], p["f0"]), test, rtol=0, atol=1e-11
    )


def test_a_very_long_time_is_infinite_time_on_a_singular_kernel():
    # Rounding leaves about 1e-16 of the test kernel in the null space; it must not grow with t.
    p = problem(n=40, features=5, m=6)
    flow = MSEFlow(p["k"], p["y"], "sum")
    arguments = (p["k_test"], p["f0_test"], p["f0"])
    torch.testing.assert_close(
        flow.test(1e15, *arguments), flow.test(math.inf, *arguments), rtol=0, atol=1e-11
    )
    assert int((flow.eigenvalues == 0).sum()) == 35


def test_a_cross_kernel_outside_the_range_grows_linearly():
    # Not a kernel's row, but the formula's limit (1 - exp(-lambda t)) / lambda -> t is still its answer.
    k = torch.diag(torch.tensor([2.0, 0.0], dtype=torch.float64))
    y, zero = torch.ones(2, 1, dtype=torch.float64), torch.zeros(2, 1, dtype=torch.float64)
    moved = MSEFlow(k, y, "sum").test(50.0, torch.eye(2, dtype=torch.float64), zero, zero)
    torch.testing.assert_close(moved.squeeze(), torch.tensor([0.5, 50.0], dtype=torch.float64))


def test_many_times_are_each_time_alone():
    p = problem(features=4)
    flow = MSEFlow(p["k"], p["y"])
    times = torch.tensor([0.0, 0.5, 7.0, math.inf])
    train, test = flow.train(times, p["f0"]), flow.test(times, p["k_test"], p["f0_test"], p["f0"])
    assert train.shape == (4, 7, 2)
    assert test.shape == (4, 3, 2)
    for i, t in enumerate(times.tolist()):
        torch.testing.assert_close(train[i], flow.train(t, p["f0"]), rtol=0, atol=1e-13)
        torch.testing.assert_close(
            test[i], flow.test(t, p["k_test"], p["f0_test"], p["f0"]), rtol=0, atol=1e-13
        )
    assert flow.train(times[1], p["f0"]).shape == (7, 2)
    torch.testing.assert_close(flow.train(torch.tensor([2, 3]), p["f0"])[0], flow.train(2.0, p["f0"]))


def test_regularization_is_ridge_regression_at_infinite_time():
    p = problem(n=9, features=4)
    flow = MSEFlow(p["k"], p["y"], diag_reg=0.2)
    ridge = 0.2 * p["k"].diagonal().mean()
    x = p["x"]
    weights = torch.linalg.solve(
        x.T @ x + ridge * torch.eye(4, dtype=x.dtype), x.T @ p["y"]
    )  # the normal equations, on the parameter side
    x_test = torch.linalg.lstsq(x, p["k_test"].T).solution.T
    zero, zero_test = torch.zeros_like(p["y"]), torch.zeros_like(p["f0_test"])
    torch.testing.assert_close(
        flow.test(math.inf, p["k_test"], zero_test, zero), x_test @ weights, rtol=0, atol=1e-11
    )


def test_rank_is_told_from_rounding_at_size():
    rng = torch.Generator().manual_seed(1)
    x = torch.randn(600, 50, generator=rng, dtype=torch.float64)
    for dtype in (torch.float64, torch.float32):
        flow = MSEFlow((x @ x.T).to(dtype), torch.ones(600, 1, dtype=dtype))
        assert int((flow.eigenvalues > 0).sum()) == 50


def test_the_noise_of_a_cast_kernel_shows_in_its_negative_eigenvalues():
    # Rounded to single precision and cast back: the noise is far above that of float64.
    rng = torch.Generator().manual_seed(2)
    x = torch.randn(300, 20, generator=rng, dtype=torch.float64)
    flow = MSEFlow((x @ x.T).float().double(), torch.ones(300, 1, dtype=torch.float64))
    assert int((flow.eigenvalues > 0).sum()) == 20


def test_one_rounding_of_an_entry_is_not_a_second_mode():
    k = torch.ones(2, 2)
    k[1, 1] += torch.finfo(torch.float32).eps
    assert int((MSEFlow(k, torch.ones(2, 1)).eigenvalues > 0).sum()) == 1
    assert int((MSEFlow(k.double(), torch.ones(2, 1).double()).eigenvalues > 0).sum()) == 2


def test_single_precision_agrees_with_double():
    p = problem(n=30, features=60)
    single = {name: value.to(torch.float32) for name, value in p.items()}
    times = torch.tensor([0.1, 3.0, 100.0, math.inf])
    for diag_reg in (0.0, 1e-3):
        fine = MSEFlow(p["k"], p["y"], diag_reg=diag_reg)
        coarse = MSEFlow(single["k"], single["y"], diag_reg=diag_reg)
        train = coarse.train(times, single["f0"])
        test = coarse.test(times, single["k_test"], single["f0_test"], single["f0"])
        assert train.dtype == test.dtype == torch.float32
        # Rounding of the entries, times the condition number of this kernel (about 40).
        torch.testing.assert_close(train.double(), fine.train(times, p["f0"]), rtol=0, atol=3e-5)
        torch.testing.assert_close(
            test.double(), fine.test(times, p["k_test"], p["f0_test"], p["f0"]), rtol=0, atol=3e-5
        )


def test_a_full_kernel_of_two_outputs_can_be_flattened():
    p = problem(n=4, outputs=2)
    coupling = torch.tensor([[1.0, 0.4], [0.4, 0.7]], dtype=torch.float64)
    full = torch.einsum("ij,ab->ijab", p["k"], coupling)  # (N, N, K, K)
    flow = MSEFlow(full.permute(0, 2, 1, 3).reshape(8, 8), p["y"].reshape(8, 1), "sum")
    t, h = 0.8, 1e-4
    f = [flow.train(s, p["f0"].reshape(8, 1)).reshape(4, 2) for s in (t - h, t, t + h)]
    velocity = -torch.einsum("ijab,jb->ia", full, f[1] - p["y"])
    torch.testing.assert_close((f[2] - f[0]) / (2 * h), velocity, rtol=0, atol=1e-6)


def test_an_unstable_learning_rate_is_named_with_its_limit():
    p = problem()
    limit = 2 / float(torch.linalg.eigvalsh(p["k"])[-1])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        MSEFlow(p["k"], p["y"], "sum", learning_rate=0.999 * limit)
    with pytest.warns(UserWarning, match=f"stable limit {limit:.6g}"):
        flow = MSEFlow(p["k"], p["y"], "sum", learning_rate=1.001 * limit)
    assert flow.train(20000, p["f0"]).abs().max() > 1e3
    with pytest.raises(ValueError, match="no limit"):
        flow.train(math.inf, p["f0"])


def test_runs_on_a_device_without_mixing_in_cpu_tensors(monkeypatch):
    # Fake tensors hold no values, so the checks that read values are left out here.
    for module, names in {
        spectrum: ("check_finite", "_check_symmetric", "_check_semidefinite"),
        propagator: ("_warn_if_unstable",),
    }.items():
        for name in names:
            monkeypatch.setattr(module, name, lambda *arguments: None)
    with FakeTensorMode():
        k, k_test = torch.empty(5, 5, device="cuda"), torch.empty(3, 5, device="cuda")
        y, f0_test = torch.empty(5, 2, device="cuda"), torch.empty(3, 2, device="cuda")
        for options in (
            {},
            {"diag_reg": 0.1},
            {"learning_rate": 0.1},
            {"learning_rate": 0.1, "momentum": 0.9},
        ):
            flow = MSEFlow(k, y, **options)
            train, test = flow.train(3.0, y), flow.test(3.0, k_test, f0_test, y)
            assert train.device.type == test.device.type == "cuda"
            assert train.dtype == test.dtype == torch.float32
            assert train.shape == (5, 2)
            assert test.shape == (3, 2)


P = problem()
BAD_CONSTRUCTIONS = {
    "not a tensor": (
        lambda: MSEFlow(P["k"].numpy(), P["y"]),
        TypeError,
        "k_train_train must be a torch.Tensor",
    ),
    "not square": (
        lambda: MSEFlow(P["k"][:3], P["y"]),
        ValueError,
        r"k_train_train must be square.*\(3, 7\)",
    ),
    "a vector of targets": (lambda: MSEFlow(P["k"], P["y"][:, 0]), ValueError, "y_train must have 2 dim"),
    "too few targets": (lambda: MSEFlow(P["k"], P["y"][:5]), ValueError, r"y_train has shape \(5, 2\)"),
    "integer targets": (lambda: MSEFlow(P["k"], P["y"].long()), TypeError, "y_train must be real floating"),
    "mixed dtypes": (lambda: MSEFlow(P["k"], P["y"].float()), ValueError, "y_train is torch.float32"),
    "mixed devices": (lambda: MSEFlow(P["k"], P["y"].to("meta")), ValueError, "y_train is on meta"),
    "NaN in the kernel": (
        lambda: MSEFlow(nan_at(P["k"], (1, 1)), P["y"]),
        ValueError,
        r"k_train_train holds 1",
    ),
    "NaN in the targets": (lambda: MSEFlow(P["k"], nan_at(P["y"], (2, 0))), ValueError, r"y_train.*\(2, 0\)"),
    "asymmetric": (lambda: MSEFlow(P["k"].triu(), P["y"]), ValueError, "not symmetric: .* by up to"),
    "indefinite": (
        lambda: MSEFlow(P["k"] - torch.eye(7, dtype=torch.float64), P["y"]),
        ValueError,
        "not positive semi-definite: its smallest eigenvalue is -",
    ),
    "no such loss": (
        lambda: MSEFlow(P["k"], P["y"], reduction="avg"),
        ValueError,
        "reduction must be one of",
    ),
    "negative regularization": (lambda: MSEFlow(P["k"], P["y"], diag_reg=-0.1), ValueError, "diag_reg"),
    "zero learning rate": (lambda: MSEFlow(P["k"], P["y"], learning_rate=0.0), ValueError, "learning_rate"),
}


@pytest.mark.parametrize("case", BAD_CONSTRUCTIONS)
def test_bad_construction_is_refused_by_name(case):
    call, error, message = BAD_CONSTRUCTIONS[case]
    with pytest.raises(error, match=message):
        call()


BAD_CALLS = {
    "negative time": (lambda f: f.train(-1.0, P["f0"]), "t must not be negative or NaN, got -1.0"),
    "NaN time": (lambda f: f.train(math.nan, P["f0"]), "t must not be negative or NaN"),
    "a negative time among others": (lambda f: f.train(torch.tensor([0.0, -2.0]), P["f0"]), "got -2.0"),
    "a table of times": (lambda f: f.train(torch.ones(2, 2), P["f0"]), r"t must be a number.*\(2, 2\)"),
    "f0 of other shape": (lambda f: f.train(1.0, P["f0"][:, :1]), r"f0_train.*expected \(7, 2\)"),
    "f0 of other dtype": (lambda f: f.train(1.0, P["f0"].float()), "f0_train is torch.float32"),
    "NaN in f0": (lambda f: f.train(1.0, nan_at(P["f0"], (0, 0))), "f0_train holds 1"),
    "kernel transposed": (
        lambda f: f.test(1.0, P["k_test"].T, P["f0_test"], P["f0"]),
        r"k_test_train has shape \(7, 3\).*\(M, 7\)",
    ),
    "kernel of other dtype": (
        lambda f: f.test(1.0, P["k_test"].float(), P["f0_test"], P["f0"]),
        "k_test_train is torch.float32",
    ),
    "NaN in the test kernel": (
        lambda f: f.test(1.0, nan_at(P["k_test"], (0, 3)), P["f0_test"], P["f0"]),
        r"k_test_train holds 1 .*\(0, 3\)",
    ),
    "train and test outputs swapped": (
        lambda f: f.test(1.0, P["k_test"], P["f0"], P["f0_test"]),
        r"f0_train has shape \(3, 2\)",
    ),
    "too few test outputs": (
        lambda f: f.test(1.0, P["k_test"], P["f0_test"][:2], P["f0"]),
        r"f0_test has shape \(2, 2\), expected \(3, 2\)",
    ),
}


@pytest.mark.parametrize("case", BAD_CALLS)
def test_bad_calls_are_refused_by_name(case):
    call, message = BAD_CALLS[case]
    with pytest.raises(ValueError, match=message):
        call(MSEFlow(P["k"], P["y"]))


def test_steps_must_be_whole():
    with pytest.raises(ValueError, match=r"t counts steps.*not 2\.5"):
        MSEFlow(P["k"], P["y"], learning_rate=0.1).train(2.5, P["f0"])


def test_a_regularizer_mends_a_slightly_indefinite_kernel():
    k = P["k"] - 0.1 * torch.eye(7, dtype=torch.float64)
    amount = -float(torch.linalg.eigvalsh(k)[0]) / float(k.diagonal().mean())
    assert amount > 0
    assert bool((MSEFlow(k, P["y"], diag_reg=1.01 * amount).eigenvalues > 0).all())
