"""Grading one submission, or a folder of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from ntkbook._validation import check_count, check_seed
from ntkbook.assignments import catalogue
from ntkbook.assignments.evaluation import CriterionResult, QuestionResult, evaluate, fresh_seed
from ntkbook.assignments.limits import Limits
from ntkbook.assignments.questions import Assignment, Miss
from ntkbook.assignments.session import RemoteAnswer, Session
from ntkbook.assignments.submission import UnreadableSubmission, read_submission


@dataclass(frozen=True)
class Graded:
    """The points of one submission.

    Parameters
    ----------
    name : str
        The file, relative to the folder that was graded.
    assignment : str
        Its key; empty where the file could not be read.
    questions : tuple of QuestionResult
    seed : int
        Of the hidden tests' inputs; with it the grading can be repeated.
    failure : str
        Why it could not be graded; empty if it was.
    cell_errors : dict of int to str
        What went wrong in which cell. Later cells ran all the same.
    """

    name: str
    assignment: str = ""
    questions: tuple[QuestionResult, ...] = ()
    seed: int = 0
    failure: str = ""
    cell_errors: dict[int, str] = field(default_factory=dict)

    @property
    def points(self) -> int:
        """The points earned."""
        return sum(result.points for result in self.questions)

    @property
    def out_of(self) -> int:
        """The points that there are."""
        return sum(result.out_of for result in self.questions)


def grade(
    path: Path,
    *,
    name: str | None = None,
    assignment: str | None = None,
    seed: int | None = None,
    limits: Limits | None = None,
) -> Graded:
    """Run a submission in a process of its own and put its answers to the hidden tests.

    Whatever the submission is or does, a result comes back.

    Parameters
    ----------
    path : Path
        The notebook.
    name : str, optional
        For the tables; by default the file's name.
    assignment : str, optional
        By default the notebook says which it is.
    seed : int, optional
        By default one that nobody can guess.
    limits : Limits, optional

    Returns
    -------
    Graded

    Raises
    ------
    TypeError, ValueError, KeyError
        If an argument is not what it must be; whatever the file is, it is graded.
    RuntimeError
        On Windows, where a process cannot be limited in this way.
    """
    _check_path("path", path)
    if name is not None and not isinstance(name, str):
        raise TypeError(f"name must be a str, got {name!r}; leave it out for the file's own name")
    _check_options(assignment, seed, limits)
    if os.name != "posix":
        raise RuntimeError(
            "grading needs Linux or macOS; on Windows run it in WSL, in a container or on Colab"
        )
    name = path.name if name is None else name
    try:
        submission = read_submission(path, assignment)
    except UnreadableSubmission as problem:
        return Graded(name, failure=str(problem))
    except Exception as error:  # one submission never stops the rest
        return Graded(name, failure=f"the file cannot be read: {type(error).__name__}: {error}")
    target = catalogue.assignment(submission.assignment)
    seed = fresh_seed() if seed is None else seed
    try:
        with Session(submission.cells, limits or Limits()) as session:
            try:
                session.start()
            except Miss as miss:
                return Graded(name, target.key, _nothing(target, str(miss)), seed, str(miss), session.errors)
            results = tuple(
                evaluate(question, RemoteAnswer(session, question.answer), seed)
                for question in target.questions
            )
            return Graded(name, target.key, results, seed, "", dict(sorted(session.errors.items())))
    except Exception as error:  # one submission never stops the rest
        problem_text = f"the grader failed: {type(error).__name__}: {error}"
        return Graded(name, target.key, _nothing(target, problem_text), seed, problem_text)


def grade_all(
    paths: Sequence[Path],
    *,
    assignment: str | None = None,
    seed: int | None = None,
    limits: Limits | None = None,
    jobs: int = 1,
    progress: Callable[[Graded], None] = lambda _: None,
) -> list[Graded]:
    """Grade notebooks and the notebooks in folders, ``jobs`` at a time, in the order of their names.

    Parameters
    ----------
    paths : sequence of Path
        Files and folders; folders are searched to the bottom.
    assignment, seed, limits
        As in :func:`grade`.
    jobs : int
    progress : callable
        Called with each result as it comes.

    Raises
    ------
    TypeError, ValueError, KeyError, FileNotFoundError
        If an argument is not what it must be, or a path leads nowhere.
    """
    if isinstance(paths, str | Path):
        raise TypeError(f"paths must be a list of paths, got {type(paths).__name__}; write [path]")
    for path in paths:
        _check_path("paths", path)
    _check_options(assignment, seed, limits)
    check_count("jobs", jobs)
    if not callable(progress):
        raise TypeError(f"progress must be a function of a result, got {type(progress).__name__}")

    def one(item: tuple[Path, str]) -> Graded:
        path, name = item
        result = grade(path, name=name, assignment=assignment, seed=seed, limits=limits)
        progress(result)
        return result

    with ThreadPoolExecutor(max_workers=jobs) as pool:
        return list(pool.map(one, find_notebooks(paths)))


def _check_path(name: str, path: object) -> None:
    if not isinstance(path, Path):
        raise TypeError(f"{name} must be a pathlib.Path, got {path!r}; use pathlib.Path(...)")


def _check_options(assignment: object, seed: object, limits: object) -> None:
    if assignment is not None and assignment not in catalogue.KEYS:
        raise KeyError(f"assignment must be one of {', '.join(catalogue.KEYS)}, got {assignment!r}")
    if seed is not None:
        check_seed("seed", seed)
    if limits is not None and not isinstance(limits, Limits):
        raise TypeError(
            f"limits must be a Limits, got {type(limits).__name__}; pass Limits(total_seconds=...)"
        )


def find_notebooks(paths: Iterable[Path]) -> list[tuple[Path, str]]:
    """Return each notebook with the name that the tables give it.

    Raises
    ------
    FileNotFoundError
        For a path that is not there, or a folder without notebooks.
    ValueError
        If two of them would have the same name.
    """
    found = []
    for path in paths:
        if path.is_dir():
            inside = sorted(file for file in path.rglob("*.ipynb") if ".ipynb_checkpoints" not in file.parts)
            if not inside:
                raise FileNotFoundError(f"there are no notebooks in {path}")
            found += [(file, file.relative_to(path).as_posix()) for file in inside]
        elif path.exists():
            found.append((path, path.name))
        else:
            raise FileNotFoundError(f"there is no file {path}; paths must lead to notebooks or folders")
    names = [name for _, name in found]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"two submissions are called {name}; grade one folder at a time")
    return found


def _nothing(target: Assignment, hint: str) -> tuple[QuestionResult, ...]:
    return tuple(
        QuestionResult(
            question.key,
            question.title,
            tuple(CriterionResult(each.name, 0, each.points, hint) for each in question.criteria),
        )
        for question in target.questions
    )
