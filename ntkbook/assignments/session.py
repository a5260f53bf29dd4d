"""A submission's process, seen from the grader: started, asked, and started again when it dies."""

from __future__ import annotations

import os
import signal
import site
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any

import ntkbook
from ntkbook.assignments.asking import NOT_YET, not_a_function, raised
from ntkbook.assignments.channel import Channel, ChannelError, Late
from ntkbook.assignments.codec import CodecError, decode, encode
from ntkbook.assignments.limits import Limits
from ntkbook.assignments.questions import Miss, Unanswered

GRACE = 5.0  # seconds between the alarm inside the process and the end of the process
START = 60.0  # seconds to load Python and torch on a busy machine


class Session:
    """The process that runs one submission; a context manager that leaves nothing of its group running.

    The process has its own session, its own empty folder as home and working directory, few environment
    variables, and the limits. A cell that kills it is left out when it is started again.

    Parameters
    ----------
    cells : sequence of (int, str)
        Number and source of each code cell.
    limits : Limits
    """

    def __init__(self, cells: Sequence[tuple[int, str]], limits: Limits) -> None:
        self.errors: dict[int, str] = {}
        self._cells = list(cells)
        self._limits = limits
        self._deadline = time.monotonic() + limits.total_seconds
        self._starts = 0
        self._folder = tempfile.TemporaryDirectory(prefix="submission-", ignore_cleanup_errors=True)
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: Channel | None = None

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._kill()
        self._folder.cleanup()

    def start(self) -> None:
        """Start the process, run the cells and note in ``errors`` what went wrong in which.

        Raises
        ------
        Miss
            If the process died too often, or the time is up.
        """
        while self._channel is None:
            if self._starts > self._limits.restarts:
                raise Miss("The notebook's process died too often to be started again.")
            self._starts += 1
            running, left = None, START
            try:
                channel = self._launch()
                while True:
                    message = channel.receive(self._within(left))
                    if "ready" in message:
                        self.errors.update({int(cell): str(text)[:500] for cell, text in message["ready"]})
                        break
                    running = int(message["running"])
                    left = self._limits.cell_seconds + GRACE
            except (ChannelError, KeyError, TypeError, ValueError) as fault:
                why = self._death(fault, left)
                if running is None:
                    raise Miss(f"The process did not start: {why}.") from None
                self.errors[running] = why
                self._cells = [(number, source) for number, source in self._cells if number != running]

    def call(self, name: str, inputs: Sequence[object]) -> object:
        """Return the decoded value of a function that the notebook defines.

        Raises
        ------
        Miss
            With what went wrong; `Unanswered` if the function is missing or says so.
        """
        self.start()
        functions: list[Callable[..., object]] = []
        encoded = [encode(value, functions) for value in inputs]
        seconds = self._limits.call_seconds + GRACE
        try:
            reply = self._exchange({"call": name, "inputs": encoded}, functions, seconds)
        except (ChannelError, KeyError, TypeError, ValueError, IndexError) as fault:
            raise Miss(f"Your function was stopped: {self._death(fault, seconds)}.") from None
        return _read(reply)

    def _exchange(self, request: Any, functions: list[Callable[..., object]], seconds: float) -> Any:
        channel, end = self._channel, time.monotonic() + seconds
        if channel is None:
            raise ChannelError("the process is gone")
        channel.send(request, self._within(seconds))
        while True:
            reply = channel.receive(self._within(end - time.monotonic()))
            if "use" not in reply:
                return reply
            function = functions[int(reply["use"])]
            try:
                value = function(*(decode(part) for part in reply["inputs"]))
                answer = {"value": encode(value)}
            except Exception as error:  # the submission passed what the formula cannot take
                answer = {"raised": f"{type(error).__name__}: {error}"}
            channel.send(answer, self._within(end - time.monotonic()))

    def _launch(self) -> Channel:
        ours, theirs = socket.socketpair()
        home = self._folder.name
        os.makedirs(home, exist_ok=True)  # the submission may have removed it
        environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "LANG": "C.UTF-8",
            "HOME": home,
            "TMPDIR": home,
            "MPLBACKEND": "Agg",
            "MPLCONFIGDIR": home,
            "OMP_NUM_THREADS": "1",
            "CUDA_VISIBLE_DEVICES": "",
            "PYTHONPATH": str(Path(ntkbook.__file__).parents[1]),
            "PYTHONUSERBASE": site.getuserbase(),
        }
        if folder := os.environ.get("NTKBOOK_DATA"):
            environment["NTKBOOK_DATA"] = os.path.abspath(folder)
        with theirs, open(Path(home) / "output.txt", "ab") as output:
            self._process = subprocess.Popen(
                # -P: no module from the working directory, where the submission can write.
                [sys.executable, "-P", "-m", "ntkbook.assignments.worker", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=home,
                env=environment,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )
        self._channel = Channel(ours)
        self._channel.send({"limits": asdict(self._limits), "cells": self._cells}, self._within(START))
        return self._channel

    def _within(self, seconds: float) -> float:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise Late
        return max(min(seconds, left), 1e-3)

    def _death(self, fault: Exception, seconds: float) -> str:
        """End the process and say why it had to end."""
        code = None if self._process is None or isinstance(fault, Late) else self._exit_code()
        self._kill()
        if time.monotonic() >= self._deadline:
            return f"the submission used up its {self._limits.total_seconds:g} s"
        if isinstance(fault, Late):
            return f"no answer within {seconds:g} s"
        if code is not None and code < 0:
            name = signal.Signals(-code).name
            hints = {"SIGXCPU": ", its processor time was over", "SIGKILL": ", perhaps for its memory"}
            return f"the process died by {name}{hints.get(name, '')}"
        if code is not None:
            return f"the process ended itself with status {code}"
        return "the process sent what is no answer"

    def _exit_code(self) -> int | None:
        if self._process is not None:
            with suppress(subprocess.TimeoutExpired):
                return self._process.wait(timeout=1.0)
        return None

    def _kill(self) -> None:
        if self._channel is not None:
            self._channel.close()
            self._channel = None
        if self._process is not None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None


class RemoteAnswer:
    """A function of a submission, by its name.

    Parameters
    ----------
    session : Session
    name : str
    """

    def __init__(self, session: Session, name: str) -> None:
        self._session, self._name = session, name

    def call(self, inputs: Sequence[object]) -> object:
        """Return the function's value as decoded plain data, or raise `Miss` with what went wrong."""
        return self._session.call(self._name, inputs)


def _read(reply: Any) -> object:
    """Return the value of a reply, or raise what it stands for; the reply need not be honest."""
    try:
        kind, content = next(iter(reply.items()))
        if kind == "value":
            return decode(content)
        if kind == "raised":
            raise Miss(raised(*(str(part)[:300] for part in content)))
        if kind == "late":
            raise Miss(f"Your function had not finished after {float(content):g} s.")
        text = str(content)[:300]
    except (CodecError, AttributeError, StopIteration, TypeError, ValueError):
        raise Miss("Your function's value cannot be read.") from None
    if kind == "not yet":
        raise Unanswered(NOT_YET)
    if kind == "missing":
        raise Unanswered(f"Not answered: the notebook defines no {text}.")
    if kind == "not a function":
        raise Miss(not_a_function(text))
    raise Miss(f"Your function's value cannot be read: {text}.")
