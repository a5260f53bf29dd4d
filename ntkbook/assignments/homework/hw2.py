"""Assignment 2: Gaussian processes and networks as Gaussian processes (chapters 3 and 4)."""

from __future__ import annotations

import math

import torch
from scipy.integrate import quad
from scipy.stats import norm
from torch import Tensor

import ntkbook
from ntkbook.assignments.agreement import agree, require
from ntkbook.assignments.asking import Ask
from ntkbook.assignments.draws import Draw
from ntkbook.assignments.questions import Assignment, Question

posterior = Question("hw2/q1", "posterior", "The posterior of a Gaussian process")
relu = Question("hw2/q2", "relu_moment", "The expectation of two ReLUs")
kernel = Question("hw2/q3", "nngp", "The NNGP kernel of a deep ReLU network")
networks = Question("hw2/q4", "draw_outputs", "Outputs of random networks")

ASSIGNMENT = Assignment(
    "hw2", "Gaussian processes and infinitely wide networks", (posterior, relu, kernel, networks)
)


def _conditioned(ask: Ask, draw: Draw, noise: float) -> tuple[list[Tensor], list[Tensor]]:
    """Return the student's mean and covariance, and those of the joint Gaussian's precision matrix."""
    n, m = draw.integer(3, 5), draw.integer(2, 4)
    if n == m:
        m = 6
    joint, y = draw.kernel(n + m), draw.normal(n)
    k_train, k_test_train, k_test = joint[:n, :n], joint[n:, :n], joint[n:, n:]
    value = ask.tensors(k_train, k_test_train, k_test, y, noise, shapes=[(m,), (m, m)])
    joint = joint.clone()
    joint[:n, :n] += noise * torch.eye(n, dtype=joint.dtype)
    precision = torch.linalg.inv(joint)
    covariance = torch.linalg.inv(precision[n:, n:])
    return value, [-covariance @ precision[n:, :n] @ y, covariance]


@posterior.criterion("the mean without noise", points=3)
def _(ask: Ask, draw: Draw) -> None:
    (mean, _), (expected, _) = _conditioned(ask, draw, 0.0)
    agree(
        mean,
        expected,
        "Write the joint Gaussian of training and test values, and condition on the training ones. Each"
        " matrix has one place where its shape fits.",
    )


@posterior.criterion("the mean with noise", points=3)
def _(ask: Ask, draw: Draw) -> None:
    (mean, _), (expected, _) = _conditioned(ask, draw, draw.uniform(0.3, 0.6))
    agree(
        mean,
        expected,
        "Noise makes the observations vary more than the function does. Whose covariance does it enter,"
        " and is it the noise's variance or its standard deviation that was given?",
    )


@posterior.criterion("the covariance", points=4)
def _(ask: Ask, draw: Draw) -> None:
    (_, covariance), (_, expected) = _conditioned(ask, draw, draw.uniform(0.3, 0.6))
    agree(
        covariance,
        expected,
        "Data can only make the function more certain: something is subtracted from the prior's "
        "covariance. The noise of a new observation is no part of the function's own.",
    )


def _expectation(q1: float, q2: float, c: float) -> float:
    """Return E[relu(u) relu(v)], integrating over u, with the conditional mean of relu(v) in closed form."""
    s1, slope = math.sqrt(q1), c / q1
    s = math.sqrt(max(q2 - c * slope, 0.0))

    def integrand(u: float) -> float:
        m = slope * u
        inner = m * norm.cdf(m / s) + s * norm.pdf(m / s)
        return float(u * inner * norm.pdf(u / s1) / s1)

    return float(quad(integrand, 0, 12 * s1, epsabs=1e-12, epsrel=1e-11, limit=200)[0])


def _pairs(draw: Draw, same_variance: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    rows = []
    for correlation in (-0.8, -0.2, 0.3, 0.9):
        q1, rho = draw.uniform(0.5, 2.0), correlation + draw.uniform(-0.05, 0.05)
        q2 = 1.0 if same_variance else draw.uniform(0.5, 2.0)
        q1 = 1.0 if same_variance else q1
        c = rho * math.sqrt(q1 * q2)
        rows.append([q1, q2, c, _expectation(q1, q2, c)])
    q1s, q2s, cs, expected = torch.tensor(rows, dtype=torch.float64).T
    return q1s, q2s, cs, expected


@relu.criterion("variances 1", points=5)
def _(ask: Ask, draw: Draw) -> None:
    q1, q2, c, expected = _pairs(draw, same_variance=True)
    agree(
        ask.tensor(q1, q2, c, shape=(4,)),
        expected,
        "Both ReLUs are on in a wedge of the plane. Which angle does the wedge have when u and v are "
        "the same, and which when they are opposite? Test the two ends by hand.",
    )


@relu.criterion("other variances", points=3)
def _(ask: Ask, draw: Draw) -> None:
    q1, q2, c, expected = _pairs(draw, same_variance=False)
    agree(
        ask.tensor(q1, q2, c, shape=(4,)),
        expected,
        "A ReLU passes a positive factor through: divide u and v by their standard deviations, and "
        "multiply back. The angle belongs to the correlation, not to the covariance.",
    )


@relu.criterion("the two ends of the angle", points=2)
def _(ask: Ask, draw: Draw) -> None:
    q = 0.5 + draw.normal(6).square()
    above = q * (1 + 4e-16)  # as rounding leaves the covariance of an input with itself
    value = ask.tensor(torch.cat([q, q]), torch.cat([q, q]), torch.cat([above, -above]), shape=(12,))
    expected = torch.cat([q / 2, 0 * q])
    agree(
        value,
        expected,
        "For u = v, and for u = -v, the value can be found without any angle. Compare.",
        rtol=1e-6,
    )


def _exact(x1: Tensor, x2: Tensor, depth: int, w_std: float, b_std: float) -> Tensor:
    net = ntkbook.nn.mlp([x1.shape[1], *[1] * (depth - 1), 1], w_std=w_std, b_std=b_std)
    return ntkbook.infinite_width(net)(x1, x2).nngp


def _kernel_case(ask: Ask, draw: Draw, depth: int, b_std: float) -> tuple[Tensor, Tensor, Tensor]:
    n1, n2, d = 3, 5, draw.integer(4, 6)
    x1, x2, w_std = draw.normal(n1, d), draw.normal(n2, d), draw.uniform(1.2, 1.8)
    value = ask.tensor(x1, x2, depth, w_std, b_std, shape=(n1, n2))
    wrong_bias = _exact(x1, x2, depth, w_std, math.sqrt(b_std))
    return value, _exact(x1, x2, depth, w_std, b_std), wrong_bias


@kernel.criterion("one weight layer", points=3)
def _(ask: Ask, draw: Draw) -> None:
    value, expected, _ = _kernel_case(ask, draw, 1, 0.0)
    agree(
        value,
        expected,
        "With one weight layer the kernel is the covariance of a random linear function. What does a "
        "sum of n0 independent terms do to the variance, and which factor in front of W undoes it?",
    )


@kernel.criterion("several layers", points=4)
def _(ask: Ask, draw: Draw) -> None:
    value, expected, _ = _kernel_case(ask, draw, draw.integer(3, 4), 0.0)
    agree(
        value,
        expected,
        "Each further layer takes the covariance of the pre-activations to that of the next ones. It "
        "needs three numbers for a pair: two variances and a covariance. Count the ReLUs: one fewer "
        "than weight layers.",
    )


@kernel.criterion("biases", points=3)
def _(ask: Ask, draw: Draw) -> None:
    value, expected, wrong_bias = _kernel_case(ask, draw, 3, draw.uniform(0.3, 0.6))
    agree(
        value,
        expected,
        "A bias adds its variance to every entry, on the diagonal and off it, in every layer.",
        known={"b_std is a standard deviation. What enters a covariance?": wrong_bias},
    )


_DRAWS = 3000


def _two_layers(ask: Ask, draw: Draw, width: int, x: Tensor) -> Tensor:
    return ask.tensor(x, width, _DRAWS, shape=(_DRAWS, len(x)))


def _moments(f: Tensor, i: int, j: int, expected: float, hint: str) -> None:
    products = f[:, i] * f[:, j]
    error = float(products.std()) / math.sqrt(_DRAWS)
    # Six standard errors: about one right answer in 10^8 fails.
    require(abs(float(products.mean()) - expected) < 6 * error, hint)


def _inputs(draw: Draw) -> Tensor:
    """Return inputs with lengths and angles that are far from special, (3, 4)."""
    q = draw.rotation(4)
    x1, x2 = 2 * q[0], 1.6 * q[0] + 1.2 * q[1]
    return torch.stack([x1, 1.5 * x2, 0.3 * x1 + 2 * q[2]])


@networks.criterion("the variance of each output", points=4)
def _(ask: Ask, draw: Draw) -> None:
    x = _inputs(draw)
    f, expected = _two_layers(ask, draw, draw.integer(16, 48), x), _exact(x, x, 2, math.sqrt(2), 0.0)
    for i in range(len(x)):
        _moments(
            f,
            i,
            i,
            float(expected[i, i]),
            "The outputs have the wrong variance. Both layers sum over their inputs; both sums are "
            "divided by the root of their number of terms, and both factors w_std are the root of 2.",
        )


@networks.criterion("the covariance between points", points=3)
def _(ask: Ask, draw: Draw) -> None:
    x = _inputs(draw)
    f, expected = _two_layers(ask, draw, draw.integer(16, 48), x), _exact(x, x, 2, math.sqrt(2), 0.0)
    f = f / f.square().mean(0).sqrt() * expected.diagonal().sqrt()  # the variances are judged above
    for i, j in ((0, 1), (0, 2), (1, 2)):
        _moments(
            f,
            i,
            j,
            float(expected[i, j]),
            "The outputs at two points are those of one network: the same weights see both.",
        )


@networks.criterion("networks of width 1", points=3)
def _(ask: Ask, draw: Draw) -> None:
    f = _two_layers(ask, draw, 1, _inputs(draw))
    off = float((f[:, 0] == 0).double().mean())
    # Binomial with p = 1/2: six standard deviations.
    require(
        abs(off - 0.5) < 6 * 0.5 / math.sqrt(_DRAWS),
        "At width 1 the single ReLU is off for half of the networks, and the output exactly 0. A "
        "Gaussian is never exactly 0: draw weights, a new set for every network.",
    )
