"""One pytest run in a forked process: third-party modules are imported already, the package is not."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

# Examples of property tests must not depend on chance or on the machine's load.
_PROFILE = "mutation"
settings.register_profile(_PROFILE, derandomize=True, deadline=None, database=None)
_PLUGIN = "_hypothesis_pytestplugin"
_OPTIONS = ("-q", "-x", "-p", "no:cacheprovider", "-p", _PLUGIN, f"--hypothesis-profile={_PROFILE}")
_OUT_OF_TIME = (signal.SIGPROF, signal.SIGXCPU, signal.SIGKILL)
_MEMORY = 16 << 30  # bytes of address space: a mutant that asks for more is stopped, not the machine


@dataclass(eq=False)  # pytest keeps plugins in sets
class Selection:
    """The pytest plugin that runs the tests named in ``limits``, in that order, and remembers what failed.

    The limits are those of a test's CPU time in seconds; the process ends when one is exceeded.
    """

    limits: dict[str, float] | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    switch: Callable[[str], None] = lambda _: None

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        if self.limits is not None:
            ranks = {test: rank for rank, test in enumerate(self.limits)}
            items[:] = sorted((i for i in items if i.nodeid in ranks), key=lambda i: ranks[i.nodeid])

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        self.switch(item.nodeid)
        if self.limits is not None:
            signal.setitimer(signal.ITIMER_PROF, self.limits[item.nodeid])
        start = _cpu()
        yield
        self.seconds[item.nodeid] = _cpu() - start
        self.switch("")

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Iterator[None]:
        # What a fixture makes may serve all tests of the file, and not the first alone.
        self.switch(item.nodeid.partition("::")[0])
        yield
        self.switch(item.nodeid)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.failed.append(report.nodeid)
        elif report.skipped:
            self.skipped.append(report.nodeid)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.failed.append(f"import of {report.nodeid}")


def _cpu() -> float:
    """Return the CPU time of this process and of those it has waited for: independent of the load."""
    times = os.times()
    return sum(times[:4])


def run_pytest(root: Path, files: list[str], selection: Selection, *options: str) -> int:
    """Run the tests of ``files`` below ``root`` in this process and return pytest's exit status."""
    os.chdir(root)
    sys.path.insert(0, str(root))
    # The tests start processes of their own, which must find the same package.
    os.environ["PYTHONPATH"] = str(root)
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # importing them all takes longer than most tests
    status = pytest.main([*_OPTIONS, *options, *files], plugins=[selection])
    if status in (pytest.ExitCode.INTERNAL_ERROR, pytest.ExitCode.USAGE_ERROR):
        raise RuntimeError(f"pytest ended with {status!r} on {files}")
    return int(status)


class Ended(Exception):
    """The process gave no answer: it ran out of time, or its memory was damaged."""


def forked(work: Callable[[], Any], cpu_seconds: float) -> Any:
    """Return what ``work`` returns in a forked process, as JSON carries it; raise Ended if it never does."""
    reader, writer = os.pipe()
    sys.stdout.flush()
    process = os.fork()
    if process == 0:
        os.setsid()
        os.close(reader)
        _confine(int(cpu_seconds) + 1)
        try:
            answer = {"result": work()}
        except BaseException:
            answer = {"problem": traceback.format_exc()}
        with os.fdopen(writer, "w") as pipe:
            json.dump(answer, pipe)
        os._exit(0)
    os.close(writer)
    answer, status = _wait(reader, process, 20 * cpu_seconds + 60)
    if "problem" in answer:
        raise RuntimeError(answer["problem"])
    if "result" not in answer:
        crashed = os.WIFSIGNALED(status) and os.WTERMSIG(status) not in _OUT_OF_TIME
        raise Ended("crash" if crashed else "time")
    return answer["result"]


def _confine(cpu_seconds: int) -> None:
    """Silence this process, and limit its time and memory."""
    silence = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):
        os.dup2(silence, stream)
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds))
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))


def _wait(reader: int, process: int, wall_seconds: float) -> tuple[dict[str, Any], int]:
    """Return what the process writes until it ends, and its status; end all that it started."""
    pieces, deadline, status = [], time.monotonic() + wall_seconds, 0
    os.set_blocking(reader, False)
    while True:
        ended, status = os.waitpid(process, os.WNOHANG)
        with contextlib.suppress(BlockingIOError):
            while piece := os.read(reader, 1 << 20):
                pieces.append(piece)
        if ended or time.monotonic() > deadline:
            break
        time.sleep(0.02)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process, signal.SIGKILL)
    if not ended:
        _, status = os.waitpid(process, 0)
    os.close(reader)
    return json.loads(b"".join(pieces) or b"{}"), status
