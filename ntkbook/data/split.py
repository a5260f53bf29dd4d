"""What every data set returns, and the shuffling and scaling that all of them share."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ntkbook._validation import check_count, check_positive, check_seed

Array = NDArray[np.float64]


class Split(NamedTuple):
    """Training and test data, as float64 tensors on the CPU.

    Attributes
    ----------
    x_train : Tensor, shape (N, d); images (N, C, H, W)
    y_train : Tensor, shape (N, K)
    x_test : Tensor, shape (M, d); images (M, C, H, W)
    y_test : Tensor, shape (M, K)
    """

    x_train: Tensor
    y_train: Tensor
    x_test: Tensor
    y_test: Tensor


def check_draws(n_train: int, n_test: int, noise: float, seed: int) -> None:
    """Require what every toy problem does: points in both parts, noise that is not negative, and a seed.

    Raises
    ------
    TypeError, ValueError
        Naming the argument and its value.
    """
    check_count("n_train", n_train)
    check_count("n_test", n_test)
    check_positive("noise", noise, zero_allowed=True)
    check_seed("seed", seed)


def check_rows(n_train: int, n_test: int, size: int) -> None:
    """Require two parts of at least one row each that fit into ``size`` rows.

    Raises
    ------
    TypeError, ValueError
        With both numbers and the size.
    """
    for name, count in (("n_train", n_train), ("n_test", n_test)):
        check_count(name, count, None)
    if n_train < 1 or n_test < 1 or n_train + n_test > size:
        raise ValueError(
            f"n_train + n_test must lie between 2 and {size}, both at least 1; got {n_train} + {n_test}"
        )


def shuffle(size: int, n_train: int, seed: int) -> Tensor:
    """Return a permutation of ``size`` rows, after checking that both parts get some.

    Raises
    ------
    TypeError, ValueError
        If fewer than 2 rows would train, or none test; or if a number is no integer or the seed negative.
    """
    check_count("n_train", n_train, None)
    check_seed("seed", seed)
    if not 1 < n_train < size:
        raise ValueError(f"n_train must lie between 2 and {size - 1}, got {n_train}")
    return torch.from_numpy(np.random.default_rng(seed).permutation(size))


def standardize(values: Tensor, n_train: int) -> tuple[Tensor, Tensor]:
    """Return both parts with the mean and standard deviation of the training part, per column.

    A column that is constant in the training part is only centered: it has no scale there to divide by.
    """
    train = values[:n_train]
    spread = train.std(0)
    spread = torch.where(train.max(0).values > train.min(0).values, spread, torch.ones_like(spread))
    scaled = (values - train.mean(0)) / spread
    return scaled[:n_train], scaled[n_train:]


def as_split(x_train: Array, y_train: Array, x_test: Array, y_test: Array) -> Split:
    """Return four NumPy arrays as a `Split`; targets of shape (N,) become (N, 1)."""
    x, x_test_, y, y_test_ = (
        torch.from_numpy(np.asarray(a, float)) for a in (x_train, x_test, y_train, y_test)
    )
    return Split(x, y.reshape(len(y), -1), x_test_, y_test_.reshape(len(y_test_), -1))
