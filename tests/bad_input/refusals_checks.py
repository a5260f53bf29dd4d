"""What the book's checks, the assignments and the generator of Colab notebooks refuse."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import sympy as sp
from refusal import INF, NAN, Refusal

from ntkbook import verify
from ntkbook.assignments import check
from ntkbook.assignments.grading import grade, grade_all
from ntkbook.assignments.limits import Limits
from ntkbook.assignments.questions import Question
from ntkbook.colab import BookLabels, colab_notebook, plain_markdown, read_labels
from ntkbook.verify import CheckFailed, PowerlessCheck

A = np.array([1.0, 2.0, 4.0])
N = np.array([1.0, 2.0, 4.0, 8.0])
T = sp.Symbol("t", positive=True)
DRAWS = np.linspace(-1, 1, 120).reshape(40, 3)
LABEL = "eq-test"


@cache
def folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="bad-input-"))


def close(actual: Any = A, expected: Any = None, rtol: Any = 1e-12, **options: Any) -> None:
    verify.close(LABEL, actual, A.copy() if expected is None else expected, rtol=rtol, **options)


def bound(smaller: Any = A, larger: Any = None, **options: Any) -> None:
    verify.bound(LABEL, smaller, A.copy() if larger is None else larger, **options)


def rate(x: Any = N, y: Any = N, exponent: Any = 1.0, **options: Any) -> None:
    verify.rate(LABEL, x, y, exponent, **options)


def monte_carlo(samples: Any = DRAWS, expected: Any = None, **options: Any) -> None:
    verify.monte_carlo(LABEL, samples, DRAWS.mean(0) if expected is None else expected, **options)


def doubled(x: Any) -> Any:
    return 2 * x


def definition(code: Any = doubled, formula: Any = lambda x: x + x, *arguments: Any, **options: Any) -> None:
    verify.definition(LABEL, code, formula, *(arguments or (A,)), **options)


def estimate() -> verify.Estimate:
    return verify.estimate_mean(DRAWS)


VERIFY: list[tuple[str, str, Callable[[], object], type[Exception], str, str]] = [
    ("identity", "label", lambda: verify.identity(3, T, T), TypeError, "got 3", "'eq-chapter-name'"),
    ("identity", "lhs", lambda: verify.identity(LABEL, T == T, T), TypeError, "bool", "the two sides"),
    ("identity", "lhs", lambda: verify.identity(LABEL, "x +", T), TypeError, "'x +'", "a SymPy expression"),
    ("identity", "lhs:shapes", lambda: verify.identity(LABEL, [T, T], T), CheckFailed, "(2,)", "()"),
    ("identity", "rhs", lambda: verify.identity(LABEL, T, T == T), TypeError, "bool", "the two sides"),
    ("identity", "rhs:differ", lambda: verify.identity(LABEL, T, 2 * T), CheckFailed, "t = ", "residual"),
    (
        "identity",
        "wrong",
        lambda: verify.identity(LABEL, T, T, wrong={}),
        PowerlessCheck,
        "no wrong",
        "with wrong=",
    ),
    (
        "identity",
        "wrong",
        lambda: verify.identity(LABEL, T, T, wrong=[2 * T]),
        TypeError,
        "list",
        "{name: version}",
    ),
    ("close", "label", lambda: verify.close("", A, A + 0, rtol=1e-9), ValueError, "''", "'eq-chapter-name'"),
    ("close", "actual", lambda: close(A.astype("f")), TypeError, "float32", ".double()"),
    ("close", "actual", lambda: close(A * NAN), CheckFailed, "NaN", "residual"),
    ("close", "actual", lambda: close(A[:0], A[:0] + 1), CheckFailed, "(0,)", "empty"),
    ("close", "actual", lambda: close(["a"]), TypeError, "<U1", "numbers"),
    ("close", "actual:shapes", lambda: close(A[:, None]), CheckFailed, "(3, 1)", "(3,)"),
    ("close", "expected", lambda: close(A * 0, A * 0), ValueError, "0 everywhere", "give scale="),
    ("close", "expected", lambda: close(A, A > 0), TypeError, "bool", "numbers"),
    ("close", "rtol", lambda: close(rtol=-1e-9), ValueError, "-1e-09", "positive"),
    ("close", "rtol", lambda: close(rtol=NAN), ValueError, "nan", "finite"),
    ("close", "rtol", lambda: close(rtol="1e-9"), TypeError, "'1e-9'", "pass a float"),
    ("close", "wrong", lambda: close(wrong={"same": A}), PowerlessCheck, "'same'", "Tighten the tolerance"),
    ("close", "wrong", lambda: close(wrong=2 * A), TypeError, "ndarray", "{name: version}"),
    ("close", "scale", lambda: close(scale=0.0), ValueError, "0.0", "positive"),
    ("close", "scale", lambda: close(scale=INF), ValueError, "inf", "finite"),
    ("bound", "label", lambda: verify.bound(None, A, A + 0), TypeError, "None", "'eq-chapter-name'"),
    ("bound", "smaller", lambda: bound(A.astype("f")), TypeError, "float32", ".double()"),
    ("bound", "smaller:shapes", lambda: bound(A[:1]), CheckFailed, "(1,)", "(3,)"),
    ("bound", "larger", lambda: bound(A, A + INF), CheckFailed, "infinite", "residual"),
    ("bound", "larger", lambda: bound(A, A + 1j), TypeError, "complex128", "real numbers"),
    ("bound", "larger", lambda: bound(-A, A * 0), ValueError, "0 everywhere", "nothing about sizes"),
    ("bound", "larger:half", lambda: bound(A, 10 * A), PowerlessCheck, "half", "choose an example"),
    ("bound", "wrong", lambda: bound(wrong=[A]), TypeError, "list", "{name: version}"),
    ("bound", "rtol", lambda: bound(rtol=-1.0), ValueError, "-1.0", "not negative"),
    ("rate", "label", lambda: verify.rate(1.0, N, N, 1.0), TypeError, "1.0", "'eq-chapter-name'"),
    ("rate", "x", lambda: rate(N[:3], N[:3]), ValueError, "(3,)", "at least 4"),
    ("rate", "x", lambda: rate(-N), ValueError, "-8", "positive"),
    ("rate", "x", lambda: rate(N * 0 + 1), ValueError, "constant", "different"),
    ("rate", "y", lambda: rate(N, N[:1]), ValueError, "(1,)", "must have shape (4,)"),
    ("rate", "y", lambda: rate(N, np.ones((4, 3))), ValueError, "3 draws", "at least 5"),
    ("rate", "exponent", lambda: rate(exponent=NAN), ValueError, "nan", "finite"),
    ("rate", "exponent", lambda: rate(exponent=None), TypeError, "None", "pass a float"),
    ("rate", "exponent", lambda: rate(exponent=2.0), CheckFailed, "expected 2", "fitted"),
    ("rate", "tolerance", lambda: rate(tolerance=-1.0), ValueError, "-1.0", "not negative"),
    ("rate", "tolerance", lambda: rate(tolerance=NAN), ValueError, "nan", "not negative"),
    ("rate", "wrong", lambda: rate(wrong={"same": 1.0}), PowerlessCheck, "'same'", "take more draws"),
    ("rate", "wrong", lambda: rate(wrong=2.0), TypeError, "float", "{name: version}"),
    ("rate", "confidence", lambda: rate(confidence=95), ValueError, "95", "between 0 and 1"),
    (
        "monte_carlo",
        "label",
        lambda: verify.monte_carlo(LABEL.split(), DRAWS, A),
        TypeError,
        "['eq",
        "'eq-chapter",
    ),
    ("monte_carlo", "samples", lambda: monte_carlo(DRAWS[:20]), ValueError, "(20, 3)", "at least 30"),
    ("monte_carlo", "samples", lambda: monte_carlo(DRAWS * NAN), ValueError, "NaN", "remove"),
    ("monte_carlo", "expected", lambda: monte_carlo(DRAWS, 0.0), CheckFailed, "()", "(3,)"),
    ("monte_carlo", "expected", lambda: monte_carlo(DRAWS, "0"), TypeError, "<U1", "numbers"),
    ("monte_carlo", "bias", lambda: monte_carlo(bias=-1.0), ValueError, "-1.0", "not negative"),
    ("monte_carlo", "bias", lambda: monte_carlo(bias=[1.0] * 2), TypeError, "[1.0, 1.0]", "pass a float"),
    ("monte_carlo", "wrong", lambda: monte_carlo(wrong=[A]), TypeError, "list", "{name: version}"),
    (
        "definition",
        "label",
        lambda: verify.definition(A, doubled, doubled),
        TypeError,
        "array([1.",
        "'eq-chapter",
    ),
    ("definition", "code", lambda: definition(lambda x: 2 * x), TypeError, "lambda", "the named function"),
    ("definition", "code", lambda: definition(3), TypeError, "int", "a named function"),
    (
        "definition",
        "formula",
        lambda: definition(doubled, doubled),
        PowerlessCheck,
        "same function",
        "nothing",
    ),
    ("definition", "formula", lambda: definition(doubled, "2 x"), TypeError, "str", "a function"),
    ("definition", "rtol", lambda: definition(rtol=0.0), ValueError, "0.0", "positive"),
    ("definition", "wrong", lambda: definition(wrong=[doubled]), TypeError, "list", "{name: version}"),
    (
        "theorem",
        "label",
        lambda: verify.theorem(3, "key", verify.rate, N, N, 1.0),
        TypeError,
        "3",
        "'eq-chapter",
    ),
    (
        "theorem",
        "cite",
        lambda: verify.theorem(LABEL, "", verify.rate, N, N, 1.0),
        ValueError,
        "''",
        "bibliography",
    ),
    (
        "theorem",
        "cite",
        lambda: verify.theorem(LABEL, 3, verify.rate, N, N, 1.0),
        TypeError,
        "3",
        "bibliography",
    ),
    (
        "theorem",
        "method",
        lambda: verify.theorem(LABEL, "k", verify.theorem),
        TypeError,
        "theorem at",
        "identity, close",
    ),
    ("theorem", "method", lambda: verify.theorem(LABEL, "k", "rate"), TypeError, "'rate'", "identity, close"),
    ("fit_exponent", "x", lambda: verify.fit_exponent(N[:, None], N), ValueError, "(4, 1)", "one axis"),
    (
        "fit_exponent",
        "y",
        lambda: verify.fit_exponent(N, N[None]),
        ValueError,
        "(1, 4)",
        "must have shape (4,)",
    ),
    ("fit_exponent", "y", lambda: verify.fit_exponent(N, N * NAN), ValueError, "NaN", "remove"),
    (
        "fit_exponent",
        "confidence",
        lambda: verify.fit_exponent(N, N, 1.0),
        ValueError,
        "1.0",
        "between 0 and 1",
    ),
    ("estimate_mean", "samples", lambda: verify.estimate_mean(A), ValueError, "(3,)", "at least 30"),
    ("estimate_mean", "samples", lambda: verify.estimate_mean(5.0), ValueError, "()", "at least 30"),
    ("Estimate.distance", "value", lambda: estimate().distance(A[:, None]), ValueError, "(3, 1)", "(3,)"),
    ("Estimate.separation", "first", lambda: estimate().separation(A[:1], A), ValueError, "(1,)", "(3,)"),
    ("Estimate.separation", "second", lambda: estimate().separation(A, A[:1]), ValueError, "(1,)", "(3,)"),
    (
        "Estimate.in_errors",
        "difference",
        lambda: estimate().in_errors(A[:, None]),
        ValueError,
        "(3, 1)",
        "(3,)",
    ),
]


def submission(text: str) -> Path:
    path = folder() / "submission.ipynb"
    path.write_text(text, encoding="utf-8")
    return path


def criterion(name: Any, points: Any) -> object:
    return Question("hw1/q1", "f", "Title").criterion(name, points=points)


LABELS = BookLabels({}, {}, "https://example.org", "https://example.org/repository")
CONFIG = "repository:\n  url: https://example.org/owner/name\n"


def root(toc: str | None) -> Path:
    """Return the folder of a book with a configuration, and perhaps a table of contents."""
    place = Path(tempfile.mkdtemp(dir=folder()))
    (place / "_config.yml").write_text(CONFIG, encoding="utf-8")
    if toc is not None:
        (place / "_toc.yml").write_text(toc, encoding="utf-8")
    return place


ASSIGNMENTS: list[tuple[str, str, Callable[[], object], type[Exception], str, str]] = [
    ("check", "key", lambda: check("hw9/q1", doubled), KeyError, "'hw9'", "hw1, hw2"),
    ("check", "key", lambda: check("hw1/q9", doubled), KeyError, "'hw1/q9'", "did you mean"),
    ("check", "key", lambda: check(3, doubled), TypeError, "3", "'hw1/q1'"),
    ("check", "seed", lambda: check("hw1/q1", doubled, seed=0.5), TypeError, "0.5", "a whole number"),
    ("check", "seed", lambda: check("hw1/q1", doubled, seed=-1), ValueError, "-1", "at least 0"),
    ("grading.grade", "path", lambda: grade(3), TypeError, "3", "pathlib.Path"),
    ("grading.grade", "name", lambda: grade(submission("{}"), name=3), TypeError, "3", "a str"),
    (
        "grading.grade",
        "assignment",
        lambda: grade(submission("{}"), assignment="hw9"),
        KeyError,
        "'hw9'",
        "hw1, hw2",
    ),
    ("grading.grade", "seed", lambda: grade(submission("{}"), seed=-1), ValueError, "-1", "at least 0"),
    ("grading.grade", "limits", lambda: grade(submission("{}"), limits=60), TypeError, "int", "Limits("),
    ("grading.grade_all", "paths", lambda: grade_all("hw1.ipynb"), TypeError, "str", "a list of"),
    (
        "grading.grade_all",
        "paths",
        lambda: grade_all([folder() / "nowhere"]),
        FileNotFoundError,
        "nowhere",
        "must lead to",
    ),
    ("grading.grade_all", "paths", lambda: grade_all([3]), TypeError, "3", "pathlib.Path"),
    ("grading.grade_all", "assignment", lambda: grade_all([], assignment=1), KeyError, "1", "hw1, hw2"),
    ("grading.grade_all", "seed", lambda: grade_all([], seed="0"), TypeError, "'0'", "a whole number"),
    ("grading.grade_all", "limits", lambda: grade_all([], limits=60), TypeError, "int", "Limits("),
    ("grading.grade_all", "jobs", lambda: grade_all([], jobs=0), ValueError, "got 0", "at least 1"),
    ("grading.grade_all", "progress", lambda: grade_all([], progress=True), TypeError, "bool", "a function"),
    *(
        (
            "limits.Limits",
            name,
            lambda name=name, value=value: Limits(**{name: value}),
            error,
            f"got {value!r}",
            remedy,
        )
        for name, value, error, remedy in (
            ("cell_seconds", 0.0, ValueError, "positive"),
            ("call_seconds", NAN, ValueError, "positive"),
            ("total_seconds", "600", TypeError, "pass a float"),
            ("memory_bytes", 0, ValueError, "at least 1"),
            ("file_bytes", 1.5, TypeError, "a whole number"),
            ("restarts", -1, ValueError, "at least 0"),
        )
    ),
    (
        "questions.Question.criterion",
        "points",
        lambda: criterion("name", 0),
        ValueError,
        "got 0",
        "at least 1",
    ),
    (
        "questions.Question.criterion",
        "points",
        lambda: criterion("name", 1.5),
        TypeError,
        "1.5",
        "a whole number",
    ),
    ("questions.Question.criterion", "name", lambda: criterion("", 1), ValueError, "''", "a few words"),
]

COLAB: list[tuple[str, str, Callable[[], object], type[Exception], str, str]] = [
    ("BookLabels.target", "label", lambda: LABELS.target("eq-x"), ValueError, "'eq-x'", "mend the label"),
    ("BookLabels.citation", "key", lambda: LABELS.citation("nobody"), ValueError, "'nobody'", "add it"),
    (
        "plain_markdown",
        "text:role",
        lambda: plain_markdown("{index}`x`", LABELS),
        ValueError,
        "index",
        "without one",
    ),
    (
        "plain_markdown",
        "text:directive",
        lambda: plain_markdown("```{bad}\n```", LABELS),
        ValueError,
        "bad",
        "add it",
    ),
    (
        "plain_markdown",
        "text:directive",
        lambda: plain_markdown("```{note}", LABELS),
        ValueError,
        "note",
        "close it",
    ),
    ("plain_markdown", "text", lambda: plain_markdown(3, LABELS), TypeError, "int", "a str"),
    ("plain_markdown", "labels", lambda: plain_markdown("", {}), TypeError, "dict", "read_labels"),
    (
        "colab_notebook",
        "path",
        lambda: colab_notebook(folder() / "no.ipynb", LABELS),
        FileNotFoundError,
        "no",
        "book/",
    ),
    ("colab_notebook", "labels", lambda: colab_notebook(folder(), {}), TypeError, "dict", "read_labels"),
    (
        "read_labels",
        "root",
        lambda: read_labels(folder() / "no"),
        FileNotFoundError,
        "no",
        "the book's folder",
    ),
    (
        "read_labels",
        "root",
        lambda: read_labels(root(None)),
        FileNotFoundError,
        "_toc.yml",
        "the book's folder",
    ),
    ("read_labels", "root", lambda: read_labels("book"), TypeError, "'book'", "pathlib.Path"),
]

REFUSALS = [
    *(Refusal(f"verify.{of}", *row) for of, *row in VERIFY),
    *(Refusal(f"assignments.{of}", *row) for of, *row in ASSIGNMENTS),
    *(Refusal(f"colab.{of}", *row) for of, *row in COLAB),
]
