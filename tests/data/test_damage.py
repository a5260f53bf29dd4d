"""A damaged excerpt of CIFAR-10, in 200 ways and in rare ones: the same images, or an error with a name."""

import random
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from ntkbook.data import ChecksumError, DataError, cifar, cifar10_images

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


def _without_images(path):
    np.savez_compressed(path, labels=np.arange(4, dtype=np.uint8))


def _with_a_block_of_no_kind(path):
    whole = bytearray(path.read_bytes())
    headers = whole.index(b"PK\1\2")  # behind the last member's data
    begin = whole.rindex(b"PK\3\4", 0, headers)
    name, extra = (int.from_bytes(whole[begin + k : begin + k + 2], "little") for k in (26, 28))
    whole[begin + 30 + name + extra] = 0xFF
    path.write_bytes(whole)


def _with_a_mark(path, local, central, mark):
    """Set two bytes in both headers of each member."""
    whole = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\3\4", local), (b"PK\1\2", central)):
        at = whole.find(signature)
        while at >= 0:
            whole[at + offset : at + offset + 2] = mark
            at = whole.find(signature, at + 1)
    path.write_bytes(whole)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (_without_images, "KeyError"),
        (_with_a_block_of_no_kind, "invalid block type"),
        (lambda path: _with_a_mark(path, 6, 8, b"\1\0"), "encrypted"),
        (lambda path: _with_a_mark(path, 8, 10, b"\x63\0"), "compression method"),
    ],
    ids=["no images", "block", "encrypted", "method"],
)
def test_rare_damage_is_named(tmp_path, damage, reason):
    path = tmp_path / cifar.EXCERPT
    images = np.zeros((4, 32, 32, 3), dtype=np.uint8)
    np.savez_compressed(path, labels=np.arange(4, dtype=np.uint8), images=images)
    damage(path)
    with pytest.raises(ChecksumError, match=rf"damaged or another file \(.*{reason}"):
        cifar10_images(4, folder=tmp_path, download=False)


def test_an_excerpt_that_the_disk_cannot_read_is_named(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise OSError(5, "Input/output error")

    _without_images(tmp_path / cifar.EXCERPT)
    monkeypatch.setattr(cifar.np, "load", refuse)
    with pytest.raises(ChecksumError, match="Input/output error"):
        cifar10_images(4, folder=tmp_path, download=False)
