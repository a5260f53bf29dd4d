"""For each question: the solution gets all points, and typical mistakes lose exactly what they should."""

from __future__ import annotations

import pytest
from answers import MISTAKES, function

from ntkbook.assignments.catalogue import KEYS, assignment, question
from ntkbook.assignments.checking import check

QUESTIONS = [each.key for key in KEYS for each in assignment(key).questions]
SEEDS = (1, 2, 3)
WRONG = [(key, *mistake) for key in QUESTIONS for mistake in MISTAKES[key]]


def lost(result):
    return {criterion.name for criterion in result.criteria if not criterion.points}


@pytest.mark.parametrize("key", QUESTIONS)
def test_the_solution_gets_all_points_for_every_input(key):
    answer = function(key)
    for seed in SEEDS:
        result = check(key, answer, seed=seed)
        assert result.points == result.out_of == question(key).points, result


@pytest.mark.parametrize(
    ("key", "name", "old", "new", "loses"), WRONG, ids=[f"{wrong[0]} {wrong[1]}" for wrong in WRONG]
)
def test_a_mistake_loses_exactly_its_points(key, name, old, new, loses):
    criteria = {criterion.name for criterion in question(key).criteria}
    result = check(key, function(key, old, new), seed=1)
    assert lost(result) == (criteria if loses == "all" else loses), result
    hints = [criterion.hint for criterion in result.criteria if not criterion.points]
    assert all(hint and "could not work" not in hint for hint in hints), result


def test_every_question_has_three_mistakes_and_they_tell_its_criteria_apart():
    for key in QUESTIONS:
        assert len(MISTAKES[key]) >= 3, key
        every = {criterion.name for criterion in question(key).criteria}
        losses = [every if loses == "all" else loses for *_, loses in MISTAKES[key]]
        assert set().union(*losses) == every, key  # no criterion that nothing fails
        assert any(loss != every for loss in losses), key  # and partial credit exists


@pytest.mark.parametrize("key", QUESTIONS)
def test_an_answer_not_written_yet_gets_nothing(key):
    def empty(*_):
        raise NotImplementedError

    result = check(key, empty)
    assert result.points == 0
    assert {criterion.hint for criterion in result.criteria} == {"Not answered yet."}


@pytest.mark.parametrize("key", QUESTIONS)
@pytest.mark.parametrize("constant", [0.0, None, True, "text", [], float("nan")])
def test_no_constant_is_an_answer(key, constant):
    assert check(key, lambda *_: constant, seed=1).points == 0
