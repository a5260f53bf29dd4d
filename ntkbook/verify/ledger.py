"""Show the line of a passed check, and read the records back from executed notebooks."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

from ntkbook.verify.verdict import Check

# The key under which a record travels in the metadata of a notebook output.
METADATA_KEY = "ntkbook-check"


def line(check: Check) -> str:
    """Return the one line that a check prints."""
    rejected = ", ".join(f"{name} ({number(residual)})" for name, residual in check.rejected)
    unit = " standard errors" if check.kind == "monte_carlo" else ""
    # An exact identity has no tolerance to speak of.
    residual = f"; residual {number(check.residual)}{unit} ≤ {number(check.tolerance)}"
    return (
        f"✓ {check.label}  {check.kind}  {check.detail}"
        f"{residual if check.tolerance else '; exact'}; rejected: {rejected}"
    )


def number(value: float) -> str:
    """Write a residual shortly: ``0``, ``2.5``, ``1e-14``, ``∞``."""
    if value == 0:
        return "0"
    if value != value or value in (float("inf"), float("-inf")):
        return "∞"
    return f"{value:.2g}" if 0.01 <= abs(value) < 1e4 else f"{value:.0e}"


def markup(check: Check) -> str:
    """Return the line as HTML; the Sphinx extension gives it an anchor and the equation's number."""
    rejected = "; ".join(
        f"{html.escape(name)} <small>({number(residual)})</small>" for name, residual in check.rejected
    )
    exact = (
        "exact" if not check.tolerance else f"residual {number(check.residual)} ≤ {number(check.tolerance)}"
    )
    return (
        f'<div class="ntk-check" data-label="{html.escape(check.label)}">'
        f'<span class="ntk-check-mark" aria-hidden="true">✓</span> '
        f'<span class="ntk-check-equation">{html.escape(check.label)}</span> '
        f'<span class="ntk-check-kind">{check.kind.replace("_", " ")}</span> '
        f"<code>{html.escape(check.detail)}</code> <span>{exact}</span> "
        f'<span class="ntk-check-rejected">rejected: {rejected}</span></div>'
    )


def report(check: Check) -> None:
    """Display a passed check: rich in a notebook, one line of text elsewhere."""
    if _in_notebook():
        from IPython.display import display

        display(
            {"text/plain": line(check), "text/html": markup(check)},
            raw=True,
            metadata={METADATA_KEY: check.to_json()},
        )
    else:
        print(line(check))


def read(notebook: Path) -> list[Check]:
    """Return the checks that an executed notebook passed, in order."""
    import nbformat

    return [
        Check.from_json(output["metadata"][METADATA_KEY])
        for cell in nbformat.read(notebook, as_version=4).cells
        for output in cell.get("outputs", [])
        if METADATA_KEY in output.get("metadata", {})
    ]


def _in_notebook() -> bool:
    try:
        from IPython import get_ipython
    except ImportError:
        return False
    shell: Any = get_ipython()
    return shell is not None and hasattr(shell, "kernel")
