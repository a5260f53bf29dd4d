"""Formulas as MathML, made by the same MathJax that draws them on the web pages.

Readers of EPUB files run no scripts, but most of them draw MathML. MathJax needs a browser, here Chromium.
"""

from __future__ import annotations

import html
import re
import shutil
import unicodedata
from pathlib import Path
from typing import Any

_BROWSERS = ("chromium", "chromium-browser", "google-chrome")


class MathJax:
    """MathJax in a browser without a window, which is started at the first formula.

    Parameters
    ----------
    script : Path
        MathJax's component that reads TeX and writes MathML.
    """

    def __init__(self, script: Path) -> None:
        self.script = script
        self._playwright: Any = None
        self._page: Any = None
        self._made: dict[tuple[str, bool], str] = {}

    def to_mathml(self, tex: str, *, display: bool) -> str:
        """Return a formula as MathML, with its TeX as the text for readers that do not know MathML.

        Raises
        ------
        ValueError
            If MathJax does not understand the formula; the message is its own.
        RuntimeError
            If no browser is installed.
        """
        key = (tex, display)
        if key not in self._made:
            if self._page is None:
                self._start()
            made = self._page.evaluate("([tex, display]) => MathJax.tex2mml(tex, {display})", [tex, display])
            if "<merror" in made:
                problem = re.findall(r'data-mjx-error="([^"]*)"', made)
                raise ValueError(f"{html.unescape(problem[0]) if problem else 'not TeX'}: {tex}")
            self._made[key] = _clean(made, tex)
        return self._made[key]

    def _start(self) -> None:
        from playwright.sync_api import sync_playwright

        executable = next(filter(None, map(shutil.which, _BROWSERS)), None)
        if executable is None:
            raise RuntimeError("formulas become MathML in a browser, and none is installed: install chromium")
        self._playwright = sync_playwright().start()
        browser = self._playwright.chromium.launch(
            executable_path=executable,
            args=["--no-sandbox", "--disable-gpu", "--host-resolver-rules=MAP * ~NOTFOUND"],
        )
        self._page = browser.new_page()
        self._page.evaluate("window.MathJax = {startup: {typeset: false}}")
        self._page.add_script_tag(path=self.script)
        self._page.evaluate("MathJax.startup.promise")

    def close(self) -> None:
        """End the browser, if it was started."""
        if self._playwright is not None:
            self._playwright.stop()
        self._playwright = self._page = None


def _clean(made: str, tex: str) -> str:
    """Remove MathJax's notes to itself, which are no MathML, and add the formula's TeX."""
    # Formulas contain no text with an equals sign and quotes, so only attributes match.
    bare = re.sub(r'\s(data-[\w-]+|class)="[^"]*"', "", made)
    bare = re.sub(r">\s+<", "><", bare)
    bare = re.sub(r'<(m[ino]) mathvariant="([a-z-]+)">([^<]*)</m[ino]>', _spell_out, bare)
    return bare.replace("<math ", f'<math alttext="{html.escape(" ".join(tex.split()))}" ', 1)


def _spell_out(match: re.Match[str]) -> str:
    """Write styled letters as the characters that Unicode has for them: readers ignore ``mathvariant``."""
    tag, variant, text = match.groups()
    if variant in ("normal", "italic"):
        return match[0]
    styled = "".join(_styled(letter, variant) for letter in html.unescape(text))
    return f"<{tag}>{html.escape(styled)}</{tag}>"


def _styled(letter: str, variant: str) -> str:
    style = (
        variant.upper() if variant in ("double-struck", "sans-serif") else variant.upper().replace("-", " ")
    )
    name = re.sub(r"^(LATIN|GREEK) | LETTER", "", unicodedata.name(letter, ""))
    for full in (f"MATHEMATICAL {style} {name}", f"{style} {name}"):
        try:
            return unicodedata.lookup(full)
        except KeyError:
            continue
    return letter
