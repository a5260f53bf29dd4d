"""Every item of the three sources has its place, and every erratum its check with the printed version."""

from __future__ import annotations

import ast
import re
from collections import Counter

import nbformat
import pytest
import yaml
from site_pages import SOURCE

from ntkbook.verify import source
from ntkbook.verify.sphinx_sources import FILE_NAME, reference, table

ITEMS = yaml.safe_load((SOURCE / FILE_NAME).read_text(encoding="utf-8"))
BOOK = source.read_book(SOURCE)
PLACE = re.compile(r"^\(([\w-]+)\)=$|^:(?:label|name): +([\w-]+)$", re.MULTILINE)


def targets() -> set[str]:
    """Return what can be linked to: pages, equations, figures, theorems and named places."""
    found = {path.stem for path in [*SOURCE.glob("*.md"), *SOURCE.glob("*.ipynb")]}
    found |= {equation.label for equation in BOOK.equations}
    for path in SOURCE.glob("*.ipynb"):
        for cell in nbformat.read(path, as_version=4).cells:
            if cell.cell_type == "markdown":
                found |= {one or two for one, two in PLACE.findall(cell.source)}
            else:
                found.add(cell.metadata.get("mystnb", {}).get("figure", {}).get("name", ""))
    return found - {""}


def test_the_list_is_whole():
    assert [item["number"] for item in ITEMS] == list(range(1, 115))
    assert Counter(item["source"] for item in ITEMS) == {
        "naderibeni2024ntk": 13,
        "weng2022ntk": 46,
        "petiushko2023ntk": 55,
    }
    assert len({(item["source"], item["name"]) for item in ITEMS}) == len(ITEMS)


def test_every_item_stands_somewhere_that_exists():
    known = targets()
    assert {item["number"]: item["at"] for item in ITEMS if not item["at"] or set(item["at"]) - known} == {}
    # A page alone says little: nearly every item has an equation, a figure, a theorem or a section.
    assert sum(all(reference(label).startswith("{doc}") for label in item["at"]) for item in ITEMS) == 0


@pytest.mark.parametrize(
    ("label", "role"),
    [("eq-a-b", "eq"), ("fig-a", "numref"), ("thm-a", "prf:ref"), ("sec-a", "ref"), ("notation", "doc")],
)
def test_each_kind_of_label_has_its_role(label, role):
    assert reference(label) == f"{{{role}}}`{label}`"


def test_a_row_of_the_table():
    item = {"number": 7, "source": "key", "name": "A name", "at": ["eq-a", "sec-b"]}
    assert table([item])[-1] == "| 7 | {cite:t}`key` | A name | {eq}`eq-a`, {ref}`sec-b` |"


def test_58_errata_each_with_its_printed_version():
    labels = {equation.label for equation in BOOK.equations if equation.page == "errata.ipynb"}
    assert len(labels) == 58
    refuted = set()
    for check in BOOK.checks:
        if check.label in labels:
            for call in ast.walk(ast.parse(check.code)):
                if isinstance(call, ast.Call) and any(word.arg == "wrong" for word in call.keywords):
                    refuted.add(check.label)
    assert labels - refuted == set()
