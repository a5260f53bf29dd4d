"""Charts with sliders, moved in the browser: by keyboard, in the dark, on a phone, and without scripts."""

from __future__ import annotations

from typing import Any

import nbformat
import pytest
from site_pages import SOURCE, pages
from visit import WIDTHS, Visit

pytestmark = [pytest.mark.browser, pytest.mark.built]


def explorers(name: str) -> int:
    """How many charts with sliders the cells of a page make."""
    path = SOURCE / f"{name}.ipynb"
    if not path.exists():
        return 0
    cells = nbformat.read(path, as_version=4).cells
    return sum("plotting.explorer(" in cell.source for cell in cells if cell.cell_type == "code")


WITH = [name for name in pages() if explorers(name)]
INK = """root => {
    const canvas = root.querySelector("canvas");
    const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
    let sum = 0;
    for (let k = 0; k < pixels.length; k += 4)
        sum = (sum * 31 + pixels[k] + 7 * pixels[k + 3] * (k % 1009)) % 1e9;
    return sum;
}"""


@pytest.fixture(scope="module", params=WITH)
def opened(request: Any, browser: Any, address: str) -> Any:
    visit = Visit(browser, address, request.param)
    visit.page.locator(".ntk-explorer-plot canvas").first.wait_for()
    yield visit
    visit.close()


def test_every_chart_has_taken_the_place_of_its_picture(opened: Visit) -> None:
    roots = opened.page.locator("article .ntk-explorer")
    assert roots.count() == explorers(opened.name)
    for root in roots.all():
        assert root.locator("img").count() == 0
        assert root.locator("canvas").count() == 1
        assert len(root.locator(".ntk-explorer-plot").get_attribute("aria-label") or "") >= 30
        assert root.locator("xpath=ancestor::figure//figcaption").count() == 1


def test_sliders_move_the_curves_by_keyboard(opened: Visit) -> None:
    for root in opened.page.locator("article .ntk-explorer").all():
        data = root.evaluate("root => JSON.parse(root.querySelector('script').textContent)")
        sizes = [len(slider["values"]) for slider in data["sliders"]]
        place = [slider["start"] for slider in data["sliders"]]
        for k, control in enumerate(root.locator("input[type=range]").all()):
            before = root.evaluate(INK)
            control.focus()
            step = 1 if place[k] + 1 < sizes[k] else -1
            opened.page.keyboard.press("ArrowRight" if step > 0 else "ArrowLeft")
            place[k] += step
            opened.wait_for_layout()
            chosen = data["sliders"][k]["values"][place[k]]
            assert root.locator("output").nth(k).inner_text() == chosen
            assert control.get_attribute("aria-valuetext") == chosen
            row = 0
            for position, size in zip(place, sizes, strict=True):
                row = row * size + position
            wanted = [curve["values"][row if len(curve["values"]) > 1 else 0] for curve in data["curves"]]
            assert root.evaluate("root => root.chart.data.slice(1)") == wanted
            # What is drawn has moved, too: a slider that changes nothing has no place on a page.
            assert root.evaluate(INK) != before, f"{opened.name}: {data['sliders'][k]['name']} moves nothing"


def test_a_chart_fits_a_phone_in_the_dark(opened: Visit) -> None:
    opened.show("dark", WIDTHS[1])
    for root in opened.page.locator("article .ntk-explorer").all():
        box = root.locator("canvas").bounding_box()
        assert 200 < box["width"] < WIDTHS[1]
        assert "invert" in root.locator(".ntk-explorer-plot").evaluate(
            "plot => getComputedStyle(plot).filter"
        )


@pytest.mark.parametrize("name", WITH)
def test_without_scripts_the_picture_stands(browser: Any, address: str, name: str) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{address}/{name}.html", timeout=60_000)
    pictures = page.locator("article .ntk-explorer > img")
    assert pictures.count() == explorers(name)
    assert all(picture.bounding_box()["height"] > 100 for picture in pictures.all())
    context.close()


def test_chapters_have_charts() -> None:
    assert len(WITH) >= 8
