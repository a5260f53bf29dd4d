"""Sphinx extension: the launch button opens the notebook that was generated for Colab."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sphinx.application import Sphinx

# The branch that the publishing workflow fills with what ``make colab`` writes.
BRANCH = "colab"


def open_generated(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """Point a page's Colab button, where the theme made one, at the generated notebook."""
    repository = app.config.html_theme_options["repository_url"].rstrip("/")
    owner_and_name = "/".join(repository.split("/")[-2:])
    for group in context.get("header_buttons", []):
        for button in group.get("buttons", []):
            if button.get("text") == "Colab":
                host = button["url"].split("/github/")[0]
                button["url"] = f"{host}/github/{owner_and_name}/blob/{BRANCH}/{page}.ipynb"


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the extension with Sphinx."""
    # After the theme has made its buttons.
    app.connect("html-page-context", open_generated, priority=900)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
