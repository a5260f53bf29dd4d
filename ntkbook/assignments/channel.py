"""JSON messages over a socket, with a deadline for each."""

from __future__ import annotations

import json
import socket
import time
from typing import Any

MAX_MESSAGE = 100 << 20


class ChannelError(Exception):
    """The other side is gone, late, or says what is no message."""


class Late(ChannelError):
    """The deadline passed."""


class Channel:
    """One end of a connection; a message is one line.

    Parameters
    ----------
    connection : socket.socket
        A stream.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._received = bytearray()

    def send(self, message: Any, seconds: float | None = None) -> None:
        """Send a message.

        Raises
        ------
        ChannelError
            If it cannot be sent in ``seconds``.
        """
        try:
            self._connection.settimeout(seconds)
            self._connection.sendall(json.dumps(message).encode() + b"\n")
        except TimeoutError:
            raise Late from None
        except OSError as error:
            raise ChannelError(str(error)) from None

    def receive(self, seconds: float | None = None) -> Any:
        """Return the next message.

        Raises
        ------
        ChannelError
            If none comes in ``seconds``, none will come, it is too long, or it is no JSON.
        """
        deadline = None if seconds is None else time.monotonic() + seconds
        start = 0
        while (end := self._received.find(b"\n", start)) < 0:
            start = len(self._received)
            if start > MAX_MESSAGE:
                raise ChannelError("a message is too long")
            self._received += self._more(deadline)
        line = bytes(self._received[:end])
        del self._received[: end + 1]
        try:
            return json.loads(line)
        except (ValueError, RecursionError):
            raise ChannelError("a message is not JSON") from None

    def _more(self, deadline: float | None) -> bytes:
        try:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                raise TimeoutError
            self._connection.settimeout(left)
            part = self._connection.recv(1 << 16)
        except TimeoutError:
            raise Late from None
        except OSError as error:
            raise ChannelError(str(error)) from None
        if not part:
            raise ChannelError("the connection is closed")
        return part

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()
