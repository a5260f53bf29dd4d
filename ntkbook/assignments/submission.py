"""A submitted notebook: its code cells and the assignment that it answers."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ntkbook.assignments.catalogue import KEYS

MAX_BYTES = 100 << 20


class UnreadableSubmission(Exception):
    """A file that is no notebook, or a notebook of no assignment."""


@dataclass(frozen=True)
class Submission:
    """What is graded of a notebook.

    Parameters
    ----------
    assignment : str
        The key of the assignment.
    cells : tuple of (int, str)
        Number (of all cells, from 0) and Python source of each code cell.
    """

    assignment: str
    cells: tuple[tuple[int, str], ...]


def read_submission(path: Path, assignment: str | None = None) -> Submission:
    """Read a notebook without running it.

    Parameters
    ----------
    path : Path
        A notebook of format 4, executed or not; outputs are not looked at.
    assignment : str, optional
        Its assignment. By default the one in the notebook's metadata, else the one that its calls of
        ``check`` name most often.

    Raises
    ------
    UnreadableSubmission
        With the reason.
    """
    notebook = _load(path)
    cells = []
    for number, cell in enumerate(notebook["cells"]):
        if isinstance(cell, dict) and cell.get("cell_type") == "code":
            source = cell.get("source", "")
            cells.append((number, "".join(map(str, source)) if isinstance(source, list) else str(source)))
    key = assignment or _assignment(notebook, cells)
    if key not in KEYS:
        raise UnreadableSubmission(f"it names the assignment {key!r}; there are {', '.join(KEYS)}")
    return Submission(key, tuple((number, plain_python(source)) for number, source in cells))


def _load(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UnreadableSubmission("the file is larger than 100 MB; clear the outputs")
        notebook = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UnreadableSubmission(f"the file cannot be opened: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise UnreadableSubmission("the file is not a notebook: it holds no JSON") from None
    if not isinstance(notebook, dict) or not isinstance(notebook.get("cells"), list):
        raise UnreadableSubmission("the file is not a notebook of format 4: it has no cells")
    found: dict[str, Any] = notebook
    return found


def _assignment(notebook: dict[str, Any], cells: list[tuple[int, str]]) -> str:
    metadata = notebook.get("metadata")
    own = metadata.get("ntkbook") if isinstance(metadata, dict) else None
    if isinstance(own, dict) and isinstance(own.get("assignment"), str):
        return str(own["assignment"])
    named: Counter[str] = Counter(
        key for _, source in cells for key in re.findall(r"check\(\s*[\"'](\w+)/", source)
    )
    if not named:
        raise UnreadableSubmission("it is of no known assignment; say which with --assignment")
    return named.most_common(1)[0][0]


def plain_python(source: str) -> str:
    r"""Return a cell's source without magics and shell lines, which only a notebook server can run.

    Examples
    --------
    >>> plain_python("%matplotlib inline\nx = 1")
    'pass\nx = 1'
    """
    if re.match(r"\s*%%(?!time|capture)", source):
        return ""  # another language, or a file to write
    try:
        compile(source, "cell", "exec")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return re.sub(r"(?m)^(\s*)[%!].*$", r"\1pass", source)
    return source
