import math

import numpy as np
import pytest
import torch
from flow_cases import nan_at, problem
from scipy.optimize import minimize_scalar

from ntkbook.dynamics import MSEFlow, critical_learning_rate, max_learning_rate

P = problem()
EIGENVALUES = torch.linalg.eigvalsh(P["k"]).numpy()


def diagonal(*values):
    return torch.diag(torch.tensor(values, dtype=torch.float64))


def descend(learning_rate, momentum, steps, mean):
    """Return the size of the residual after actual steps on the outputs."""
    error, speed = P["f0"] - P["y"], torch.zeros_like(P["y"])
    scale = learning_rate / (P["y"].numel() if mean else 1)
    for _ in range(steps):
        speed = momentum * speed - scale * P["k"] @ error
        error = error + speed
    return float(error.abs().max())


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
def test_descent_converges_below_the_largest_rate_and_diverges_above(reduction, momentum):
    rate = max_learning_rate(P["k"], 2, reduction, momentum)
    assert descend(0.99 * rate, momentum, 4000, reduction == "mean") < 0.1
    assert descend(1.01 * rate, momentum, 4000, reduction == "mean") > 1e10


def test_a_kernel_with_output_indices_counts_them_itself():
    coupling = torch.tensor([[1.0, 0.4], [0.4, 0.7]], dtype=torch.float64)
    full = torch.kron(P["k"], coupling)  # (NK, NK)
    expected = 2 * 14 / float(torch.linalg.eigvalsh(full)[-1])
    assert max_learning_rate(full) == pytest.approx(expected, rel=1e-12)


def test_the_critical_rate_makes_the_slowest_mode_fastest():
    rate = critical_learning_rate(P["k"], reduction="sum")

    def slowest(eta):
        return np.abs(1 - eta * EIGENVALUES).max()

    best = minimize_scalar(
        slowest, bounds=(0, 2 / EIGENVALUES[-1]), method="bounded", options={"xatol": 1e-9}
    )
    assert rate == pytest.approx(best.x, abs=1e-6)
    assert critical_learning_rate(P["k"], 2) == pytest.approx(14 * rate)


def test_a_singular_kernel_trains_on_its_range_only():
    assert critical_learning_rate(diagonal(0.0, 1.0, 4.0), reduction="sum") == pytest.approx(0.4)
    zero = diagonal(0.0, 0.0)
    assert max_learning_rate(zero) == critical_learning_rate(zero) == math.inf


@pytest.mark.parametrize("learning_rate", [None, 0.2])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_the_loss_is_that_of_the_outputs(learning_rate, reduction):
    flow = MSEFlow(P["k"], P["y"], reduction, learning_rate=learning_rate)
    t = torch.tensor([0.0, 3.0, 50.0])
    error = (flow.train(t, P["f0"]) - P["y"]).square()
    expected = 0.5 * (error.mean((1, 2)) if reduction == "mean" else error.sum((1, 2)))
    torch.testing.assert_close(flow.loss(t, P["f0"]), expected, rtol=1e-12, atol=0)
    assert flow.loss(3.0, P["f0"]).shape == ()


@pytest.mark.parametrize("level", [1.0, 1e-2, 1e-9])
def test_time_to_a_loss(level):
    flow = MSEFlow(P["k"], P["y"], "sum")
    t = flow.time_to_loss(level, P["f0"])
    assert flow.loss(t, P["f0"]).item() == pytest.approx(level, rel=1e-9)
    descent = MSEFlow(P["k"], P["y"], "sum", learning_rate=0.2)
    steps = descent.time_to_loss(level, P["f0"])
    assert steps == int(steps)
    assert descent.loss(steps, P["f0"]) <= level < descent.loss(steps - 1, P["f0"])


def test_a_loss_that_is_never_reached_and_one_that_was():
    p = problem(features=4)
    flow = MSEFlow(p["k"], p["y"], "sum")
    floor = float(flow.loss(math.inf, p["f0"]))
    assert floor > 0.1
    assert flow.time_to_loss(0.999 * floor, p["f0"]) == math.inf
    assert 0 < flow.time_to_loss(1.001 * floor, p["f0"]) < math.inf
    assert flow.time_to_loss(1e3, p["f0"]) == 0


def test_modes_of_a_diagonal_kernel_can_be_read_off():
    y = torch.tensor([[3.0, 0.0], [0.0, 4.0], [0.0, 0.0]], dtype=torch.float64)
    modes = MSEFlow(diagonal(2.0, 8.0, 0.0), y, "sum").modes()
    torch.testing.assert_close(modes.eigenvalues, torch.tensor([8.0, 2.0, 0.0]).double())
    torch.testing.assert_close(modes.shares, torch.tensor([16.0, 9.0, 0.0]).double() / 25)
    torch.testing.assert_close(modes.time_constants, torch.tensor([0.125, 0.5, math.inf]).double())
    averaged = MSEFlow(diagonal(2.0, 8.0, 0.0), y).modes()
    torch.testing.assert_close(averaged.time_constants, 6 * modes.time_constants)
    moved = MSEFlow(diagonal(2.0, 8.0, 0.0), y).modes(y + torch.eye(3, 2))
    torch.testing.assert_close(moved.shares, torch.tensor([0.5, 0.5, 0.0]).double())


@pytest.mark.parametrize("momentum", [None, 0.8])
def test_time_constants_are_how_fast_a_residual_shrinks_per_step(momentum):
    # On a single mode, far enough that only the larger of momentum's two roots is left.
    k, y = diagonal(0.01), torch.ones(1, 1, dtype=torch.float64)
    flow = MSEFlow(k, y, "sum", learning_rate=0.9, momentum=momentum)
    left = y - flow.train(torch.tensor([200.0, 300.0]), torch.zeros_like(y)).squeeze(1)
    per_step = math.log(left[0] / left[1]) / 100
    assert flow.modes().time_constants.item() == pytest.approx(1 / per_step, rel=1e-6)


def test_shares_and_times_explain_the_loss():
    flow = MSEFlow(P["k"], P["y"], "sum")
    modes = flow.modes(P["f0"])
    assert float(modes.shares.sum()) == pytest.approx(1, abs=1e-14)
    predicted = (modes.shares * torch.exp(-2 * 3.0 / modes.time_constants)).sum()
    torch.testing.assert_close(flow.loss(3.0, P["f0"]) / flow.loss(0.0, P["f0"]), predicted)
    already_there = MSEFlow(P["k"], P["y"]).modes(P["y"])
    assert already_there.shares.abs().max() == 0


def unstable():
    with pytest.warns(UserWarning, match="stable limit"):
        return MSEFlow(P["k"], P["y"], "sum", learning_rate=10.0)


BAD = {
    "no outputs": (lambda: max_learning_rate(P["k"], 0), "n_outputs must be at least 1, got 0"),
    "half an output": (lambda: max_learning_rate(P["k"], 1.5), "n_outputs must be an integer"),
    "true outputs": (lambda: critical_learning_rate(P["k"], True), "n_outputs must be an integer"),
    "momentum 1": (lambda: max_learning_rate(P["k"], momentum=1.0), "momentum must be"),
    "no such reduction": (lambda: max_learning_rate(P["k"], reduction="none"), "reduction must be"),
    "not square": (lambda: critical_learning_rate(P["k_test"]), "k_train_train must be square"),
    "NaN": (lambda: max_learning_rate(nan_at(P["k"], (0, 0))), "k_train_train holds 1"),
    "indefinite": (lambda: max_learning_rate(-P["k"]), "not positive semi-definite"),
    "NaN level": (lambda: MSEFlow(P["k"], P["y"]).time_to_loss(math.nan, P["f0"]), "level must be finite"),
    "level with momentum": (
        lambda: MSEFlow(P["k"], P["y"], learning_rate=0.1, momentum=0.5).time_to_loss(0.1, P["f0"]),
        "with momentum the loss may rise and fall",
    ),
    "level of an unstable rate": (lambda: unstable().time_to_loss(0.1, P["f0"]), "loss does not decrease"),
    "f0 of other shape": (lambda: MSEFlow(P["k"], P["y"]).modes(P["f0"][:3]), r"f0_train has shape \(3, 2\)"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_arguments_are_refused_by_name(case):
    call, message = BAD[case]
    with pytest.raises(TypeError if "an integer" in message else ValueError, match=message):
        call()
