"""Find every numbered equation and every check in the book's sources, without running anything."""

from __future__ import annotations

import ast
import difflib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

KINDS = frozenset({"identity", "close", "bound", "rate", "monte_carlo", "definition", "theorem"})


@dataclass(frozen=True)
class Equation:
    """A numbered equation as it stands in the text.

    Attributes
    ----------
    label : str
    latex : str
        Exactly as written, without the dollar signs.
    page : str
        The file's name.
    cell : int
        Index of its cell; 0 in a Markdown page.
    """

    label: str
    latex: str
    page: str
    cell: int


@dataclass(frozen=True)
class CheckCall:
    """A call of ``verify.<kind>("label", ...)`` as it stands in a code cell.

    Attributes
    ----------
    label, kind : str
    code : str
        The whole cell, normalized: comments and layout do not count.
    page : str
    cell : int
    """

    label: str
    kind: str
    code: str
    page: str
    cell: int


@dataclass(frozen=True)
class Book:
    """Everything that `read_book` found."""

    equations: tuple[Equation, ...]
    checks: tuple[CheckCall, ...]

    @property
    def labels(self) -> set[str]:
        """The labels of all numbered equations."""
        return {equation.label for equation in self.equations}

    def checks_of(self, label: str) -> list[CheckCall]:
        """Return the checks of one equation, in order."""
        return [check for check in self.checks if check.label == label]

    def problems(self) -> list[str]:
        """List what is wrong: labels used twice, equations without a check, checks without an equation."""
        found: list[str] = []
        seen: dict[str, str] = {}
        for equation in self.equations:
            where = f"{equation.page}, cell {equation.cell}"
            if equation.label in seen:
                found.append(f"{where}: label {equation.label!r} is used already in {seen[equation.label]}")
            seen.setdefault(equation.label, where)
        checked = {check.label for check in self.checks}
        for equation in self.equations:
            if equation.label not in checked:
                found.append(
                    f"{equation.page}, cell {equation.cell}: equation {equation.label!r} has no check"
                )
        for check in self.checks:
            if check.label not in self.labels:
                found.append(
                    f"{check.page}, cell {check.cell}: check {check.label!r} names no numbered equation"
                    f"{nearest(check.label, self.labels)}"
                )
        return found


def nearest(label: str, labels: Iterable[str]) -> str:
    """Return ``'; did you mean ...?'`` with the closest label, or an empty string."""
    close = difflib.get_close_matches(label, sorted(labels), n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""


def read_book(folder: Path) -> Book:
    """Read all notebooks and Markdown pages of a folder, in the order of their names.

    Raises
    ------
    ValueError
        If a check cannot be read from the source (its label is not a string literal), or its two
        sides are the same code; with page and cell.
    """
    equations: list[Equation] = []
    checks: list[CheckCall] = []
    for path in sorted([*folder.glob("*.ipynb"), *folder.glob("*.md")]):
        page = path.name
        for index, kind, source in _cells(path):
            if kind == "markdown":
                equations += [Equation(label, latex, page, index) for label, latex in equations_in(source)]
            else:
                try:
                    checks += [
                        CheckCall(label, how, code, page, index) for label, how, code in checks_in(source)
                    ]
                except (ValueError, SyntaxError) as problem:
                    raise ValueError(f"{page}, cell {index}: {problem}") from None
    return Book(tuple(equations), tuple(checks))


def _cells(path: Path) -> Iterator[tuple[int, str, str]]:
    if path.suffix == ".md":
        yield 0, "markdown", path.read_text(encoding="utf-8")
        return
    import nbformat

    for index, cell in enumerate(nbformat.read(path, as_version=4).cells):
        if cell.cell_type in ("markdown", "code"):
            yield index, cell.cell_type, cell.source


def equations_in(markdown: str) -> Iterator[tuple[str, str]]:
    r"""Yield (label, LaTeX) of every labelled equation, those inside directives included.

    Both notations count: ``$$ ... $$ (label)`` and the ``math`` directive with a ``:label:``.

    Examples
    --------
    >>> list(equations_in("Text\n\n$$ a = b $$ (eq-ab)\n"))
    [('eq-ab', ' a = b ')]
    """
    for token in _parser().parse(markdown):
        if token.type == "math_block_label":
            yield token.info, token.content
        elif token.type in ("fence", "colon_fence") and token.info.startswith("{"):
            if token.info.startswith("{math}"):
                label = re.search(r"^:label:[ \t]*(\S+)[ \t]*$", token.content, re.MULTILINE)
                if label:
                    yield label[1], token.content[: label.start()] + token.content[label.end() + 1 :]
            else:
                yield from equations_in(token.content)


def checks_in(code: str) -> Iterator[tuple[str, str, str]]:
    """Yield (label, kind, normalized cell) of every check in a code cell.

    Examples
    --------
    >>> [found[:2] for found in checks_in('verify.identity("eq-ab", a, b)')]
    [('eq-ab', 'identity')]
    """
    # Magics and shell lines are IPython's, not Python's.
    tree = ast.parse(re.sub(r"^\s*[%!].*$", "", code, flags=re.MULTILINE))
    if "verify" not in code:
        return
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id="verify"), attr=kind)) if kind in KINDS:
                yield _label(node), kind, ast.unparse(tree)


def _label(call: Any) -> str:
    first = call.args[0] if call.args else None
    if not (isinstance(first, ast.Constant) and isinstance(first.value, str)):
        raise ValueError(  # noqa: TRY004 -- a fault in the book's source, not in an argument
            f"verify.{call.func.attr} needs its label first, as a string literal, so that it can be found "
            "without running the book"
        )
    sides = call.args[1:3]
    if call.func.attr != "theorem" and len(sides) == 2 and ast.dump(sides[0]) == ast.dump(sides[1]):
        raise ValueError(f"the check of {first.value!r} compares {ast.unparse(sides[0])!r} with itself")
    return first.value


@cache
def _parser() -> Any:
    from markdown_it import MarkdownIt
    from mdit_py_plugins.colon_fence import colon_fence_plugin
    from mdit_py_plugins.dollarmath import dollarmath_plugin

    return MarkdownIt("commonmark").use(dollarmath_plugin, double_inline=True).use(colon_fence_plugin)
