"""The chapters as they are committed: clean, short-celled, described, cited and with solved exercises."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from site_pages import SOURCE

NOTEBOOKS = sorted(SOURCE.glob("*.ipynb"))
CHAPTERS = [path for path in NOTEBOOKS if re.match(r"\d\d_", path.name)]
MAX_LINES = 24
FIGURE = re.compile(r"\b(?:plt|figure|pyplot)\.(?:subplots|figure|subplot_mosaic|axes)\(")


def names(paths: list[Path]) -> list[str]:
    return [path.name for path in paths]


notebooks = pytest.mark.parametrize("path", NOTEBOOKS, ids=names(NOTEBOOKS))
chapters = pytest.mark.parametrize("path", CHAPTERS, ids=names(CHAPTERS))


def cells(path: Path, kind: str) -> Iterator[tuple[int, Any]]:
    """Yield the index and the cell of every cell of a kind."""
    for index, cell in enumerate(nbformat.read(path, as_version=4).cells):
        if cell.cell_type == kind:
            yield index, cell


def parsed(source: str) -> ast.Module:
    """Parse a code cell; magics and shell lines are IPython's."""
    return ast.parse(re.sub(r"^\s*[%!].*$", "pass", source, flags=re.MULTILINE))


def unclean(path: Path) -> list[str]:
    dirty = [f"cell {index}" for index, cell in cells(path, "code") if cell.outputs or cell.execution_count]
    remedy = f"clean it with: jupyter nbconvert --clear-output --inplace book/{path.name}"
    return [f"{path.name} holds outputs in {', '.join(dirty)}; {remedy}"] if dirty else []


def long_cells(path: Path) -> list[str]:
    lines = {index: filter(str.strip, cell.source.splitlines()) for index, cell in cells(path, "code")}
    counts = {index: len(list(written)) for index, written in lines.items()}
    return [
        f"{path.name}, cell {index}: {n} lines that are not blank, more than {MAX_LINES}"
        for index, n in counts.items()
        if n > MAX_LINES
    ]


def unfit_text(path: Path) -> list[str]:
    """TeX macros break the PDF and Colab; plotly's renderer weighs 5 MB a page."""
    unfit = re.compile(r"\\(?:re)?newcommand|\\def\s*\\|\\DeclareMathOperator|\bplotly\b")
    return [
        f"{path.name}, cell {index}: {word}"
        for index, cell in enumerate(nbformat.read(path, as_version=4).cells)
        for word in unfit.findall(cell.source)
    ]


def poor_figures(path: Path) -> list[str]:
    """Figures without a name, a caption in full sentences, or a description for those who cannot see them."""
    found = []
    for index, cell in cells(path, "code"):
        meta = cell.metadata.get("mystnb", {})
        figure, alt = meta.get("figure"), meta.get("image", {}).get("alt", "")
        if not figure and not FIGURE.search(cell.source):
            continue
        where = f"{path.name}, cell {index}"
        if not figure:
            found.append(f"{where}: draws a figure without name and caption in its metadata (mystnb.figure)")
            continue
        if not str(figure.get("name", "")).startswith("fig-"):
            found.append(f"{where}: the figure's name is {figure.get('name')!r}, not 'fig-...'")
        if not str(figure.get("caption", "")).rstrip().endswith((".", "?", "!")):
            found.append(f"{where}: the caption is not a sentence: {figure.get('caption')!r}")
        if len(alt) < 30 or alt == figure.get("caption"):
            found.append(f"{where}: mystnb.image.alt does not describe the figure: {alt!r}")
    return found


def unsolved(path: Path, least: int) -> list[str]:
    """Exercises without a label or a folded solution, solutions of nothing, and too few exercises."""
    text = "\n\n".join(cell.source for _, cell in cells(path, "markdown"))
    opening = r"^[`:]{3,}\{%s(?:-start)?\}[ \t]*(.*)\n((?:[ \t]*:\w[\w-]*:.*\n|\n(?=[ \t]*:\w))*)"
    exercises = re.findall(opening % "exercise", text + "\n", re.MULTILINE)
    solutions = re.findall(opening % "solution", text + "\n", re.MULTILINE)
    labels = [
        match[1] if (match := re.search(r":label:[ \t]*(\S+)", options)) else "" for _, options in exercises
    ]
    solved = Counter(label.strip() for label, _ in solutions)
    found = [
        f"an exercise has no label: {title!r}"
        for (title, _), label in zip(exercises, labels, strict=True)
        if not label
    ]
    found += [
        f"exercise {label} has {solved[label]} solutions" for label in labels if label and solved[label] != 1
    ]
    found += [f"the solution of {label!r} has no exercise" for label in solved if label not in labels]
    found += [
        f"the solution of {label} is not folded (:class: dropdown)"
        for label, options in solutions
        if "dropdown" not in options
    ]
    if len(re.findall(r"\{solution-start\}", text)) != len(re.findall(r"\{solution-end\}", text)):
        found.append("a {solution-start} has no {solution-end}")
    if len(exercises) < least:
        found.append(f"{len(exercises)} exercises, fewer than {least}")
    return [f"{path.name}: {fault}" for fault in found]


def bibliography(text: str) -> list[str]:
    return re.findall(r"^@\w+\{\s*([^,\s]+)", text, re.MULTILINE)


def cited(text: str) -> list[str]:
    groups = re.findall(r"\{cite(?::\w+)?\}`([^`]+)`", text)
    return [key.strip() for group in groups for key in group.split(",")]


def illustrated(path: Path) -> list[str]:
    """Keys of the theorems that checks cite: the second argument of ``verify.theorem``."""
    keys = []
    for _, cell in cells(path, "code"):
        for node in ast.walk(parsed(cell.source)):
            match node:
                case ast.Call(func=ast.Attribute(attr="theorem"), args=[_, ast.Constant(value=str(key)), *_]):
                    keys.append(key)
    return keys


@notebooks
def test_is_valid_and_each_cell_has_an_id(path: Path) -> None:
    notebook = nbformat.read(path, as_version=nbformat.NO_CONVERT)
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) >= (4, 5), "cells have ids from format 4.5 on"
    ids = [cell.id for cell in notebook.cells]
    assert len(ids) == len(set(ids))


@notebooks
def test_is_committed_clean(path: Path) -> None:
    assert unclean(path) == []


@notebooks
def test_cells_are_short(path: Path) -> None:
    assert long_cells(path) == []


@notebooks
def test_no_macros_and_no_plotly(path: Path) -> None:
    assert unfit_text(path) == []


@notebooks
def test_figures_are_described(path: Path) -> None:
    assert poor_figures(path) == []


@chapters
def test_uses_the_package(path: Path) -> None:
    imports = {
        alias.name if isinstance(node, ast.Import) else node.module
        for _, cell in cells(path, "code")
        for node in ast.walk(parsed(cell.source))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    assert any(name and name.split(".")[0] == "ntkbook" for name in imports)


@chapters
def test_exercises_are_solved(path: Path) -> None:
    assert unsolved(path, least=4) == []


def test_figure_names_are_used_once() -> None:
    used = Counter(
        cell.metadata["mystnb"]["figure"].get("name")
        for path in NOTEBOOKS
        for _, cell in cells(path, "code")
        if "figure" in cell.metadata.get("mystnb", {})
    )
    assert [name for name, count in used.items() if count > 1] == []


def test_citations_stand_in_the_bibliography() -> None:
    known = bibliography((SOURCE / "references.bib").read_text(encoding="utf-8"))
    assert [key for key, count in Counter(known).items() if count > 1] == []
    wanted = {
        page: cited((SOURCE / page).read_text(encoding="utf-8")) for page in names(list(SOURCE.glob("*.md")))
    }
    for path in NOTEBOOKS:
        text = "\n".join(cell.source for _, cell in cells(path, "markdown"))
        wanted[path.name] = cited(text) + illustrated(path)
    assert {page: lost for page, keys in wanted.items() if (lost := sorted(set(keys) - set(known)))} == {}


TEXT = ":::{exercise} One\n:label: ex-a\nShow.\n:::\n\n:::{solution} ex-a\n:class: dropdown\nSee.\n:::\n"
IMAGE_META = {"alt": "Three curves that fall from one to zero at different speeds."}
FIGURE_META = {"name": "fig-a", "caption": "Three decays. The steepest has the largest eigenvalue."}
GOOD: dict[str, Any] = {
    "text": TEXT,
    "code": "from ntkbook import verify",
    "metadata": {"image": IMAGE_META, "figure": FIGURE_META},
    "outputs": [],
}


def write(folder: Path, text: str, code: str, metadata: dict[str, Any], outputs: list[Any]) -> Path:
    new = nbformat.v4
    cell = new.new_code_cell(code, metadata={"mystnb": metadata} if metadata else {}, outputs=outputs)
    path = folder / "01_planted.ipynb"
    nbformat.write(new.new_notebook(cells=[new.new_markdown_cell(text), cell]), path)
    return path


def faults(path: Path) -> str:
    found = unclean(path) + long_cells(path) + unfit_text(path) + poor_figures(path) + unsolved(path, least=1)
    return "; ".join(found)


CHANGES: list[tuple[dict[str, Any], str]] = [
    ({}, ""),
    ({"outputs": [nbformat.v4.new_output("stream", text="1")]}, "nbconvert --clear-output --inplace"),
    ({"code": "x = 1\n" * 25}, "25 lines"),
    ({"text": TEXT + r"$$\newcommand{\a}{b}$$"}, "newcommand"),
    ({"text": TEXT + r"$$\def\a{b}$$"}, r"\def"),
    ({"code": "import plotly"}, "plotly"),
    ({"code": "fig, ax = plt.subplots()", "metadata": {}}, "without name and caption"),
    ({"metadata": {"figure": FIGURE_META}}, "alt"),
    ({"metadata": {"image": IMAGE_META, "figure": {"name": "fig-a", "caption": "A plot"}}}, "not a sentence"),
    ({"metadata": {"image": IMAGE_META, "figure": {"name": "a", "caption": "A plot."}}}, "fig-..."),
    ({"text": TEXT.replace(":label: ex-a\n", "")}, "no label"),
    ({"text": TEXT.replace("{solution} ex-a", "{solution} ex-b")}, "0 solutions"),
    ({"text": TEXT.replace(":class: dropdown\n", "")}, "not folded"),
    ({"text": TEXT.replace("{solution}", "{solution-start}")}, "has no {solution-end}"),
    ({"text": "Nothing to do."}, "0 exercises"),
]


@pytest.mark.parametrize(("change", "complaint"), CHANGES)
def test_planted_fault_is_found(tmp_path: Path, change: dict[str, Any], complaint: str) -> None:
    found = faults(write(tmp_path, **(GOOD | change)))
    assert complaint in found if complaint else found == ""


def test_citations_are_read() -> None:
    assert cited("As {cite:t}`jacot2018ntk` and {cite}`a2020, b2021` say.") == [
        "jacot2018ntk",
        "a2020",
        "b2021",
    ]
    assert bibliography("@misc{a2020,\n title={x}}\n\n@article{ b2021,\n}") == ["a2020", "b2021"]
