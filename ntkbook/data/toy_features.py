"""Targets that depend on a few directions of many, which a network can find and a fixed kernel cannot.

The directions are always the first coordinates. A network whose first layer is dense and Gaussian, and its
kernels, treat every rotation of the inputs alike (sparse parity: every permutation), so nothing is lost,
and a chapter can look at how strongly the first coordinates of the weights have grown.
"""

from __future__ import annotations

import math

import numpy as np
from scipy import special

from ntkbook._validation import check_count
from ntkbook.data.split import Split, as_split, check_draws
from ntkbook.data.toy_regression import sphere_points


def teacher(
    n_train: int = 200,
    n_test: int = 1000,
    *,
    dimension: int = 20,
    n_neurons: int = 3,
    noise: float = 0.0,
    seed: int = 0,
) -> Split:
    r"""Return uniform points on the unit sphere, labelled by a small ReLU network.

    .. math::
        y = \frac1s \sum_{j=1}^{m} (-1)^{j+1}\,\max(x_j, 0) + \varepsilon,

    a teacher of m neurons whose weights are the first m unit vectors and whose signs alternate; s is the
    root of the sum's mean square over the sphere.

    Parameters
    ----------
    n_train, n_test : int
    dimension : int
        d, at least 2.
    n_neurons : int
        m, at most d.
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
        If a number is no integer or out of range, or the noise is negative.

    Notes
    -----
    The setting of Chizat, Oyallon and Bach (2019), section 3.1.

    Examples
    --------
    >>> from ntkbook import data
    >>> data.teacher(n_train=30, dimension=5, n_neurons=2).x_train.shape
    torch.Size([30, 5])
    """
    check_draws(n_train, n_test, noise, seed)
    check_count("dimension", dimension, 2)
    if check_count("n_neurons", n_neurons) > dimension:
        raise ValueError(f"n_neurons must be at most dimension = {dimension}, got {n_neurons}")
    rng = np.random.default_rng(seed)
    x, x_test = (sphere_points(n, dimension, rng) for n in (n_train, n_test))
    signs = (-1.0) ** np.arange(n_neurons)
    # E[max(x_j, 0)^2] = 1/(2d) and E[max(x_i, 0) max(x_j, 0)] = 1/(2 pi d); the signs' pairs sum to this:
    pairs = signs.sum() ** 2 - n_neurons
    root = math.sqrt((n_neurons / 2 + pairs / (2 * math.pi)) / dimension)
    y, y_test = (np.maximum(v[:, :n_neurons], 0) @ signs / root for v in (x, x_test))
    return as_split(x, y + noise * rng.standard_normal(n_train), x_test, y_test)


def single_index(
    n_train: int = 1000,
    n_test: int = 1000,
    *,
    dimension: int = 30,
    degree: int = 2,
    noise: float = 0.0,
    seed: int = 0,
) -> Split:
    r"""Return Gaussian inputs with a target that depends on one direction.

    .. math::
        y = \frac{\mathrm{He}_k(x_1)}{\sqrt{k!}} + \varepsilon, \qquad x \sim N(0, I_d),

    with the probabilists' Hermite polynomial of degree k, so that y has mean 0 and variance 1. A kernel
    that depends on norms and inner products alone needs of the order of :math:`d^k` examples; a network
    that finds the direction has a problem in one dimension left.

    Parameters
    ----------
    n_train, n_test : int
    dimension : int
        The number d of coordinates.
    degree : int
        k, at least 1.
    noise : float
        Standard deviation, on the training targets alone.
    seed : int

    Returns
    -------
    Split
        Inputs (N, d), targets (N, 1).

    Raises
    ------
    TypeError, ValueError
        If a number is no integer or too small, the degree above 170, or the noise negative.

    Examples
    --------
    >>> from ntkbook import data
    >>> split = data.single_index(n_train=100, dimension=5, degree=2)
    >>> y = (split.x_train[:, :1]**2 - 1) / 2**0.5
    >>> bool((y - split.y_train).abs().max() < 1e-12)
    True
    """
    check_draws(n_train, n_test, noise, seed)
    check_count("dimension", dimension)
    if check_count("degree", degree) > 170:
        raise ValueError(f"degree must be at most 170, got {degree}: beyond, its factorial exceeds float64")
    rng = np.random.default_rng(seed)
    x, x_test = (rng.standard_normal((n, dimension)) for n in (n_train, n_test))
    root = math.sqrt(math.factorial(degree))
    y, y_test = (special.eval_hermitenorm(degree, v[:, 0]) / root for v in (x, x_test))
    return as_split(x, y + noise * rng.standard_normal(n_train), x_test, y_test)


def sparse_parity(
    n_train: int = 1000,
    n_test: int = 1000,
    *,
    dimension: int = 30,
    order: int = 2,
    seed: int = 0,
) -> Split:
    r"""Return random signs with the product of the first few as target.

    .. math::
        y = x_1 x_2 \cdots x_k, \qquad x \in \{-1, 1\}^d \text{ uniform.}

    There are :math:`\binom dk` such targets, mutually orthogonal, and a kernel that treats the coordinates
    alike must tell them all apart: it needs of the order of :math:`d^k` examples.

    Parameters
    ----------
    n_train, n_test : int
    dimension : int
        The number d of coordinates.
    order : int
        k, at most d.
    seed : int

    Returns
    -------
    Split
        Inputs (N, d) and targets (N, 1), all of them 1 or -1.

    Raises
    ------
    TypeError, ValueError
        If a number is no integer or out of range.

    Notes
    -----
    Source: Daniely and Malach (2020), who prove the difference between network and kernel.

    Examples
    --------
    >>> from ntkbook import data
    >>> split = data.sparse_parity(n_train=100, dimension=8, order=3)
    >>> bool((split.x_train[:, :3].prod(1, keepdim=True) == split.y_train).all())
    True
    """
    check_draws(n_train, n_test, 0.0, seed)
    check_count("dimension", dimension)
    if check_count("order", order) > dimension:
        raise ValueError(f"order must be at most dimension = {dimension}, got {order}")
    rng = np.random.default_rng(seed)
    x, x_test = (rng.choice([-1.0, 1.0], (n, dimension)) for n in (n_train, n_test))
    return as_split(x, x[:, :order].prod(1), x_test, x_test[:, :order].prod(1))
