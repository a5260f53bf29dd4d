"""The rubric as Markdown: what each question's points are given for."""

from __future__ import annotations

from ntkbook.assignments.catalogue import KEYS, assignment


def rubric() -> str:
    """Return a table of criteria and points for each assignment."""
    lines = ["# Rubric", "", "Printed by `ntkbook rubric` from the tests themselves.", ""]
    for key in KEYS:
        target = assignment(key)
        lines += [f"## {key}: {target.title} ({target.points} points)", ""]
        lines += ["| question, and what answers it | criterion | points |", "|---|---|---:|"]
        for question in target.questions:
            first = f"{question.key.partition('/')[2]}. {question.title}: `{question.answer}`"
            for criterion in question.criteria:
                lines.append(f"| {first} | {criterion.name} | {criterion.points} |")
                first = ""
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"
