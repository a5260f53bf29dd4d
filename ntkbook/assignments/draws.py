"""Inputs for the tests, drawn afresh each time so that no answer can be a constant."""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from torch import Tensor


class Draw:
    """A source of random inputs in double precision, independent of torch's and NumPy's global state.

    Parameters
    ----------
    seed : int
        Of the whole grading run.
    label : str
        Names the stream: each criterion has its own, whatever was drawn before.

    Examples
    --------
    >>> Draw(1, "hw1/q1").normal(2, 3).shape
    torch.Size([2, 3])
    >>> bool((Draw(1, "a").normal(4) == Draw(1, "b").normal(4)).any())
    False
    """

    def __init__(self, seed: int, label: str) -> None:
        word = int.from_bytes(hashlib.sha256(label.encode()).digest()[:8], "big")
        self._rng = np.random.default_rng([seed, word])

    def normal(self, *shape: int) -> Tensor:
        """Return standard normal entries."""
        return torch.as_tensor(self._rng.standard_normal(shape))

    def uniform(self, low: float, high: float) -> float:
        """Return a number between the limits."""
        return float(self._rng.uniform(low, high))

    def integer(self, low: int, high: int) -> int:
        """Return an integer between the limits, both included."""
        return int(self._rng.integers(low, high + 1))

    def order(self, n: int) -> list[int]:
        """Return 0, ..., n - 1 in random order."""
        return [int(k) for k in self._rng.permutation(n)]

    def rotation(self, n: int) -> Tensor:
        """Return an orthogonal matrix, (n, n)."""
        q: Tensor = torch.linalg.qr(self.normal(n, n))[0]
        return q

    def kernel(self, n: int, *, least: float = 0.3, largest: float = 2.0) -> Tensor:
        """Return a symmetric positive definite matrix with eigenvalues between the limits, (n, n)."""
        q = self.rotation(n)
        values = torch.as_tensor(self._rng.uniform(least, largest, n))
        return (q * values) @ q.T
