"""Points as a table, as JSON and as CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence

from ntkbook.assignments.catalogue import assignment
from ntkbook.assignments.grading import Graded


def points_table(results: Sequence[Graded]) -> str:
    """Return one line for each submission and one column for each question, assignment by assignment.

    Examples
    --------
    >>> print(points_table([Graded("anna.ipynb", failure="the file is not a notebook")]))
    could not be read
    anna.ipynb  the file is not a notebook
    """
    blocks = []
    for key in sorted({result.assignment for result in results}):
        chosen = [result for result in results if result.assignment == key]
        blocks.append(_table(key, chosen) if key else _unreadable(chosen))
    return "\n\n".join(blocks)


def _table(key: str, results: Sequence[Graded]) -> str:
    target = assignment(key)
    header = [key, *(question.key.partition("/")[2] for question in target.questions), "total", ""]
    best = ["out of", *(str(question.points) for question in target.questions), str(target.points), ""]
    rows = [header, best]
    for result in results:
        faults = len(result.cell_errors)
        note = result.failure or (f"{faults} cell{'s' * (faults > 1)} with errors" if faults else "")
        points = [str(question.points) for question in result.questions]
        rows.append([result.name, *points, str(result.points), note])
    widths = [max(len(row[k]) for row in rows) for k in range(len(header))]
    lines = []
    for row in rows:
        first, *middle, note = row
        cells = [text.rjust(width) for text, width in zip(middle, widths[1:-1], strict=True)]
        lines.append("  ".join([first.ljust(widths[0]), *cells, note]).rstrip())
    lines.insert(2, "-" * max(map(len, lines[:2])))
    return "\n".join(lines)


def _unreadable(results: Sequence[Graded]) -> str:
    width = max(len(result.name) for result in results)
    return "\n".join(["could not be read", *(f"{r.name.ljust(width)}  {r.failure}" for r in results)])


def feedback(result: Graded) -> str:
    """Return what the student is told: each question with its criteria and hints, and the errors of cells."""
    lines = [f"{result.name}: {result.points} of {result.out_of} points"]
    if result.failure:
        lines.append(f"Not graded: {result.failure}")
    lines += [f"Cell {number}: {text}" for number, text in result.cell_errors.items()]
    if not result.failure:
        lines += [repr(question) for question in result.questions]
    return "\n".join(lines)


def as_json(results: Sequence[Graded]) -> str:
    """Return everything that is known of each submission."""
    return json.dumps([_record(result) for result in results], indent=1, ensure_ascii=False) + "\n"


def _record(result: Graded) -> dict[str, object]:
    return {
        "submission": result.name,
        "assignment": result.assignment,
        "points": result.points,
        "out_of": result.out_of,
        "failure": result.failure,
        "seed": result.seed,
        "cell_errors": {str(number): text for number, text in result.cell_errors.items()},
        "questions": [
            {
                "key": question.key,
                "title": question.title,
                "points": question.points,
                "out_of": question.out_of,
                "criteria": [vars(criterion) for criterion in question.criteria],
            }
            for question in result.questions
        ],
    }


def as_csv(results: Sequence[Graded]) -> str:
    """Return a table for a spreadsheet: one row for each submission, one column for each question.

    A name that a spreadsheet would take for a formula gets an apostrophe in front.
    """
    keys = list(dict.fromkeys(question.key for result in results for question in result.questions))
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["submission", "assignment", *keys, "points", "out_of", "cell_errors", "failure"])
    for result in results:
        points = {question.key: question.points for question in result.questions}
        row = [points.get(key, "") for key in keys]
        ends = [result.points, result.out_of, len(result.cell_errors), _harmless(result.failure)]
        table.writerow([_harmless(result.name), result.assignment, *row, *ends])
    return text.getvalue()


def _harmless(text: str) -> str:
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text
