"""Assignment 6: find the error. Three wrong derivations, to be refuted by a check.

The answer to each question is itself a check: it gets a formula and says whether the formula is right. The
formulas stay in the grader's process, and the answer can only call them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from ntkbook.assignments.agreement import require
from ntkbook.assignments.asking import Ask
from ntkbook.assignments.draws import Draw
from ntkbook.assignments.homework.two_layers import jacobian
from ntkbook.assignments.questions import Assignment, Question

flow = Question("hw6/q1", "check_flow", "Refute: the closed form of training")
variance = Question("hw6/q2", "check_variance", "Refute: the variance of a random network")
kernel = Question("hw6/q3", "check_kernel", "Refute: the kernel of two layers")

ASSIGNMENT = Assignment("hw6", "Find the error", (flow, variance, kernel))

Formula = Callable[..., Tensor]
_ROUNDS = 3
_ROUNDING = 1e-9


def _verdicts(ask: Ask, draw: Draw, formulas: Mapping[str, Formula]) -> dict[str, bool]:
    """Return what the student's check says of each formula; asked in random order, so that guessing fails."""
    said = {}
    names = list(formulas)
    for place in draw.order(len(names)):
        said[names[place]] = ask.truth(formulas[names[place]])
    return said


def _tell_apart(ask: Ask, draw: Draw, right: Formula, wrong: Formula) -> None:
    for _ in range(_ROUNDS):
        said = _verdicts(ask, draw, {"right": right, "wrong": wrong})
        require(
            said["right"] or said["wrong"],
            "Your check rejects the corrected formula as well. Test the check on a case that you can "
            "compute by hand.",
        )
        require(
            not said["wrong"],
            "Your check accepts the derivation's result. Find a case in which the doubtful line makes a"
            " difference: sizes above 1, factors other than 1, two different inputs.",
        )
        require(said["right"], "Your check rejects the corrected formula, and accepts the wrong one.")


def _reject(ask: Ask, draw: Draw, right: Formula, wrong: Mapping[str, Formula]) -> None:
    said = _verdicts(ask, draw, {"right": right, **wrong})
    require(said["right"], "Your check rejects the corrected formula, so that it says nothing about others.")
    passed = [name for name in wrong if said[name]]
    require(
        not passed,
        f"Your check accepts {len(passed)} of {len(wrong)} other wrong formulas. A check sees only what its "
        "inputs make visible: let every argument matter, and compare to more digits.",
    )


def _tolerate(ask: Ask, draw: Draw, right: Formula, wrong: Formula) -> None:
    def rounded(*inputs: object) -> Tensor:
        value = right(*inputs)
        return value * (1 + _ROUNDING * (2 * draw.normal(*value.shape).sigmoid() - 1))

    require(not ask.truth(wrong), "Your check accepts the derivation's result.")
    for _ in range(_ROUNDS):
        require(
            ask.truth(rounded),
            "Your check rejects the right formula when it is evaluated in another order. Two routes "
            "never agree to the last digit: allow for rounding.",
        )


def _refute(question: Question, right: Formula, printed: Formula, others: Mapping[str, Formula]) -> None:
    """Give a question its criteria: tell the derivation's formula from the right one, and see other slips."""

    @question.criterion("tells the derivation from the correction", points=5)
    def _(ask: Ask, draw: Draw) -> None:
        _tell_apart(ask, draw, right, printed)

    @question.criterion("rejects other mistakes", points=3)
    def _(ask: Ask, draw: Draw) -> None:
        _reject(ask, draw, right, others)

    @question.criterion("allows for rounding", points=2)
    def _(ask: Ask, draw: Draw) -> None:
        _tolerate(ask, draw, right, printed)


# Question 1: loss (1 / 2N) sum of squares, learning rate eta.
def _outputs(t: Tensor, K: Tensor, y: Tensor, f0: Tensor, eta: float, speed: Formula) -> Tensor:
    decay: Tensor = torch.linalg.matrix_exp(-float(t) * eta * speed(K))
    return y + decay @ (f0 - y)


def _flow_right(t: Tensor, K: Tensor, y: Tensor, f0: Tensor, eta: float) -> Tensor:
    return _outputs(t, K, y, f0, eta, lambda K: K / len(K))


def _flow_printed(t: Tensor, K: Tensor, y: Tensor, f0: Tensor, eta: float) -> Tensor:
    return _outputs(t, K, y, f0, eta, lambda K: K)


_FLOW_WRONG: dict[str, Formula] = {
    "eta forgotten": lambda t, K, y, f0, eta: _flow_right(t, K, y, f0, 1.0),
    "start forgotten": lambda t, K, y, f0, eta: _flow_right(t, K, y, 0 * f0, eta),
    "trace for the matrix": lambda t, K, y, f0, eta: (
        y + math.exp(-float(t) * eta * float(K.trace()) / len(K) ** 2) * (f0 - y)
    ),
    "rate of the loss": lambda t, K, y, f0, eta: _flow_right(2 * t, K, y, f0, eta),
    "one percent too slow": lambda t, K, y, f0, eta: _flow_right(0.99 * t, K, y, f0, eta),
}


_refute(flow, _flow_right, _flow_printed, _FLOW_WRONG)


# Question 2: two-layer ReLU network, variance of the output at infinite width.
def _first(x: Tensor, w_std: float, b_std: float) -> Tensor:
    return w_std**2 * x.square().mean() + b_std**2


def _variance_right(x: Tensor, w_std: float, b_std: float) -> Tensor:
    return w_std**2 * _first(x, w_std, b_std) / 2 + b_std**2


def _variance_printed(x: Tensor, w_std: float, b_std: float) -> Tensor:
    return w_std**2 * _first(x, w_std, b_std) + b_std**2


_VARIANCE_WRONG: dict[str, Formula] = {
    "double sum": lambda x, w, b: w**2 * (w**2 * x.sum() ** 2 / len(x) + b**2) / 2 + b**2,
    "no 1/n0": lambda x, w, b: w**2 * (w**2 * x.square().sum() + b**2) / 2 + b**2,
    "second bias forgotten": lambda x, w, b: w**2 * _first(x, w, b) / 2,
    "first bias forgotten": lambda x, w, b: w**2 * _first(x, w, 0.0) / 2 + b**2,
    "variance of ReLU for its second moment": lambda x, w, b: (
        w**2 * _first(x, w, b) * (0.5 - 0.5 / math.pi) + b**2
    ),
}


_refute(variance, _variance_right, _variance_printed, _VARIANCE_WRONG)


# Question 3: kernel of one two-layer tanh network, all weights trained.
def _kernel_right(x1: Tensor, x2: Tensor, W: Tensor, a: Tensor) -> Tensor:
    return (jacobian(x1[None], W, a) @ jacobian(x2[None], W, a).T)[0, 0]


def _sums(x1: Tensor, x2: Tensor, W: Tensor, a: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    phi1, phi2 = ((W @ x / len(x) ** 0.5).tanh() for x in (x1, x2))
    slopes = (1 - phi1**2) * (1 - phi2**2) * (x1 @ x2) / len(x1)
    return phi1, phi2, slopes, 1 / torch.tensor(len(a), dtype=W.dtype)


def _kernel_printed(x1: Tensor, x2: Tensor, W: Tensor, a: Tensor) -> Tensor:
    phi1, phi2, slopes, share = _sums(x1, x2, W, a)
    return share * (phi1 @ phi2) + (a**2 * slopes).sum()


def _kernel_index(x1: Tensor, x2: Tensor, W: Tensor, a: Tensor) -> Tensor:
    phi1, phi2, slopes, share = _sums(x1, x2, W, a)
    return share * (phi1 @ phi2 + a.sum() * (a * slopes).sum())


def _kernel_hidden(x1: Tensor, x2: Tensor, W: Tensor, a: Tensor) -> Tensor:
    _, _, slopes, share = _sums(x1, x2, W, a)
    return share * (a**2 * slopes).sum()


def _kernel_output(x1: Tensor, x2: Tensor, W: Tensor, a: Tensor) -> Tensor:
    phi1, phi2, _, share = _sums(x1, x2, W, a)
    return share * (phi1 @ phi2)


_KERNEL_WRONG: dict[str, Formula] = {
    "same input twice": lambda x1, x2, W, a: _kernel_right(x1, x1, W, a),
    "w_im w_in": _kernel_index,
    "hidden weights only": _kernel_hidden,
    "output weights only": _kernel_output,
}


_refute(kernel, _kernel_right, _kernel_printed, _KERNEL_WRONG)
