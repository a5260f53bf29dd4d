"""The notebooks for Colab: same code, same numbers as the built book, and no MyST left."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from ntkbook.colab import BookLabels, colab_notebook, plain_markdown, read_labels
from ntkbook.colab.labels import Target

ROOT = Path(__file__).resolve().parents[2]
CONTENTS = (ROOT / "_toc.yml").read_text()
CHAPTERS = [
    path
    for path in sorted((ROOT / "book").glob("*.ipynb"))
    if re.search(rf"(file|root): {path.stem}\n", CONTENTS)
]
# What a renderer without MyST would print as it stands.
MYST = re.compile(
    r"\{[\w:-]+\}`|^\s*[`:]{3,}\s*\{|^\([\w-]+\)=\s*$|^:\w+:|\$\$[ \t]*\([\w:-]+\)", re.MULTILINE
)

chapters = pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)


@pytest.fixture(scope="module")
def labels():
    return read_labels(ROOT)


def texts(notebook, kind):
    return [cell.source for cell in notebook.cells if cell.cell_type == kind]


@chapters
def test_nothing_of_myst_is_left(path, labels):
    found = MYST.findall("\n\n".join(texts(colab_notebook(path, labels), "markdown")))
    assert found == []


@chapters
def test_the_source_has_what_must_go(path):
    assert MYST.search("\n\n".join(texts(nbformat.read(path, as_version=4), "markdown")))


@chapters
def test_code_is_kept_and_preceded_by_the_installation(path, labels):
    installation, *kept = texts(colab_notebook(path, labels), "code")
    assert kept == texts(nbformat.read(path, as_version=4), "code")
    ast.parse(installation)
    assert f"git+{labels.repository}" in installation
    assert "--no-deps" in installation


@chapters
def test_every_equation_carries_a_tag_once(path, labels):
    notebook = colab_notebook(path, labels)
    tags = re.findall(r"\\tag\{([\d.]+)\}", "\n".join(texts(notebook, "markdown")))
    own = [t for t in labels.targets.values() if f"/{path.stem}.html#equation-" in t.address]
    assert [f"({tag})" for tag in tags] == [target.name for target in own]


@chapters
def test_solutions_are_folded_sections(path, labels):
    notebook = colab_notebook(path, labels)
    headings = [c for c in notebook.cells if c.source.startswith("##### Solution of Exercise")]
    assert notebook.metadata["colab"]["collapsed_sections"] == [cell.metadata["id"] for cell in headings]
    source = "\n".join(texts(nbformat.read(path, as_version=4), "markdown"))
    assert len(headings) == len(re.findall(r"\{solution(?:-start)?\}", source))
    assert headings or not path.stem[0].isdigit()  # every chapter has exercises, not every appendix


LABELS = BookLabels(
    {
        "eq-a": Target("(2.1)", "https://b/x.html#equation-eq-a"),
        "fig-a": Target("Fig. 2.1", "https://b/x.html#fig-a"),
        "thm-a": Target("Theorem 2.1", "https://b/x.html#thm-a"),
        "ex-a": Target("Exercise 2.1", "https://b/x.html#ex-a"),
        "02_x": Target("A chapter", "https://b/x.html"),
    },
    {"jacot2018ntk": ("Jacot et al.", "2018"), "weng2022ntk": ("Weng", "2022")},
    "https://b",
    "https://r",
)
PAGE = "(https://b/bibliography.html)"


@pytest.mark.parametrize(
    ("myst", "plain"),
    [
        ("$$a=b$$ (eq-a)", "$$a=b \\tag{2.1}\n$$"),
        ("$$\na\n$$\n\nand $b$ (eq-a)", "$$\na\n$$\n\nand $b$ (eq-a)"),
        ("By {eq}`eq-a`.", "By [(2.1)](https://b/x.html#equation-eq-a)."),
        ("{doc}`02_x`, {doc}`there <02_x>`", "[A chapter](https://b/x.html), [there](https://b/x.html)"),
        ("{cite}`jacot2018ntk,weng2022ntk`", f"([Jacot et al., 2018; Weng, 2022]{PAGE})"),
        ("{cite:t}`weng2022ntk` says", f"[Weng (2022)]{PAGE} says"),
        ("(sec-a)=\n## Title", "## Title"),
        (":::{prf:theorem} Name\n:label: thm-a\n\nIf $$c$$ (eq-a)\n:::", "**Theorem 2.1 (Name).**\n\nIf $$c"),
        (":::{prf:proof}\nSee {eq}`eq-a`.\n:::", "*Proof.*\nSee [(2.1)](https://b/x.html#equation-eq-a).\n∎"),
        (":::{exercise} Do\n:label: ex-a\nIt.\n:::", "#### Exercise 2.1. Do\n\nIt."),
        ("```{solution-start} ex-a\n:class: dropdown\n```\n\nSo.", "##### Solution of Exercise 2.1\n\nSo."),
        ("::::{note}\n:::{prf:proof}\nIn.\n:::\n::::", "**Note.**\n\n*Proof.*\nIn.\n∎"),
        ("```python\nx = {1: `2`}\n```", "```python\nx = {1: `2`}\n```"),
    ],
)
def test_each_notation_has_a_plain_counterpart(myst, plain):
    assert plain_markdown(myst, LABELS).startswith(plain)


@pytest.mark.parametrize(
    ("myst", "complaint"),
    [
        ("{eq}`eq-lost`", "nothing in the book is labelled 'eq-lost'"),
        ("$$a$$ (eq-lost)", "nothing in the book is labelled 'eq-lost'"),
        ("{cite}`nobody1900`", "no entry 'nobody1900'"),
        ("{abbr}`NTK`", "the role {abbr} has no counterpart"),
        (":::{dropdown} Title\nText\n:::", "the directive {dropdown} has no counterpart"),
        (":::{note}\nText", "is not closed"),
    ],
)
def test_what_cannot_be_resolved_is_named(myst, complaint):
    with pytest.raises(ValueError, match=re.escape(complaint)):
        plain_markdown(myst, LABELS)


def test_the_command_writes_valid_notebooks(tmp_path):
    command = [sys.executable, "-m", "ntkbook.colab", "--root", str(ROOT), "--to", str(tmp_path)]
    subprocess.run(command, check=True, capture_output=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == [path.name for path in CHAPTERS]
    for path in tmp_path.iterdir():
        nbformat.validate(json.loads(path.read_text(encoding="utf-8")))
