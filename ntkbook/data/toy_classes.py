"""Classes in the plane: two moons, spirals, clouds."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from ntkbook._validation import check_count, check_positive
from ntkbook.data.split import Array, Split, as_split, check_draws
from ntkbook.data.targets import one_hot


def moons(n_train: int = 100, n_test: int = 1000, *, noise: float = 0.15, seed: int = 0) -> Split:
    r"""Return two interleaved half circles with targets 1 and -1.

    The upper one has radius 1 and center (0, 0), the lower one radius 1 and center (1, 1/2); both
    coordinates carry Gaussian noise. The classes alternate, so each part is balanced.

    Parameters
    ----------
    n_train, n_test : int
    noise : float
        Standard deviation of each coordinate.
    seed : int

    Returns
    -------
    Split
        Inputs (N, 2), targets (N, 1).

    Raises
    ------
    TypeError, ValueError
        If a number of points is no positive integer, or the noise is negative.

    Examples
    --------
    >>> from ntkbook import data
    >>> data.moons(n_train=4).y_train.flatten()
    tensor([ 1., -1.,  1., -1.], dtype=torch.float64)
    """
    check_draws(n_train, n_test, noise, seed)

    def draw(count: int, rng: np.random.Generator) -> tuple[Array, Array]:
        sign: Array = np.where(np.arange(count) % 2, -1.0, 1.0)
        angle = rng.uniform(0, np.pi, count)
        lower = (sign < 0)[:, None] * np.array([1.0, 0.5])
        x = sign[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1) + lower
        return np.asarray(x + noise * rng.standard_normal((count, 2))), sign

    return _draw_both(n_train, n_test, seed, draw)


def spirals(
    n_train: int = 150,
    n_test: int = 1500,
    *,
    n_classes: int = 3,
    turns: float = 0.75,
    noise: float = 0.02,
    centered: bool = True,
    seed: int = 0,
) -> Split:
    r"""Return the arms of a spiral, one per class.

    .. math::
        x = r\,(\cos\varphi, \sin\varphi) + \varepsilon, \qquad
        \varphi = 2\pi\,(\text{turns}\cdot r + c / K), \qquad r \text{ uniform in } [0.1, 1],

    for class c of K. The classes take turns, so each part is balanced.

    Parameters
    ----------
    n_train, n_test : int
    n_classes : int
        K, at least 2.
    turns : float
        How far an arm winds; more is harder.
    noise : float
        Standard deviation of each coordinate.
    centered : bool
        Targets that sum to 0 for each point; otherwise plain one-hot, see :func:`one_hot`.
    seed : int

    Returns
    -------
    Split
        Inputs (N, 2), targets (N, K).

    Raises
    ------
    TypeError, ValueError
        If a number is no integer or too small, or ``noise`` or ``turns`` is negative.

    Examples
    --------
    >>> from ntkbook import data
    >>> split = data.spirals(n_train=6, centered=False)
    >>> split.y_train.argmax(1)
    tensor([0, 1, 2, 0, 1, 2])
    """
    check_draws(n_train, n_test, noise, seed)
    check_count("n_classes", n_classes, 2)
    check_positive("turns", turns, zero_allowed=True)

    def draw(count: int, rng: np.random.Generator) -> tuple[Array, Array]:
        labels = np.arange(count) % n_classes
        radius = rng.uniform(0.1, 1, count)
        angle = 2 * np.pi * (turns * radius + labels / n_classes)
        x = radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
        return x + noise * rng.standard_normal((count, 2)), _targets(labels, n_classes, centered)

    return _draw_both(n_train, n_test, seed, draw)


def blobs(
    n_train: int = 60,
    n_test: int = 1500,
    *,
    n_classes: int = 3,
    noise: float = 0.5,
    centered: bool = True,
    seed: int = 0,
) -> Split:
    r"""Return Gaussian clouds around points that are spread evenly over the unit circle, one per class.

    No classifier beats the nearest center, whose accuracy ``noise`` sets: for two classes it is
    :math:`\Phi(1 / \text{noise})`. The classes take turns, so each part is balanced.

    Parameters
    ----------
    n_train, n_test : int
    n_classes : int
        K, at least 2.
    noise : float
        Standard deviation of each coordinate.
    centered : bool
        Targets that sum to 0 for each point; otherwise plain one-hot, see :func:`one_hot`.
    seed : int

    Returns
    -------
    Split
        Inputs (N, 2), targets (N, K).

    Raises
    ------
    TypeError, ValueError
        If a number is no integer or too small, or the noise is negative.

    Examples
    --------
    >>> from ntkbook import data
    >>> split = data.blobs(n_train=9)
    >>> split.x_train.shape, split.y_train.shape
    (torch.Size([9, 2]), torch.Size([9, 3]))
    """
    check_draws(n_train, n_test, noise, seed)
    check_count("n_classes", n_classes, 2)

    def draw(count: int, rng: np.random.Generator) -> tuple[Array, Array]:
        labels = np.arange(count) % n_classes
        angle = 2 * np.pi * labels / n_classes
        centers = np.stack([np.cos(angle), np.sin(angle)], axis=1)
        return centers + noise * rng.standard_normal((count, 2)), _targets(labels, n_classes, centered)

    return _draw_both(n_train, n_test, seed, draw)


def _draw_both(
    n_train: int,
    n_test: int,
    seed: int,
    draw: Callable[[int, np.random.Generator], tuple[Array, Array]],
) -> Split:
    """Draw both parts from one stream, the training part first."""
    rng = np.random.default_rng(seed)
    x, y = draw(n_train, rng)
    x_test, y_test = draw(n_test, rng)
    return as_split(x, y, x_test, y_test)


def _targets(labels: NDArray[np.int64], n_classes: int, centered: bool) -> Array:
    return one_hot(torch.from_numpy(labels), n_classes, centered=centered).numpy()
