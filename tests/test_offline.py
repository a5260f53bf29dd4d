"""`.ci/offline` shuts the network out, keeps the loopback, and says so where it can do neither."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

OFFLINE = Path(__file__).parents[1] / ".ci/offline"

# Of 192.0.2.0/24, which no network routes: with a way out the connection waits for an answer.
TRY = """
import errno, socket
with socket.create_server(("127.0.0.1", 0)) as server:
    socket.create_connection(server.getsockname(), timeout=5).close()
    print("loopback")
away = socket.socket()
away.settimeout(1)
print("away", errno.errorcode.get(away.connect_ex(("192.0.2.1", 80))))
raise SystemExit(7)
"""


def offline(*command, **environment):
    done = subprocess.run(
        [OFFLINE, *command], env={**os.environ, **environment}, capture_output=True, text=True, timeout=60
    )
    return done.returncode, done.stdout


def test_there_is_nothing_but_the_loopback():
    status, said = offline(sys.executable, "-c", TRY)
    assert status == 7
    if said.startswith("note: "):
        pytest.skip("this system allows no network of one's own")
    assert said.startswith("offline: ")
    assert said.endswith("loopback\naway ENETUNREACH\n")


def test_where_it_is_not_allowed_the_command_runs_and_nothing_is_claimed(tmp_path):
    (tmp_path / "unshare").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "unshare").chmod(0o755)
    status, said = offline("sh", "-c", "echo ran; exit 7", PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert status == 7
    assert said.startswith("note: ")
    assert "not proven" in said
    assert said.endswith("ran\n")


def test_continuous_integration_builds_the_book_in_it():
    lines = (OFFLINE.parent / "run").read_text().splitlines()
    steps = ["make install", ".ci/offline make book", "make test"]
    assert [line for line in lines if line in steps] == steps
