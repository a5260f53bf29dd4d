"""Assignment 4: predict a training run (chapters 6 to 8)."""

from __future__ import annotations

import numpy as np
import torch
from scipy.linalg import expm
from scipy.optimize import brentq
from torch import Tensor

from ntkbook.assignments.agreement import agree, require
from ntkbook.assignments.asking import Ask
from ntkbook.assignments.draws import Draw
from ntkbook.assignments.homework.two_layers import jacobian, output
from ntkbook.assignments.questions import Assignment, Question

linear = Question("hw4/q1", "linearized_output", "The linearized network")
predict = Question("hw4/q2", "predict", "The outputs at points that are not trained on")
duration = Question("hw4/q3", "time_to_fraction", "How long training takes")
descend = Question("hw4/q4", "train", "A training run")

ASSIGNMENT = Assignment("hw4", "Predict a training run", (linear, predict, duration, descend))


def _network(draw: Draw) -> tuple[Tensor, Tensor, Tensor]:
    n, d = draw.integer(6, 9), draw.integer(3, 4)
    return draw.normal(5, d), draw.normal(n, d), draw.normal(n)


def _linearized(ask: Ask, X: Tensor, W0: Tensor, a0: Tensor, dW: Tensor, da: Tensor) -> Tensor:
    return ask.tensor(X, W0, a0, W0 + dW, a0 + da, shape=(len(X),))


@linear.criterion("at the point of expansion", points=2)
def _(ask: Ask, draw: Draw) -> None:
    X, W0, a0 = _network(draw)
    got = _linearized(ask, X, W0, a0, 0 * W0, 0 * a0)
    agree(got, output(X, W0, a0), "Where no weight has moved, the linearized network is the network.")


@linear.criterion("a straight line in the weights", points=3)
def _(ask: Ask, draw: Draw) -> None:
    X, W0, a0 = _network(draw)
    dW, da = draw.normal(*W0.shape), draw.normal(*a0.shape)
    zero, one, three = (_linearized(ask, X, W0, a0, k * dW, k * da) for k in (0.0, 1.0, 3.0))
    require(torch.any((one - zero).abs() > 1e-9), "Your output does not move with the weights.")
    agree(
        three - zero,
        3 * (one - zero),
        "Three times the movement should change the output three times as much. Where are the "
        "derivatives taken?",
    )


@linear.criterion("the right slope", points=5)
def _(ask: Ask, draw: Draw) -> None:
    X, W0, a0 = _network(draw)
    dW, da = draw.normal(*W0.shape), draw.normal(*a0.shape)
    slope = _linearized(ask, X, W0, a0, dW, da) - _linearized(ask, X, W0, a0, 0 * dW, 0 * da)
    expected = jacobian(X, W0, a0) @ torch.cat([dW.flatten(), da])
    agree(
        slope,
        expected,
        "Both kinds of weights move, and each contributes its derivative times its movement, with the "
        "factors of the network.",
    )


def _flow(
    ask: Ask, draw: Draw, t: float, *, singular: bool = False
) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Return the student's prediction, that of one linear equation for all outputs, and wrong ones."""
    n, m = 5, 3
    if singular:
        features = draw.normal(n + m, 3)
        kernel = features @ features.T
    else:
        kernel = draw.kernel(n + m)
    f0, y = draw.normal(n + m), draw.normal(n)
    k, k_test = kernel[:n, :n], kernel[n:, :n]
    got = ask.tensor(t, k, k_test, f0[:n], f0[n:], y, shape=(m,))

    def run(start: Tensor) -> Tensor:
        # (f_train - y, f_test) obeys a linear equation; training and test outputs move together
        matrix = torch.zeros(n + m, n + m, dtype=torch.float64)
        matrix[:, :n] = -torch.cat([k, k_test])
        moved = torch.as_tensor(expm(t * matrix.numpy())) @ torch.cat([start[:n] - y, start[n:]])
        return moved[n:]

    forgotten = f0.clone()
    forgotten[n:] = 0
    known = {
        "The test outputs have a start of their own, and it has not gone.": run(forgotten),
        "You took the network as 0 at the start, on training and test points.": run(0 * f0),
    }
    return got, run(f0), known


@predict.criterion("the start", points=2)
def _(ask: Ask, draw: Draw) -> None:
    got, expected, _ = _flow(ask, draw, 0.0)
    agree(got, expected, "At time 0 the test outputs are those of the untrained network.")


@predict.criterion("on the way", points=4)
def _(ask: Ask, draw: Draw) -> None:
    got, expected, known = _flow(ask, draw, draw.uniform(0.5, 1.5))
    agree(
        got,
        expected,
        "A test output moves only because training residuals are not 0 yet. Integrate its velocity over"
        " time: what is the integral of the decaying residual?",
        known=known,
    )


@predict.criterion("a kernel with eigenvalue 0", points=4)
def _(ask: Ask, draw: Draw) -> None:
    got, expected, known = _flow(ask, draw, draw.uniform(0.2, 0.5), singular=True)
    agree(
        got,
        expected,
        "This kernel has no inverse, and the prediction exists all the same: what is (1 - exp(-lambda "
        "t)) / lambda where lambda is 0?",
        known=known,
    )


def _time(k: Tensor, y: Tensor, fraction: float) -> float:
    """Return the time by bisection on the norm of the residual, by the matrix exponential."""

    def excess(log_t: float) -> float:
        residual = expm(-np.exp(log_t) * k.numpy()) @ y.numpy()
        return float(residual @ residual / (y @ y) - fraction)

    return float(np.exp(brentq(excess, -12, 12, xtol=1e-12)))


_TIME_TOLERANCE = 1e-3


@duration.criterion("a target along one eigenvector", points=4)
def _(ask: Ask, draw: Draw) -> None:
    k, fraction = draw.kernel(6), draw.uniform(0.05, 0.2)
    values, vectors = torch.linalg.eigh(k)
    mode = draw.integer(2, 4)
    got = ask.tensor(k, 3 * vectors[:, mode], fraction, shape=())
    residual = torch.log(torch.tensor(1 / fraction, dtype=torch.float64)) / values[mode]
    agree(
        got,
        residual / 2,
        "With one mode the loss is one exponential. Solve for the time by hand: whose rate is it, the "
        "residual's or the loss's?",
        rtol=_TIME_TOLERANCE,
        known={"This is when the residual, not the loss, has fallen to the fraction.": residual},
    )


@duration.criterion("any target", points=6)
def _(ask: Ask, draw: Draw) -> None:
    k, y, fraction = draw.kernel(6, least=0.02), draw.normal(6), draw.uniform(0.05, 0.2)
    got = ask.tensor(k, y, fraction, shape=())
    expected = torch.tensor(_time(k, y, fraction), dtype=torch.float64)
    agree(
        got,
        expected,
        "Each mode carries its own share of the loss and decays at its own rate; the loss is their sum."
        " A sum of exponentials has to be solved numerically, and it only ever falls.",
        rtol=_TIME_TOLERANCE,
    )


def _descent(X: Tensor, y: Tensor, W: Tensor, a: Tensor, rate: float, steps: int) -> tuple[Tensor, Tensor]:
    for _ in range(steps):
        W, a = W.detach().requires_grad_(), a.detach().requires_grad_()
        with torch.enable_grad():
            loss = 0.5 * (output(X, W, a) - y).square().sum()
            dW, da = torch.autograd.grad(loss, (W, a))
        W, a = W - rate * dW, a - rate * da
    return W.detach(), a.detach()


def _run(ask: Ask, draw: Draw, steps: int) -> tuple[list[Tensor], tuple[Tensor, Tensor]]:
    X, W, a = _network(draw)
    y, rate = draw.normal(len(X)), draw.uniform(0.1, 0.2)
    got = ask.tensors(X, y, W, a, rate, steps, shapes=[W.shape, a.shape])
    return got, _descent(X, y, W, a, rate, steps)


@descend.criterion("output weights after one step", points=3)
def _(ask: Ask, draw: Draw) -> None:
    (_, got), (_, expected) = _run(ask, draw, 1)
    agree(
        got,
        expected,
        "Check sign and size of one step for the output weights: the residual times the features, "
        "summed over the points. The loss is half the sum of squares.",
    )


@descend.criterion("hidden weights after one step", points=3)
def _(ask: Ask, draw: Draw) -> None:
    (got, _), (expected, _) = _run(ask, draw, 1)
    agree(
        got,
        expected,
        "Check one step for the hidden weights. All gradients of a step are taken at the same weights, "
        "those before it.",
    )


@descend.criterion("many steps", points=4)
def _(ask: Ask, draw: Draw) -> None:
    got, expected = _run(ask, draw, draw.integer(20, 30))
    for block, wanted in zip(got, expected, strict=True):
        agree(
            block,
            wanted,
            "Residuals, features and slopes change at every step. Which of yours are out of date?",
        )
