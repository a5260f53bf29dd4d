"""The student's notebook: the instructor's without its solutions."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

from ntkbook.assignments.catalogue import assignment
from ntkbook.assignments.questions import Assignment
from ntkbook.colab.installation import installation

# The marks are nbgrader's, so that it can make the student's version as well.
BEGIN, END = "### BEGIN SOLUTION", "### END SOLUTION"


def student_notebook(path: Path, repository: str) -> dict[str, Any]:
    """Return the notebook to hand out.

    What stands between the marks ``### BEGIN SOLUTION`` and ``### END SOLUTION`` becomes a
    ``NotImplementedError``; cells with the tag ``solution`` go; outputs go; a first code cell installs
    the package where it is missing.

    Parameters
    ----------
    path : Path
        The instructor's notebook, ``KEY.ipynb``.
    repository : str
        Address that the package can be installed from.

    Raises
    ------
    ValueError
        If a mark lacks its partner, or a question is not asked, answered or checked in the notebook.
    """
    notebook = json.loads(path.read_text(encoding="utf-8"))
    target = assignment(path.stem)
    _require_questions(path, notebook, target)
    cells: list[dict[str, Any]] = []
    for cell in notebook["cells"]:
        if "solution" in cell["metadata"].get("tags", []):
            continue
        kept = copy.deepcopy(cell)
        kept["source"] = _without_solutions("".join(cell["source"]), path).splitlines(keepends=True)
        if kept["cell_type"] == "code":
            if not any(each["cell_type"] == "code" for each in cells):
                cells.append(_install_cell(repository))
            kept.update(outputs=[], execution_count=None)
        cells.append(kept)
    metadata = notebook["metadata"] | {"ntkbook": {"assignment": target.key}, "colab": {"name": path.name}}
    handed_out: dict[str, Any] = notebook | {"cells": cells, "metadata": metadata}
    return handed_out


def write_student_notebook(path: Path, folder: Path, repository: str) -> Path:
    """Write the student's version of a notebook into a folder and return where it is."""
    target = folder / path.name
    if target.resolve() == path.resolve():
        raise ValueError(f"{target} is the instructor's notebook itself; give another folder with --to")
    text = json.dumps(student_notebook(path, repository), indent=1, ensure_ascii=False)
    folder.mkdir(parents=True, exist_ok=True)
    target.write_text(text + "\n", encoding="utf-8")
    return target


def _install_cell(repository: str) -> dict[str, Any]:
    return {
        "cell_type": "code",
        "id": "installation",
        "metadata": {"cellView": "form"},
        "source": installation(repository).splitlines(keepends=True),
        "outputs": [],
        "execution_count": None,
    }


def _without_solutions(source: str, path: Path) -> str:
    lines: list[str] = []
    inside = False
    for line in source.splitlines():
        mark = line.strip()
        if mark == BEGIN:
            if inside:
                raise ValueError(f"{path}: '{BEGIN}' inside a solution")
            indent = line[: len(line) - len(line.lstrip())]
            lines += [f"{indent}# your code here", f"{indent}raise NotImplementedError"]
            inside = True
        elif mark == END:
            if not inside:
                raise ValueError(f"{path}: '{END}' without '{BEGIN}'")
            inside = False
        elif not inside:
            lines.append(line)
    if inside:
        raise ValueError(f"{path}: '{BEGIN}' without '{END}'")
    return "\n".join(lines)


def _require_questions(path: Path, notebook: dict[str, Any], target: Assignment) -> None:
    sources = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    for question in target.questions:
        defined = [text for text in sources if re.search(rf"(?m)^def {question.answer}\(", text)]
        if len(defined) != 1 or BEGIN not in defined[0]:
            raise ValueError(f"{path}: no single cell defines {question.answer} with a marked solution")
        call = f'check("{question.key}", {question.answer})'
        if not any(text.rstrip().endswith(call) for text in sources):
            raise ValueError(f"{path}: no cell ends with {call}")
