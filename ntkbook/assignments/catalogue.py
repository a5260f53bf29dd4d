"""Where the assignments are."""

from __future__ import annotations

from difflib import get_close_matches
from importlib import import_module

from ntkbook.assignments.questions import Assignment, Question

KEYS = ("hw1", "hw2", "hw3", "hw4", "hw5", "hw6", "hw7")


def assignment(key: str) -> Assignment:
    """Return an assignment by its key, such as ``"hw3"``.

    Raises
    ------
    KeyError
        For an unknown key, with those that there are.
    """
    if key not in KEYS:
        raise KeyError(f"there is no assignment of key {key!r}; there are {', '.join(KEYS)}")
    found: Assignment = import_module(f"ntkbook.assignments.homework.{key}").ASSIGNMENT
    return found


def question(key: str) -> Question:
    """Return a question by its key, such as ``"hw3/q2"``.

    Raises
    ------
    KeyError
        For an unknown key, with the nearest ones.

    Examples
    --------
    >>> question("hw1/q1").answer
    'descent_step'
    """
    head, _, _ = key.partition("/")
    questions = {each.key: each for each in assignment(head).questions}
    if key not in questions:
        near = get_close_matches(key, questions, n=3, cutoff=0.0)
        raise KeyError(f"there is no question of key {key!r}; did you mean {' or '.join(near)}?")
    return questions[key]
