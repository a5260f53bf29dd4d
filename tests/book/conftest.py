"""The built book, served on this machine."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from needs import cannot_run
from site_pages import HTML, pages
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


@pytest.fixture
def blank(browser: Any) -> Iterator[Any]:
    """An empty page, to plant a fault in."""
    page = browser.new_page(viewport={"width": 400, "height": 800})
    yield page
    page.close()


@pytest.fixture(scope="session", params=[*pages(), "search"])
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
