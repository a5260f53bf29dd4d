"""Points as tables for a terminal, as JSON and as CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence

from rich import box
from rich.table import Table
from rich.text import Text

from ntkbook.assignments.catalogue import assignment
from ntkbook.assignments.grading import Graded


def points_tables(results: Sequence[Graded]) -> list[Table]:
    """Return a table for each assignment, with a row for each submission and a column for each question.

    Submissions that could not be read stand in a table of their own.

    Parameters
    ----------
    results : sequence of Graded

    Returns
    -------
    list of rich.table.Table
        ``rich.console.Console().print`` shows them.

    Examples
    --------
    >>> from rich.console import Console
    >>> table, = points_tables([Graded("anna.ipynb", failure="the file is not a notebook")])
    >>> Console(width=60).print(table)
    could not be read
    anna.ipynb   the file is not a notebook
    """
    keys = sorted({result.assignment for result in results})
    return [_points(key, [r for r in results if r.assignment == key]) for key in keys]


def _points(key: str, results: Sequence[Graded]) -> Table:
    table = Table(
        box=box.SIMPLE_HEAD if key else None,
        pad_edge=False,
        show_header=bool(key),
        title=None if key else "could not be read",
        title_justify="left",
        title_style="bold",
    )
    # The name of a file is text, whatever stands in brackets in it, and is never cut.
    table.add_column(key, footer="out of", overflow="fold")
    if not key:
        table.add_column("", overflow="fold")
        for result in results:
            table.add_row(Text(result.name), Text(result.failure, style="red"))
        return table
    target = assignment(key)
    table.show_footer = True
    for question in target.questions:
        table.add_column(question.key.partition("/")[2], footer=str(question.points), justify="right")
    table.add_column("total", footer=str(target.points), justify="right", style="bold")
    table.add_column("", overflow="fold")
    for result in results:
        faults = len(result.cell_errors)
        note = result.failure or (f"{faults} cell{'s' * (faults > 1)} with errors" if faults else "")
        earned = [_colored(question.points, question.out_of) for question in result.questions]
        table.add_row(Text(result.name), *earned, str(result.points), Text(note, style="yellow"))
    return table


def _colored(points: int, out_of: int) -> Text:
    return Text(str(points), style="green" if points == out_of else "" if points else "red")


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
