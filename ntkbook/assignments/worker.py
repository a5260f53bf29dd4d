"""The process of one submission: ``python -m ntkbook.assignments.worker FD``.

It runs the notebook's cells and then calls the functions it is asked for. It knows neither the criteria nor
the right answers, which stay in the grader's process.
"""

from __future__ import annotations

import linecache
import os
import re
import signal
import socket
import sys
import traceback
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch  # loaded before the memory is limited

import ntkbook.assignments
from ntkbook.assignments.channel import Channel, ChannelError
from ntkbook.assignments.codec import CodecError, decode, encode
from ntkbook.assignments.limits import Limits, limit_this_process

_CELL = re.compile(r"<cell (\d+)>")


class TimeLimit(BaseException):
    """Raised in the submission's code when its time is over; not to be caught by ``except Exception``."""


def main() -> None:
    """Serve the grader until it closes the connection."""
    channel = Channel(socket.socket(fileno=int(sys.argv[1])))
    order = channel.receive()
    limits = Limits(**order["limits"])
    torch.set_num_threads(1)
    limit_this_process(limits)
    signal.signal(signal.SIGALRM, _stop)
    namespace = _new_main()
    errors = []
    for number, source in order["cells"]:
        channel.send({"running": number})
        fault = run_cell(source, number, namespace, limits.cell_seconds)
        if fault:
            errors.append([number, fault])
    channel.send({"ready": errors})
    while True:
        try:
            request = channel.receive()
        except ChannelError:
            return
        channel.send(_answer(request, namespace, channel, limits.call_seconds))


def _new_main() -> dict[str, Any]:
    """Return the namespace of a fresh ``__main__``, where ``check`` says nothing."""
    ntkbook.assignments.check = _no_check  # type: ignore[assignment]
    module = types.ModuleType("__main__")
    module.__dict__.update(display=_no_check, get_ipython=_no_check)
    sys.modules["__main__"] = module
    return module.__dict__


def _no_check(*_: object, **__: object) -> None:
    """Take the place of ``check`` and ``display``: the grader asks for itself."""


def run_cell(source: str, number: int, namespace: dict[str, Any], seconds: float) -> str:
    """Run one cell and return what went wrong, or an empty text; the next cells run all the same."""
    name = f"<cell {number}>"
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    try:
        with _alarm(seconds):
            exec(compile(source, name, "exec"), namespace)
    except TimeLimit:
        return f"stopped after {seconds:g} s"
    except BaseException as error:
        return f"{type(error).__name__}: {_short(error)} ({_place(error)})"
    return ""


def _answer(request: Any, namespace: dict[str, Any], channel: Channel, seconds: float) -> Any:
    name = request["call"]
    if name not in namespace:
        return {"missing": name}
    function = namespace[name]
    if not callable(function):
        return {"not a function": type(function).__name__}
    try:
        inputs = decode({"list": request["inputs"]}, lambda place: _borrowed(place, channel))
        with _alarm(seconds):
            value = function(*inputs)
            return {"value": encode(value)}
    except NotImplementedError:
        return {"not yet": name}
    except TimeLimit:
        return {"late": seconds}
    except CodecError as error:
        return {"unreadable": str(error)}
    except BaseException as error:
        return {"raised": [type(error).__name__, _short(error), _place(error)]}


def _borrowed(place: int, channel: Channel) -> Callable[..., object]:
    """Return a function that is evaluated in the grader's process."""

    def call(*inputs: object) -> object:
        channel.send({"use": place, "inputs": [encode(value) for value in inputs]})
        reply = channel.receive()
        if "value" not in reply:
            raise ValueError(reply["raised"])
        return decode(reply["value"])

    return call


@contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _stop(*_: object) -> None:
    raise TimeLimit


def _short(error: BaseException) -> str:
    try:
        return " ".join(str(error).split())[:300]
    except BaseException:  # the submission's own exception, with a __str__ that fails
        return ""


def _place(error: BaseException) -> str:
    if isinstance(error, SyntaxError) and error.lineno:
        return f"line {error.lineno}"
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        match = _CELL.fullmatch(frame.filename)
        if match:
            return f"cell {match[1]}, line {frame.lineno}"
    return "in a library"


def _stand_between() -> None:
    """Return in a child, whose parent is not the grader: a submission may kill its parent."""
    import resource

    child = os.fork()
    if child == 0:
        return
    os.close(int(sys.argv[1]))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code < 0:  # the grader sees the end that the submission had
        if -code not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


if __name__ == "__main__":
    _stand_between()
    main()
    os._exit(0)  # a submission's threads and exit handlers are not waited for
