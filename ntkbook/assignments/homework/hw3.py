"""Assignment 3: the NTK of a two-layer network, derived and coded (chapter 5)."""

from __future__ import annotations

import torch
from torch import Tensor

import ntkbook
from ntkbook.assignments.agreement import agree, agree_up_to_factor, require
from ntkbook.assignments.asking import Ask
from ntkbook.assignments.draws import Draw
from ntkbook.assignments.homework.two_layers import jacobian, output
from ntkbook.assignments.questions import Assignment, Question

gradient = Question("hw3/q1", "gradients", "The gradient of the output")
empirical = Question("hw3/q2", "empirical_ntk", "The kernel of one network")
several = Question("hw3/q3", "ntk_several_outputs", "Several outputs")
infinite = Question("hw3/q4", "limit_ntk", "The limit for ReLU")

ASSIGNMENT = Assignment("hw3", "The NTK of a two-layer network", (gradient, empirical, several, infinite))


def _network(draw: Draw) -> tuple[Tensor, Tensor]:
    n, d = draw.integer(6, 9), draw.integer(3, 5)
    return draw.normal(n, d), draw.normal(n)


def _gradients(ask: Ask, draw: Draw) -> tuple[list[Tensor], list[Tensor]]:
    """Return the student's two blocks and those of autograd."""
    W, a = _network(draw)
    x = draw.normal(W.shape[1])
    got = ask.tensors(x, W, a, shapes=[W.shape, a.shape])
    J = jacobian(x[None], W, a)[0]
    return got, [J[: W.numel()].reshape(W.shape), J[W.numel() :]]


@gradient.criterion("output weights, up to a factor", points=3)
def _(ask: Ask, draw: Draw) -> None:
    (_, got), (_, expected) = _gradients(ask, draw)
    agree_up_to_factor(
        got,
        expected,
        "The output is linear in a: its derivative in one of them is what that one is multiplied by.",
    )


@gradient.criterion("hidden weights, up to a factor", points=4)
def _(ask: Ask, draw: Draw) -> None:
    (got, _), (expected, _) = _gradients(ask, draw)
    agree_up_to_factor(
        got,
        expected,
        "Follow one hidden weight to the output: through the derivative of the activation at its unit, "
        "and through that unit's output weight. Which input is it multiplied by?",
    )


@gradient.criterion("the factors", points=3)
def _(ask: Ask, draw: Draw) -> None:
    for block, wanted in zip(*_gradients(ask, draw), strict=True):
        agree(
            torch.linalg.vector_norm(block),
            torch.linalg.vector_norm(wanted),
            "A length is wrong. Write out both roots in f, the one outside the activation and the one "
            "inside: which of them does each derivative bring out?",
        )


def _kernels(ask: Ask, draw: Draw, n1: int, n2: int, same: bool = False) -> tuple[Tensor, Tensor]:
    """Return the student's kernel and that of autograd."""
    W, a = _network(draw)
    x1 = draw.normal(n1, W.shape[1])
    x2 = x1 if same else draw.normal(n2, W.shape[1])
    got = ask.tensor(x1, x2, W, a, shape=(n1, n2))
    return got, jacobian(x1, W, a) @ jacobian(x2, W, a).T


@empirical.criterion("one set of inputs, up to a factor", points=4)
def _(ask: Ask, draw: Draw) -> None:
    got, expected = _kernels(ask, draw, 5, 5, same=True)
    agree_up_to_factor(
        got,
        expected,
        "All parameters are trained: the kernel is a sum over output weights and hidden weights. In the"
        " second part the inner product of the inputs appears. Why?",
    )


@empirical.criterion("two sets of inputs, up to a factor", points=3)
def _(ask: Ask, draw: Draw) -> None:
    got, expected = _kernels(ask, draw, 3, 5)
    agree_up_to_factor(
        got, expected, "Entry (i, j) belongs to row i of X1 and row j of X2, in every factor of every term."
    )


@empirical.criterion("the factor", points=3)
def _(ask: Ask, draw: Draw) -> None:
    got, expected = _kernels(ask, draw, 5, 5, same=True)
    agree(
        got.trace(),
        expected.trace(),
        "The size is wrong. A kernel is a product of two gradients: what becomes of the root in each? "
        "The kernel of a wide network should not grow with its width.",
    )


def _several(ask: Ask, draw: Draw, zero: bool) -> tuple[Tensor, Tensor]:
    W, _ = _network(draw)
    n, d = W.shape
    A, x1, x2 = draw.normal(3, n), draw.normal(4, d), draw.normal(2, d)
    if zero:
        A = 0 * A
    got = ask.tensor(x1, x2, W, A, shape=(4, 2, 3, 3))

    def rows(x: Tensor) -> Tensor:
        outputs: Tensor = torch.func.vmap(
            lambda each: torch.cat(
                [part.flatten(1) for part in torch.func.jacrev(output, argnums=(1, 2))(each, W, A)], dim=1
            )
        )(x)
        return outputs  # (N, K, P)

    return got, torch.einsum("ikp,jlp->ijkl", rows(x1), rows(x2))


@several.criterion("output weights: each output has its own", points=4)
def _(ask: Ask, draw: Draw) -> None:
    got, expected = _several(ask, draw, zero=True)
    agree(
        got,
        expected,
        "With all output weights 0 only their own gradients remain. Does the gradient of output k "
        "contain anything in the place of output l's weights?",
    )


@several.criterion("hidden weights: all outputs share them", points=6)
def _(ask: Ask, draw: Draw) -> None:
    got, expected = _several(ask, draw, zero=False)
    agree(
        got,
        expected,
        "In the part of the hidden weights two outputs meet: output k at x with its own weight to a "
        "unit, output l at x' with its own weight to the same unit. The axes are (i, j, k, l).",
    )


def _exact(x1: Tensor, x2: Tensor) -> ntkbook.Kernel:
    net = ntkbook.nn.mlp([x1.shape[1], 1, 1], w_std=1.0)
    return ntkbook.infinite_width(net)(x1, x2)


@infinite.criterion("unit inputs at an angle", points=4)
def _(ask: Ask, draw: Draw) -> None:
    d = draw.integer(3, 5)
    x1, x2 = draw.normal(4, d), draw.normal(3, d)
    x1, x2 = (d**0.5 * x / torch.linalg.vector_norm(x, dim=1, keepdim=True) for x in (x1, x2))
    exact = _exact(x1, x2)
    agree(
        ask.tensor(x1, x2, shape=(4, 3)),
        exact.ntk,
        "Replace each average over units by an expectation over a Gaussian pair. For the hidden weights"
        " it is the probability that both units are on. What is it for equal inputs, and for opposite "
        "ones?",
        known={"This is the covariance of the outputs, the part of the output weights alone.": exact.nngp},
    )


@infinite.criterion("inputs of any length", points=3)
def _(ask: Ask, draw: Draw) -> None:
    d = draw.integer(3, 5)
    x1, x2 = draw.normal(4, d), 2 * draw.normal(3, d)
    agree(
        ask.tensor(x1, x2, shape=(4, 3)),
        _exact(x1, x2).ntk,
        "Twice the input gives twice the kernel: check how the lengths of both inputs and the input "
        "dimension enter.",
    )


@infinite.criterion("an input with itself", points=3)
def _(ask: Ask, draw: Draw) -> None:
    x = draw.normal(40, 3)
    got = ask.tensor(x, x, shape=(40, 40)).diagonal()
    agree(
        got,
        x.square().sum(1) / 3,
        "At equal inputs no angle is left. Add the two parts by hand and compare.",
        rtol=1e-6,
    )
    require(bool((got > 0).all()), "A kernel is positive on its diagonal.")
