"""The built book, served on this machine, and a browser that can reach nothing else."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from site_pages import HTML, cannot_run, pages
from visit import Visit


@pytest.fixture(scope="session")
def html() -> Path:
    """The folder of the built pages."""
    if not (HTML / "index.html").exists():
        cannot_run("the book is not built: run `make book` first")
    return HTML


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Say nothing: what a page asks for in vain is reported by the page's visit."""


@pytest.fixture(scope="session")
def address(html: Path) -> Iterator[str]:
    """Serve the pages; fonts are not loaded from ``file://`` addresses."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=html))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Chromium; one for all tests of a worker. No name but this machine's address resolves in it."""
    from playwright.sync_api import Error, sync_playwright

    executable = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if executable is None:
        cannot_run("no browser is installed: `apt-get install chromium` (Debian), or put one on the PATH")
    with sync_playwright() as playwright:
        try:
            chromium = playwright.chromium.launch(
                executable_path=executable,
                args=[
                    "--no-sandbox",  # containers run the tests as root
                    "--disable-gpu",
                    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
                ],
            )
        except Error as problem:
            cannot_run(f"{executable} does not start: {problem}")
        yield chromium
        chromium.close()


@pytest.fixture
def blank(browser: Any) -> Iterator[Any]:
    """An empty page, to plant a fault in."""
    page = browser.new_page(viewport={"width": 400, "height": 800})
    yield page
    page.close()


@pytest.fixture(scope="session", params=[*pages(), "search", "genindex"])
def visit(request: Any, browser: Any, address: str) -> Iterator[Visit]:
    """One page of the book, opened once for all tests that look at it."""
    visit = Visit(browser, address, request.param)
    yield visit
    visit.close()


@pytest.fixture
def index(browser: Any, address: str) -> Iterator[Visit]:
    """The first page, opened anew."""
    visit = Visit(browser, address, "index")
    yield visit
    visit.close()
