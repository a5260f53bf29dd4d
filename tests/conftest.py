"""What all tests share."""

import os
import shutil
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from needs import cannot_run


@pytest.fixture(autouse=True)
def _one_thread_each():
    # pytest-xdist runs one process per core; more threads than that only fight for the cores.
    if "PYTEST_XDIST_WORKER" in os.environ:
        torch.set_num_threads(1)


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Chromium, where no name but this machine's address resolves; one for all tests of a worker.

    Playwright refuses to start a second one in the same process.
    """
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
