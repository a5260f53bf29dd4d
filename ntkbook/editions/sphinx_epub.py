"""Sphinx extension: an EPUB of the pages, without scripts, with its formulas as MathML."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docutils import nodes
from myst_nb.sphinx_ import HideCodeCellNode  # type: ignore[import-untyped]
from sphinx.builders.epub3 import Epub3Builder
from sphinx.util import logging
from sphinx.util.math import get_node_equation_number

import ntkbook
from ntkbook.editions.mathml import MathJax

if TYPE_CHECKING:
    from sphinx.application import Sphinx
    from sphinx.writers.html5 import HTML5Translator

log = logging.getLogger(__name__)

_MATHJAX = "_static/vendor/mathjax/tex-mml-chtml.js"

# The theme's, that of the code and the book's own; all others are made for a web page.
_STYLES = ("epub.css", "pygments.css", "book-epub.css")


class BookEpub(Epub3Builder):
    """Sphinx's builder, with the formulas' MathML, and nothing in the file that only a web page needs."""

    def init(self) -> None:
        """Choose the style sheet, the version and how formulas are written."""
        self.mathjax = MathJax(Path(self.srcdir) / _MATHJAX)
        self.config.html_math_renderer = "mathml"
        self.config.html_static_path = ["_print/epub"]
        self.config.html_domain_indices = False
        self.config.version = ntkbook.__version__
        super().init()
        self._leave_to_web("html-page-context")

    def _leave_to_web(self, event: str) -> None:
        """Disconnect the handlers of web themes and of extensions that add buttons to a page."""
        keep = ("sphinx.", "ntkbook.editions.")
        listeners = self.app.events.listeners[event]
        listeners[:] = [one for one in listeners if one.handler.__module__.startswith(keep)]

    def build_content(self) -> None:
        """Leave out what extensions have put beside the pages, and say which pages hold MathML."""
        folder = Path(self.outdir)
        for path in (folder / "_static").iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name not in _STYLES and path.suffix != ".png":
                path.unlink()
        for path in folder.glob("*.json"):
            path.unlink()
        super().build_content()
        package = folder / "content.opf"
        lines: list[str] = []
        for line in package.read_text(encoding="utf-8").splitlines():
            page = re.search(r'<item [^>]*href="([^"]*\.xhtml)"', line)
            if page and page[1] != "nav.xhtml" and "<math" in (folder / page[1]).read_text(encoding="utf-8"):
                line = line.replace(" />", ' properties="mathml" />')
            # Sphinx lists the index a second time if it is a page of the table of contents.
            if "<itemref" not in line or line not in lines:
                lines.append(line)
        package.write_text("\n".join(lines) + "\n", encoding="utf-8")

    def build_toc(self) -> None:
        """Name the book in the older table of contents as in the package: by its identifier."""
        uid, self.config.epub_uid = self.config.epub_uid, self.config.epub_identifier
        super().build_toc()
        self.config.epub_uid = uid


def simplify(app: Sphinx, doctree: nodes.document, page: str) -> None:
    """Remove scripts, folds and repeated identifiers, and lists inside of paragraphs."""
    if not isinstance(app.builder, BookEpub):
        return
    for raw in list(doctree.findall(nodes.raw)):
        if "<script" in raw.astext():
            raw.parent.remove(raw)
    for folded in list(doctree.findall(HideCodeCellNode)):
        folded.replace_self(folded.children)
    seen: set[str] = set()
    for element in doctree.findall(nodes.Element):
        identifiers = element.get("ids", [])
        element["ids"] = [one for one in identifiers if one not in seen]
        seen.update(identifiers)
    for paragraph in list(doctree.findall(nodes.paragraph)):
        if any(isinstance(child, nodes.Sequential) for child in paragraph.children):
            paragraph.replace_self(nodes.container("", *paragraph.children))


def dress(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """Take style sheets and scripts of web pages away."""
    if isinstance(app.builder, BookEpub):
        context["script_files"] = []
        context["css_files"] = [s for s in context["css_files"] if Path(str(s.filename)).name in _STYLES]


def visit_math(self: HTML5Translator, node: nodes.math) -> None:
    """Write a formula in the text."""
    self.body.append(_mathml(self, node, display=False))
    raise nodes.SkipNode


def visit_math_block(self: HTML5Translator, node: nodes.math_block) -> None:
    """Write a formula on a line of its own, with its number."""
    self.body.append(self.starttag(node, "div", CLASS="math"))
    self.body.append(_mathml(self, node, display=True))
    if node["number"]:
        self.body.append(f'<span class="eqno">({get_node_equation_number(self, node)})</span>')
    self.body.append("</div>\n")
    raise nodes.SkipNode


def _mathml(self: HTML5Translator, node: nodes.Element, *, display: bool) -> str:
    tex = node.astext().strip()
    if display and r"\\" in tex:
        tex = rf"\begin{{split}}{tex}\end{{split}}"
    try:
        return self.builder.mathjax.to_mathml(tex, display=display)  # type: ignore[attr-defined, no-any-return]
    except ValueError as problem:
        log.warning("no MathML: %s", problem, location=node, type="ntkbook")
        return str(self.encode(tex))


def close(app: Sphinx, problem: Exception | None) -> None:
    """End the browser."""
    if isinstance(app.builder, BookEpub):
        app.builder.mathjax.close()


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the extension with Sphinx."""
    app.add_builder(BookEpub, override=True)
    app.add_html_math_renderer("mathml", (visit_math, None), (visit_math_block, None))
    # After the extensions that add to a page.
    app.connect("doctree-resolved", simplify, priority=950)
    app.connect("html-page-context", dress, priority=950)
    app.connect("build-finished", close)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": False}
