"""What the status page reports: how long each chapter ran, and with which software."""

from __future__ import annotations

import platform
from datetime import datetime
from importlib import metadata
from pathlib import Path

_PACKAGES = (
    "ntkbook",
    "torch",
    "numpy",
    "scipy",
    "sympy",
    "matplotlib",
    "numba",
    "scikit-learn",
    "jupyter-book",
)


def run_time(notebook: Path) -> float | None:
    """Return the seconds that the cells of an executed notebook took together.

    The kernel's messages carry the times at which each cell started and replied; None for a
    notebook that was not executed, or by a tool that does not record them.
    """
    import nbformat

    total, recorded = 0.0, False
    for cell in nbformat.read(notebook, as_version=4).cells:
        stamps = cell.metadata.get("execution", {})
        if "iopub.execute_input" in stamps and "shell.execute_reply" in stamps:
            start, end = (
                datetime.fromisoformat(stamps[k]) for k in ("iopub.execute_input", "shell.execute_reply")
            )
            total, recorded = total + (end - start).total_seconds(), True
    return total if recorded else None


def versions() -> list[tuple[str, str]]:
    """Return the names and versions of Python and of the packages that the results rest on.

    Examples
    --------
    >>> versions()[0][0]
    'Python'
    """
    found = [("Python", platform.python_version())]
    for name in _PACKAGES:
        try:
            found.append((name, metadata.version(name)))
        except metadata.PackageNotFoundError:
            # An optional package that is absent had no part in the results.
            continue
    return found
