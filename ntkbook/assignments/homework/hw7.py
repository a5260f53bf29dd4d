"""Assignment 7, a project: the NTK of a physics-informed network, or a sweep of the width in muP."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ntkbook.assignments.agreement import agree, agree_up_to_factor, require
from ntkbook.assignments.asking import Ask
from ntkbook.assignments.draws import Draw
from ntkbook.assignments.questions import Assignment, Question

curvature = Question("hw7/q1", "second_derivative", "The residual of a network")
blocks = Question("hw7/q2", "pinn_ntk", "The kernel of a physics-informed network")
rates = Question("hw7/q3", "decay_rates", "Rates under weights of the loss")
features = Question("hw7/q4", "feature_change", "How far the features move in one step")
exponent = Question("hw7/q5", "width_exponent", "The exponent of a sweep")

ASSIGNMENT = Assignment(
    "hw7", "Project: a physics-informed network, or muP", (curvature, blocks, rates, features, exponent)
)


def _u(x: Tensor, w: Tensor, b: Tensor, a: Tensor) -> Tensor:
    """Return the network at one point x, a tensor without dimensions."""
    u: Tensor = (w * x + b).tanh() @ a / len(a) ** 0.5
    return u


def _u_xx(x: Tensor, w: Tensor, b: Tensor, a: Tensor) -> Tensor:
    second: Tensor = torch.func.grad(torch.func.grad(_u))(x, w, b, a)
    return second


def _pinn(draw: Draw) -> tuple[Tensor, Tensor, Tensor]:
    n = draw.integer(7, 10)
    return 2 * draw.normal(n), draw.normal(n), draw.normal(n)


def _curvature(ask: Ask, draw: Draw) -> tuple[Tensor, Tensor]:
    x, weights = draw.normal(5), _pinn(draw)
    return ask.tensor(x, *weights, shape=(5,)), torch.stack([_u_xx(each, *weights) for each in x])


@curvature.criterion("up to a factor", points=5)
def _(ask: Ask, draw: Draw) -> None:
    got, expected = _curvature(ask, draw)
    agree_up_to_factor(
        got,
        expected,
        "Differentiate twice in x, unit by unit: each derivative brings out the weight in front of x "
        "once more, and the activation becomes its second derivative.",
    )


@curvature.criterion("the factor", points=3)
def _(ask: Ask, draw: Draw) -> None:
    got, expected = _curvature(ask, draw)
    agree(
        torch.linalg.vector_norm(got),
        torch.linalg.vector_norm(expected),
        "The size is wrong. Compare with a difference quotient of the network at one point.",
    )


def _kernel(ask: Ask, draw: Draw) -> tuple[Tensor, Tensor, int]:
    """Return the student's kernel and that of autograd, boundary points first."""
    n_b, n_r = 2, draw.integer(3, 5)
    x_b, x_r, weights = draw.normal(n_b), draw.normal(n_r), _pinn(draw)
    size = n_b + n_r
    got = ask.tensor(x_b, x_r, *weights, shape=(size, size))
    J = torch.cat(
        [
            torch.stack([torch.cat(torch.func.grad(f, argnums=(1, 2, 3))(x, *weights)) for x in points])
            for f, points in ((_u, x_b), (_u_xx, x_r))
        ]
    )
    return got, J @ J.T, n_b


@blocks.criterion("boundary with boundary", points=3)
def _(ask: Ask, draw: Draw) -> None:
    got, expected, n = _kernel(ask, draw)
    agree(
        got[:n, :n],
        expected[:n, :n],
        "This block is the ordinary NTK of u. Three kinds of weights are trained: those in front of x, "
        "the biases, the output weights.",
    )


@blocks.criterion("interior with interior", points=4)
def _(ask: Ask, draw: Draw) -> None:
    got, expected, n = _kernel(ask, draw)
    agree(
        got[n:, n:],
        expected[n:, n:],
        "At interior points the network is seen through its second derivative in x: this block is the "
        "inner product of the weight gradients of u'', at the interior points on both sides.",
    )


@blocks.criterion("boundary with interior, on both sides", points=3)
def _(ask: Ask, draw: Draw) -> None:
    got, expected, n = _kernel(ask, draw)
    agree(got[:n, n:], expected[:n, n:], "One factor of this block is a gradient of u, the other one of u''.")
    agree(got[n:, :n], expected[n:, :n], "The lower left block is the transpose of the upper right one.")


def _rates(ask: Ask, draw: Draw, equal: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Return the student's rates, those of the residual's matrix, and those without weights."""
    n = draw.integer(5, 7)
    K = draw.kernel(n)
    first, second = draw.uniform(2.0, 3.0), draw.uniform(10.0, 20.0)
    weights = torch.full((n,), first, dtype=torch.float64)
    if not equal:
        weights[n // 2 :] = second
    # dr/dt = -K diag(weights) r; the matrix is not symmetric, and its eigenvalues are real
    values = np.linalg.eigvals(K.numpy() * weights.numpy())
    got = ask.tensor(K, weights, shape=(n,))
    expected = torch.as_tensor(np.sort(values.real))
    return got, expected, torch.linalg.eigvalsh(K)


@rates.criterion("equal weights", points=4)
def _(ask: Ask, draw: Draw) -> None:
    got, expected, plain = _rates(ask, draw, equal=True)
    agree(
        got.sort().values,
        expected,
        "A loss that is multiplied by 2 trains twice as fast.",
        known={"These are the rates without any weights of the loss.": plain},
    )


@rates.criterion("different weights", points=4)
def _(ask: Ask, draw: Draw) -> None:
    got, expected, _ = _rates(ask, draw, equal=False)
    agree(
        got.sort().values,
        expected,
        "Write the flow of the residual: which matrix multiplies it, and on which side of K do the "
        "weights stand? It is not symmetric, so a routine for symmetric matrices does not apply to it "
        "as it is.",
    )


@rates.criterion("slowest first", points=2)
def _(ask: Ask, draw: Draw) -> None:
    got, _, _ = _rates(ask, draw, equal=False)
    require(bool((got.diff() >= 0).all()), "Return the rates in increasing order, the slowest first.")
    require(bool((got > 0).all()), "Rates of decay are positive.")


def _moved(x: Tensor, y: float, W: Tensor, a: Tensor, mup: bool) -> Tensor:
    """Return the relative change of the features in one step, by autograd."""
    n, d = W.shape
    scale, rate = (n, n) if mup else (n**0.5, 1)
    W, a = W.clone().requires_grad_(), a.clone().requires_grad_()
    with torch.enable_grad():
        f = (W @ x / d**0.5).tanh() @ a / scale
        dW, _ = torch.autograd.grad(0.5 * (f - y) ** 2, (W, a))
    before, after = ((V @ x / d**0.5).tanh() for V in (W.detach(), W.detach() - rate * dW))
    change: Tensor = torch.linalg.vector_norm(after - before) / torch.linalg.vector_norm(before)
    return change


def _change(ask: Ask, draw: Draw, name: str, n: int) -> tuple[Tensor, Tensor]:
    d = draw.integer(3, 5)
    x, y, W, a = draw.normal(d), draw.uniform(1.0, 2.0), draw.normal(n, d), draw.normal(n)
    return ask.tensor(x, y, W, a, name, shape=()), _moved(x, y, W, a, name == "mup")


@features.criterion("NTK parameterization", points=3)
def _(ask: Ask, draw: Draw) -> None:
    got, expected = _change(ask, draw, "ntk", draw.integer(20, 40))
    agree(
        got,
        expected,
        "One step of the hidden weights at the given point, then the features again. The change is "
        "measured against the features before, in the Euclidean norm.",
    )


@features.criterion("muP", points=3)
def _(ask: Ask, draw: Draw) -> None:
    got, expected = _change(ask, draw, "mup", draw.integer(20, 40))
    agree(
        got,
        expected,
        "Two things change with 'mup': the factor of the output, and with it the learning rate.",
    )


@features.criterion("a wide network", points=2)
def _(ask: Ask, draw: Draw) -> None:
    for name, least, most in (("ntk", 0.0, 0.1), ("mup", 0.1, 10.0)):
        got, _ = _change(ask, draw, name, 4000)
        require(
            least < float(got) < most,
            "At width 4000 the features stand almost still in one parameterization and move visibly in "
            "the other. Yours do not: compare the two exponents of n, of the output's factor and of the"
            " learning rate.",
        )


@exponent.criterion("an exact power", points=4)
def _(ask: Ask, draw: Draw) -> None:
    power = draw.uniform(-1.0, 1.0)
    widths = 2.0 ** torch.arange(4, 9, dtype=torch.float64)
    values = draw.uniform(0.5, 2.0) * widths[:, None] ** power * torch.ones(5, 3, dtype=torch.float64)
    got, _ = ask.tensors(widths, values, shapes=[(), ()])
    agree(
        got,
        torch.tensor(power, dtype=torch.float64),
        "On which axes is a power of the width a straight line? What is its slope?",
    )


@exponent.criterion("the error bar", points=4)
def _(ask: Ask, draw: Draw) -> None:
    n_draws = draw.integer(6, 9)
    widths = 2.0 ** torch.arange(4, 9, dtype=torch.float64)
    values = widths[:, None] ** -0.5 * (0.3 * draw.normal(5, n_draws)).exp()
    _, got = ask.tensors(widths, values, shapes=[(), ()])
    # each draw is one sweep with a slope of its own; the mean slope has the standard error of a mean
    slopes = [np.polyfit(widths.log().numpy(), column.log().numpy(), 1)[0] for column in values.T]
    spread = torch.tensor(np.std(slopes, ddof=1), dtype=torch.float64)
    agree(
        got,
        spread / n_draws**0.5,
        "Fit each draw on its own: the slopes scatter. The error of their mean is smaller than their "
        "scatter.",
        known={
            "This is the scatter of single draws. How much less does their mean scatter?": spread,
            "Divide the sum of squares by one less than the number of draws.": spread
            * ((n_draws - 1) / n_draws) ** 0.5
            / n_draws**0.5,
        },
    )
