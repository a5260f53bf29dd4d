"""The answers of the instructor's notebooks, and wrong ones made from them."""

from __future__ import annotations

import json
from functools import cache
from importlib import import_module
from pathlib import Path

from ntkbook.assignments.catalogue import KEYS, question
from ntkbook.assignments.student import BEGIN, END

FOLDER = Path(__file__).parents[2] / "book" / "assignments"
MISTAKES = {}
for key in KEYS:
    MISTAKES |= import_module(f"mistakes_{key}").MISTAKES


@cache
def code_cells(key: str) -> tuple[str, ...]:
    notebook = json.loads((FOLDER / f"{key}.ipynb").read_text(encoding="utf-8"))
    return tuple("".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code")


def solution_source(key: str) -> str:
    """Return the source of the cell that answers a question."""
    name = question(key).answer
    (source,) = [
        cell for cell in code_cells(key.partition("/")[0]) if f"def {name}(" in cell and BEGIN in cell
    ]
    return source


def function(key: str, old: str = "", new: str = "") -> object:
    """Return the answer to a question, with ``old`` in its solution replaced by ``new``."""
    namespace: dict[str, object] = {}
    head, name = key.partition("/")[0], question(key).answer
    target = solution_source(key)
    for source in code_cells(head):
        if source == target and old:
            begin, end = source.index(BEGIN), source.index(END)
            assert source[begin:end].count(old) == 1, f"{key}: {old!r} must stand once in the solution"
            source = source[:begin] + source[begin:end].replace(old, new) + source[end:]
        if BEGIN in source or source.startswith(("import", "from")):
            exec(source, namespace)
    return namespace[name]
