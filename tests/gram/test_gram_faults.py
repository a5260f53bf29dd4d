"""The engine dies or cannot write, at every moment there is: nothing is lost, nothing is computed twice."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

LIVES = Path(__file__).with_name("lives.py")


def lives(*arguments, around=()):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [*around, sys.executable, str(LIVES), *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_fifty_kills_in_one_run(tmp_path):
    # The last life compares the matrix with an undisturbed run's, bit for bit.
    result = lives("often", tmp_path, 0)
    assert len(result["lives"]) == 50
    for number, life in enumerate(result["lives"]):
        assert life["back"] == 0, f"life {number} lost tiles that were done: {life}"
        assert life["twice"] == 0, f"life {number} computed tiles that were done: {life}"
        assert life["lost"] <= 1, f"life {number} lost more than the tile in flight: {life}"
    assert sum(life["new"] for life in result["lives"]) > 10, "the kills fell on a run that went on"
    assert result["status"] == 0
    assert result["rest"] == result["missing"] > 0, "the last kill came before the end"


def test_a_kill_at_every_operation_on_a_file(tmp_path):
    points = lives("everywhere", tmp_path)["points"]
    assert len(points) > 40
    assert {9, 25} == {point["death"] for point in points}  # SIGKILL, and SIGXFSZ in the middle of a write
    assert {point["missing"] for point in points} == {1, 2, 3}
    for point in points:
        assert point["resumed"] == 0, point
        assert point["extra"] == 0, point


def test_a_disk_that_is_full_at_every_page_and_then_read_only(tmp_path):
    around = (
        "unshare",
        "--mount",
        "sh",
        "-c",
        'mount -t tmpfs -o size=160k none "$0" && exec "$@"',
        tmp_path,
    )
    if not shutil.which("unshare") or subprocess.run([*around, "true"], capture_output=True).returncode:
        pytest.skip("a file system of its own can be mounted by root on Linux only")
    result = lives("disk", tmp_path, around=around)
    kept = [each["kept"] for each in result["full"]]
    assert kept == sorted(kept)  # with more pages at least as many tiles
    assert {0, 1, 5} <= set(kept)  # of 6
    assert len(result["refusals"]) == 2  # a store to go on with, and a new one
    for refusal in result["refusals"]:
        assert "Read-only file system" in refusal
        assert "Nothing was computed" in refusal
