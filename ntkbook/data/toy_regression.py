"""Regression problems for pictures and for rates: a curve with a gap, the circle, the sphere."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy import special

from ntkbook._validation import as_float, check_count
from ntkbook.data.split import Array, Split, as_split, check_draws


def curve(
    n_train: int = 12,
    n_test: int = 200,
    *,
    gap: tuple[float, float] = (-0.2, 0.4),
    noise: float = 0.05,
    seed: int = 0,
) -> Split:
    r"""Return noisy points on a curve over [-1, 1], with an interval in which there are none.

    .. math::
        y = \sin(4x) + \tfrac{x}{2} + \varepsilon, \qquad \varepsilon \sim N(0, \text{noise}^2).

    Training inputs are spread evenly over what the gap leaves, each moved at random within its cell. Test
    inputs are a grid on [-1.25, 1.25] with the curve's values, without noise: between the points, in the
    gap, and beyond the data.

    Parameters
    ----------
    n_train, n_test : int
    gap : tuple of float
        Its ends, between -1 and 1; equal ends for no gap.
    noise : float
        Standard deviation.
    seed : int

    Returns
    -------
    Split
        Inputs (N, 1) in ascending order, targets (N, 1).

    Raises
    ------
    TypeError, ValueError
        If a number of points is no positive integer, the noise is negative, or the gap leaves nothing.

    Examples
    --------
    >>> from ntkbook import data
    >>> x = data.curve().x_train
    >>> x.shape, bool(((x < -0.2) | (x > 0.4)).all())
    (torch.Size([12, 1]), True)
    """
    check_draws(n_train, n_test, noise, seed)
    if not isinstance(gap, Sequence) or len(gap) != 2:
        raise ValueError(f"gap must be two numbers in ascending order, got {gap}; equal ones for no gap")
    low, high = (as_float("gap", end) for end in gap)
    width = 2 - (high - low)
    if not (-1 <= low <= high <= 1 and width > 0):
        raise ValueError(
            f"gap must be two numbers in ascending order that leave a part of [-1, 1], got {gap}"
        )
    rng = np.random.default_rng(seed)
    x = -1 + width * (np.arange(n_train) + rng.random(n_train)) / n_train
    x = np.where(x > low, x + (high - low), x)
    x_test = np.linspace(-1.25, 1.25, n_test)
    y, y_test = (np.sin(4 * v) + v / 2 for v in (x, x_test))
    return as_split(x[:, None], y + noise * rng.standard_normal(n_train), x_test[:, None], y_test)


def circle(
    n_train: int = 16,
    n_test: int = 256,
    *,
    frequencies: Sequence[int] = (1, 3),
    noise: float = 0.0,
    seed: int = 0,
) -> Split:
    r"""Return points on the unit circle with a sum of waves as targets.

    .. math::
        x = (\cos\theta, \sin\theta), \qquad y = \sqrt{2/m}\,\sum_{k} \cos(k\theta) + \varepsilon

    with one term for each of the m frequencies, so that y has unit mean square over the circle. Each wave
    is an eigenfunction of every kernel that depends on the angle between its inputs alone.

    Parameters
    ----------
    n_train, n_test : int
        Training angles are uniform at random; test angles go around evenly, from :math:`-\pi` on.
    frequencies : sequence of int
        Positive and distinct.
    noise : float
        Standard deviation, on the training targets alone.
    seed : int

    Returns
    -------
    Split
        Inputs (N, 2) of norm 1, targets (N, 1).

    Raises
    ------
    TypeError, ValueError
        If a number of points or a frequency is no positive integer, a frequency is repeated, or the noise
        is negative.

    Examples
    --------
    >>> from ntkbook import data
    >>> split = data.circle(n_train=8)
    >>> split.x_train.shape, round(float((split.y_test**2).mean()), 12)
    (torch.Size([8, 2]), 1.0)
    """
    check_draws(n_train, n_test, noise, seed)
    if not isinstance(frequencies, Sequence):
        raise TypeError(f"frequencies must be a sequence of integers, got {frequencies!r}; pass a tuple")
    waves = [check_count("frequencies", k) for k in frequencies]
    if not waves or len(set(waves)) < len(waves):
        raise ValueError(f"frequencies must be distinct, and at least one, got {tuple(frequencies)}")
    rng = np.random.default_rng(seed)
    angles = rng.uniform(-np.pi, np.pi, n_train)
    angles_test = -np.pi + 2 * np.pi * np.arange(n_test) / n_test
    x, x_test = (np.stack([np.cos(a), np.sin(a)], axis=1) for a in (angles, angles_test))
    size = math.sqrt(2 / len(waves))
    y, y_test = (size * np.cos(np.outer(a, waves)).sum(1) for a in (angles, angles_test))
    return as_split(x, y + noise * rng.standard_normal(n_train), x_test, y_test)


def sphere(
    n_train: int = 100,
    n_test: int = 1000,
    *,
    dimension: int = 10,
    degree: int = 1,
    noise: float = 0.0,
    seed: int = 0,
) -> Split:
    r"""Return uniform points on the unit sphere with a zonal harmonic as target.

    .. math::
        y = \frac{C_k^{(\alpha)}(x_1)}{\sqrt{C_k^{(\alpha)}(1)\,\alpha / (k + \alpha)}} + \varepsilon,
        \qquad \alpha = \tfrac d2 - 1,

    with the Gegenbauer polynomial of degree k; the root makes its mean square over the sphere 1. It is an
    eigenfunction of every kernel that depends on :math:`x \cdot x'` alone, and its eigenvalue tends to 0
    as the degree grows: a knob for how hard the target is.

    Parameters
    ----------
    n_train, n_test : int
    dimension : int
        d, at least 3.
    degree : int
        k, at least 1: 1 is linear.
    noise : float
        Standard deviation, on the training targets alone.
    seed : int

    Returns
    -------
    Split
        Inputs (N, d) of norm 1, targets (N, 1).

    Raises
    ------
    TypeError, ValueError
        If a number is no integer or too small, the noise is negative, or the harmonic overflows.

    Notes
    -----
    Source: Müller, Spherical Harmonics (1966).

    Examples
    --------
    >>> from ntkbook import data
    >>> split = data.sphere(n_train=50, dimension=4, degree=2)
    >>> squares = (split.x_train**2).sum(1)
    >>> split.x_train.shape, float(squares.max().round(decimals=12))
    (torch.Size([50, 4]), 1.0)
    """
    check_draws(n_train, n_test, noise, seed)
    check_count("dimension", dimension, 3)
    check_count("degree", degree)
    rng = np.random.default_rng(seed)
    x, x_test = (sphere_points(n, dimension, rng) for n in (n_train, n_test))
    alpha = dimension / 2 - 1
    at_pole = special.eval_gegenbauer(degree, alpha, 1.0)
    root = math.sqrt(at_pole * alpha / (degree + alpha))
    if not math.isfinite(root):
        raise ValueError(
            f"degree={degree} in dimension={dimension} has values beyond float64; take a lower degree"
        )
    y, y_test = (special.eval_gegenbauer(degree, alpha, v[:, 0]) / root for v in (x, x_test))
    return as_split(x, y + noise * rng.standard_normal(n_train), x_test, y_test)


def sphere_points(count: int, dimension: int, rng: np.random.Generator) -> Array:
    """Return points (count, dimension) drawn uniformly from the unit sphere."""
    draws: Array = rng.standard_normal((count, dimension))
    draws /= np.linalg.norm(draws, axis=1, keepdims=True)
    return draws
