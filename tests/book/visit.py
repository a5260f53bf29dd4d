"""A page of the book, opened in the browser, with a record of everything that went wrong meanwhile."""

from __future__ import annotations

from typing import Any

# The two sizes that every page is read at: a laptop and a phone.
WIDTHS = (1280, 400)
THEMES = ("light", "dark")


class Visit:
    """Open a page, wait until its formulas are set, and note errors, warnings and lost requests.

    Attributes
    ----------
    name : str
        The page's name, without ``.html``.
    page
        Playwright's page.
    faults : list of str
        What the console complained of, what could not be loaded, what was asked of another host.
    """

    def __init__(self, browser: Any, address: str, name: str) -> None:
        self.name = name
        self.faults: list[str] = []
        # Readers who ask for less motion get none, and the tests need not wait for it.
        self._context = browser.new_context(
            viewport={"width": WIDTHS[0], "height": 900}, reduced_motion="reduce"
        )
        self.page = self._context.new_page()
        self.page.set_default_timeout(10_000)
        # A chapter with a hundred formulas takes its time on a machine that is busy.
        self.page.set_default_navigation_timeout(60_000)
        self.page.on("console", self._on_console)
        self.page.on("pageerror", lambda error: self.faults.append(f"error in a script: {error}"))
        self.page.on("requestfailed", lambda request: self.faults.append(f"not loaded: {request.url}"))
        self.page.on("request", lambda request: self._on_request(address, request.url))
        self.page.goto(f"{address}/{name}.html")
        self.settle()

    def settle(self) -> None:
        """Wait until MathJax has set the formulas, where the page has any."""
        self.page.evaluate("window.MathJax?.startup?.promise?.then(() => null)")
        # book.js looks at the boxes after that; two frames later the layout stands.
        self.wait_for_layout()

    def wait_for_layout(self) -> None:
        """Wait until fonts are there, nothing moves, and two frames have been drawn."""
        # What was just unfolded may ask for fonts that no formula needed before, and the theme's sidebars
        # glide to their places when the window's width changes.
        self.page.evaluate("""async () => {
            const frame = () => new Promise(done => requestAnimationFrame(done));
            const lasting = motion => motion.effect.getComputedTiming().endTime === Infinity;
            await frame();
            await frame();
            await document.fonts.ready;
            const motions = document.getAnimations().filter(motion => !lasting(motion));
            // Not by their promises: Chromium leaves that of a hidden button's colour open for ever.
            while (motions.some(motion => motion.playState === "running")) await frame();
            await frame();
            await frame();
        }""")

    def show(self, theme: str = "light", width: int = WIDTHS[0]) -> None:
        """Show the page as a reader with this preference and this window sees it, solutions unfolded."""
        self.page.emulate_media(color_scheme=theme, reduced_motion="reduce")
        self.page.set_viewport_size({"width": width, "height": 900})
        self.page.wait_for_function("theme => document.documentElement.dataset.theme === theme", arg=theme)
        self.page.evaluate("document.querySelectorAll('.toggle-button-hidden').forEach(box => box.click())")
        self.wait_for_layout()

    def close(self) -> None:
        """Close the page and all that belongs to it."""
        self._context.close()

    def _on_console(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.faults.append(f"console {message.type}: {message.text}")

    def _on_request(self, address: str, url: str) -> None:
        if not url.startswith((address, "data:", "blob:")):
            self.faults.append(f"asked of another host: {url}")
