"""The tests of the pages can fail: each fault, planted in an empty page, is found, its mended twin passes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import page_faults
import pytest
from visit import Visit

pytestmark = pytest.mark.browser

PIXEL = "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' width='80' height='40'/%3E"
IMAGE = f'<img src="{PIXEL}" alt="A line.">'
LONG = "<div style='width:900px'>long</div>"
SET = "<mjx-container><mjx-math><mjx-mi>x</mjx-mi></mjx-math></mjx-container>"
MATH = f"<article><span class='math'>{SET}</span></article>"
ROW = """
<style>.ntk-equation, .math { display: flex } .math, mjx-container { flex: 1; min-width: 0 }</style>
<div class="ntk-equation">
  <div class="math"><mjx-container>x</mjx-container><span class="eqno">(1)</span></div>
  <a class="ntk-mark">✓</a>
</div>"""
TALL = "<mjx-container style='height:1em;overflow:hidden'><p style='height:4em'>x</p></mjx-container>"
BOX = f"<article><div style='overflow-x:auto'>{LONG}</div></article>"

# inspection, a page with the fault, a word of the complaint, the same page mended
FAULTS = [
    (page_faults.raw_tex, r"<p>\(x\)</p>", "raw TeX", r"<p><code>\(x\)</code></p>"),
    (page_faults.raw_tex, r"<p>so \theta moves</p>", "raw TeX", "<p>so θ moves</p>"),
    (page_faults.raw_tex, "<p>$$ x $$</p>", "raw TeX", "<p>for $5</p>"),
    (page_faults.raw_tex, r"<title>The \(x\)</title>", "title", "<title>The x</title>"),
    (page_faults.unset_formulas, MATH.replace(SET, "x"), "not set", MATH),
    (page_faults.unset_formulas, MATH + "<mjx-merror>Undefined</mjx-merror>", "Undefined", MATH),
    (page_faults.overflow, LONG, "px wide", f"<div style='overflow-x:auto'>{LONG}</div>"),
    (page_faults.bad_images, f'<img src="{PIXEL}">', "no description", IMAGE),
    (page_faults.bad_images, IMAGE.replace("A line.", "_images/a.png"), "no description", IMAGE),
    (
        page_faults.bad_images,
        IMAGE.replace("alt", "style='width:80px;height:80px' alt"),
        "out of shape",
        IMAGE,
    ),
    (page_faults.bad_images, IMAGE.replace(PIXEL, "data:,"), "not loaded", IMAGE),
    (page_faults.crowded_equations, ROW.replace("<a ", "<a style='margin-left:99vw' "), "mark is cut", ROW),
    (
        page_faults.crowded_equations,
        ROW.replace("<span ", "<span style='margin-left:-1em' "),
        "runs into",
        ROW,
    ),
    (page_faults.crowded_equations, ROW.replace("<mjx-container>x</mjx-container>", TALL), "foot", ROW),
    (page_faults.crowded_equations, ROW.replace("<span ", "<span style='padding:0 150px' "), "are left", ROW),
    (page_faults.crowded_equations, ROW.replace(">x<", f" style='overflow:auto'>{LONG}<"), "without", ROW),
    (page_faults.unreachable_boxes, BOX, "not by keyboard", BOX.replace("<div ", "<div tabindex='0' ", 1)),
]


@pytest.mark.parametrize(
    ("inspect", "fault", "complaint", "mended"), FAULTS, ids=[f"{row[0].__name__}-{row[2]}" for row in FAULTS]
)
def test_fault_is_found(
    blank: Any, inspect: Callable[[Any], list[str]], fault: str, complaint: str, mended: str
) -> None:
    blank.set_content(fault)
    assert any(complaint in found for found in inspect(blank))
    blank.set_content(mended)
    assert inspect(blank) == []


AXE_PAGE = "<html lang='en'><title>t</title><main><h1>h</h1>{}</main></html>"


@pytest.mark.parametrize(
    ("fault", "complaint"),
    [
        ("<p style='color:#999'>pale</p>", "color-contrast"),
        (f'<img src="{PIXEL}">', "image-alt"),
        ("<button></button>", "button-name"),
        ("<a href='#'></a>", "link-name"),
    ],
    ids=["contrast", "image", "button", "link"],
)
def test_axe_finds(blank: Any, fault: str, complaint: str) -> None:
    blank.set_content(AXE_PAGE.format("<p>plain</p>"))
    assert page_faults.accessibility(blank) == []
    blank.set_content(AXE_PAGE.format(fault))
    assert any(found.startswith(complaint) for found in page_faults.accessibility(blank))


def test_axe_sees_every_kind_of_token_and_leaves_the_page_as_it_was(blank: Any) -> None:
    block = "<div class='code'><div class='highlight'><pre><span class='k'>def</span></pre></div></div>"
    pale = block.replace("class='k'", "class='c' style='color:#aaa'")
    blank.set_content(AXE_PAGE.format(block + block + pale + SET))
    before = blank.content()
    assert [found[:14] for found in page_faults.accessibility(blank)] == ["color-contrast"]
    assert blank.content() == before


TIP = """
<a class="ntk-mark" href="#check" tabindex="0">✓</a>
<script>
  const mark = document.querySelector("a");
  mark.onfocus = () => mark.insertAdjacentHTML("afterend",
    "<div class='tippy-box' style='position:fixed;top:9px;left:LEFTpx;width:99px'>WORDS</div>");
  mark.onblur = () => document.querySelector(".tippy-box").remove();
</script>"""


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (TIP.replace("mark.onfocus", "mark.other"), "no tip"),
        (TIP.replace("LEFT", "9").replace("WORDS", "checked"), "the tip says"),
        (TIP.replace("LEFT", "350").replace("WORDS", "identity, exact"), "reaches from"),
        (TIP.replace("LEFT", "9").replace("WORDS", "identity, exact"), None),
        (TIP.replace("LEFT", "9").replace("WORDS", "close, residual 1e-14, tolerance 1e-10"), None),
    ],
    ids=["no tip", "says nothing", "outside", "exact", "close"],
)
def test_poor_tip_is_found(blank: Any, content: str, complaint: str | None) -> None:
    blank.set_content(content)
    found = page_faults.poor_tips(blank)
    assert complaint in found[0] if complaint else found == []


TROUBLE = {
    "console.error('broken')": "console error: broken",
    "console.warn('old')": "console warning: old",
    "setTimeout(() => { undefined.x })": "error in a script",
    "fetch('http://example.org/x').catch(() => 0)": "asked of another host: http://example.org/x",
    "fetch('missing.js')": "404",
}


def test_trouble_is_recorded(index: Visit) -> None:
    for script, complaint in TROUBLE.items():
        index.page.evaluate(f"() => {{ {script} }}")
        index.page.wait_for_timeout(100)
        assert any(complaint in fault for fault in index.faults), script
