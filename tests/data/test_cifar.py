"""CIFAR-10 from every place it may lie in, and a clear word where it lies in none."""

import hashlib
import io
import os
import pickle
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch

from ntkbook.data import ChecksumError, DataError, DownloadError, cifar, cifar10, cifar10_images

SIZE = 20  # images a batch of the toy copy; the official ones have 10,000
RNG = np.random.default_rng(0)
PIXELS = {name: RNG.integers(0, 256, (SIZE, 3072), dtype=np.uint8) for name in cifar.BATCH_MD5}
LABELS = {name: RNG.integers(0, 10, SIZE).tolist() for name in cifar.BATCH_MD5}
# Protocol 2 and bytes as keys, as Python 2 wrote the official files.
BATCHES = {n: pickle.dumps({b"data": PIXELS[n], b"labels": LABELS[n]}, 2) for n in cifar.BATCH_MD5}
TRAIN = np.concatenate([PIXELS[n] for n in PIXELS if n != "test_batch"]).reshape(-1, 3, 32, 32)
EXCERPT_ROWS = 30

real = pytest.mark.skipif(
    not Path(os.environ.get("NTKBOOK_DATA", ""), cifar.EXCERPT).is_file(),
    reason=f"NTKBOOK_DATA names no folder with {cifar.EXCERPT}",
)


def archive_bytes():
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in BATCHES.items():
            info = tarfile.TarInfo(f"{cifar.FOLDER}/{name}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


ARCHIVE = archive_bytes()


@pytest.fixture
def official(monkeypatch, tmp_path):
    """Put a toy copy in the place of the official files; return the path of its archive."""
    source = tmp_path / "official" / "cifar-10-python.tar.gz"
    source.parent.mkdir()
    source.write_bytes(ARCHIVE)
    monkeypatch.setattr(cifar, "URL", source.as_uri())
    monkeypatch.setattr(cifar, "ARCHIVE_MD5", hashlib.md5(ARCHIVE).hexdigest())
    monkeypatch.setattr(cifar, "BATCH_MD5", {n: hashlib.md5(b).hexdigest() for n, b in BATCHES.items()})
    monkeypatch.setattr(cifar, "BATCH_SIZE", SIZE)
    return source


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("NTKBOOK_DATA", str(tmp_path / "data"))
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


def unpack(folder, *names):
    (folder / cifar.FOLDER).mkdir(exist_ok=True)
    for name in names or BATCHES:
        (folder / cifar.FOLDER / name).write_bytes(BATCHES[name])


def write_excerpt(folder, **arrays):
    images = TRAIN[:EXCERPT_ROWS].transpose(0, 2, 3, 1)
    labels = np.array((LABELS["data_batch_1"] + LABELS["data_batch_2"])[:EXCERPT_ROWS], dtype=np.uint8)
    np.savez_compressed(folder / cifar.EXCERPT, **{"images": images, "labels": labels, **arrays})
    return folder / cifar.EXCERPT


def prepare(place, folder, official):
    if place == "batches":
        unpack(folder)
    elif place == "archive":
        shutil.copy(official, folder)
    elif place == "excerpt":
        write_excerpt(folder)


@pytest.mark.parametrize("place", ["batches", "archive", "excerpt", "network"])
def test_the_images_are_the_same_from_every_place(official, folder, place):
    prepare(place, folder, official)
    images = cifar10_images(25)
    assert images.pixels.dtype == torch.uint8
    assert np.array_equal(images.pixels.numpy(), TRAIN[:25])
    assert images.labels.tolist() == (LABELS["data_batch_1"] + LABELS["data_batch_2"])[:25]


def test_only_the_batches_that_are_needed_are_read(official, folder):
    unpack(folder, "data_batch_1")
    assert len(cifar10_images(SIZE).labels) == SIZE
    assert not (folder / official.name).exists()
    assert len(cifar10_images(SIZE + 1).labels) == SIZE + 1  # fetches the archive for the second
    unpacked = {p.name for p in (folder / cifar.FOLDER).iterdir()}
    assert unpacked == {"data_batch_1", "data_batch_2"}


def test_the_test_part_comes_from_its_own_batch(official, folder):
    unpack(folder)
    assert np.array_equal(cifar10_images(SIZE, "test").pixels.flatten(1).numpy(), PIXELS["test_batch"])
    split = cifar10(5, 7, test_part="test")
    follows = cifar10(5, 7)
    assert torch.equal(split.x_train, follows.x_train)
    assert split.y_test.argmax(1).tolist() == LABELS["test_batch"][:7]
    assert follows.y_test.argmax(1).tolist() == LABELS["data_batch_1"][5:12]


def test_channels_are_standardized_and_targets_sum_to_zero(official, folder):
    unpack(folder)
    split = cifar10(30, 10)
    assert split.x_train.shape == (30, 3, 32, 32)
    assert split.x_test.dtype == split.y_test.dtype == torch.float64
    for channel, (mean, std) in enumerate(zip(cifar.MEAN, cifar.STD, strict=True)):
        expected = (TRAIN[:30, channel] / 255.0 - mean) / std
        assert np.allclose(split.x_train[:, channel].numpy(), expected, rtol=1e-13, atol=1e-13)
    assert torch.allclose(split.y_train.sum(1), torch.zeros(30).double(), atol=1e-15)
    assert cifar10(3, 3, dtype=torch.float32).x_train.dtype == torch.float32


def test_nowhere_and_no_download_says_how_to_get_it(official, folder):
    with pytest.raises(DataError, match="NTKBOOK_DATA") as caught:
        cifar10_images(5, download=False)
    for word in (str(folder), official.as_uri(), cifar.EXCERPT, "5 images of CIFAR-10's train set"):
        assert word in str(caught.value)
    write_excerpt(folder)
    with pytest.raises(DataError, match="31 images"):
        cifar10_images(EXCERPT_ROWS + 1, download=False)
    with pytest.raises(DataError, match="test set"):
        cifar10_images(1, "test", download=False)
    assert len(cifar10_images(EXCERPT_ROWS, download=False).labels) == EXCERPT_ROWS


def test_nowhere_and_no_network_is_named(official, folder):
    official.unlink()
    with pytest.raises(DownloadError, match="copy the file"):
        cifar10(5, 5)


def test_a_wrong_download_leaves_nothing(official, folder):
    official.write_bytes(ARCHIVE[:-100])
    with pytest.raises(ChecksumError, match="it was removed"):
        cifar10_images(5)
    assert [p.name for p in folder.iterdir() if p.suffix != ".lock"] == []


def test_a_truncated_archive_is_named_before_it_is_unpacked(official, folder):
    (folder / official.name).write_bytes(ARCHIVE[:-100])
    with pytest.raises(ChecksumError, match=r"tar\.gz .* is damaged"):
        cifar10_images(5)
    assert not (folder / cifar.FOLDER).exists()


@pytest.mark.parametrize("keep", [100, -1])
def test_a_damaged_batch_is_not_unpickled(official, folder, monkeypatch, keep):
    unpack(folder)
    path = folder / cifar.FOLDER / "data_batch_1"
    path.write_bytes(BATCHES["data_batch_1"][:keep])
    monkeypatch.setattr(cifar.pickle, "loads", lambda *_, **__: pytest.fail("unpickled"))
    with pytest.raises(ChecksumError, match=r"data_batch_1 .* is damaged or another file"):
        cifar10_images(5)


@pytest.mark.parametrize("damage", ["truncated", "bit", "empty", "text"])
def test_a_damaged_excerpt_is_named(folder, damage):
    path = write_excerpt(folder)
    whole = bytearray(path.read_bytes())
    if damage == "bit":
        whole[len(whole) // 2] ^= 1
    content = {"truncated": whole[:-200], "empty": b"", "text": b"no archive"}.get(damage, whole)
    path.write_bytes(content)
    with pytest.raises(ChecksumError, match=rf"{cifar.EXCERPT} is damaged or another file"):
        cifar10_images(5)


@pytest.mark.parametrize(
    "arrays",
    [
        {"images": TRAIN[:EXCERPT_ROWS]},  # channels first
        {"images": TRAIN[:EXCERPT_ROWS].transpose(0, 2, 3, 1).astype(np.float32)},
        {"labels": np.zeros(EXCERPT_ROWS - 1, dtype=np.uint8)},
        {"labels": np.full(EXCERPT_ROWS, 10, dtype=np.uint8)},
        {"labels": np.zeros(EXCERPT_ROWS)},
    ],
    ids=["channels", "dtype", "length", "range", "kind"],
)
def test_an_excerpt_of_another_make_is_named(folder, arrays):
    write_excerpt(folder, **arrays)
    with pytest.raises(ChecksumError, match="must hold images"):
        cifar10_images(5)


def test_an_excerpt_is_never_unpickled(folder):
    write_excerpt(folder, images=np.array([{}], dtype=object))
    with pytest.raises(ChecksumError, match="damaged or another file"):
        cifar10_images(5)


def test_a_folder_that_cannot_be_written_is_named(official, tmp_path):
    (tmp_path / "a file").write_text("")
    with pytest.raises(DataError, match=r"cannot read or write .*a file"):
        cifar10_images(5, folder=tmp_path / "a file")


def test_a_file_where_the_batches_should_be_is_named(official, folder):
    (folder / cifar.FOLDER).write_text("")
    with pytest.raises(DataError, match=rf"cannot read or write .*{cifar.FOLDER}"):
        cifar10_images(5)


def test_a_disk_that_fills_while_unpacking_leaves_no_half_batch(official, folder, monkeypatch):
    def half(self, content):
        assert self.name not in BATCHES  # a batch under its own name is whole, even after a kill
        with self.open("wb") as file:
            file.write(content[: len(content) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", half)
    with pytest.raises(DataError, match="the disk is full"):
        cifar10_images(5)
    monkeypatch.undo()
    assert list((folder / cifar.FOLDER).iterdir()) == []


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: cifar10_images(50_001), ValueError, "50,000 images in its train set, got count = 50,001"),
        (lambda: cifar10_images(10_001, "test"), ValueError, "10,000 images in its test set"),
        (lambda: cifar10_images(0), ValueError, "count must be at least 1"),
        (lambda: cifar10_images(1.5), TypeError, "count must be an integer"),
        (lambda: cifar10_images(5, "validation"), ValueError, "'train', 'test'; got 'validation'"),
        (lambda: cifar10(40_000, 10_001), ValueError, "50,001"),
        (lambda: cifar10(5, 5, test_part="dev"), ValueError, "test_part"),
        (lambda: cifar10(0), ValueError, "n_train"),
        (lambda: cifar10(5, True), TypeError, "n_test"),
    ],
)
def test_numbers_that_do_not_fit_are_named_before_any_file_is_opened(call, error, message):
    with pytest.raises(error, match=message):
        call()


@real
def test_the_excerpt_is_cifar10():
    images = cifar10_images(3000, download=False)
    # The first labels and the first pixel's color are those the official training set is known to have.
    assert images.labels[:10].tolist() == [6, 9, 9, 4, 1, 1, 2, 7, 8, 3]
    assert images.pixels[0, :, 0, 0].tolist() == [59, 62, 63]
    # The mean of 3,000 images is within 4 standard errors of the whole set's; images vary by about 0.12.
    means = (images.pixels.double() / 255).mean((0, 2, 3))
    assert torch.allclose(means, torch.tensor(cifar.MEAN).double(), atol=4 * 0.13 / 3000**0.5)
