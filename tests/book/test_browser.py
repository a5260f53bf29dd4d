"""Every page of the book as a reader meets it: light and dark, laptop and phone, by mouse and by key."""

from __future__ import annotations

from typing import Any

import page_faults
import pytest
from site_pages import SOURCE, pages
from visit import THEMES, WIDTHS, Visit

pytestmark = [pytest.mark.browser, pytest.mark.built]


def test_formulas_are_set(visit: Visit) -> None:
    assert page_faults.unset_formulas(visit.page) + page_faults.raw_tex(visit.page) == []


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("theme", THEMES)
def test_everything_fits_into_the_window(visit: Visit, theme: str, width: int) -> None:
    visit.show(theme, width)
    page = visit.page
    assert page_faults.overflow(page) + page_faults.crowded_equations(page) == []
    assert page_faults.unreachable_boxes(page) == []


@pytest.mark.parametrize("width", WIDTHS)
def test_images_are_described_and_keep_their_shape(visit: Visit, width: int) -> None:
    visit.show(width=width)
    # Images outside the window may be loaded late.
    visit.page.evaluate("Promise.all([...document.images].map(image => image.decode().catch(() => null)))")
    assert page_faults.bad_images(visit.page) == []


def test_accessibility(visit: Visit) -> None:
    visit.show("light")
    assert page_faults.accessibility(visit.page) == []
    # Only the colours change with the theme.
    visit.show("dark")
    assert page_faults.accessibility(visit.page, rule="color-contrast") == []


@pytest.mark.parametrize("width", WIDTHS)
def test_marks_tell_on_focus_how_the_equation_was_checked(visit: Visit, width: int) -> None:
    visit.show(width=width)
    assert page_faults.poor_tips(visit.page) == []


def test_mark_tells_on_hover_too_and_leads_to_the_check(visit: Visit) -> None:
    visit.show(width=WIDTHS[1])
    page = visit.page
    for mark in page.locator("a.ntk-mark").all()[:1]:
        mark.hover()
        tip = page.locator(".tippy-box")
        tip.wait_for()
        assert tip.inner_text() == mark.get_attribute("data-tip")
        page.keyboard.press("Escape")
        tip.wait_for(state="detached")
        if (mark.get_attribute("href") or "").startswith("#"):
            mark.click()
            line = page.locator(".ntk-check:target")
            assert line.is_visible()
            line.locator("a.ntk-check-equation").click()
            assert page.locator(".ntk-equation:target, .ntk-equation :target").is_visible()
        page.mouse.move(0, 0)


@pytest.mark.parametrize("theme", THEMES)
def test_reference_to_an_equation_shows_it_on_hover(visit: Visit, theme: str) -> None:
    visit.show(theme)
    page = visit.page
    references = page.locator("article p a.reference.internal[href*='#equation-']")
    for reference in references.all()[:2]:
        reference.hover()
        preview = page.locator(".tippy-box")
        preview.locator("mjx-container mjx-math > *").first.wait_for()
        colours = "box => [getComputedStyle(box).color, getComputedStyle(box).backgroundColor]"
        assert preview.evaluate(colours) == page.locator("body").evaluate(colours)
        page.mouse.move(0, 0)
        preview.wait_for(state="detached")


def test_solutions_fold_and_unfold_by_keyboard(visit: Visit) -> None:
    visit.show()
    page = visit.page
    for solution in page.locator("div.solution.dropdown").all():
        content, button = solution.locator(":scope > section"), solution.locator("button.toggle-button")
        assert content.is_visible()
        button.focus()
        page.keyboard.press("Enter")
        # Folding hides the content; `is_hidden` sees that at once since nothing moves.
        assert content.is_hidden()
        page.keyboard.press("Enter")
        assert content.is_visible()


def test_link_into_a_folded_solution_unfolds_it(visit: Visit) -> None:
    visit.show()
    page = visit.page
    for solution in page.locator("div.solution.dropdown").all()[:1]:
        solution.locator("button.toggle-button").click()
        content = solution.locator(":scope > section")
        assert content.is_hidden()
        content.locator(":scope > *").first.evaluate("box => { box.id = 'in-a-solution' }")
        page.evaluate("location.hash = '#in-a-solution'")
        content.wait_for(state="visible")


# Last for each page: it also sees what went wrong during the tests above.
def test_nothing_failed_and_nothing_came_from_elsewhere(visit: Visit) -> None:
    visit.settle()
    assert visit.faults == []


def test_search_finds_a_chapter(index: Visit) -> None:
    # The landing page is a notebook too, and no chapter.
    chapter = next(name for name in pages() if name != "index" and (SOURCE / f"{name}.ipynb").exists())
    page: Any = index.page
    word = max(page.locator(f"nav a[href='{chapter}.html']").first.inner_text().split(), key=len)
    page.keyboard.press("Control+k")
    page.keyboard.type(word)
    page.keyboard.press("Enter")
    page.wait_for_url("**/search.html?**")
    page.locator(f"#search-results a[href^='{chapter}.html']").first.wait_for()
    assert index.faults == []


def test_search_says_when_it_finds_nothing(index: Visit) -> None:
    index.page.keyboard.press("Control+k")
    index.page.keyboard.type("zzyzxq")
    index.page.keyboard.press("Enter")
    index.page.wait_for_url("**/search.html?**")
    index.page.get_by_text("did not match any documents").wait_for()


def test_reader_can_choose_the_theme(index: Visit) -> None:
    page = index.page
    seen = set()
    for _ in range(3):
        page.locator("button.theme-switch-button:visible").first.click()
        seen.add(page.evaluate("document.documentElement.dataset.theme"))
    assert seen == set(THEMES)
