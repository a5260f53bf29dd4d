"""Data sets of the chapters, the same split every time."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor


class Split(NamedTuple):
    """Training and test data, as float64 tensors on the CPU.

    Attributes
    ----------
    x_train : Tensor, shape (N, d)
    y_train : Tensor, shape (N, K)
    x_test : Tensor, shape (M, d)
    y_test : Tensor, shape (M, K)
    """

    x_train: Tensor
    y_train: Tensor
    x_test: Tensor
    y_test: Tensor


def diabetes(n_train: int = 300, seed: int = 0) -> Split:
    """Return scikit-learn's diabetes data: 442 patients, 10 measurements, disease progression.

    Inputs and targets are standardized with the mean and standard deviation of the training part
    alone, so that nothing of the test part leaks into it.

    Parameters
    ----------
    n_train : int
        1 < n_train < 442; the other patients are the test set.
    seed : int
        Of the shuffle.

    Raises
    ------
    ValueError
        If ``n_train`` leaves no test patients or too few to standardize.
    ModuleNotFoundError
        If scikit-learn is missing, with the extra that installs it.

    Examples
    --------
    >>> from ntkbook import data
    >>> split = data.diabetes()
    >>> split.x_train.shape, split.y_test.shape
    (torch.Size([300, 10]), torch.Size([142, 1]))
    """
    x, y = _bundled("load_diabetes")
    order = _shuffle(len(x), n_train, seed)
    x_train, x_test = _standardize(x[order], n_train)
    y_train, y_test = _standardize(y[order, None], n_train)
    return Split(x_train, y_train, x_test, y_test)


def digits(n_train: int = 500, n_test: int = 500, seed: int | None = None) -> Split:
    """Return scikit-learn's 8 x 8 digits with zero-centered one-hot targets.

    Pixels are divided by 16. Targets are 0.9 for the class and -0.1 for the others, so that each
    row sums to 0.

    Parameters
    ----------
    n_train, n_test : int
        Together at most 1797. Without a seed the first rows train and the next ones test.
    seed : int, optional
        Shuffle first.

    Raises
    ------
    ValueError
        If the two parts do not fit into the data.
    ModuleNotFoundError
        If scikit-learn is missing, with the extra that installs it.

    Examples
    --------
    >>> from ntkbook import data
    >>> split = data.digits()
    >>> split.x_train.shape, split.y_train.shape, round(float(split.y_train[0].sum()), 12)
    (torch.Size([500, 64]), torch.Size([500, 10]), 0.0)
    """
    x, y = _bundled("load_digits")
    if n_train < 1 or n_test < 1 or n_train + n_test > len(x):
        raise ValueError(
            f"n_train + n_test must lie between 2 and {len(x)}, both at least 1; got {n_train} + {n_test}"
        )
    order = torch.arange(len(x)) if seed is None else _shuffle(len(x), n_train, seed)
    x, y = x[order] / 16, torch.nn.functional.one_hot(y[order].long(), 10).to(x.dtype) - 0.1
    end = n_train + n_test
    return Split(x[:n_train], y[:n_train], x[n_train:end], y[n_train:end])


def _bundled(loader: str) -> tuple[Tensor, Tensor]:
    try:
        from sklearn import datasets
    except ModuleNotFoundError as missing:
        raise ModuleNotFoundError(
            "this data set comes with scikit-learn; install it with: pip install 'ntkbook[sklearn]'"
        ) from missing
    x, y = getattr(datasets, loader)(return_X_y=True)
    return torch.from_numpy(np.array(x, dtype=np.float64)), torch.from_numpy(np.array(y, dtype=np.float64))


def _shuffle(size: int, n_train: int, seed: int) -> Tensor:
    if not 1 < n_train < size:
        raise ValueError(f"n_train must lie between 2 and {size - 1}, got {n_train}")
    return torch.from_numpy(np.random.default_rng(seed).permutation(size))


def _standardize(values: Tensor, n_train: int) -> tuple[Tensor, Tensor]:
    train = values[:n_train]
    scaled = (values - train.mean(0)) / train.std(0)
    return scaled[:n_train], scaled[n_train:]
