"""Assignment 1: gradient flow and linear regression (chapters 1 and 2)."""

from __future__ import annotations

import numpy as np
import torch
from scipy.integrate import solve_ivp
from torch import Tensor

from ntkbook.assignments.agreement import agree, agree_up_to_factor, require
from ntkbook.assignments.asking import Ask
from ntkbook.assignments.draws import Draw
from ntkbook.assignments.questions import Assignment, Question

step = Question("hw1/q1", "descent_step", "One step of gradient descent")
outputs = Question("hw1/q2", "training_outputs", "The training outputs at any time")
limit = Question("hw1/q3", "flow_limit", "Where the flow ends")
largest = Question("hw1/q4", "largest_step", "The largest stable learning rate")

ASSIGNMENT = Assignment("hw1", "Gradient flow and linear regression", (step, outputs, limit, largest))


def _step_and_gradient(ask: Ask, draw: Draw) -> tuple[Tensor, Tensor, float]:
    """Return the student's step, the gradient by autograd, and the learning rate."""
    n, d = draw.integer(6, 12), draw.integer(3, 5)
    theta, X, y, rate = draw.normal(d), draw.normal(n, d), draw.normal(n), draw.uniform(0.1, 0.4)
    moved = ask.tensor(theta, X, y, rate, shape=(d,)) - theta
    theta.requires_grad_()
    with torch.enable_grad():
        (gradient,) = torch.autograd.grad(((X @ theta - y) ** 2).mean() / 2, theta)
    return moved, gradient, rate


@step.criterion("along the gradient", points=4)
def _(ask: Ask, draw: Draw) -> None:
    moved, gradient, _ = _step_and_gradient(ask, draw)
    agree_up_to_factor(
        moved,
        gradient,
        "The step is not along the gradient. Differentiate the loss in one weight first: which residuals "
        "enter, and what multiplies each?",
    )


@step.criterion("downhill", points=3)
def _(ask: Ask, draw: Draw) -> None:
    moved, gradient, _ = _step_and_gradient(ask, draw)
    require(moved @ gradient < 0, "The loss grew for every small step. Which way does the gradient point?")


@step.criterion("the length of the step", points=3)
def _(ask: Ask, draw: Draw) -> None:
    moved, gradient, rate = _step_and_gradient(ask, draw)
    agree(
        torch.linalg.vector_norm(moved),
        rate * torch.linalg.vector_norm(gradient),
        "The length is wrong. Look at the factors: the one in front of the sum, and what becomes of the"
        " 2 of the square.",
    )


def _regression(draw: Draw, n: int, d: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return X with singular values near 1, y and theta0."""
    x = draw.rotation(max(n, d))[:n, :d]
    return x * (1 + 0.3 * draw.normal(d).tanh()), draw.normal(n), draw.normal(d)


def _flow(X: Tensor, y: Tensor, theta0: Tensor, t: float) -> Tensor:
    """Return X theta(t), by a solver in the space of the weights."""
    A, b = (X.T @ X).numpy(), (X.T @ y).numpy()
    run = solve_ivp(
        lambda _, theta: b - A @ theta, (0, t), theta0.numpy(), method="DOP853", rtol=1e-10, atol=1e-12
    )
    return X @ torch.as_tensor(run.y[:, -1])


@outputs.criterion("the start", points=2)
def _(ask: Ask, draw: Draw) -> None:
    n = draw.integer(4, 6)
    X, y, theta0 = _regression(draw, n, draw.integer(7, 9))
    got = ask.tensor(0.0, X, y, theta0, shape=(n,))
    agree(got, X @ theta0, "At time 0 nothing has moved: the outputs are those of the initial weights.")


@outputs.criterion("on the way", points=5)
def _(ask: Ask, draw: Draw) -> None:
    n, t = draw.integer(4, 6), draw.uniform(0.5, 1.0)
    X, y, theta0 = _regression(draw, n, draw.integer(7, 9))
    slower, faster = (_flow(X, y, theta0, t * speed) for speed in (1 / n, 2.0))
    agree(
        ask.tensor(t, X, y, theta0, shape=(n,)),
        _flow(X, y, theta0, t),
        "Start from the equation of the residual: what matrix stands in front of it, and with which "
        "sign? The exponential is that of a matrix, not of its entries.",
        known={
            "This flow is too slow: here the loss is a sum over the samples, not their average.": slower,
            "This is how fast the loss falls. The residual, of which it is the square, falls "
            "more slowly.": faster,
        },
    )


@outputs.criterion("the end, where not every target can be met", points=3)
def _(ask: Ask, draw: Draw) -> None:
    n, d = draw.integer(7, 9), draw.integer(3, 4)
    X, y, theta0 = _regression(draw, n, d)
    best = X @ torch.as_tensor(np.linalg.lstsq(X.numpy(), y.numpy(), rcond=None)[0])
    agree(
        ask.tensor(40.0, X, y, theta0, shape=(n,)),
        best,
        "With more points than weights the outputs cannot reach every target. Which part of the "
        "residual never moves?",
        known={
            "Your outputs end at the targets themselves, where no choice of the weights can bring them.": y
        },
    )


def _nearest(X: Tensor, y: Tensor, theta0: Tensor) -> Tensor:
    """Return the solution nearest to the start, by Lagrange's conditions."""
    n, d = X.shape
    system = torch.zeros(n + d, n + d, dtype=X.dtype)
    system[:d, :d], system[:d, d:], system[d:, :d] = torch.eye(d, dtype=X.dtype), X.T, X
    solution: Tensor = torch.linalg.solve(system, torch.cat([theta0, y]))
    return solution[:d]


@limit.criterion("more points than weights", points=3)
def _(ask: Ask, draw: Draw) -> None:
    n, d = draw.integer(7, 9), draw.integer(3, 4)
    X, y, theta0 = _regression(draw, n, d)
    best = torch.as_tensor(np.linalg.lstsq(X.numpy(), y.numpy(), rcond=None)[0])
    agree(
        ask.tensor(X, y, theta0, shape=(d,)),
        best,
        "With more points than weights, and independent columns, the loss has one minimum, wherever the"
        " flow starts.",
    )


@limit.criterion("more weights than points, from zero", points=3)
def _(ask: Ask, draw: Draw) -> None:
    n, d = draw.integer(3, 4), draw.integer(6, 8)
    X, y, theta0 = _regression(draw, n, d)
    agree(
        ask.tensor(X, y, 0 * theta0, shape=(d,)),
        _nearest(X, y, 0 * theta0),
        "Among many perfect fits the flow from 0 finds the one of smallest norm. Which inverse exists "
        "when there are fewer points than weights, and which does not?",
    )


@limit.criterion("more weights than points, from any start", points=4)
def _(ask: Ask, draw: Draw) -> None:
    n, d = draw.integer(3, 4), draw.integer(6, 8)
    X, y, theta0 = _regression(draw, n, d)
    agree(
        ask.tensor(X, y, theta0, shape=(d,)),
        _nearest(X, y, theta0),
        "Split the start into the part that the data can see and the rest. What does training do to each?",
        known={"You forgot the start: part of it survives all training.": _nearest(X, y, 0 * theta0)},
    )


def _growth(draw: Draw, ask: Ask, factor: float) -> float:
    """Return the factor by which 400 steps at a multiple of the answer change the residual."""
    n, d = draw.integer(3, 4), draw.integer(6, 8)
    X, _, theta = _regression(draw, n, d)
    X = draw.uniform(2.0, 3.0) * X
    rate = factor * float(ask.tensor(X, shape=()))
    require(rate > 0, "A learning rate is positive.")
    first = torch.linalg.vector_norm(X @ theta)
    for _ in range(400):
        theta = theta - rate * X.T @ (X @ theta)
    growth = torch.linalg.vector_norm(X @ theta) / first
    return float(growth.nan_to_num(nan=torch.inf))  # infinity minus infinity, far above the limit


@largest.criterion("steps a little below it converge", points=5)
def _(ask: Ask, draw: Draw) -> None:
    require(
        _growth(draw, ask, 0.95) < 1,
        "At 0.95 of your rate the residual grows. Which mode grows first, and what multiplies it at "
        "every step?",
    )


@largest.criterion("steps a little above it diverge", points=5)
def _(ask: Ask, draw: Draw) -> None:
    require(_growth(draw, ask, 0.1) < 1, "Your rate is far too large: a tenth of it diverges as well.")
    require(
        _growth(draw, ask, 1.05) > 1,
        "At 1.05 of your rate descent still converges. A factor between -1 and 0 shrinks a mode as "
        "well, and the fastest rate is not yet the largest.",
    )
