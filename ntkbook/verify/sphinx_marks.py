"""Sphinx extension: a mark beside each numbered equation, linked to the check that was run.

It reads the executed notebooks of the book, so it works with any way of executing them, and

* puts a mark beside every labelled equation, with kind, residual and tolerance in a tooltip;
* gives the line of each check an anchor, the equation's number and a link back;
* warns of an equation without a check and of a check without an equation (``-W`` makes that an error);
* writes ``equation-coverage.json`` beside the pages;
* provides the directives ``equation-ledger`` and ``book-status``.

LaTeX gets the same marks and lines as nodes of its own; its links do not depend on the page.
"""

from __future__ import annotations

import html
import json
import re
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docutils import nodes
from sphinx import addnodes
from sphinx.builders.latex.nodes import math_reference
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

from ntkbook.verify import ledger, status
from ntkbook.verify.source import nearest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment

    from ntkbook.verify.verdict import Check

log = logging.getLogger(__name__)

# One equation's checks: the page that ran each, and its record.
Found = dict[str, list[tuple[str, "Check"]]]


class LedgerPlaceholder(nodes.General, nodes.Element):  # type: ignore[misc]
    """Where the table of all checks goes, once all pages have been read."""


class StatusPlaceholder(nodes.General, nodes.Element):  # type: ignore[misc]
    """Where the table of chapters and versions goes."""


class EquationLedger(SphinxDirective):
    """``{equation-ledger}``: every numbered equation with its kind, residual and rejected versions."""

    def run(self) -> list[nodes.Node]:
        """Leave a placeholder: other pages may not have been read yet."""
        return [LedgerPlaceholder()]


class BookStatus(SphinxDirective):
    """``{book-status}``: equations, checks and run time of each chapter, and the versions used."""

    def run(self) -> list[nodes.Node]:
        """Leave a placeholder: other pages may not have been read yet."""
        return [StatusPlaceholder()]


def collect(app: Sphinx, env: BuildEnvironment) -> list[str]:
    """Gather all checks, compare them with all equations, and ask for every page to be written."""
    found: Found = defaultdict(list)
    times: dict[str, float | None] = {}
    for page in sorted(env.found_docs):
        path = Path(env.doc2path(page))
        if path.suffix == ".ipynb":
            times[page] = status.run_time(path)
            for check in ledger.read(path):
                found[check.label].append((page, check))
    equations = env.get_domain("math").equations  # type: ignore[attr-defined]
    for label, (page, _) in equations.items():
        if label not in found:
            log.warning("equation %r has no executed check", label, location=page, type="ntkbook")
    for label in sorted(found.keys() - equations.keys()):
        hint = nearest(label, equations)
        page = found[label][0][0]
        log.warning("check %r names no numbered equation%s", label, hint, location=page, type="ntkbook")
    env.ntkbook_checks = found  # type: ignore[attr-defined]
    env.ntkbook_times = times  # type: ignore[attr-defined]
    _write_coverage(Path(app.outdir), equations, found)
    # A number or a mark on any page may have changed with a check on another one.
    return sorted(env.found_docs)


def _write_coverage(folder: Path, equations: Any, found: Found) -> None:
    checked = sorted(equations.keys() & found.keys())
    report = {
        "equations": len(equations),
        "checked": len(checked),
        "coverage": len(checked) / len(equations) if equations else 1.0,
        "unchecked": sorted(equations.keys() - found.keys()),
        "checks": {
            label: [{"page": page, **check.to_json()} for page, check in found[label]] for label in checked
        },
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "equation-coverage.json").write_text(json.dumps(report, indent=1), encoding="utf-8")


def decorate(app: Sphinx, doctree: nodes.document, page: str) -> None:
    """Add the marks and the anchors of one page, and fill its tables."""
    found: Found = app.env.ntkbook_checks  # type: ignore[attr-defined]
    for equation in list(doctree.findall(nodes.math_block)):
        label = equation.get("label")
        if label in found:
            _mark(app, equation, label, page)
    _number_lines(app, doctree, page)
    for placeholder in list(doctree.findall(LedgerPlaceholder)):
        placeholder.replace_self(_ledger_table(app, page))
    for placeholder in list(doctree.findall(StatusPlaceholder)):
        placeholder.replace_self(_status_tables(app, page))


def _mark(app: Sphinx, equation: nodes.math_block, label: str, page: str) -> None:
    checks = app.env.ntkbook_checks[label]  # type: ignore[attr-defined]
    tip = "; ".join(_describe(check) for _, check in checks)
    where = checks[0][0]
    href = "" if where == page else app.builder.get_relative_uri(page, where)
    raw = (
        f'<a class="ntk-mark" href="{href}#{anchor(label)}" data-tip="{html.escape(tip)}" '
        f'aria-label="Verified: {html.escape(tip)}. Go to the check.">✓</a>'
    )
    printed = rf"\ntkmark{{\detokenize{{{where}:{anchor(label)}}}}}"
    row = nodes.container(classes=["ntk-equation"])
    # Not `replace_self`, which would give the row the equation's identifier too.
    equation.parent.replace(equation, row)
    row += nodes.raw("", printed + "\n", format="latex")
    row += equation
    row += nodes.raw("", raw, format="html")


def _describe(check: Check) -> str:
    kind = check.kind.replace("_", " ")
    if not check.tolerance:
        return f"{kind}, exact"
    return f"{kind}, residual {ledger.number(check.residual)}, tolerance {ledger.number(check.tolerance)}"


def anchor(label: str, repeat: int = 0) -> str:
    """Return the anchor of a check's line; ``repeat`` counts further checks of the same equation."""
    return f"check-{nodes.make_id(label)}" + (f"-{repeat + 1}" if repeat else "")


def _number_lines(app: Sphinx, doctree: nodes.document, page: str) -> None:
    seen: dict[str, int] = defaultdict(int)

    def numbered(match: re.Match[str]) -> str:
        label = html.unescape(match["label"])
        identifier = anchor(label, seen[label])
        seen[label] += 1
        return f'<div class="ntk-check" id="{identifier}" data-label="{match["label"]}">'

    def linked(match: re.Match[str]) -> str:
        label = html.unescape(match[1])
        number, uri = _equation(app, label, page)
        if not uri:
            return match[0]
        return f'<a class="ntk-check-equation" href="{uri}" title="{match[1]}">{number}</a>'

    for home, parent, raw in list(_raws(doctree, page)):
        if raw.get("format") != "html" or 'class="ntk-check"' not in raw.astext():
            continue
        if app.builder.format == "latex":
            parent.replace(raw, _printed_line(app, raw, home, seen))
        else:
            text = re.sub(r'<div class="ntk-check" data-label="(?P<label>[^"]*)">', numbered, raw.astext())
            text = re.sub(r'<span class="ntk-check-equation">([^<]*)</span>', linked, text)
            raw.children = [nodes.Text(text)]


def _raws(node: nodes.Element, page: str) -> Iterator[tuple[str, nodes.Element, nodes.raw]]:
    """Yield the page, the parent and each raw node: LaTeX has all pages in one tree.

    The way down is safer than the way up: some extensions move children and leave their ``parent`` behind.
    """
    for child in node.children:
        if isinstance(child, nodes.raw):
            yield page, node, child
        elif isinstance(child, nodes.Element):
            yield from _raws(child, child["docname"] if isinstance(child, addnodes.start_of_file) else page)


def _printed_line(app: Sphinx, raw: nodes.raw, page: str, seen: dict[str, int]) -> list[nodes.Node]:
    """Return the line of a check as nodes, for a builder that has no HTML."""
    label = html.unescape(re.findall(r'data-label="([^"]*)"', raw.astext())[0])
    repeat = seen[f"{page}:{label}"]
    seen[f"{page}:{label}"] += 1
    here = [check for where, check in app.env.ntkbook_checks[label] if where == page]  # type: ignore[attr-defined]
    check = here[repeat]
    rejected = "; ".join(f"{name} ({ledger.number(residual)})" for name, residual in check.rejected)
    outcome = f"residual {ledger.number(check.residual)} ≤ {ledger.number(check.tolerance)}"
    line = nodes.paragraph("", "", nodes.raw("", r"\ntkcheckmark{} ", format="latex"))
    line += [_number(app, label, page), nodes.Text(" "), nodes.strong(text=check.kind.replace("_", " "))]
    line += [nodes.Text(" "), nodes.literal(text=check.detail), nodes.Text(" ")]
    line += nodes.Text(f"{outcome if check.tolerance else 'exact'}; rejected: {rejected}")
    target = nodes.target("", "", ids=[anchor(label, repeat)])
    return [nodes.container("", target, line, classes=["ntk-check"])]


def _number(app: Sphinx, label: str, page: str) -> nodes.Node:
    """Return the number of an equation as a link to it."""
    equations = app.env.get_domain("math").equations  # type: ignore[attr-defined]
    if app.builder.format == "latex" and label in equations:
        return math_reference("", "", docname=equations[label][0], target=label)
    return _link(*_equation(app, label, page))


def _equation(app: Sphinx, label: str, page: str) -> tuple[str, str]:
    """Return the printed number of an equation and a link to it from a page."""
    equations = app.env.get_domain("math").equations  # type: ignore[attr-defined]
    if label not in equations:
        return label, ""
    home, plain = equations[label]
    identifier = nodes.make_id(f"equation-{label}")
    figures = app.env.toc_fignumbers.get(home, {}).get("displaymath", {})
    number = ".".join(map(str, figures.get(identifier, (plain,))))
    base = "" if home == page else app.builder.get_relative_uri(page, home)
    return f"({number})", f"{base}#{identifier}"


def _ledger_table(app: Sphinx, page: str) -> nodes.Node:
    equations = app.env.get_domain("math").equations  # type: ignore[attr-defined]
    found: Found = app.env.ntkbook_checks  # type: ignore[attr-defined]
    rows = []
    order = {label: place for place, label in enumerate(equations)}
    for label in sorted(found.keys() & equations.keys(), key=lambda name: (equations[name][0], order[name])):
        repeats: dict[str, int] = defaultdict(int)  # lines are counted on each page for itself
        for where, check in found[label]:
            target = app.builder.get_relative_uri(page, where) + "#" + anchor(label, repeats[where])
            repeats[where] += 1
            exact = not check.tolerance
            rows.append(
                [
                    _number(app, label, page),
                    _link(check.kind.replace("_", " "), target),
                    nodes.Text("exact" if exact else ledger.number(check.residual)),
                    nodes.Text("" if exact else ledger.number(check.tolerance)),
                    nodes.Text("; ".join(name for name, _ in check.rejected)),
                ]
            )
    return _table(["Equation", "Check", "Residual", "Tolerance", "Wrong versions rejected"], rows)


def _status_tables(app: Sphinx, page: str) -> list[nodes.Node]:
    env = app.env
    equations = env.get_domain("math").equations  # type: ignore[attr-defined]
    rows = []
    times = env.ntkbook_times  # type: ignore[attr-defined]
    for chapter in [page for page in _in_order(env) if page in times]:
        seconds = times[chapter]
        numbered = sum(home == chapter for home, _ in equations.values())
        checks = [c for found in env.ntkbook_checks.values() for where, c in found if where == chapter]  # type: ignore[attr-defined]
        if seconds is None and not numbered and not checks:
            continue  # assignments: their cells are for the reader to run
        title = env.titles[chapter].astext()
        rows.append(
            [
                _link(title, app.builder.get_relative_uri(page, chapter)),
                nodes.Text(str(numbered)),
                nodes.Text(str(len(checks))),
                nodes.Text("not executed" if seconds is None else f"{seconds:.0f} s"),
            ]
        )
    versions = [[nodes.Text(name), nodes.Text(version)] for name, version in status.versions()]
    return [
        _table(["Chapter", "Numbered equations", "Checks", "Run time"], rows),
        _table(["Software", "Version"], versions),
    ]


def _in_order(env: BuildEnvironment) -> list[str]:
    """Return all pages in the order of the table of contents, those that it lacks last."""
    found: dict[str, None] = {}

    def walk(page: str) -> None:
        if page not in found:
            found[page] = None
            for child in env.toctree_includes.get(page, []):
                walk(child)

    walk(env.config.root_doc)
    return [*found, *sorted(env.found_docs - found.keys())]


def _link(text: str, uri: str) -> nodes.Node:
    return nodes.reference("", text, refuri=uri, internal=True)


def _table(head: list[str], rows: list[list[Any]]) -> nodes.table:
    def row(cells: list[Any]) -> nodes.row:
        # A cell without text is empty: a paragraph in it would make LaTeX's row one line higher.
        filled = ([] if cell == "" else [nodes.paragraph("", "", cell)] for cell in cells)
        return nodes.row("", *(nodes.entry("", *content) for content in filled))

    columns = [nodes.colspec(colwidth=1) for _ in head]
    group = nodes.tgroup("", *columns, cols=len(head))
    group += nodes.thead("", row([nodes.Text(name) for name in head]))
    group += nodes.tbody("", *map(row, rows))
    return nodes.table("", group, classes=["ntk-table"])


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the extension with Sphinx."""
    app.add_node(LedgerPlaceholder)
    app.add_node(StatusPlaceholder)
    app.add_directive("equation-ledger", EquationLedger)
    app.add_directive("book-status", BookStatus)
    app.connect("env-updated", collect)
    app.connect("doctree-resolved", decorate)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
