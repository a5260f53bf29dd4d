"""What is asked, and how an answer earns its points."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ntkbook._validation import check_count

if TYPE_CHECKING:
    from ntkbook.assignments.asking import Ask
    from ntkbook.assignments.draws import Draw


class Miss(Exception):
    """An answer does not earn a criterion's points; the message is the hint for the student."""


class Unanswered(Miss):
    """There is no answer yet, so that no other criterion has to be tried."""


Test = Callable[["Ask", "Draw"], None]


@dataclass(frozen=True)
class Criterion:
    """One property of a right answer.

    Parameters
    ----------
    name : str
        A few words for the rubric and the points table.
    points : int
        Earned whole or not at all.
    test : callable
        Takes an `Ask` (the student's answer) and a `Draw` (inputs drawn afresh), and raises `Miss` with a
        hint if the answer lacks the property.
    """

    name: str
    points: int
    test: Test


@dataclass
class Question:
    """One question: a function to write, and the criteria that it is judged by.

    Parameters
    ----------
    key : str
        As in ``check("hw1/q1", ...)``.
    answer : str
        The name that the function has in the notebook.
    title : str
        One line.

    Examples
    --------
    >>> question = Question("demo/q1", "double", "Twice a number")
    >>> @question.criterion("at a random number", points=5)
    ... def doubles(ask, draw):
    ...     x = draw.uniform(1.0, 2.0)
    ...     if float(ask.tensor(x, shape=())) != 2 * x:
    ...         raise Miss("What is twice 1?")
    >>> question.points
    5
    """

    key: str
    answer: str
    title: str
    criteria: list[Criterion] = field(default_factory=list)

    def criterion(self, name: str, *, points: int) -> Callable[[Test], Test]:
        """Return the decorator that adds a test as the next criterion."""
        if not name:
            raise ValueError(f"name must be a few words for the points table, got {name!r}")
        check_count(f"points of {name!r}", points)

        def add(test: Test) -> Test:
            self.criteria.append(Criterion(name, points, test))
            return test

        return add

    @property
    def points(self) -> int:
        """What a right answer earns."""
        return sum(criterion.points for criterion in self.criteria)


@dataclass(frozen=True)
class Assignment:
    """The questions of one notebook.

    Parameters
    ----------
    key : str
        As in ``book/assignments/KEY.ipynb``.
    title : str
    questions : tuple of Question
    """

    key: str
    title: str
    questions: tuple[Question, ...]

    @property
    def points(self) -> int:
        """What a notebook with all answers right earns."""
        return sum(question.points for question in self.questions)
