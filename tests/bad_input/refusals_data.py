"""What the data sets refuse: counts, noise, seeds, names, labels, files."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import torch
from refusal import INF, NAN, Refusal

from ntkbook import data
from ntkbook.data import ChecksumError, DataError

TOYS = ("blobs", "circle", "curve", "moons", "single_index", "sparse_parity", "sphere", "spirals", "teacher")


@cache
def folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="bad-input-"))


def of_toys() -> Iterator[Refusal]:
    counts: list[tuple[Any, type[Exception], str]] = [
        (0, ValueError, "at least 1"),
        (-5, ValueError, "at least 1"),
        (2.0, TypeError, "an integer"),
        (True, TypeError, "an integer"),
        ("10", TypeError, "an integer"),
        (None, TypeError, "an integer"),
    ]
    for kind in TOYS:
        make = getattr(data, kind)
        for name in ("n_train", "n_test"):
            for value, error, remedy in counts:
                call = lambda make=make, kw={name: value}: make(**kw)  # noqa: E731
                yield Refusal(f"data.{kind}", name, call, error, f"got {value!r}", remedy)
        for seed, error, remedy in ((-1, ValueError, "at least 0"), (0.5, TypeError, "an integer")):
            call = lambda make=make, seed=seed: make(seed=seed)  # noqa: E731
            yield Refusal(f"data.{kind}", "seed", call, error, f"got {seed}", remedy)
        for noise, error, shown, remedy in (
            (-0.1, ValueError, "got -0.1", "not negative"),
            (NAN, ValueError, "got nan", "finite"),
            (INF, ValueError, "got inf", "finite"),
            ("0", TypeError, "got '0'", "pass a float"),
        ):
            if kind != "sparse_parity":
                call = lambda make=make, noise=noise: make(noise=noise)  # noqa: E731
                yield Refusal(f"data.{kind}", "noise", call, error, shown, remedy)


ROWS: list[tuple[str, str, Callable[[], object], type[Exception], str, str]] = [
    ("blobs", "n_classes", lambda: data.blobs(n_classes=1), ValueError, "got 1", "at least 2"),
    ("spirals", "n_classes", lambda: data.spirals(n_classes=1.5), TypeError, "1.5", "an integer"),
    ("spirals", "turns", lambda: data.spirals(turns=-1.0), ValueError, "-1.0", "not negative"),
    ("circle", "frequencies", lambda: data.circle(frequencies=()), ValueError, "()", "at least one"),
    ("circle", "frequencies", lambda: data.circle(frequencies=(1, 1)), ValueError, "(1, 1)", "distinct"),
    ("circle", "frequencies", lambda: data.circle(frequencies=(0,)), ValueError, "got 0", "at least 1"),
    ("circle", "frequencies", lambda: data.circle(frequencies=3), TypeError, "3", "a sequence"),
    ("curve", "gap", lambda: data.curve(gap=(0.5, 0.1)), ValueError, "(0.5, 0.1)", "ascending order"),
    ("curve", "gap", lambda: data.curve(gap=(-1.0, 1.0)), ValueError, "(-1.0, 1.0)", "leave a part"),
    ("curve", "gap", lambda: data.curve(gap=(NAN, 0.0)), ValueError, "nan", "two numbers"),
    ("curve", "gap", lambda: data.curve(gap=0.5), ValueError, "0.5", "two numbers"),
    ("sphere", "dimension", lambda: data.sphere(dimension=2), ValueError, "got 2", "at least 3"),
    ("sphere", "degree", lambda: data.sphere(degree=0), ValueError, "got 0", "at least 1"),
    ("single_index", "dimension", lambda: data.single_index(dimension=0), ValueError, "got 0", "at least 1"),
    ("single_index", "degree", lambda: data.single_index(degree=1.0), TypeError, "1.0", "an integer"),
    ("single_index", "degree", lambda: data.single_index(degree=400), ValueError, "400", "at most"),
    ("sphere", "degree", lambda: data.sphere(dimension=999, degree=999), ValueError, "=999", "lower"),
    ("teacher", "dimension", lambda: data.teacher(dimension=1), ValueError, "got 1", "at least 2"),
    ("teacher", "n_neurons", lambda: data.teacher(n_neurons=21), ValueError, "got 21", "dimension = 20"),
    (
        "sparse_parity",
        "dimension",
        lambda: data.sparse_parity(dimension=0),
        ValueError,
        "got 0",
        "at least 1",
    ),
    ("sparse_parity", "order", lambda: data.sparse_parity(order=31), ValueError, "got 31", "dimension = 30"),
    ("diabetes", "n_train", lambda: data.diabetes(442), ValueError, "got 442", "between 2 and 441"),
    ("diabetes", "n_train", lambda: data.diabetes(100.0), TypeError, "100.0", "an integer"),
    ("diabetes", "seed", lambda: data.diabetes(seed=-1), ValueError, "got -1", "at least 0"),
    ("digits", "n_train", lambda: data.digits(0), ValueError, "0 + 500", "at least 1"),
    ("digits", "n_train", lambda: data.digits("500"), TypeError, "'500'", "an integer"),
    ("digits", "n_test", lambda: data.digits(500, 1298), ValueError, "1298", "1797"),
    ("digits", "seed", lambda: data.digits(seed=0.5), TypeError, "0.5", "an integer"),
    ("mnist", "n_train", lambda: data.mnist(5000, 1), ValueError, "5000 + 1", "5000"),
    ("mnist", "n_train", lambda: data.mnist(1.5), TypeError, "1.5", "an integer"),
    ("mnist", "n_test", lambda: data.mnist(10, 0), ValueError, "got 0", "at least 1"),
    ("mnist", "seed", lambda: data.mnist(seed="0"), TypeError, "'0'", "an integer"),
    ("table", "name", lambda: data.table("irises"), ValueError, "'irises'", "'iris'"),
    ("table", "name", lambda: data.table(0), ValueError, "got 0", "'wine'"),
    (
        "Table.split",
        "n_train",
        lambda: data.table("iris").split(150),
        ValueError,
        "got 150",
        "between 2 and 149",
    ),
    ("Table.split", "n_train", lambda: data.table("iris").split(10.0), TypeError, "10.0", "an integer"),
    ("Table.split", "seed", lambda: data.table("iris").split(10, -1), ValueError, "got -1", "at least 0"),
    ("one_hot", "labels", lambda: data.one_hot([0, 1]), TypeError, "list", "torch.as_tensor(labels)"),
    (
        "one_hot",
        "labels",
        lambda: data.one_hot(torch.ones(2)),
        TypeError,
        "float32",
        "labels.to(torch.int64)",
    ),
    (
        "one_hot",
        "labels",
        lambda: data.one_hot(torch.ones(2) > 0),
        TypeError,
        "bool",
        "labels.to(torch.int64)",
    ),
    ("one_hot", "labels", lambda: data.one_hot(torch.ones(2, 1).long()), ValueError, "(2, 1)", "shape (N,)"),
    ("one_hot", "labels", lambda: data.one_hot(torch.ones(0).long()), ValueError, "(0,)", "at least 1"),
    (
        "one_hot",
        "labels",
        lambda: data.one_hot(torch.tensor([0, -1])),
        ValueError,
        "got -1 at index 1",
        "from 0",
    ),
    ("one_hot", "labels", lambda: data.one_hot(torch.tensor([3]), 3), ValueError, "got 3", "raise n_classes"),
    ("one_hot", "n_classes", lambda: data.one_hot(torch.tensor([0]), 2.0), TypeError, "2.0", "an integer"),
    ("one_hot", "scale", lambda: data.one_hot(torch.tensor([0]), scale=0), ValueError, "got 0", "positive"),
    (
        "one_hot",
        "dtype",
        lambda: data.one_hot(torch.tensor([0]), dtype=torch.int64),
        TypeError,
        "int64",
        "float64",
    ),
    ("cifar10", "n_train", lambda: data.cifar10(0), ValueError, "got 0", "at least 1"),
    ("cifar10", "n_test", lambda: data.cifar10(10, 1.5), TypeError, "1.5", "an integer"),
    (
        "cifar10",
        "test_part",
        lambda: data.cifar10(10, 10, test_part="dev"),
        ValueError,
        "'dev'",
        "'train', 'test'",
    ),
    ("cifar10", "dtype", lambda: data.cifar10(10, 10, dtype=torch.uint8), TypeError, "uint8", "float64"),
    (
        "cifar10",
        "folder",
        lambda: data.cifar10(10, 10, folder=folder(), download=False),
        DataError,
        "20",
        "NTKBOOK_DATA",
    ),
    ("cifar10_images", "count", lambda: data.cifar10_images(50_001), ValueError, "50,001", "50,000"),
    ("cifar10_images", "count", lambda: data.cifar10_images(True), TypeError, "True", "an integer"),
    ("cifar10_images", "part", lambda: data.cifar10_images(1, "dev"), ValueError, "'dev'", "'train', 'test'"),
    ("cifar10_images", "folder", lambda: data.cifar10_images(1, folder=3), TypeError, "3", "a path"),
    ("data_folder", "folder", lambda: data.data_folder(3), TypeError, "3", "a path"),
    ("fetch", "path", lambda: data.fetch("https://x", 3, "0" * 32), TypeError, "3", "a path"),
    ("fetch", "url", lambda: fetch("no address"), ValueError, "'no address'", "https://"),
    ("fetch", "url", lambda: fetch(3), TypeError, "3", "https://"),
    ("fetch", "md5", lambda: fetch(md5="abc"), ValueError, "'abc'", "32 hexadecimal digits"),
    ("fetch", "attempts", lambda: fetch(attempts=0), ValueError, "got 0", "at least 1"),
    ("fetch", "timeout", lambda: fetch(timeout=-1.0), ValueError, "got -1.0", "positive"),
    ("fetch", "timeout", lambda: fetch(timeout=None), TypeError, "None", "pass a float"),
    ("fetch", "md5:MD5", lambda: fetch_here("0" * 32), ChecksumError, "0" * 32, "remove it"),
]


def fetch(url: Any = "file:///nowhere", md5: str = "0" * 32, **options: Any) -> object:
    return data.fetch(url, folder() / "copy", md5, progress=False, **options)


def fetch_here(md5: str) -> object:
    """Fetch what is there already, and is another file."""
    (folder() / "there").write_bytes(b"some data")
    return data.fetch("file:///nowhere", folder() / "there", md5, progress=False)


REFUSALS = [*of_toys(), *(Refusal(f"data.{of}", *row) for of, *row in ROWS)]
