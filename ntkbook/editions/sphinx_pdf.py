"""Sphinx extension: the LaTeX builder makes a book of the pages, with the numbers they have on the web.

Sphinx puts all pages into one document. This gives it the parts of the table of contents, a preface made
of the first page, and the version on the title page. The look is that of ``_print/latex/ntkbook.sty``.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docutils import nodes
from sphinx import addnodes
from sphinx.builders.latex.nodes import math_reference
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx_exercise.nodes import is_extension_node

import ntkbook

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sphinx.application import Sphinx

PREFACE = "About this book"

# Tables with fewer letters stay on one page, in columns that LaTeX balances.
_SHORT_TABLE = 500
# No column counts for more letters than this: its text is broken into lines.
_WIDEST = 45


class PrintedPicture(SphinxPostTransform):
    """Take the PDF that stands beside an SVG picture: LaTeX reads no SVG."""

    default_priority = 5  # before pictures are collected
    formats = ("latex",)

    def run(self, **_: Any) -> None:
        """Replace the address of every picture that has such a PDF."""
        for image in self.document.findall(nodes.image):
            printed = Path(image["uri"]).with_suffix(".pdf")
            if image["uri"].endswith(".svg") and (Path(self.env.srcdir) / printed).exists():
                image["uri"] = str(printed)
                image["candidates"] = {"application/pdf": str(printed)}
                self.env.images.add_file(self.env.docname, str(printed))


def name_version(app: Sphinx) -> None:
    """Put the package's version on the title page; the web pages have it in their text."""
    if app.builder.format == "latex":
        app.builder.context.update(release=ntkbook.__version__, releasename="Version")  # type: ignore[attr-defined]


def arrange(app: Sphinx, doctree: nodes.document, page: str) -> None:
    """Make parts, a preface and chapters of the document that holds all pages."""
    if app.builder.format != "latex" or page != app.config.root_doc:
        return
    root = next(doctree.findall(nodes.section))
    title, *rest = root.children
    preface = nodes.section("", nodes.title(text=PREFACE), ids=["about-this-book"])
    chapters: list[nodes.Node] = []
    for child in rest:
        if isinstance(child, nodes.compound) and "toctree-wrapper" in child["classes"]:
            chapters.append(child)
        else:
            preface += child
    root.children = []
    root += [title, _tex(r"\ntknumbered{-1}"), preface]
    for (caption, numbered), chapter in zip(_parts(app), chapters, strict=True):
        root += _tex(rf"\ntkpart{{{caption}}}\ntknumbered{{{2 if numbered else -1}}}")
        root += chapter
    _drop_pages(root)
    for described in root.findall(addnodes.desc_content):
        for formula in list(described.findall(nodes.math_block)):
            formula.replace_self(_tex(rf"\ntkfit{{{formula.astext().strip()}}}"))
    for table in list(root.findall(nodes.table)):
        if _length(table) > _SHORT_TABLE:
            table["classes"].append("longtable")
            table.parent.insert(table.parent.index(table), _columns(table))
    for box in list(root.findall(is_extension_node)):
        if is_extension_node(box.next_node(siblings=True, descend=False)):
            box += _tex(r"\global\ntkfollowedtrue")
    for box in list(root.findall(nodes.admonition)):
        if "proof" in box["classes"]:  # the only box without a title
            box.replace_self([_tex(r"\begin{ntkproof}"), *box.children, _tex(r"\end{ntkproof}")])


def _parts(app: Sphinx) -> Iterator[tuple[str, bool]]:
    """Yield the caption of each part of the table of contents, and whether its chapters have numbers."""
    for tree in app.config.external_site_map.root.subtrees:
        yield tree.caption, bool(tree.numbered)


def _drop_pages(root: nodes.section) -> None:
    """Remove the pages of bibliography and index: LaTeX makes chapters of its own."""
    for start in list(root.findall(addnodes.start_of_file)):
        if start["docname"] in ("bibliography", "genindex"):
            start.parent.remove(start)


def _columns(table: nodes.table) -> addnodes.tabular_col_spec:
    """Return widths for the columns of a table that runs over pages, in proportion to what they hold."""
    rows = [[_wanted(entry) for entry in row.children] for row in table.findall(nodes.row)]
    widths = [max(column) for column in zip(*rows, strict=True)]
    spec = "".join(rf">{{\raggedright\arraybackslash}}\X{{{width}}}{{{sum(widths)}}}" for width in widths)
    return addnodes.tabular_col_spec(spec=spec)


def _wanted(entry: nodes.Node) -> int:
    """Return a width in letters for a cell: its longest word at least, however much else it holds."""
    longest = max((len(word) for word in re.split(r"[\s_.,/-]", entry.astext())), default=0)
    return max(6, longest + 4, min(_length(entry) + 1, _WIDEST))


def _length(entry: nodes.Node) -> int:
    """Return the number of letters in a cell; a reference to an equation has none yet."""
    references = len(list(entry.findall(math_reference)))
    formulas = sum(len(formula.astext()) for formula in entry.findall(nodes.math))
    return len(entry.astext()) + 8 * references - formulas // 2


def _tex(text: str) -> nodes.raw:
    return nodes.raw("", text + "\n", format="latex")


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the extension with Sphinx."""
    app.add_post_transform(PrintedPicture)
    app.connect("builder-inited", name_version)
    # After the marks, which need the tree as Sphinx made it.
    app.connect("doctree-resolved", arrange, priority=900)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
