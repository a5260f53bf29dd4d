"""An answer against the criteria of its question."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from ntkbook.assignments.asking import Answer, Ask
from ntkbook.assignments.draws import Draw
from ntkbook.assignments.questions import Miss, Question, Unanswered


@dataclass(frozen=True)
class CriterionResult:
    """What one criterion gave: the points, and the hint if there are none."""

    name: str
    points: int
    out_of: int
    hint: str = ""


@dataclass(frozen=True)
class QuestionResult:
    """What one question gave. Its ``repr`` is the text that a notebook shows."""

    key: str
    title: str
    criteria: tuple[CriterionResult, ...]

    @property
    def points(self) -> int:
        """The points earned."""
        return sum(result.points for result in self.criteria)

    @property
    def out_of(self) -> int:
        """The points that there are."""
        return sum(result.out_of for result in self.criteria)

    def __repr__(self) -> str:
        lines = [f"{self.key}  {self.title}: {self.points} of {self.out_of} points"]
        shown = ""
        for result in self.criteria:
            lines.append(f"  {result.points:2d} of {result.out_of:2d}  {result.name}")
            if result.hint and result.hint != shown:  # one mistake can cost several criteria
                lines.append(f"            {result.hint}")
                shown = result.hint
        return "\n".join(lines)


def fresh_seed() -> int:
    """Return a seed that nobody can guess."""
    return secrets.randbits(53)


def evaluate(question: Question, answer: Answer, seed: int) -> QuestionResult:
    """Try every criterion of a question.

    Parameters
    ----------
    question : Question
    answer : Answer
    seed : int
        Of the inputs; the same seed draws the same inputs.

    Returns
    -------
    QuestionResult
        An error in the student's code, and one in the criterion on a strange answer, cost that criterion.
    """
    ask, results, missing = Ask(answer), [], ""
    for criterion in question.criteria:
        hint = missing
        if not missing:
            draw = Draw(seed, f"{question.key} {criterion.name}")
            try:
                criterion.test(ask, draw)
            except Unanswered as miss:
                hint = missing = str(miss)
            except Miss as miss:
                hint = str(miss)
            except Exception as error:
                hint = f"The check could not work with your values ({type(error).__name__}: {error})."
        results.append(
            CriterionResult(criterion.name, 0 if hint else criterion.points, criterion.points, hint)
        )
    return QuestionResult(question.key, question.title, tuple(results))
