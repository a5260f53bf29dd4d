"""Assignments: questions with tests that give points and hints, and a grader for whole notebooks.

In a notebook, ``check("hw1/q1", answer)`` tests an answer on inputs drawn afresh. ``ntkbook grade`` runs a
submission in a process of its own and puts its functions to the same tests. Student notebooks are generated
from the instructor's by ``ntkbook student``.
"""

from ntkbook.assignments.checking import check

__all__ = ["check"]
