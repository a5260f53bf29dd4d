"""Kernels of fully-connected networks written out in NumPy, apart from the package."""

import numpy as np


def erf_kernels(x1, x2, w_std, b_std):
    """Return (nngp, ntk) of the network with one w_std and b_std for each weight layer, erf between them.

    Williams (1997), equation 11, and its derivative.
    """
    first, *others = list(zip(w_std, b_std, strict=True))
    k = first[0] ** 2 * x1 @ x2.T / x1.shape[1] + first[1] ** 2
    q1, q2 = (first[0] ** 2 * (x * x).mean(1) + first[1] ** 2 for x in (x1, x2))
    ntk = k
    for w, b in others:
        scale = np.outer(1 + 2 * q1, 1 + 2 * q2)
        slope = 4 / np.pi / np.sqrt(scale - 4 * k**2)
        k = w**2 * 2 / np.pi * np.arcsin(2 * k / np.sqrt(scale)) + b**2
        ntk = k + w**2 * slope * ntk
        q1, q2 = (w**2 * 2 / np.pi * np.arcsin(2 * q / (1 + 2 * q)) + b**2 for q in (q1, q2))
    return k, ntk


def problem(n=30, m=11, outputs=2, features=4, seed=0):
    """Return x_train, y_train, x_test."""
    rng = np.random.default_rng(seed)
    x, x_test = rng.normal(size=(n, features)), rng.normal(size=(m, features))
    y = np.sin(x @ rng.normal(size=(features, outputs))) + 0.1 * rng.normal(size=(n, outputs))
    return x, y, x_test


W_STD, B_STD, DEPTH = 1.3, 0.4, 2
OPTIONS = {"depth": DEPTH, "w_std": W_STD, "b_std": B_STD, "activation": "erf"}


def plain(x1, x2):
    """Return (nngp, ntk) of the network that OPTIONS describe."""
    return erf_kernels(x1, x2, [W_STD] * (DEPTH + 1), [B_STD] * (DEPTH + 1))
