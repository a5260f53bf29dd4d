import math
import warnings
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from flow_cases import labels, nan_at, problem, single
from scipy.linalg import expm
from scipy.special import wrightomega
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional

from ntkbook.dynamics import LossFlow, MSEFlow, max_learning_rate, ode, spectrum

P = problem()
TIMES = torch.tensor([0.0, 0.3, 5.0, 7.0, 7.001, 40.0, 1e3, 1e5], dtype=torch.float64)
# Which solver an equation gets depends on its size and on what is installed.
SOLVERS = ["lsoda", "cvode", "dop853"]


@pytest.fixture(params=SOLVERS)
def solver(request, monkeypatch):
    """Hand every equation to one of the solvers."""
    monkeypatch.setattr(ode, "DENSE_SIZE", 10**9 if request.param == "lsoda" else 0)
    if request.param == "cvode":
        pytest.importorskip("sksundae")
    else:
        monkeypatch.setattr(ode, "_cvode", lambda: None)
    return request.param


def both(flow, p, t):
    """Return outputs on training and test points as one tensor."""
    train, test = flow.train(t, p["f0"]), flow.test(t, p["k_test"], p["f0_test"], p["f0"])
    return torch.cat([train, test], -2)


@pytest.mark.parametrize("reduction", ["sum", "mean"])
@pytest.mark.parametrize("features", [12, 4])  # a kernel of full rank, and one of rank 4 on 7 points
def test_squared_loss_agrees_with_its_closed_form(solver, reduction, features):
    p = problem(features=features)
    t = TIMES[:-2] if solver == "dop853" else TIMES  # an explicit solver takes long where it is stiff
    exact = both(MSEFlow(p["k"], p["y"], reduction), p, t)
    flow = LossFlow(p["k"], p["y"], "mse", reduction=reduction)
    torch.testing.assert_close(both(flow, p, t), exact, rtol=0, atol=1e-8)


@pytest.mark.parametrize("momentum", [0.0, 0.6, 0.95])
def test_momentum_agrees_with_the_exponential_of_the_whole_system(solver, momentum):
    p, n = problem(), 7
    eta, k = 0.4, P["k"].numpy()
    generator = np.block([[np.zeros((n, n)), np.eye(n)], [-eta * k, -(1 - momentum) * np.eye(n)]])
    residual = np.vstack([p["f0"] - p["y"], np.zeros((n, 2))])
    flow = LossFlow(p["k"], p["y"], "mse", momentum, eta, reduction="sum")
    for t in (0.7, 12.0, 90.0):
        expected = p["y"].numpy() + (expm(t * generator) @ residual)[:n]
        np.testing.assert_allclose(flow.train(t, p["f0"]), expected, rtol=0, atol=1e-8)


def test_one_sample_of_logistic_loss_is_lamberts_function(solver):
    # With z = y f: dz/dt = k / (1 + e^z), so z + e^z grows linearly, and z = s - W(e^s) = s - omega(s).
    k, z0, t = 1.7, -2.5, torch.tensor([0.5, 3.0, 50.0, 1e4], dtype=torch.float64)
    kernel, start = torch.full((1, 1), k, dtype=t.dtype), torch.full((1, 1), -z0, dtype=t.dtype)
    s = z0 + math.exp(z0) + k * t
    expected = wrightomega(s.numpy()) - s.numpy()
    f = LossFlow(kernel, -torch.ones_like(start), "logistic").train(t, start)
    np.testing.assert_allclose(f.flatten(), expected, rtol=1e-9, atol=1e-8)


def test_one_sample_of_cross_entropy_is_lamberts_function(solver):
    # The difference d of two outputs obeys dd/dt = 2 k / (1 + e^d).
    k, t = 0.6, torch.tensor([1.0, 20.0, 1e4], dtype=torch.float64)
    f0 = torch.tensor([[0.3, -0.9]], dtype=torch.float64)
    y = torch.tensor([[0.0, 1.0]], dtype=torch.float64)
    f = LossFlow(torch.full((1, 1), k, dtype=torch.float64), y).train(t, f0)
    s = (-1.2 + math.exp(-1.2) + 2 * k * t).numpy()
    expected = s - wrightomega(s)
    np.testing.assert_allclose(f[:, 0, 1] - f[:, 0, 0], expected, rtol=1e-9, atol=1e-8)
    np.testing.assert_allclose(f.sum(2), -0.6, rtol=0, atol=1e-8)  # the sum stays


CALLABLES = {
    "cross_entropy": ("soft", functional.cross_entropy),
    "mse": ("regression", lambda f, y: 0.5 * functional.mse_loss(f, y)),
    "huber": ("regression", functional.huber_loss),
    "logistic": ("signs", lambda f, y: functional.binary_cross_entropy_with_logits(f, (y + 1) / 2)),
}


@pytest.mark.parametrize("loss", CALLABLES)
def test_a_named_loss_is_torchs_mean(loss):
    rule, function = CALLABLES[loss]
    p = P if rule == "regression" else labels(P, rule)
    t = torch.tensor([1.0, 30.0, 400.0], dtype=torch.float64)
    named, called = LossFlow(p["k"], p["y"], loss), LossFlow(p["k"], p["y"], function)
    torch.testing.assert_close(both(named, p, t), both(called, p, t), rtol=0, atol=1e-8)
    values = torch.stack([function(f, p["y"]) for f in named.train(t, p["f0"])])
    torch.testing.assert_close(named.loss(t, p["f0"]), values, rtol=1e-12, atol=0)
    torch.testing.assert_close(called.loss(t, p["f0"]), values, rtol=0, atol=1e-8)


@pytest.mark.parametrize(("loss", "factor"), [("cross_entropy", 7), ("mse", 14), ("huber", 14)])
def test_the_sum_is_the_mean_at_another_speed(loss, factor):
    p = labels(P)
    mean, total = (LossFlow(p["k"], p["y"], loss, reduction=r) for r in ("mean", "sum"))
    torch.testing.assert_close(both(mean, p, 9.0 * factor), both(total, p, 9.0), rtol=0, atol=1e-8)
    scaled = LossFlow(p["k"], p["y"], loss, learning_rate=0.25)
    torch.testing.assert_close(both(scaled, p, 36.0), both(mean, p, 9.0), rtol=0, atol=1e-8)
    torch.testing.assert_close(factor * mean.loss(0.0, p["f0"]), total.loss(0.0, p["f0"]))


@pytest.mark.parametrize("momentum", [None, 0.5])
@pytest.mark.parametrize("loss", ["cross_entropy", "huber"])
def test_steps_of_descent_approach_the_equation_linearly_in_the_rate(momentum, loss):
    # Time is counted in steps: with momentum a smaller rate needs a momentum nearer to 1 to follow the
    # same equation, (1 - momentum)^2 proportional to the rate.
    p = labels(P)
    function = CALLABLES[loss][1]
    errors = []
    for refinement in (8, 16, 32):
        eta = 2.0 / (refinement if momentum is None else refinement**2)
        beta = None if momentum is None else 1 - (1 - momentum) / refinement
        w = p["w"].clone().requires_grad_()
        optimizer = torch.optim.SGD([w], lr=eta, momentum=beta or 0.0)
        steps = 6 * refinement
        for _ in range(steps):
            optimizer.zero_grad()
            function(p["x"] @ w, p["y"]).backward()
            optimizer.step()
        flow = LossFlow(p["k"], p["y"], loss, beta, eta)
        actual = torch.cat([p["x"], p["x_test"]]) @ w.detach()
        errors.append(float((both(flow, p, float(steps)) - actual).abs().max()))
    assert errors[0] < 0.1
    for coarse, fine in pairwise(errors):
        assert 1.8 < coarse / fine < 2.2  # first order, up to the next


def test_test_points_move_as_if_they_were_part_of_the_equation():
    # A sample that the loss does not see is a test point.
    p = labels(P)
    k = torch.cat([p["x"], p["x_test"]]) @ torch.cat([p["x"], p["x_test"]]).T
    f0, y = torch.cat([p["f0"], p["f0_test"]]), torch.cat([p["y"], p["f0_test"]])
    flow = LossFlow(k, y, lambda f, y: functional.cross_entropy(f[:7], y[:7]))
    t = torch.tensor([0.4, 60.0], dtype=torch.float64)
    seen = LossFlow(p["k"], p["y"])
    torch.testing.assert_close(both(seen, p, t), flow.train(t, f0), rtol=0, atol=1e-8)


def test_a_cross_kernel_outside_the_range_moves_by_the_integral():
    k = torch.diag(torch.tensor([2.0, 0.0], dtype=torch.float64))
    y, zero = torch.ones(2, 1).double(), torch.zeros(2, 1).double()
    flow, exact = LossFlow(k, y, "mse"), MSEFlow(k, y)
    identity = torch.eye(2, dtype=torch.float64)
    for t in (3.0, 1e4):
        torch.testing.assert_close(flow.test(t, identity, zero, zero), exact.test(t, identity, zero, zero))


def test_times_in_any_order_and_twice():
    p = labels(P)
    flow = LossFlow(p["k"], p["y"])
    t = torch.tensor([30.0, 0.0, 2.5, 30.0])
    together = both(flow, p, t)
    assert together.shape == (4, 10, 2)
    for i, time in enumerate(t.tolist()):
        torch.testing.assert_close(together[i], both(LossFlow(p["k"], p["y"]), p, time), rtol=0, atol=1e-8)
    torch.testing.assert_close(together[1], torch.cat([p["f0"], p["f0_test"]]), rtol=0, atol=0)
    assert flow.train(0.0, p["f0"]).shape == (7, 2)


def test_what_was_solved_is_used_again_and_only_for_the_same_question(monkeypatch):
    p = labels(P)
    flow = LossFlow(p["k"], p["y"])
    solved = []
    original = ode.System.at
    monkeypatch.setattr(ode.System, "at", lambda *a: solved.append(1) or original(*a))
    f0 = p["f0"].clone()
    first = flow.train(3.0, f0)
    flow.test(3.0, p["k_test"], p["f0_test"], f0)
    assert len(solved) == 1
    f0 += 1.0  # in place: the flow must not be fooled
    assert (flow.train(3.0, f0) - first).abs().max() > 0.5
    flow.train(4.0, f0)
    assert len(solved) == 3


def test_superposition_holds_for_the_squared_loss_and_fails_for_cross_entropy():
    p, other = labels(P), P["f0"].flip(0)
    between = (p["f0"] + other) / 2
    gaps = {}
    for loss in ("mse", "cross_entropy"):
        flow = LossFlow(p["k"], p["y"], loss)
        average = (flow.train(20.0, p["f0"]) + flow.train(20.0, other)) / 2
        gaps[loss] = float((average - flow.train(20.0, between)).abs().max())
    assert gaps["mse"] < 1e-8
    assert gaps["cross_entropy"] > 0.01


@pytest.mark.parametrize(("momentum", "reduction"), [(None, "sum"), (0.9, "mean")])
def test_stiff_systems_too_large_for_dense_algebra(momentum, reduction, monkeypatch):
    # Soft labels: the loss keeps its curvature, and the sum asks 30,000 evaluations of an explicit solver.
    pytest.importorskip("sksundae")
    p = labels(problem(n=60, features=90, outputs=10), "soft")
    p["k"], p["k_test"] = p["k"] + 20, p["k_test"] + 20  # one eigenvalue of 1200
    t = torch.tensor([0.01, 1.0, 100.0], dtype=torch.float64)
    assert p["y"].numel() > ode.DENSE_SIZE
    monkeypatch.setattr(ode, "MOST_EVALUATIONS", 15_000)
    large = both(LossFlow(p["k"], p["y"], momentum=momentum, reduction=reduction), p, t)
    monkeypatch.setattr(ode, "MOST_EVALUATIONS", 10**9)
    monkeypatch.setattr(ode, "DENSE_SIZE", 10**9)
    dense = both(LossFlow(p["k"], p["y"], momentum=momentum, reduction=reduction), p, t)
    torch.testing.assert_close(large, dense, rtol=0, atol=2e-8)


def test_without_an_implicit_solver_a_stiff_system_is_refused(monkeypatch):
    p = labels(problem(n=60, features=90, outputs=10), "soft")
    monkeypatch.setattr(ode, "_cvode", lambda: None)
    monkeypatch.setattr(ode, "MOST_EVALUATIONS", 2000)
    flow = LossFlow(p["k"], p["y"], reduction="sum")
    assert torch.isfinite(flow.train(1.0, p["f0"])).all()
    with pytest.raises(
        RuntimeError, match=r"DOP853 has evaluated .* 2000 times and is at t = .*ntkbook\[ode\]"
    ):
        flow.train(1e4, p["f0"])


def test_single_precision_agrees_with_double():
    p = labels(P)
    t = torch.tensor([0.5, 20.0, 1e3])
    fine, coarse = LossFlow(p["k"], p["y"]), LossFlow(p["k"].float(), p["y"].float())
    result = both(coarse, single(p), t)
    assert result.dtype == torch.float32
    # Rounding of the kernel, seen through outputs of a size up to 10.
    torch.testing.assert_close(result.double(), both(fine, p, t), rtol=0, atol=2e-5)


def test_a_kernel_with_output_indices():
    p, coupling = labels(P), torch.tensor([[1.0, 0.4], [0.4, 0.7]], dtype=torch.float64)
    full = torch.einsum("ij,ab->ijab", p["k"], coupling)  # (N, N, K, K)
    flat = full.permute(0, 2, 1, 3).reshape(14, 14)

    def loss(f, y):
        return functional.cross_entropy(f.reshape(7, 2), y.reshape(7, 2))

    flow = LossFlow(flat, p["y"].reshape(14, 1), loss)
    t, h = 5.0, 1e-3
    f = [flow.train(s, p["f0"].reshape(14, 1)).reshape(7, 2) for s in (t - h, t, t + h)]
    velocity = -torch.einsum("ijab,jb->ia", full, (torch.softmax(f[1], 1) - p["y"]) / 7)
    torch.testing.assert_close((f[2] - f[0]) / (2 * h), velocity, rtol=0, atol=1e-5)


def test_runs_on_a_device_without_mixing_in_cpu_tensors(monkeypatch):
    # Fake tensors hold no values: checks that read values, and the solver, are left out here.
    for name in ("check_finite", "_check_symmetric", "_check_semidefinite"):
        monkeypatch.setattr(spectrum, name, lambda *arguments: None)
    solved = SimpleNamespace(start=np.zeros(10), at=lambda stops: np.zeros((len(stops), 10)))
    monkeypatch.setattr(LossFlow, "_system", lambda *arguments: solved)
    with FakeTensorMode():
        k, k_test = torch.empty(5, 5, device="cuda"), torch.empty(3, 5, device="cuda")
        y, f0_test = torch.empty(5, 2, device="cuda"), torch.empty(3, 2, device="cuda")
        flow = LossFlow(k, y, "huber")
        train, test = flow.train(3.0, y), flow.test(4.0, k_test, f0_test, y)
        gradient = flow._loss.gradient(y + flow._moved(np.zeros(10)), y)
        assert {value.device.type for value in (train, test, gradient, flow.loss(5.0, y))} == {"cuda"}
        assert train.dtype == test.dtype == torch.float32
        assert train.shape == (5, 2)
        assert test.shape == (3, 2)


def test_time_to_a_loss(solver):
    p = labels(P)
    flow = LossFlow(p["k"], p["y"])
    t = flow.time_to_loss(0.1, p["f0"])
    assert 1 < t < 1e4
    tolerance = 1e-5 if solver == "dop853" else 1e-7  # between long steps an interpolant locates the time
    assert flow.loss(t, p["f0"]).item() == pytest.approx(0.1, rel=tolerance)
    assert flow.time_to_loss(0.1, p["f0"], horizon=t / 2) == math.inf
    assert flow.time_to_loss(100.0, p["f0"]) == 0
    squared, exact = LossFlow(p["k"], p["y"], "mse"), MSEFlow(p["k"], p["y"])
    expected = exact.time_to_loss(0.01, p["f0"])
    assert squared.time_to_loss(0.01, p["f0"]) == pytest.approx(expected, rel=tolerance)


def test_a_loss_that_breaks_down_during_training_is_named(solver, monkeypatch):
    def falls_off(f, y):
        return torch.sqrt(1 - f).sum()  # reaches f = 1, the end of its domain, after a finite time

    monkeypatch.setattr(ode, "MOST_EVALUATIONS", 20_000)
    k, y = torch.eye(2, dtype=torch.float64), torch.zeros(2, 1, dtype=torch.float64)
    with pytest.raises(RuntimeError, match=r"gradient of loss falls_off became NaN or infinite|20000 times"):
        LossFlow(k, y, falls_off).train(10.0, y)


def test_a_rate_other_than_one_is_compared_with_the_stable_limit():
    p = labels(P)
    limit = max_learning_rate(p["k"], 2, momentum=0.5)
    with pytest.warns(UserWarning, match=f"not below {limit:.6g}.*loss mse"):
        LossFlow(p["k"], p["y"], "mse", 0.5, 1.001 * limit)
    # The softmax's curvature is half of the square's, and its mean is over N, not NK.
    with pytest.warns(UserWarning, match=f"not below {2 / 2 * max_learning_rate(p['k'], 2):.6g}"):
        LossFlow(p["k"], p["y"], learning_rate=1e3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        LossFlow(p["k"], p["y"], "mse", 0.5, 0.999 * limit)
        LossFlow(1e4 * p["k"], p["y"], "mse")
        LossFlow(p["k"], p["y"], functional.cross_entropy, learning_rate=1e9)


C = labels(P)
BAD_CONSTRUCTIONS = {
    "class numbers": (
        lambda: LossFlow(C["k"], torch.arange(7) % 2),
        TypeError,
        r"row of class probabilities.*torch.int64 of shape \(7,\).*one_hot",
    ),
    "class numbers as floats": (
        lambda: LossFlow(C["k"], (torch.arange(7) % 2).to(C["k"])),
        TypeError,
        r"row of class probabilities.*of shape \(7,\).*one_hot",
    ),
    "rows of whole numbers": (
        lambda: LossFlow(C["k"], functional.one_hot(torch.arange(7) % 2)),
        TypeError,
        r"row of class probabilities.*torch.int64 of shape \(7, 2\).*one_hot",
    ),
    "one column": (lambda: LossFlow(C["k"], C["y"][:, :1]), ValueError, r"two columns.*\(7, 1\).*logistic"),
    "zero-centred": (lambda: LossFlow(C["k"], C["y"] - 0.5), ValueError, r"probabilities.*-0\.5"),
    "rows of sum 2": (lambda: LossFlow(C["k"], 2 * C["y"]), ValueError, "differs from 1 by 1;"),
    "labels 0 and 1": (lambda: LossFlow(C["k"], C["y"], "logistic"), ValueError, r"-1 and 1.*got 0;"),
    "no such loss": (lambda: LossFlow(C["k"], C["y"], "hinge"), ValueError, "loss must be one of"),
    "no loss": (lambda: LossFlow(C["k"], C["y"], None), TypeError, "loss must be a name or a callable"),
    "no such reduction": (lambda: LossFlow(C["k"], C["y"], reduction="none"), ValueError, "reduction must"),
    "momentum 1": (lambda: LossFlow(C["k"], C["y"], momentum=1.0), ValueError, "momentum must be"),
    "negative rate": (lambda: LossFlow(C["k"], C["y"], learning_rate=-1.0), ValueError, "learning_rate"),
    "zero tolerance": (lambda: LossFlow(C["k"], C["y"], tolerance=0.0), ValueError, "tolerance"),
    "NaN in the kernel": (
        lambda: LossFlow(nan_at(C["k"], (0, 1)), C["y"]),
        ValueError,
        "k_train_train holds",
    ),
    "indefinite": (lambda: LossFlow(-C["k"], C["y"]), ValueError, "not positive semi-definite"),
    "mixed dtypes": (lambda: LossFlow(C["k"], C["y"].float()), ValueError, "y_train is torch.float32"),
    "mixed devices": (lambda: LossFlow(C["k"], P["y"].to("meta"), "mse"), ValueError, "y_train is on meta"),
}


@pytest.mark.parametrize("case", BAD_CONSTRUCTIONS)
def test_bad_construction_is_refused_by_name(case):
    call, error, message = BAD_CONSTRUCTIONS[case]
    with pytest.raises(error, match=message):
        call()


BAD_CALLS = {
    "infinite time": (lambda f: f.train(math.inf, C["f0"]), r"t = inf.*cross_entropy.*MSEFlow"),
    "negative time": (lambda f: f.train(-1.0, C["f0"]), "t must not be negative"),
    "a table of times": (lambda f: f.train(torch.ones(2, 2), C["f0"]), r"t must be a number.*\(2, 2\)"),
    "f0 of other shape": (lambda f: f.train(1.0, C["f0"][:3]), r"f0_train has shape \(3, 2\)"),
    "NaN in f0": (lambda f: f.train(1.0, nan_at(C["f0"], (0, 0))), "f0_train holds 1"),
    "kernel transposed": (
        lambda f: f.test(1.0, C["k_test"].T, C["f0_test"], C["f0"]),
        r"k_test_train has shape \(7, 3\)",
    ),
    "too few test outputs": (
        lambda f: f.test(1.0, C["k_test"], C["f0_test"][:2], C["f0"]),
        r"f0_test has shape \(2, 2\)",
    ),
    "NaN level": (lambda f: f.time_to_loss(math.nan, C["f0"]), "level must be finite"),
    "horizon 0": (lambda f: f.time_to_loss(0.1, C["f0"], 0.0), "horizon must be finite and positive"),
}


@pytest.mark.parametrize("case", BAD_CALLS)
def test_bad_calls_are_refused_by_name(case):
    call, message = BAD_CALLS[case]
    with pytest.raises(ValueError, match=message):
        call(LossFlow(C["k"], C["y"]))


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (lambda f, y: (f - y) ** 2, r"must return a tensor with one entry, got \(7, 2\)"),
        (lambda f, y: f.detach().sum().item(), "must return a tensor with one entry, got float"),
        (lambda f, y: f.detach().sum(), "does not depend on f by differentiable operations"),
    ],
)
def test_a_callable_that_is_no_loss_is_refused(loss, message):
    with pytest.raises(TypeError if "float" in message else ValueError, match=message):
        LossFlow(P["k"], P["y"], loss).train(1.0, P["f0"])
