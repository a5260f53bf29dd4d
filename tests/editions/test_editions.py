"""PDF and EPUB of a tiny book: our nodes are written, pictures stand for what moves, nothing warns."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest
from needs import cannot_run

from ntkbook import plotting
from ntkbook.verify import ledger
from ntkbook.verify.verdict import Check

STATIC = Path(__file__).parents[2] / "book/_static"

CONFIG = """
project = "tiny"
extensions = [
    "sphinx.ext.autodoc", "myst_nb", "sphinx_external_toc", "sphinx_proof", "sphinx_exercise",
    "ntkbook.verify.sphinx_marks", "ntkbook.verify.sphinx_tidy",
    "ntkbook.editions.sphinx_pdf", "ntkbook.editions.sphinx_epub",
]
external_toc_path = "_toc.yml"
nb_execution_mode = "off"
myst_enable_extensions = ["dollarmath", "colon_fence"]
html_theme = "basic"
exclude_patterns = ["_static"]
language = "en"
numfig = math_numfig = True
math_eqref_format = "({number})"
suppress_warnings = ["mystnb.unknown_mime_type"]
nb_mime_priority_overrides = [["latex", "text/html", 55], ["epub", "image/png", 5]]
epub_identifier, epub_uid, epub_description = "https://example.org", "BookId", "A tiny book."
epub_contributor, epub_css_files = "nobody", ["book-epub.css"]
copyright, author = "2026", "nobody"
"""

TOC = """
format: jb-book
root: index
parts:
  - caption: First part
    numbered: true
    chapters:
      - file: one
  - caption: At the back
    chapters:
      - file: ledger
"""

INDEX = """# Tiny

A book.

```{image} _static/mark.svg
:alt: A mark.
```
"""

ONE = r"""# One

$$ a = \sqrt{b} $$ (eq-one)

:::{prf:theorem} Roots
:label: thm-one
Then {eq}`eq-one` holds for $b \ge 0$.
:::

:::{exercise}
:label: ex-one
Why?
:::

```{solution} ex-one
:class: dropdown
Because.
```

:::{prf:proof}
Square it.
:::

| question | points |
|---|---|
| one | 1 |
|  | 2 |

| question | answer |
|---|---|
| LONG | `a_name` |
""".replace("LONG", "so many words that no line holds them, " * 20)

CHECK = Check("eq-one", "close", 2e-14, 1e-10, "3 numbers", (("a sign < flipped", 2.0),))


def a_chart() -> dict[str, Any]:
    return plotting.explorer(
        np.linspace(0, 1, 5),
        {"curve": np.ones((2, 5))},
        {"rate": [1, 2]},
        alt="A curve that a slider moves up and down.",
    )._repr_mimebundle_()


def an_animation() -> dict[str, Any]:
    from matplotlib import pyplot as plt

    fig, ax = plt.subplots(figsize=(2, 1))
    (line,) = ax.plot([0, 1])
    return plotting.animation(
        fig, lambda k: line.set_ydata([0, k]), 2, alt="A line that turns about the origin."
    )._repr_mimebundle_()


def build(folder: Path, builder: str) -> tuple[Path, str]:
    """Build the tiny book; Chromium needs a process of its own beside that of other tests."""
    source = folder / "book"
    (source / "_static").mkdir(parents=True)
    (source / "_print/epub").mkdir(parents=True)
    (source / "_print/epub/book-epub.css").write_text("")
    for name in ("mark.svg", "mark.pdf"):
        shutil.copy(STATIC / name, source / "_static")
    (source / "_static/vendor").symlink_to(STATIC / "vendor")
    new = nbformat.v4
    line = new.new_output(
        "display_data",
        data={"text/plain": ledger.line(CHECK), "text/html": ledger.markup(CHECK)},
        metadata={ledger.METADATA_KEY: CHECK.to_json()},
    )
    moving = [new.new_output("display_data", data=data) for data in (a_chart(), an_animation())]
    hidden = new.new_code_cell("hidden = 1", metadata={"tags": ["hide-input"]})
    cells = [new.new_markdown_cell(ONE), new.new_code_cell("verify.close(...)", outputs=[line]), hidden]
    cells += [new.new_code_cell(f"chart{k}", outputs=[output]) for k, output in enumerate(moving)]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(new.new_notebook(cells=cells, metadata=kernel), source / "one.ipynb")
    for name, text in (("conf.py", CONFIG), ("_toc.yml", TOC), ("index.md", INDEX)):
        (source / name).write_text(text, encoding="utf-8")
    tables = "# Ledger\n\n```{equation-ledger}\n```\n\n```{book-status}\n```\n"
    (source / "ledger.md").write_text(tables, encoding="utf-8")
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "sphinx",
            "-q",
            "-n",
            "-b",
            builder,
            "-d",
            folder / "doctrees",
            source,
            folder / "out",
        ],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return folder / "out", done.stderr


@pytest.fixture(scope="module")
def latex(tmp_path_factory: pytest.TempPathFactory) -> str:
    out, warnings = build(tmp_path_factory.mktemp("latex"), "latex")
    assert warnings == ""
    return next(out.glob("*.tex")).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def epub(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    if not (shutil.which("chromium") or shutil.which("google-chrome")):
        cannot_run("no browser is installed: `apt-get install chromium` (Debian)")
    out, warnings = build(tmp_path_factory.mktemp("epub"), "epub")
    assert warnings == ""
    return zipfile.ZipFile(next(out.glob("*.epub")))


def test_latex_has_the_mark_and_the_line_of_the_check(latex: str) -> None:
    target = r"one:check-eq-one"
    assert rf"\ntkmark{{\detokenize{{{target}}}}}" in latex
    assert rf"\label{{\detokenize{{{target}}}}}" in latex
    line = latex[latex.index(r"{ntk-check}") :]
    assert "rejected: a sign" in line
    assert r"\ref{equation:one:eq-one}" in line


def test_latex_has_pictures_where_a_page_moves(latex: str) -> None:
    assert len(re.findall(r"\\sphinxincludegraphics\S*\{\{[0-9a-f]{64}\}\.png\}", latex)) == 2
    assert re.search(r"\\sphinxincludegraphics\S*\{\{mark\}\.pdf\}", latex)
    assert "script" not in latex.split(r"\begin{document}")[1].replace("subscript", "")


def test_latex_has_parts_and_a_preface_without_a_number(latex: str) -> None:
    order = [r"\ntknumbered{-1}", r"\chapter{About this book}", r"\ntkpart{First part}", r"\chapter{One}"]
    places = [latex.index(text) for text in order]
    assert places == sorted(places)
    assert r"\ntkpart{At the back}\ntknumbered{-1}" in latex


def test_latex_leaves_boxes_open_where_pages_break(latex: str) -> None:
    proof = latex[latex.index(r"\begin{ntkproof}") : latex.index(r"\end{ntkproof}")]
    assert "Square it." in proof
    # No rule between an exercise and its solution, one after the solution.
    exercise, solution = (latex.index(text) for text in ("Why?", "Because."))
    (joined,) = (found.start() for found in re.finditer(r"\\global\\ntkfollowedtrue", latex))
    assert exercise < joined < solution


def test_latex_gives_long_tables_widths_and_pages_and_empty_cells_no_line(latex: str) -> None:
    short, wide = latex.index(r"\begin{tabulary}{\linewidth}[t]{TT}"), latex.index("so many words")
    before = latex[:wide]
    columns = before[before.rindex(r"\begin{longtable}") :].split("\n")[0]
    assert re.findall(r"\\X\{(\d+)\}\{(\d+)\}", columns) == [("45", "55"), ("10", "55")]
    row = latex[latex.index("one\n&", short) : latex.index(r"\sphinxbottomrule", short)]
    assert row.count(r"\sphinxAtStartPar") == 2


def test_epub_has_mathml_and_no_script(epub: zipfile.ZipFile) -> None:
    page = epub.read("one.xhtml").decode()
    assert re.search(r'<math alttext="a = \\sqrt\{b\}"[^>]*>.*<msqrt>', page)
    assert "data-mjx" not in page
    assert re.search(r'href="one.xhtml"[^>]* properties="mathml"', epub.read("content.opf").decode())
    for name in epub.namelist():
        assert not name.endswith((".js", ".json"))
        assert not name.endswith(".xhtml") or "<script" not in epub.read(name).decode()


def test_epub_has_the_mark_the_line_and_pictures(epub: zipfile.ZipFile) -> None:
    page = epub.read("one.xhtml").decode()
    assert 'class="ntk-mark" href="#check-eq-one"' in page
    assert 'id="check-eq-one"' in page
    assert len(re.findall(r'<img [^>]*src="_images/[0-9a-f]{64}\.png"', page)) == 2
    assert "<details" not in page
    assert epub.read("ledger.xhtml").decode().count("one.xhtml#check-eq-one") == 1


def test_a_formula_that_is_no_tex_is_refused() -> None:
    from ntkbook.editions.mathml import MathJax

    class Page:
        """What MathJax answers to an unknown command."""

        def evaluate(self, *_: Any) -> str:
            return '<math><merror data-mjx-error="Undefined control sequence \\x"></merror></math>'

    mathjax = MathJax(Path("unused"))
    mathjax._page = Page()
    with pytest.raises(ValueError, match=r"Undefined control sequence \\x: \\x"):
        mathjax.to_mathml(r"\x", display=False)


def test_styled_letters_are_characters() -> None:
    from ntkbook.editions.mathml import _clean

    made = '<math xmlns="m"><mi mathvariant="double-struck">R</mi><mi mathvariant="script">L</mi>'
    made += '<mi mathvariant="bold">&#x3A3;x</mi><mi mathvariant="normal">d</mi></math>'
    bare = _clean(made, "x")
    assert "<mi>ℝ</mi><mi>ℒ</mi><mi>𝚺𝐱</mi>" in bare
    assert '<mi mathvariant="normal">d</mi>' in bare
