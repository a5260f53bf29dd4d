"""Assignment 5: the convolutional NTK by hand for a 3 x 3 image, then digits (chapter 10)."""

from __future__ import annotations

import itertools
import math

import numpy as np
import torch
from torch import Tensor

import ntkbook
from ntkbook.assignments.agreement import agree, require
from ntkbook.assignments.asking import Ask
from ntkbook.assignments.draws import Draw
from ntkbook.assignments.questions import Assignment, Question

patches = Question("hw5/q1", "patch_sum", "Patch sums of a table of pairs")
moments = Question("hw5/q2", "relu_layer", "A ReLU at every pair of positions")
kernel = Question("hw5/q3", "cntk", "The CNTK of two images")
classify = Question("hw5/q4", "classify", "From a kernel to labels")

ASSIGNMENT = Assignment("hw5", "The convolutional NTK", (patches, moments, kernel, classify))


def _loops(A: Tensor) -> Tensor:
    """Return the 3 x 3 patch sums by six loops."""
    p, q = A.shape[:2]
    total = torch.zeros_like(A)
    for i, j, k, l in itertools.product(range(p), range(q), range(p), range(q)):  # noqa: E741 -- a position's letters
        for a, b in itertools.product((-1, 0, 1), repeat=2):
            if all(0 <= s < p for s in (i + a, k + a)) and all(0 <= s < q for s in (j + b, l + b)):
                total[i, j, k, l] += A[i + a, j + b, k + a, l + b]
    return total


_SHIFT = (
    "Both positions move together: entry (p, p') collects A at (p + a, p' + a), with the same offset a "
    "on both sides, for the nine offsets."
)


@patches.criterion("equal positions inside the image", points=4)
def _(ask: Ask, draw: Draw) -> None:
    A = draw.normal(5, 5, 5, 5)
    got, expected = (
        torch.einsum("ijij->ij", table)[1:4, 1:4] for table in (ask.tensor(A, shape=A.shape), _loops(A))
    )
    agree(got, expected, _SHIFT)


@patches.criterion("two different positions", points=3)
def _(ask: Ask, draw: Draw) -> None:
    A = draw.normal(5, 5, 5, 5)
    inside = slice(1, 4)
    got = ask.tensor(A, shape=(5, 5, 5, 5))[inside, inside, inside, inside]
    agree(got, _loops(A)[inside, inside, inside, inside], _SHIFT)


@patches.criterion("the border", points=3)
def _(ask: Ask, draw: Draw) -> None:
    p, q = draw.integer(2, 3), 4
    A = draw.normal(p, q, p, q)
    got = ask.tensor(A, shape=(p, q, p, q))
    agree(
        got,
        _loops(A),
        "Outside the image there are zeros: no wrapping around, and no entry from beyond the edge.",
    )


def _case(draw: Draw) -> tuple[Tensor, Tensor, Tensor]:
    """Return S between the positions of two images, and the variances at each position."""
    p, q, m = 2, 3, 6
    joint = 2 * draw.kernel(2 * m)
    S, v1, v2 = joint[:m, m:], joint.diagonal()[:m], joint.diagonal()[m:]
    return S.reshape(p, q, p, q), v1.reshape(p, q), v2.reshape(p, q)


def _by_dual(S: Tensor, v1: Tensor, v2: Tensor) -> tuple[Tensor, Tensor]:
    """Return both expectations by an integral over the angle of a point in the plane."""
    n = 20_000
    angles = (torch.arange(n, dtype=torch.float64) + 0.5) * (2 * math.pi / n)
    scale = (v1[:, :, None, None] * v2).sqrt()
    between = torch.arccos(S / scale).flatten()
    first, second = angles.cos().relu(), (angles - between[:, None]).cos().relu()
    both, on = (first * second).mean(1), ((first > 0) & (second > 0)).double().mean(1)
    return 2 * scale * both.reshape(S.shape) * 2 / 9, on.reshape(S.shape) * 2 / 9


@moments.criterion("two activations", points=4)
def _(ask: Ask, draw: Draw) -> None:
    S, v1, v2 = _case(draw)
    got, _ = ask.tensors(S, v1, v2, shapes=[S.shape, S.shape])
    agree(
        got,
        _by_dual(S, v1, v2)[0],
        "Each entry is the expectation that you found in Assignment 2, times 2 for ReLU and over 9 for "
        "the patch. Which variance belongs to which of the four indices?",
        rtol=1e-6,
    )


@moments.criterion("two derivatives", points=4)
def _(ask: Ask, draw: Draw) -> None:
    S, v1, v2 = _case(draw)
    _, got = ask.tensors(S, v1, v2, shapes=[S.shape, S.shape])
    agree(
        got,
        _by_dual(S, v1, v2)[1],
        "The derivative of ReLU is 0 or 1, so this is a probability, with the same factors in front.",
        rtol=1e-3,  # the probability is counted on a grid of 20,000 angles
    )


@moments.criterion("a black pixel", points=2)
def _(ask: Ask, draw: Draw) -> None:
    S, v1, v2 = _case(draw)
    S, v1 = S.clone(), v1.clone()
    S[0, 1], v1[0, 1] = 0, 0
    for got in ask.tensors(S, v1, v2, shapes=[S.shape, S.shape]):
        agree(
            got[0, 1],
            torch.zeros_like(v2),
            "A position whose variance is 0 has no angle to any other. Both tables are 0 there by "
            "convention.",
        )


def _images(ask: Ask, draw: Draw, depth: int, readout: str) -> tuple[Tensor, Tensor]:
    x1, x2 = draw.normal(3, 3), draw.normal(3, 3)
    exact = ntkbook.cntk(x1[None, None], x2[None, None], depth=depth, readout=readout)
    return ask.tensor(x1, x2, depth, readout, shape=()), exact[0, 0]


@kernel.criterion("one convolution", points=3)
def _(ask: Ask, draw: Draw) -> None:
    got, exact = _images(ask, draw, 1, "flatten")
    agree(
        got,
        exact,
        "With one convolution: patch sums of the products of pixels, one ReLU layer, and a last layer "
        "that collects no patch. The kernel after the first convolution is the covariance itself, not "
        "0.",
    )


@kernel.criterion("several convolutions", points=4)
def _(ask: Ask, draw: Draw) -> None:
    got, exact = _images(ask, draw, draw.integer(2, 3), "flatten")
    agree(
        got,
        exact,
        "From layer to layer both tables change: S by the patch sum of K, T by the patch sum of (T "
        "times K-dot plus K). The variances of each image at its own positions have to be carried "
        "along.",
    )


@kernel.criterion("average pooling", points=3)
def _(ask: Ask, draw: Draw) -> None:
    got, exact = _images(ask, draw, 1, "gap")
    agree(
        got,
        exact,
        "Pooling averages over the positions of both images, so over all pairs of them; flattening "
        "takes only equal ones, and their sum.",
    )


def _labels(draw: Draw, n: int) -> Tensor:
    """Return labels of three classes, each of them present."""
    return torch.tensor(draw.order(n)) % 3


@classify.criterion("training points keep their labels", points=4)
def _(ask: Ask, draw: Draw) -> None:
    k, labels = draw.kernel(12), _labels(draw, 12)
    got = ask.tensor(k, k, labels, 3, shape=(12,))
    agree(
        got,
        labels.double(),
        "With an invertible kernel the regression passes through its targets, so every training point "
        "gets its own label back.",
    )


@classify.criterion("new points", points=6)
def _(ask: Ask, draw: Draw) -> None:
    joint, labels = draw.kernel(40), _labels(draw, 25)
    k, k_test = joint[:25, :25], joint[25:, :25]
    targets = np.eye(3)[labels.numpy()] - 1 / 3
    scores = k_test.numpy() @ np.linalg.lstsq(k.numpy(), targets, rcond=None)[0]
    got = ask.tensor(k, k_test, labels, 3, shape=(15,))
    top = np.sort(scores, axis=1)
    clear = torch.as_tensor(top[:, -1] - top[:, -2] > 1e-6)
    require(
        bool((got == torch.as_tensor(scores.argmax(1)))[clear].all()),
        "Some labels differ. One column of targets for each class, the same regression for all columns,"
        " and the class with the largest output; rows of the second kernel are test points.",
    )
