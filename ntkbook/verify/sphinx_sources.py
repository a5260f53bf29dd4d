"""Sphinx extension: ``{source-coverage}``, where each item of the book's sources stands in the book."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.util.docutils import SphinxDirective

if TYPE_CHECKING:
    from sphinx.application import Sphinx

FILE_NAME = "sources.yml"

_ROLES = {"eq": "eq", "fig": "numref", "tab": "numref", "thm": "prf:ref", "prop": "prf:ref", "lem": "prf:ref"}


def reference(label: str) -> str:
    """Return the MyST reference to a label; its first word says what it names, one without a dash is a page.

    Examples
    --------
    >>> reference("eq-lr-loss"), reference("sec-lr-modes"), reference("05_ntk")
    ('{eq}`eq-lr-loss`', '{ref}`sec-lr-modes`', '{doc}`05_ntk`')
    """
    kind, dash, _ = label.partition("-")
    role = _ROLES.get(kind, "ref") if dash else "doc"
    return f"{{{role}}}`{label}`"


def table(items: list[dict[str, Any]]) -> list[str]:
    """Return the lines of a Markdown table, a row for each item of ``sources.yml``."""
    rows = ["| | Source | Item | Where it stands |", "|---:|---|---|---|"]
    for item in items:
        places = ", ".join(reference(label) for label in item["at"])
        rows.append(f"| {item['number']} | {{cite:t}}`{item['source']}` | {item['name']} | {places} |")
    return rows


class SourceCoverage(SphinxDirective):
    """``{source-coverage}``: the table of all items of ``sources.yml``, with links into the chapters."""

    def run(self) -> list[nodes.Node]:
        """Parse the table as if it stood on the page."""
        import yaml

        path = Path(self.env.srcdir) / FILE_NAME
        self.env.note_dependency(str(path))
        lines = table(yaml.safe_load(path.read_text(encoding="utf-8")))
        box = nodes.container()
        self.state.nested_parse(StringList(lines, str(path)), self.content_offset, box)
        rows: list[nodes.Node] = box.children
        return rows


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the extension with Sphinx."""
    app.add_directive("source-coverage", SourceCoverage)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
