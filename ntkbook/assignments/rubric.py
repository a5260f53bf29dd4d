"""The rubric as Markdown: what each question's points are given for."""

from __future__ import annotations

from itertools import zip_longest

from ntkbook.assignments.catalogue import KEYS, assignment


def rubric() -> str:
    """Return a table of criteria and points for each assignment."""
    lines = ["# Rubric", "", "Printed by `ntkbook rubric` from the tests themselves.", ""]
    for key in KEYS:
        target = assignment(key)
        lines += [f"## {key}: {target.title} ({target.points} points)", ""]
        lines += ["| question, and what answers it | criterion | points |", "|---|---|---:|"]
        for question in target.questions:
            # The name stands in a cell of its own, below the question, where paper has room for it.
            first = [f"{question.key.partition('/')[2]}. {question.title}", f"`{question.answer}`"]
            judged = [f"{criterion.name} | {criterion.points}" for criterion in question.criteria]
            lines += [f"| {words or ''} | {said or ' | '} |" for words, said in zip_longest(first, judged)]
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"
