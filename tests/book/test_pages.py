"""The built pages, read as files: links, marks and their checks, figures, and what is loaded from where."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urldefrag

import pytest
from site_pages import HTML, SOURCE, pages

pytestmark = pytest.mark.built


@dataclass(frozen=True)
class Html:
    """A page's parsed text and how often each identifier occurs on it."""

    soup: Any
    ids: Counter[str]


@cache
def read(path: Path) -> Html:
    from bs4 import BeautifulSoup

    soup = BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")
    return Html(soup, Counter(tag["id"] for tag in soup.find_all(id=True)))


def every_page(html: Path) -> list[Path]:
    return [path for path in sorted(html.rglob("*.html")) if "_static" not in path.parts]


def is_external(address: str) -> bool:
    return address.startswith(("http:", "https:", "mailto:", "//", "data:"))


def broken_links(page: Path, soup: Any) -> list[str]:
    """List the links of a page that lead nowhere in the book, or to two places at once."""
    found = []
    for address in sorted({link["href"] for link in soup.find_all("a", href=True)}):
        if is_external(address):
            continue
        file, fragment = urldefrag(unquote(address))
        target = (page.parent / file).resolve() if file else page
        if not target.exists():
            found.append(f"{page.name}: {address}: there is no such file")
        elif fragment and target.suffix == ".html":
            count = read(target).ids[fragment]
            if count != 1:
                found.append(f"{page.name}: {address}: {count} places of that name on the page")
    return found


def foreign_parts(page: Path, soup: Any) -> list[str]:
    """List what a page loads from another host, in vain, or (a script) twice."""
    parts = [tag["src"] for tag in soup.find_all(["script", "img", "iframe", "source"], src=True)]
    parts += [
        tag["href"] for tag in soup.find_all("link", href=True) if "canonical" not in tag.get("rel", [])
    ]
    found = [f"{page.name} loads {part}" for part in parts if part.startswith(("http:", "https:", "//"))]
    for part in parts:
        if not is_external(part) and not (page.parent / unquote(part).split("?")[0].split("#")[0]).exists():
            found.append(f"{page.name} loads {part}, which is not there")
    scripts = Counter(tag["src"].split("?")[0] for tag in soup.find_all("script", src=True))
    return found + [f"{page.name} runs {name} {count} times" for name, count in scripts.items() if count > 1]


def bare_figures(page: Path, soup: Any) -> list[str]:
    """List figures without a caption and pictures made by code that stand in no figure."""
    article = soup.find("article") or soup
    found = [
        f"{page.name}: figure {figure.get('id')} has no caption"
        for figure in article.find_all("figure")
        if not (figure.find("figcaption") and figure.find("figcaption").select_one(".caption-text, p"))
    ]
    return found + [
        f"{page.name}: {image['src']} stands in no figure: give its cell a caption"
        for image in article.select("div.cell_output img")
        if not image.find_parent("figure")
    ]


def raw_markup(page: Path, soup: Any) -> list[str]:
    """List Markdown that a reader sees as typed: rows of tables, links, roles, fences."""
    article = soup.find("article") or soup
    found = []
    for text in article.find_all(string=re.compile(r"\|[-—]+\||\]\(|```|\{\w[\w:-]*\}`")):
        if not text.find_parent(["code", "pre", "script", "style"]) and not text.find_parent(class_="math"):
            found.append(f"{page.name}: raw markup: {text.strip()[:80]}")
    return found


def test_every_page_of_the_contents_was_built(html: Path) -> None:
    assert [name for name in pages() if not (html / f"{name}.html").exists()] == []


def test_links_lead_somewhere(html: Path) -> None:
    assert [fault for page in every_page(html) for fault in broken_links(page, read(page).soup)] == []


def test_nothing_is_loaded_from_elsewhere(html: Path) -> None:
    assert [fault for page in every_page(html) for fault in foreign_parts(page, read(page).soup)] == []


def test_figures_have_captions(html: Path) -> None:
    assert [fault for page in every_page(html) for fault in bare_figures(page, read(page).soup)] == []


def test_no_markup_is_left(html: Path) -> None:
    assert [fault for page in every_page(html) for fault in raw_markup(page, read(page).soup)] == []


def test_page_has_one_title_and_a_language(html: Path) -> None:
    for name in pages():
        soup = read(html / f"{name}.html").soup
        assert soup.html["lang"], name
        assert len(soup.find("article").find_all("h1")) == 1, name


def test_coverage_is_complete(html: Path) -> None:
    coverage = json.loads((html / "equation-coverage.json").read_text(encoding="utf-8"))
    assert coverage["unchecked"] == []
    assert coverage["checked"] == coverage["equations"] > 0
    numbers = sum(len(read(html / f"{name}.html").soup.select("article .eqno")) for name in pages())
    assert numbers == coverage["equations"], "an equation has a number and no check, or a check and no number"
    for label, checks in coverage["checks"].items():
        assert all(check["rejected"] for check in checks), f"{label}: a check that rejected nothing"


def test_mark_and_check_lead_to_each_other(html: Path) -> None:
    marks = 0
    for name in pages():
        page = html / f"{name}.html"
        for row in read(page).soup.select(".ntk-equation"):
            marks += 1
            equation = row.select_one("div.math")["id"]
            file, fragment = urldefrag(row.select_one("a.ntk-mark")["href"])
            home = page.parent / file if file else page
            line = read(home).soup.find(id=fragment)
            assert line is not None, f"{name}: the mark of {equation} leads to {fragment}, which is not there"
            assert "ntk-check" in line["class"], f"{name}: the mark of {equation} leads to {line.name}"
            back = line.select_one("a.ntk-check-equation")
            file, fragment = urldefrag(back["href"])
            assert (home.parent / file if file else home).resolve() == page.resolve(), fragment
            assert fragment == equation, f"{name}: the check of {equation} leads back to {fragment}"
            number = row.select_one(".eqno").find(string=True, recursive=False)
            assert back.get_text() == number.strip(), (
                f"{name}: {equation} is called {back.get_text()} by its check"
            )
    coverage = json.loads((html / "equation-coverage.json").read_text(encoding="utf-8"))
    assert marks == coverage["equations"]


def test_ledger_lists_every_check(html: Path) -> None:
    coverage = json.loads((html / "equation-coverage.json").read_text(encoding="utf-8"))
    rows = read(html / "ledger.html").soup.select("table.ntk-table tbody tr")
    assert len(rows) == sum(len(checks) for checks in coverage["checks"].values())


def test_status_lists_every_chapter_with_its_time(html: Path) -> None:
    rows = [row.get_text(" ") for row in read(html / "status.html").soup.select("table.ntk-table tbody tr")]
    for chapter in SOURCE.glob("*.ipynb"):
        title = read(html / f"{chapter.stem}.html").soup.h1.find_all(string=True, recursive=False)[0].strip()
        row = next((row for row in rows if title in row), "")
        assert row, f"{chapter.name} is not on the status page"
        assert "not executed" not in row


PAGE = Path(HTML / "planted.html")


@pytest.mark.parametrize(
    ("inspect", "fault", "complaint"),
    [
        (broken_links, '<a href="nowhere.html">x</a>', "no such file"),
        (broken_links, '<a href="index.html#nowhere">x</a>', "0 places"),
        (foreign_parts, '<script src="https://example.org/x.js"></script>', "loads https://example.org/x.js"),
        (foreign_parts, '<link rel="stylesheet" href="//example.org/x.css">', "loads //example.org/x.css"),
        (foreign_parts, '<img src="_images/nowhere.png">', "not there"),
        (foreign_parts, '<script src="a.js?v=1"></script><script src="a.js"></script>', "2 times"),
        (bare_figures, '<article><figure id="f"><img src="a.png"></figure></article>', "f has no caption"),
        (bare_figures, '<div class="cell_output"><img src="a.png"></div>', "in no figure"),
        (raw_markup, "<p>| part | lines | |---|---| | a | 1 |</p>", "raw markup: | part"),
        (raw_markup, "<li>see [there](index.md)</li>", "raw markup: see"),
        (raw_markup, "<p>by {eq}`eq-a`</p>", "raw markup: by"),
    ],
)
def test_planted_fault_is_found(html: Path, inspect: Any, fault: str, complaint: str) -> None:
    from bs4 import BeautifulSoup

    assert complaint in " ".join(inspect(PAGE, BeautifulSoup(fault, "html.parser")))
