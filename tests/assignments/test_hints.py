"""What students are told: kinds of wrong answers, errors in their code, unknown questions."""

from __future__ import annotations

import re

import pytest
import torch
from answers import function

from ntkbook.assignments.agreement import agree, agree_up_to_factor
from ntkbook.assignments.checking import check
from ntkbook.assignments.questions import Miss

EXPECTED = torch.tensor([[1.0, 2.0], [3.0, 5.0]], dtype=torch.float64)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (-EXPECTED, "up to the sign"),
        (3 * EXPECTED, "one constant factor"),
        (EXPECTED.T, "transpose"),
        (EXPECTED + 1e-5, "few digits"),
        (EXPECTED + 1, "^Think.$"),
        (EXPECTED**2, "^Squared!$"),
    ],
)
def test_the_kind_of_a_mistake_is_named(value, words):
    with pytest.raises(Miss, match=words):
        agree(value, EXPECTED, "Think.", known={"Squared!": EXPECTED**2})


def test_what_agrees_passes():
    agree(EXPECTED * (1 + 1e-9), EXPECTED, "")
    agree_up_to_factor(-7 * EXPECTED, EXPECTED, "")
    for wrong in (0 * EXPECTED, EXPECTED + 1):
        with pytest.raises(Miss):
            agree_up_to_factor(wrong, EXPECTED, "")


def raises(*_):
    raise ZeroDivisionError("division by zero")


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda theta, X, y, rate: None, "nothing .None.: is a return missing"),
        (lambda theta, X, y, rate: theta[:-1], r"returned shape \(\d,\); the shape asked for is \(\d,\)"),
        (lambda theta, X, y, rate: theta * float("nan"), "NaN or infinite"),
        (lambda theta, X, y, rate: theta * (1 + 0j), "complex"),
        (lambda theta, X, y, rate: "a text", "a str"),
        (lambda theta, X, y, rate: theta > 0, "should return numbers"),
        (lambda theta, X, y, rate: print, "of type builtin_function_or_method"),
        (raises, r"raised ZeroDivisionError: division by zero \(line \d+ of raises\)"),
        (lambda theta, X: theta, "raised TypeError"),
        (3.0, "is a function, without brackets"),
    ],
)
def test_each_kind_of_failure_has_its_own_hint(answer, words):
    result = check("hw1/q1", answer)
    assert result.points == 0
    assert re.search(words, result.criteria[0].hint), result


def test_a_numpy_answer_counts():
    right = function("hw1/q1")
    assert check("hw1/q1", lambda *inputs: right(*inputs).numpy()).points == 10


def test_a_function_that_writes_into_its_inputs_spoils_only_its_own_copy():
    def in_place(theta, X, y, rate):
        theta -= rate * X.T @ (X @ theta - y) / len(y)
        X.zero_()
        return theta

    assert check("hw1/q1", in_place).points == 10


def test_the_inputs_differ_from_call_to_call_and_a_seed_repeats_them():
    seen = []

    def record(theta, X, y, rate):
        seen.append(rate)
        return theta

    for seed in (None, None, 5, 5):
        check("hw1/q1", record, seed=seed)
    first, second, third, fourth = (seen[3 * k : 3 * k + 3] for k in range(4))
    assert first != second
    assert third == fourth


def test_unknown_questions_are_named_with_near_ones():
    with pytest.raises(KeyError, match="did you mean hw1/q4"):
        check("hw1/q44", None)
    with pytest.raises(KeyError, match="there are hw1, hw2"):
        check("hw99/q1", None)
