"""``ntkbook``: grade submissions, make student notebooks, print the rubric."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rich.console import Console

from ntkbook.assignments.catalogue import KEYS
from ntkbook.assignments.grading import Graded, grade_all
from ntkbook.assignments.limits import Limits
from ntkbook.assignments.report import as_csv, as_json, feedback, points_tables
from ntkbook.assignments.rubric import rubric
from ntkbook.assignments.student import write_student_notebook
from ntkbook.colab.installation import repository_address


def main(arguments: list[str] | None = None) -> int:
    """Run a command and return the exit status: 0, 1 if a submission could not be graded, 2 for misuse.

    Parameters
    ----------
    arguments : list of str, optional
        Of the command line, by default ``sys.argv[1:]``.
    """
    options = _parser().parse_args(arguments)
    try:
        status: int = options.run(options)
    except (FileNotFoundError, ValueError) as problem:
        print(f"ntkbook: {problem}", file=sys.stderr)
        return 2
    return status


def _parser() -> argparse.ArgumentParser:
    defaults = Limits()
    parser = argparse.ArgumentParser(prog="ntkbook", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")

    command = commands.add_parser("grade", help="grade notebooks, or folders of notebooks")
    command.set_defaults(run=_grade)
    command.add_argument("path", nargs="+", type=Path, help="a notebook, executed or not, or a folder")
    command.add_argument("--assignment", choices=KEYS, help="where the notebook does not say which it is")
    command.add_argument(
        "--to", type=Path, default=Path(), help="folder for points.json, points.csv and feedback/"
    )
    command.add_argument("--seed", type=int, help="repeat the inputs of another run")
    command.add_argument("--jobs", type=int, default=1, help="submissions at a time")
    command.add_argument("--cell-seconds", type=float, default=defaults.cell_seconds)
    command.add_argument("--call-seconds", type=float, default=defaults.call_seconds)
    command.add_argument("--total-seconds", type=float, default=defaults.total_seconds)
    command.add_argument("--memory-gb", type=float, default=defaults.memory_bytes / 2**30)

    command = commands.add_parser("student", help="make notebooks without solutions")
    command.set_defaults(run=_student)
    command.add_argument("path", nargs="+", type=Path, help="instructor's notebooks")
    command.add_argument("--to", type=Path, default=Path("_assignments"), help="folder for the notebooks")
    command.add_argument(
        "--repository", help="where the package is installed from; by default _config.yml says"
    )

    command = commands.add_parser("rubric", help="print the criteria and points as Markdown")
    command.set_defaults(run=_rubric)
    return parser


def _grade(options: argparse.Namespace) -> int:
    limits = Limits(
        cell_seconds=options.cell_seconds,
        call_seconds=options.call_seconds,
        total_seconds=options.total_seconds,
        memory_bytes=int(options.memory_gb * 2**30),
    )

    def progress(result: Graded) -> None:
        print(f"{result.points:3d} of {result.out_of:3d}  {result.name}", file=sys.stderr)

    results = grade_all(
        options.path,
        assignment=options.assignment,
        seed=options.seed,
        limits=limits,
        jobs=options.jobs,
        progress=progress,
    )
    if len(results) == 1:
        print(feedback(results[0]), end="\n\n")
    # In a file or a pipe there is no width to fit into.
    console = Console(width=None if sys.stdout.isatty() else 160)
    console.print(*points_tables(results))
    options.to.mkdir(parents=True, exist_ok=True)
    (options.to / "points.json").write_text(as_json(results), encoding="utf-8")
    (options.to / "points.csv").write_text(as_csv(results), encoding="utf-8")
    for result in results:
        told = options.to / "feedback" / f"{result.name}.txt"
        told.parent.mkdir(parents=True, exist_ok=True)
        told.write_text(feedback(result) + "\n", encoding="utf-8")
    return int(any(result.failure for result in results))


def _student(options: argparse.Namespace) -> int:
    repository = options.repository or repository_address(Path("_config.yml"))
    for path in options.path:
        print(write_student_notebook(path, options.to, repository))
    return 0


def _rubric(_: argparse.Namespace) -> int:
    print(rubric(), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
