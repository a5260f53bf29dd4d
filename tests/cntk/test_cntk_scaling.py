"""The scaling of the fast engines: its window sums, and that it leaves the cores to the engine's threads."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ntkbook.cntk.reference import patch_sum
from ntkbook.cntk.scaling import _window_sums

# Torch's threads stay once they are started; those of the engine end with its call, a moment after Python
# has joined them.
_COUNT = """
import os, time, torch, ntkbook
def threads():
    counts = []
    for _ in range(20):
        counts.append(len(os.listdir("/proc/self/task")))
        time.sleep(0.02)
    return min(counts)
torch.set_num_threads(2)
images = torch.rand(3, 3, 32, 32)
before = threads()
ntkbook.cntk(images, depth=3)
after = threads()
torch.nn.functional.avg_pool2d(torch.ones(1, 1, 32, 32), 3)  # which does start one
print(after - before, threads() - after)
"""


@pytest.mark.parametrize("size", [1, 3, 5, 9])
@pytest.mark.parametrize("shape", [(1, 1), (3, 7), (8, 8)])
def test_window_sums_are_patch_sums(shape: tuple[int, int], size: int) -> None:
    values = torch.rand(shape, dtype=torch.float64)
    torch.testing.assert_close(
        _window_sums(values, size), patch_sum(values[None], size)[0], rtol=1e-13, atol=0
    )


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="threads are counted in /proc")
def test_engine_starts_no_thread_of_torch() -> None:
    environment = os.environ | {"OMP_NUM_THREADS": "2"}
    run = subprocess.run(
        [sys.executable, "-c", _COUNT], env=environment, capture_output=True, text=True, check=True
    )
    assert run.stdout.split() == ["0", "1"], run.stdout
