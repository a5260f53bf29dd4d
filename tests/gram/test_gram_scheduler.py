"""The scheduler of a cluster dies: the error says so and how to go on, and going on gives the same bits."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import distributed
import pytest
import torch
from gram_cases import Logged, data, rbf

import ntkbook
from ntkbook._gram_store import TileWriter
from ntkbook.gram import GramStoreError

TILES = 21  # 23 rows in tiles of 4, upper triangle
HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def start():
    """Start a cluster and return (process number of its scheduler, its address)."""
    path = os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])
    with subprocess.Popen(
        [sys.executable, str(HERE / "clusters.py")],
        env={**os.environ, "PYTHONPATH": path},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True,
    ) as host:  # fmt: skip

        def cluster():
            host.stdin.write("\n")
            host.stdin.flush()
            pid, address = host.stdout.readline().split()
            return int(pid), address

        yield cluster
        os.killpg(host.pid, signal.SIGKILL)


@pytest.fixture
def cluster(start):
    pid, address = start()
    # So long the client tries to find the scheduler again.
    with distributed.Client(address, timeout=2) as client:
        client.wait_for_workers(2, timeout=60)
        yield pid, client


def within(seconds, call):
    """Return what the call returned or raised; fail if it has not ended in time."""
    outcome = []

    def run():
        try:
            outcome.append(call())
        except BaseException as error:
            outcome.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    assert outcome, f"no end within {seconds} s"
    return outcome[0]


def compute(kernel, store, client=None):
    return ntkbook.gram(kernel, data(), tile_size=4, store=store, client=client, progress=False)


def wait_until(condition):
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)


def check_loss(error):
    assert isinstance(error, GramStoreError), repr(error)
    assert "the cluster's scheduler was lost" in str(error)
    assert "call ntkbook.gram again, with another client or without one" in str(error)


def check_resumed(log, kernel, store, written, client=None):
    log.write_text("")
    matrix = compute(kernel, store, client).tensor()
    assert torch.equal(matrix, ntkbook.gram(rbf, data(), tile_size=4, progress=False))
    assert log.read_text().count("\n") == TILES - written


@pytest.fixture
def written(monkeypatch):
    """Count the tiles that are written, and call ``at[n]`` after the n-th."""
    write, counted, at = TileWriter.write, [], {}

    def counting(self, *arguments):
        write(self, *arguments)
        counted.append(arguments[:2])
        at.get(len(counted), lambda: None)()

    monkeypatch.setattr(TileWriter, "write", counting)
    return counted, at


@pytest.mark.parametrize("noticed", ["at once", "connecting", "closed"])
def test_a_scheduler_killed_between_two_tiles(cluster, start, tmp_path, written, noticed):
    (pid, client), log = cluster, tmp_path / "log"
    kernel, (counted, at) = Logged(str(log), 0.01), written

    def kill():
        os.kill(pid, signal.SIGKILL)
        if noticed != "at once":
            wait_until(lambda: client.status == noticed)

    at[5] = kill
    check_loss(within(120, lambda: compute(kernel, tmp_path / "g", client)))
    assert 5 <= len(counted) < TILES
    at.clear()
    before = len(counted)
    if noticed == "at once":
        with distributed.Client(start()[1]) as other:
            check_resumed(log, kernel, tmp_path / "g", before, other)
    else:
        check_resumed(log, kernel, tmp_path / "g", before)


def test_a_scheduler_killed_while_the_workers_compute(cluster, tmp_path, written):
    (pid, client), log = cluster, tmp_path / "log"
    kernel, (counted, _) = Logged(str(log), 0.05), written

    def kill():
        wait_until(lambda: log.exists() and log.read_text().count("\n") > 8)
        os.kill(pid, signal.SIGKILL)

    threading.Thread(target=kill).start()
    check_loss(within(120, lambda: compute(kernel, tmp_path / "g", client)))
    assert 3 < len(counted) < TILES
    check_resumed(log, kernel, tmp_path / "g", len(counted))


@pytest.mark.parametrize("noticed", ["running", "connecting", "closed"])
def test_a_scheduler_killed_before_the_call(cluster, tmp_path, noticed):
    (pid, client), log = cluster, tmp_path / "log"
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: client.status == noticed)
    check_loss(within(120, lambda: compute(Logged(str(log), 0), tmp_path / "g", client)))
    check_resumed(log, Logged(str(log), 0), tmp_path / "g", 0)


def test_without_a_store_the_loss_is_named_as_well(cluster):
    pid, client = cluster
    os.kill(pid, signal.SIGKILL)
    check_loss(within(120, lambda: compute(rbf, None, client)))
