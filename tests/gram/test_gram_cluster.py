"""A real cluster of two worker processes: the same bits, also when one of them is killed in the middle."""

import os
import signal
import threading
import time
from pathlib import Path

import distributed
import pytest
import torch
from gram_cases import Logged, data, rbf

import ntkbook


@pytest.fixture(scope="module")
def client():
    here = str(Path(__file__).parent)
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None,
            env={"PYTHONPATH": os.pathsep.join([here, os.environ.get("PYTHONPATH", "")])},
        ) as cluster,
        distributed.Client(cluster) as client,
    ):  # fmt: skip
        yield client


def test_a_killed_worker_changes_nothing(client, tmp_path):
    expected = ntkbook.gram(rbf, data(), tile_size=4, progress=False)
    log = tmp_path / "log"

    def kill_one():
        while not log.exists() or log.read_text().count("\n") < 6:
            time.sleep(0.005)
        os.kill(int(log.read_text().split()[0]), signal.SIGKILL)

    killer = threading.Thread(target=kill_one)
    killer.start()
    result = ntkbook.gram(Logged(str(log), 0.05), data(), tile_size=4, client=client, progress=False)
    killer.join()
    assert torch.equal(result, expected)
    assert len(set(log.read_text().split())) >= 2  # both workers worked


def test_a_store_written_by_a_cluster_is_resumed_without(client, tmp_path):
    calls = tmp_path / "log"
    kernel = Logged(str(calls), 0)
    stored = ntkbook.gram(
        kernel, data(), data(9, seed=1), tile_size=4, store=tmp_path / "g", client=client, progress=False
    )
    count = calls.read_text().count("\n")
    again = ntkbook.gram(kernel, data(), data(9, seed=1), tile_size=4, store=tmp_path / "g", progress=False)
    assert calls.read_text().count("\n") == count
    assert torch.equal(again.tensor(), stored.tensor())
    assert torch.equal(
        again.tensor(), ntkbook.gram(rbf, data(), data(9, seed=1), tile_size=4, progress=False)
    )


def test_an_error_of_the_kernel_comes_back(client):
    with pytest.raises(ValueError, match="3 by 3"):
        ntkbook.gram(fails, data(), tile_size=4, client=client, progress=False)


def fails(a, b):
    raise ValueError("3 by 3")
