import math
import warnings

import mpmath
import numpy as np
import pytest
import torch
from flow_cases import pinv, problem

from ntkbook.dynamics import MSEFlow
from ntkbook.dynamics.heavy_ball import free_flight, heavy_ball_rate, heavy_ball_steps

MOMENTA = [0.0, 1e-9, 0.5, 0.9, 0.999]


def column(*values):
    return torch.tensor(values, dtype=torch.float64)


def critical(momentum):
    return (1 - math.sqrt(momentum)) ** 2


def by_matrix_power(step, momentum, count):
    """Return the remaining fraction, by 60-digit arithmetic."""
    with mpmath.workdps(60):
        s, b = mpmath.mpf(step), mpmath.mpf(momentum)
        return (mpmath.matrix([[1 - s, b], [-s, b]]) ** count)[0, 0]


@pytest.mark.parametrize("reduction", ["sum", "mean"])
@pytest.mark.parametrize("features", [12, 4])
@pytest.mark.parametrize("momentum", [0.0, 0.3, 0.9])
def test_steps_agree_with_an_optimizer_on_the_parameters(reduction, features, momentum):
    p = problem(features=features)
    learning_rate = 0.3 if reduction == "sum" else 4.0
    # The outputs at time 0 need not be those of a model without offset; here they are.
    w = torch.nn.Parameter(p["w"].clone())
    optimizer = torch.optim.SGD([w], lr=learning_rate, momentum=momentum)
    flow = MSEFlow(p["k"], p["y"], reduction, learning_rate=learning_rate, momentum=momentum)
    for step in range(1, 201):
        optimizer.zero_grad()
        error = (p["x"] @ w - p["y"]) ** 2
        (0.5 * (error.sum() if reduction == "sum" else error.mean())).backward()
        optimizer.step()
        if step in (1, 2, 3, 17, 64, 200):
            train, test = flow.train(step, p["f0"]), flow.test(step, p["k_test"], p["f0_test"], p["f0"])
            torch.testing.assert_close(train, (p["x"] @ w).detach(), rtol=0, atol=1e-10)
            torch.testing.assert_close(test, (p["x_test"] @ w).detach(), rtol=0, atol=1e-10)


@pytest.mark.parametrize("momentum", MOMENTA)
def test_each_regime_agrees_with_exact_arithmetic(momentum):
    edge = critical(momentum)
    steps = column(1e-15, 1e-6, edge * 0.5, edge, edge * (1 + 1e-9), 1.0, 1.9 * (1 + momentum))
    counts = [0, 1, 2, 3, 10, 100, 1000, 100_000]
    remaining, done = heavy_ball_steps(steps, momentum, counts)
    for i, count in enumerate(counts):
        for j, step in enumerate(steps.tolist()):
            exact = by_matrix_power(step, momentum, count)
            # An error of one rounding in s or in the momentum grows with the number of steps, while the
            # mode itself decays at least like exp(-count * (1 - momentum) / 2).
            assert float(abs(remaining[i, j].item() - exact)) < 1e-10
            assert float(abs(done[i, j].item() - (1 - exact))) <= 1e-11 * float(abs(1 - exact)) + 1e-10 * (
                j > 1
            )


@pytest.mark.parametrize("momentum", [0.25, 0.9, 0.99])
def test_critical_damping_has_its_polynomial(momentum):
    # U_k(1) = k + 1: what remains is sqrt(momentum)^k (1 + k (1 - sqrt(momentum))).
    root = math.sqrt(momentum)
    counts = [1, 7, 50, 400]
    remaining, _ = heavy_ball_steps(column(critical(momentum)), momentum, counts)
    expected = [root**k * (1 + k * (1 - root)) for k in counts]
    np.testing.assert_allclose(remaining.squeeze(1), expected, rtol=0, atol=1e-13)


def test_a_slow_mode_keeps_its_digits():
    k, y = torch.full((1, 1), 1e-14, dtype=torch.float64), torch.ones(1, 1, dtype=torch.float64)
    flow = MSEFlow(k, y, "sum", learning_rate=1.0, momentum=0.9)
    zero = torch.zeros_like(y)
    # Two steps from rest: s, then s + 0.9 s - s^2.
    assert flow.test(2, k, zero, zero).item() == pytest.approx(2.9e-14, rel=1e-13, abs=0)


def test_a_mode_at_rest_is_pushed_by_a_constant_force():
    k = torch.diag(column(2.0, 0.0))
    y, zero = torch.ones(2, 1, dtype=torch.float64), torch.zeros(2, 1, dtype=torch.float64)
    moved = MSEFlow(k, y, "sum", learning_rate=0.1, momentum=0.8).test(6, torch.eye(2).double(), zero, zero)
    velocity = position = 0.0
    for _ in range(6):
        velocity = 0.8 * velocity + 0.1
        position += velocity
    assert moved[1].item() == pytest.approx(position, rel=1e-14)
    assert free_flight(0.8, column(6.0)).item() == pytest.approx(position / 0.1, rel=1e-14)


@pytest.mark.parametrize("features", [12, 4])
def test_infinite_and_very_many_steps_are_the_pseudo_inverse(features):
    p = problem(features=features)
    flow = MSEFlow(p["k"], p["y"], "sum", learning_rate=0.3, momentum=0.9)
    residual = p["y"] - p["f0"]
    train = p["f0"] + p["k"] @ pinv(p["k"]) @ residual
    test = p["f0_test"] + p["k_test"] @ pinv(p["k"]) @ residual
    for t in (math.inf, 10.0**15):
        torch.testing.assert_close(flow.train(t, p["f0"]), train, rtol=0, atol=1e-11)
        actual = flow.test(t, p["k_test"], p["f0_test"], p["f0"])
        torch.testing.assert_close(actual, test, rtol=0, atol=1e-11)


def test_many_times_are_each_time_alone():
    p = problem(features=4)
    flow = MSEFlow(p["k"], p["y"], learning_rate=3.0, momentum=0.7)
    times = column(5.0, 0.0, math.inf, 1.0, 40.0)
    train, test = flow.train(times, p["f0"]), flow.test(times, p["k_test"], p["f0_test"], p["f0"])
    for i, t in enumerate(times.tolist()):
        torch.testing.assert_close(train[i], flow.train(t, p["f0"]), rtol=0, atol=1e-14)
        alone = flow.test(t, p["k_test"], p["f0_test"], p["f0"])
        torch.testing.assert_close(test[i], alone, rtol=0, atol=1e-14)
    torch.testing.assert_close(train[1], p["f0"], rtol=0, atol=1e-14)


def test_the_stable_limit_grows_with_the_momentum():
    p = problem()
    limit = 2 * 1.9 / float(torch.linalg.eigvalsh(p["k"])[-1])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        below = MSEFlow(p["k"], p["y"], "sum", learning_rate=0.999 * limit, momentum=0.9)
    with pytest.warns(UserWarning, match=f"stable limit {limit:.6g}"):
        above = MSEFlow(p["k"], p["y"], "sum", learning_rate=1.001 * limit, momentum=0.9)
    assert (below.train(20_000, p["f0"]) - p["y"]).abs().max() < 1e-6
    assert above.train(20_000, p["f0"]).abs().max() > 1e3
    with pytest.raises(ValueError, match="no limit"):
        above.train(math.inf, p["f0"])


@pytest.mark.parametrize("momentum", MOMENTA)
def test_the_rate_is_that_of_the_larger_root(momentum):
    steps = column(1e-9, critical(momentum) / 2, 1e-3, 0.3, 0.97, 1.5, 2.1 * (1 + momentum))
    expected = [-math.log(abs(np.roots([1, -(1 + momentum - s), momentum])).max()) for s in steps.tolist()]
    np.testing.assert_allclose(heavy_ball_rate(steps, momentum), expected, rtol=1e-6, atol=1e-12)
    # The slowest mode's rate is s / (1 - momentum), which np.roots cannot resolve.
    slow = heavy_ball_rate(column(1e-20), momentum).item()
    assert slow == pytest.approx(1e-20 / (1 - momentum), rel=1e-12, abs=0)
    assert heavy_ball_rate(column(0.0), momentum).item() == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"momentum": 0.9}, r"momentum=0\.9 needs a learning_rate.*LossFlow"),
        ({"momentum": 1.0, "learning_rate": 0.1}, r"momentum must be at least 0 and less than 1, got 1\.0"),
        ({"momentum": -0.1, "learning_rate": 0.1}, r"momentum must be .* got -0\.1"),
        ({"momentum": math.nan, "learning_rate": 0.1}, "momentum must be .* got nan"),
    ],
)
def test_bad_momentum_is_refused_by_name(options, message):
    p = problem()
    with pytest.raises(ValueError, match=message):
        MSEFlow(p["k"], p["y"], **options)
