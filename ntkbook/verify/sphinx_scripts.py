"""Sphinx extension: each page loads each script once, and none that would call another host."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sphinx.application import Sphinx


def load_once(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """Drop repeated scripts, and those of Thebe.

    jupyter-book adds every file under ``_static`` to those already named, and Thebe, which would run
    cells on another host. A second MathJax or a repeated ``const`` is an error in the browser's console.
    """
    names: set[str] = set()
    scripts = []
    # Of two equal scripts the one that waits for the page (``defer``) is kept. Sphinx sorts them after this.
    for script in sorted(context["script_files"], key=lambda script: "defer" not in script.attributes):
        name = str(script.filename or script.attributes.get("body", ""))
        if name not in names and "thebe" not in name.lower():
            names.add(name)
            scripts.append(script)
    context["script_files"] = scripts


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the extension with Sphinx."""
    # After the extensions that add scripts to a page.
    app.connect("html-page-context", load_once, priority=900)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
