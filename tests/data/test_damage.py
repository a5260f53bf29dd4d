"""A damaged excerpt of CIFAR-10, in 200 ways: the same images, or an error with a name."""

import random
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from ntkbook.data import DataError, cifar, cifar10_images

sys.path.append(str(Path(__file__).parents[1] / "gram"))
from damage import damage_file


def test_two_hundred_damaged_excerpts(tmp_path):
    draw, seen = np.random.default_rng(0), set()
    images = draw.integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
    for seed in range(200):
        folder = tmp_path / "data"
        folder.mkdir()
        np.savez_compressed(folder / cifar.EXCERPT, images=images, labels=np.arange(4, dtype=np.uint8))
        what = damage_file(folder / cifar.EXCERPT, random.Random(seed))
        try:
            got = cifar10_images(4, folder=folder, download=False)
            assert torch.equal(got.pixels, torch.from_numpy(images.transpose(0, 3, 1, 2).copy())), what
            assert got.labels.tolist() == [0, 1, 2, 3], what
            seen.add("same")
        except DataError:
            seen.add("named")
        except Exception as error:
            pytest.fail(f"seed {seed}: {what}: {error!r}")
        shutil.rmtree(folder)
    assert seen == {"same", "named"}
