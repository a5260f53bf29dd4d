"""The Sphinx extension on tiny books: marks, links, the coverage report, a warning for each way to err."""

from __future__ import annotations

import io
import json
import re
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nbformat
import pytest

from ntkbook.verify import ledger, sphinx_marks
from ntkbook.verify.verdict import Check

CONFIG = """
project = "tiny"
extensions = ["myst_nb", "ntkbook.verify.sphinx_marks"]
nb_execution_mode = "off"
myst_enable_extensions = ["dollarmath", "colon_fence"]
html_theme = "basic"
numfig = math_numfig = True
suppress_warnings = ["mystnb.unknown_mime_type"]
"""


def a_check(label: str, **changes: Any) -> Check:
    fields: dict[str, Any] = {
        "label": label,
        "kind": "close",
        "residual": 2e-14,
        "tolerance": 1e-10,
        "detail": "3 numbers",
        "rejected": (("a sign < flipped", 2.0),),
    }
    return Check(**(fields | changes))


def chapter(text: str, *checks: Check) -> Any:
    """Return a notebook of one text cell and one executed cell that printed the lines of these checks."""
    new = nbformat.v4
    outputs = [
        new.new_output(
            "display_data",
            data={"text/plain": ledger.line(check), "text/html": ledger.markup(check)},
            metadata={ledger.METADATA_KEY: check.to_json()},
        )
        for check in checks
    ]
    cells = [new.new_markdown_cell(text), new.new_code_cell("verify.close(...)", outputs=outputs)]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    return new.new_notebook(cells=cells, metadata=kernel)


@dataclass
class Built:
    """The result of a build."""

    folder: Path
    warnings: str

    def page(self, name: str) -> str:
        return (self.folder / f"{name}.html").read_text(encoding="utf-8")

    def coverage(self) -> Any:
        return json.loads((self.folder / "equation-coverage.json").read_text(encoding="utf-8"))


def build(folder: Path, pages: dict[str, Any]) -> Built:
    """Build a book of these pages: notebooks, or the text of Markdown files."""
    from sphinx.application import Sphinx
    from sphinx.util.docutils import docutils_namespace, patch_docutils

    source = folder / "book"
    source.mkdir()
    (source / "conf.py").write_text(CONFIG, encoding="utf-8")
    contents = "# Tiny\n\n```{toctree}\n:numbered:\n" + "\n".join(pages) + "\n```\n"
    (source / "index.md").write_text(contents, encoding="utf-8")
    for name, page in pages.items():
        if isinstance(page, str):
            (source / f"{name}.md").write_text(page, encoding="utf-8")
        else:
            nbformat.write(page, source / f"{name}.ipynb")
    warnings, html = io.StringIO(), folder / "html"
    with patch_docutils(str(source)), docutils_namespace():
        app = Sphinx(source, source, html, folder / "doctrees", "html", status=None, warning=warnings)
        app.build()
    # Colours off.
    return Built(html, re.sub(r"\x1b\[[0-9;]*m", "", warnings.getvalue()))


ONE = "# One\n\n$$ a = b $$ (eq-one)\n\nSee {eq}`eq-two`.\n"
TWO = "# Two\n\n$$ c = d $$ (eq-two)\n"


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Built:
    pages = {
        "one": chapter(ONE, a_check("eq-one"), a_check("eq-one", kind="identity", tolerance=0.0)),
        # The check of an equation may stand on another page than the equation.
        "two": TWO,
        "three": chapter("# Three\n", a_check("eq-two", kind="monte_carlo", residual=1.25, tolerance=5.0)),
        "homework": chapter("# Homework\n"),  # no equation, no check, not executed
        "ledger": "# Ledger\n\n```{equation-ledger}\n```\n",
        "status": "# Status\n\n```{book-status}\n```\n",
    }
    return build(tmp_path_factory.mktemp("sound"), pages)


def test_sound_book_gives_no_warning(sound: Built) -> None:
    assert sound.warnings == ""


def test_coverage_report(sound: Built) -> None:
    coverage = sound.coverage()
    assert (coverage["equations"], coverage["checked"], coverage["coverage"]) == (2, 2, 1.0)
    assert coverage["unchecked"] == []
    assert [check["page"] for check in coverage["checks"]["eq-one"]] == ["one", "one"]
    record = dict(coverage["checks"]["eq-two"][0])
    assert record.pop("page") == "three"
    assert Check.from_json(record) == a_check("eq-two", kind="monte_carlo", residual=1.25, tolerance=5.0)


def test_mark_says_how_and_leads_to_the_check(sound: Built) -> None:
    one, two = sound.page("one"), sound.page("two")
    assert 'href="#check-eq-one" data-tip="close, residual 2e-14, tolerance 1e-10; identity, exact"' in one
    assert 'href="three.html#check-eq-two" data-tip="monte carlo, residual 1.2, tolerance 5"' in two


def test_lines_have_their_own_anchors_and_lead_back(sound: Built) -> None:
    one, three = sound.page("one"), sound.page("three")
    assert re.findall(r'id="(check-[^"]*)"', one) == ["check-eq-one", "check-eq-one-2"]
    assert 'href="#equation-eq-one" title="eq-one">(1.1)</a>' in one
    assert 'href="two.html#equation-eq-two" title="eq-two">(2.1)</a>' in three
    assert "a sign &lt; flipped" in one


def test_identifiers_are_used_once(sound: Built) -> None:
    for name in ("one", "two", "three"):
        ids = re.findall(r'\sid="([^"]*)"', sound.page(name))
        assert sorted(ids) == sorted(set(ids)), name


def test_ledger_and_status_pages(sound: Built) -> None:
    page = sound.page("ledger")
    assert page.count("<tr") == 1 + 3
    assert "a sign &lt; flipped" in page
    # Each row leads to the line of its own check, also where an equation has several.
    rows = [target for target in re.findall(r'href="([^"]*)"', page) if "#check-" in target]
    assert rows == ["one.html#check-eq-one", "one.html#check-eq-one-2", "three.html#check-eq-two"]
    for target in rows:
        name, _, anchor = target.partition(".html#")
        assert f'id="{anchor}"' in sound.page(name)
    numbers = re.findall(r"<p>([^<]*)</p></td>\s*<td>(?:<p>([^<]*)</p>)?", page)
    assert numbers == [("2e-14", "1e-10"), ("exact", ""), ("1.2", "5")]
    assert re.search(r"not executed", sound.page("status"))
    assert "Homework" not in sound.page("status").split("<table")[1]


def test_pages_come_in_the_order_of_the_contents() -> None:
    contents = {"start": ["second", "first"], "second": ["part"]}
    env = SimpleNamespace(
        config=SimpleNamespace(root_doc="start"),
        toctree_includes=contents,
        found_docs={"alone", "first", "part", "second", "start"},
    )
    assert sphinx_marks._in_order(env) == ["start", "second", "part", "first", "alone"]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("pages", "warning", "unchecked"),
    [
        (
            {"one": chapter("# One\n\n$$ a = b $$ (eq-one)\n")},
            "equation 'eq-one' has no executed check",
            ["eq-one"],
        ),
        (
            {"one": chapter("# One\n\n$$ a = b $$ (eq-one)\n", a_check("eq-one"), a_check("eq-onne"))},
            "check 'eq-onne' names no numbered equation; did you mean 'eq-one'?",
            [],
        ),
        (
            {"one": chapter("# One\n\n$$ a = b $$ (eq-one)\n", a_check("eq-one"), a_check("zebra"))},
            "check 'zebra' names no numbered equation [ntkbook]",
            [],
        ),
    ],
    ids=["unchecked equation", "misspelt label", "check of nothing"],
)
def test_fault_is_a_warning(
    tmp_path: Path, pages: dict[str, Any], warning: str, unchecked: list[str]
) -> None:
    built = build(tmp_path, pages)
    # `-W` makes a warning an error, and shows the page it stands on.
    assert warning.removesuffix(" [ntkbook]") in built.warnings
    assert "one.ipynb: WARNING" in built.warnings
    assert built.warnings.count("WARNING") == 1
    assert built.coverage()["unchecked"] == unchecked


def test_unlabelled_formula_needs_no_check(tmp_path: Path) -> None:
    built = build(tmp_path, {"one": "# One\n\n$$ a = b $$\n"})
    assert built.warnings == ""
    assert built.coverage()["coverage"] == 1.0
    assert "ntk-mark" not in built.page("one")
