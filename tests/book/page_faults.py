"""Look for faults in an open page. Each function returns a list of what it found, empty if all is well."""

from __future__ import annotations

from functools import cache
from typing import Any


def raw_tex(page: Any) -> list[str]:
    """Find TeX that the reader sees as typed, in the text, the title and the tips."""
    return page.evaluate(
        r"""() => {
          const tex = /\\[a-zA-Z]{2,}|\\[()\[\]]|\$\$/;
          const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
          const found = [];
          while (walker.nextNode()) {
            const { data, parentElement } = walker.currentNode;
            if (tex.test(data) && !parentElement.closest("script, style, noscript, template, pre, code"))
              found.push("raw TeX: " + data.trim().slice(0, 80));
          }
          if (tex.test(document.title)) found.push("raw TeX in the title: " + document.title);
          return found;
        }"""
    )


def unset_formulas(page: Any) -> list[str]:
    """Find formulas that MathJax left alone or could not read."""
    return page.evaluate(
        """() => [
          ...[...document.querySelectorAll("article .math")]
            .filter(box => !box.querySelector("mjx-container mjx-math > *"))
            .map(box => "not set: " + box.textContent.trim().slice(0, 80)),
          ...[...document.querySelectorAll("mjx-merror, [data-mjx-error]")]
            .map(box => "TeX error: " + (box.dataset.mjxError || box.textContent).slice(0, 80)),
        ]"""
    )


def overflow(page: Any) -> list[str]:
    """Say whether the page is wider than its window, and what sticks out."""
    return page.evaluate(
        """() => {
          const root = document.documentElement;
          if (root.scrollWidth <= window.innerWidth) return [];
          const out = [...document.querySelectorAll("body *")]
            .filter(box => box.getBoundingClientRect().right > window.innerWidth + 1)
            .slice(-3).map(box => box.outerHTML.slice(0, 80));
          const sizes = `the page is ${root.scrollWidth} px wide in a window of ${window.innerWidth}`;
          return [`${sizes}: ${out.join(" | ")}`];
        }"""
    )


def bad_images(page: Any) -> list[str]:
    """Find images that are missing, out of shape or without a description."""
    return page.evaluate(
        r"""() => [...document.querySelectorAll("img")].flatMap(image => {
          const name = image.getAttribute("src").split("/").pop();
          const found = [];
          if (!image.complete || !image.naturalWidth) found.push(`${name} is not loaded`);
          const alt = (image.getAttribute("alt") || "").trim();
          // Sphinx puts the file's name where the author wrote nothing.
          if (!alt || /\.(png|svg|jpe?g|gif)$/i.test(alt)) found.push(`${name} has no description: "${alt}"`);
          const { width, height } = image.getBoundingClientRect();
          const ratio = width / height / (image.naturalWidth / image.naturalHeight);
          if (width && Math.abs(ratio - 1) > 0.02)
            found.push(`${name} is out of shape: ${width.toFixed()} x ${height.toFixed()} px`);
          return found;
        })"""
    )


def crowded_equations(page: Any) -> list[str]:
    """Find equations whose formula, number and mark do not stand side by side in full view."""
    return page.evaluate(
        """() => [...document.querySelectorAll(".ntk-equation")].flatMap(row => {
          const boxes = ["mjx-container", ".eqno", ".ntk-mark"].map(part => row.querySelector(part));
          const [formula, number, mark] = boxes.map(box => box.getBoundingClientRect());
          const { clientWidth, clientHeight, scrollWidth, scrollHeight } = boxes[0];
          const fades = getComputedStyle(boxes[0]).maskImage.includes("gradient");
          const found = [];
          if (mark.right > window.innerWidth) found.push("the mark is cut off");
          if (number.right > mark.left + 1) found.push("the number runs into the mark");
          if (formula.right > number.left + 1) found.push("the formula runs into its number");
          if (scrollHeight > clientHeight + 1) found.push("the formula is cut at its foot");
          if (scrollWidth > clientWidth + 1 && !fades) found.push("the formula is cut without a sign");
          if (clientWidth < 100) found.push(`${clientWidth} px are left for the formula`);
          return found.map(fault => `${boxes[1].textContent}: ${fault}`);
        })"""
    )


def unreachable_boxes(page: Any) -> list[str]:
    """Find boxes that scroll sideways and cannot have the keyboard's focus."""
    return page.evaluate(
        """() => [...document.querySelectorAll("article *:not(mjx-container *)")]
          .filter(box => box.scrollWidth > box.clientWidth + 1
            && /auto|scroll/.test(getComputedStyle(box).overflowX) && box.tabIndex < 0)
          .map(box => "scrolls, but not by keyboard: " + box.outerHTML.slice(0, 80))"""
    )


@cache
def _axe() -> Any:
    from axe_playwright_python.sync_playwright import Axe

    return Axe()


# A chapter has 20 000 elements, nearly all in formulas and in code, and axe compares them pairwise: minutes
# a page. What looks the same need be judged once, so a code block stays only if it has a kind of token
# that no block above it has. A formula has the colour of the text around it.
_SET_ASIDE = """() => {
  const seen = new Set();
  const repeats = [...document.querySelectorAll("div.highlight")].filter(block => {
    const around = block.parentElement.className;
    const kinds = [around, ...[...block.querySelectorAll("span")].map(token => around + token.className)];
    const fresh = kinds.filter(kind => !seen.has(kind));
    fresh.forEach(kind => seen.add(kind));
    return !fresh.length;
  });
  const boxes = [...repeats, ...document.querySelectorAll("mjx-container")];
  window.setAside = boxes.map(box => [box, [...box.childNodes]]);
  for (const [box] of window.setAside) box.replaceChildren();
}"""
_PUT_BACK = "() => { for (const [box, content] of window.setAside) box.replaceChildren(...content) }"


def accessibility(page: Any, rule: str | None = None) -> list[str]:
    """Run axe-core (WCAG A and AA, and its best practices) and return what is serious or critical.

    Parameters
    ----------
    page
    rule : str, optional
        The name of the one rule to apply; all if None.
    """
    page.evaluate(_SET_ASIDE)
    # Without preload axe asks for every style sheet again, also for those that are not there.
    options: dict[str, Any] = {"resultTypes": ["violations"], "preload": False}
    if rule:
        options["runOnly"] = [rule]
    result = _axe().run(page, options=options).response
    page.evaluate(_PUT_BACK)
    return [
        f"{violation['id']} ({violation['impact']}): {node['html'][:80]}: "
        + "; ".join(item["message"] for item in node["any"] + node["all"] + node["none"])[:160]
        for violation in result["violations"]
        if violation["impact"] in ("serious", "critical")
        for node in violation["nodes"]
    ]


def poor_tips(page: Any) -> list[str]:
    """Give the focus to every mark in turn and find tips that are missing, wrong or outside the window."""
    return page.evaluate(
        r"""async () => {
          const frames = () => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)));
          const complete = new RegExp("^(identity|close|bound|rate|monte carlo|definition|theorem)"
            + ", (exact|residual \\S+, tolerance \\S+)");
          const found = [];
          for (const mark of document.querySelectorAll("a.ntk-mark")) {
            mark.scrollIntoView({ block: "center", behavior: "instant" });
            mark.focus();
            for (let n = 0; n < 20 && !document.querySelector(".tippy-box"); n++) await frames();
            await frames();
            const tip = document.querySelector(".tippy-box");
            const name = mark.getAttribute("href");
            if (!tip) { found.push(`${name}: no tip on focus`); continue; }
            const text = tip.innerText.trim();
            if (!complete.test(text)) found.push(`${name}: the tip says "${text}"`);
            const { left, top, right, bottom } = tip.getBoundingClientRect();
            if (left < 0 || top < 0 || right > window.innerWidth || bottom > window.innerHeight)
              found.push(`${name}: the tip reaches from ${Math.round(left)} to ${Math.round(right)} px`);
            mark.blur();
            for (let n = 0; n < 20 && document.querySelector(".tippy-box"); n++) await frames();
          }
          return found;
        }"""
    )
