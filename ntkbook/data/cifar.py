"""CIFAR-10: from a local file, or from its official address, verified either way."""

from __future__ import annotations

import pickle
import tarfile
import zipfile
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ntkbook._validation import check_choice, check_count, check_dtype
from ntkbook.data.files import ChecksumError, DataError, check_md5, data_folder, fetch, write_whole
from ntkbook.data.split import Split
from ntkbook.data.targets import one_hot

URL = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
ARCHIVE_MD5 = "c58f30108f718f92721af3b95e74349a"
FOLDER = "cifar-10-batches-py"
BATCH_SIZE = 10_000
# A pickle can run any code when it is read, so a batch is read only if it is the official one.
BATCH_MD5 = {
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "40351d587109b95175f43aff81a1287e",
}
# The first images of the training set in one compressed file, for machines without a network.
EXCERPT = "cifar10_first3000.npz"

# Of the 50,000 training images, per channel, pixels between 0 and 1.
MEAN = (0.4914, 0.4822, 0.4465)
STD = (0.2470, 0.2435, 0.2616)

_HOW_TO_GET = """{count:,} images of CIFAR-10's {part} set were not found in {folder}, and download=False.
One of these helps:
- call with download=True where there is a network ({url}, 163 MB);
- download that file elsewhere and copy it into this folder;
- set the environment variable NTKBOOK_DATA to a folder that holds {archive}, {batches}/, or, for the
  first images of the training set, {excerpt}."""


class Images(NamedTuple):
    """Raw images and their labels, on the CPU.

    Attributes
    ----------
    pixels : Tensor, shape (N, 3, 32, 32), uint8
        Red, green, blue.
    labels : Tensor, shape (N,), int64
        0 airplane, 1 automobile, 2 bird, 3 cat, 4 deer, 5 dog, 6 frog, 7 horse, 8 ship, 9 truck.
    """

    pixels: Tensor
    labels: Tensor


def cifar10(
    n_train: int = 2000,
    n_test: int = 1000,
    *,
    test_part: str = "train",
    dtype: torch.dtype = torch.float64,
    folder: str | Path | None = None,
    download: bool = True,
) -> Split:
    """Return CIFAR-10, standardized per channel, with zero-centered one-hot targets.

    The training rows are the first ``n_train`` images of the official training set. The test rows are the
    images after them, so that a small local file is enough and every machine has the same split;
    ``test_part="test"`` takes them from the official test set. An accuracy from 1,000 test images has a
    binomial standard error of about 1.6 points at 50%.

    Parameters
    ----------
    n_train, n_test : int
        Together at most 50,000; with ``test_part="test"`` at most 50,000 and 10,000.
    test_part : {"train", "test"}
        The official part that the test images come from.
    dtype : torch.dtype
        Of images and targets; an image takes 24 kB in float64.
    folder : str or Path, optional
        Where the files are, and where a download goes; see :func:`cifar10_images`.
    download : bool
        Fetch the official archive, 163 MB, if the images are not there.

    Returns
    -------
    Split
        Images (N, 3, 32, 32), targets (N, 10) of 0.9 and -0.1.

    Raises
    ------
    TypeError, ValueError
        If a number of rows is no integer or does not fit.
    DataError
        If the images cannot be had or are damaged; see :func:`cifar10_images`.

    Notes
    -----
    Channels are standardized with the mean and standard deviation of the whole training set.

    Source: Krizhevsky (2009).

    Examples
    --------
    >>> from ntkbook import data
    >>> split = data.cifar10(n_train=100, n_test=10)  # doctest: +SKIP
    >>> split.x_train.shape, split.y_test.shape  # doctest: +SKIP
    (torch.Size([100, 3, 32, 32]), torch.Size([10, 10]))
    """
    check_choice("test_part", test_part, ("train", "test"))
    check_count("n_train", n_train)
    check_count("n_test", n_test)
    check_dtype("dtype", dtype)
    first = n_train + (n_test if test_part == "train" else 0)
    pixels, labels = cifar10_images(first, folder=folder, download=download)
    if test_part == "test":
        more = cifar10_images(n_test, "test", folder=folder, download=download)
        pixels, labels = torch.cat([pixels, more.pixels]), torch.cat([labels, more.labels])
    mean, std = (torch.tensor(v, dtype=dtype)[:, None, None] for v in (MEAN, STD))
    x = (pixels.to(dtype) / 255 - mean) / std
    y = one_hot(labels, 10, centered=True, dtype=dtype)
    return Split(x[:n_train], y[:n_train], x[n_train:], y[n_train:])


def cifar10_images(
    count: int,
    part: str = "train",
    *,
    folder: str | Path | None = None,
    download: bool = True,
) -> Images:
    """Return the first images of CIFAR-10's training or test set as they are stored.

    They are looked for in the folder, in this order: the unpacked official batches
    ``cifar-10-batches-py/``; the official archive ``cifar-10-python.tar.gz``, which is unpacked beside
    itself; ``cifar10_first3000.npz``, arrays ``images`` (n, 32, 32, 3) and ``labels`` (n,) of uint8 with
    the first n images of the training set; and at last the network. Batches and archive are compared with
    their published MD5 before they are read.

    Parameters
    ----------
    count : int
        How many, at most 50,000 of the training set and 10,000 of the test set.
    part : {"train", "test"}
        The official part.
    folder : str or Path, optional
        Without it the environment variable ``NTKBOOK_DATA`` names the folder, and without that it is
        ``~/.cache/ntkbook``.
    download : bool
        Fetch the archive into the folder if the images are not there.

    Returns
    -------
    Images

    Raises
    ------
    TypeError, ValueError
        If ``count`` is no integer or too large.
    ChecksumError
        If a file is damaged, truncated or another one.
    DownloadError
        If there is no network, or the download breaks off.
    DataError
        If the images are not there and ``download=False``, with what to do; or if the folder cannot be
        written.

    Examples
    --------
    >>> from ntkbook import data
    >>> data.cifar10_images(5).labels  # doctest: +SKIP
    tensor([6, 9, 9, 4, 1])
    """
    check_choice("part", part, ("train", "test"))
    names = [n for n in BATCH_MD5 if n.startswith("data")] if part == "train" else ["test_batch"]
    size = BATCH_SIZE * len(names)
    if check_count("count", count) > size:
        raise ValueError(f"CIFAR-10 has {size:,} images in its {part} set, got count = {count:,}")
    names = names[: -(-count // BATCH_SIZE)]

    place = data_folder(folder)
    archive, excerpt = place / URL.rpartition("/")[2], place / EXCERPT
    missing = [name for name in names if not (place / FOLDER / name).is_file()]
    if missing and not archive.is_file():
        if part == "train" and excerpt.is_file():
            images = _read_excerpt(excerpt)
            if len(images.labels) >= count:
                return Images(*(tensor[:count] for tensor in images))
        if not download:
            names_of = {"archive": archive.name, "batches": FOLDER, "excerpt": EXCERPT}
            raise DataError(_HOW_TO_GET.format(count=count, part=part, folder=place, url=URL, **names_of))
        fetch(URL, archive, ARCHIVE_MD5)
    if missing:
        _unpack(archive, missing)
    batches = [_read_batch(place / FOLDER / name) for name in names]
    return Images(*(torch.cat(tensors)[:count] for tensors in zip(*batches, strict=True)))


def _unpack(archive: Path, names: list[str]) -> None:
    """Write the named batches of the archive into their folder beside it."""
    check_md5(archive, ARCHIVE_MD5)
    with tarfile.open(archive) as tar:
        for name in names:
            file = tar.extractfile(f"{FOLDER}/{name}")
            if file is None:
                raise ChecksumError(f"{archive} has no file {FOLDER}/{name}")
            write_whole(archive.parent / FOLDER / name, file.read())


def _read_batch(path: Path) -> Images:
    check_md5(path, BATCH_MD5[path.name])
    stored = pickle.loads(path.read_bytes(), encoding="bytes")
    pixels = np.ascontiguousarray(stored[b"data"]).reshape(-1, 3, 32, 32)
    return Images(torch.from_numpy(pixels), torch.tensor(stored[b"labels"], dtype=torch.int64))


def _read_excerpt(path: Path) -> Images:
    damage = (
        OSError,
        ValueError,
        KeyError,
        EOFError,
        RuntimeError,
        MemoryError,
        zipfile.BadZipFile,
        zlib.error,
    )
    try:
        with zipfile.ZipFile(path) as members:
            largest = max((member.file_size for member in members.infolist()), default=0)
        # A small file can unpack to more than there is memory.
        if largest > 5 * BATCH_SIZE * 32 * 32 * 3 + 4096:
            raise ValueError(f"it unpacks to {largest:,} bytes, more than all training images")
        with np.load(path, allow_pickle=False) as stored:
            pixels, labels = stored["images"], stored["labels"]
    except damage as error:
        raise ChecksumError(
            f"{path} is damaged or another file ({type(error).__name__}: {error}). It was left unchanged; "
            "restore it from a copy, or delete it to have CIFAR-10 downloaded"
        ) from error
    fits = pixels.dtype == np.uint8 and pixels.shape[1:] == (32, 32, 3) and labels.shape == pixels.shape[:1]
    if not (fits and labels.dtype.kind in "iu" and labels.min() >= 0 and labels.max() <= 9):
        raise ChecksumError(
            f"{path} must hold images (n, 32, 32, 3) of uint8 and labels (n,) from 0 to 9, got "
            f"{pixels.shape} of {pixels.dtype} and {labels.shape} of {labels.dtype}"
        )
    channels_first = np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))
    return Images(torch.from_numpy(channels_first), torch.from_numpy(labels.astype(np.int64)))
