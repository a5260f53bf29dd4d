"""Pairs of inputs, by what makes them hard."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

DIMENSION = 12
DISTANCES = (1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8)
DEPTHS = (3, 10, 30, 100)

Pair = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Regime:
    """Pairs of one kind, in double precision, and the network they meet."""

    title: str
    pairs: tuple[Pair, ...]
    depths: tuple[int, ...] = (1,)
    b_std: float = 0.0

    @property
    def names(self) -> tuple[str, ...]:
        """One name for each number of hidden layers."""
        if len(self.depths) == 1:
            return (self.title,)
        return tuple(f"depth {depth}, {self.title}" for depth in self.depths)

    def only_last(self) -> Regime:
        """Return the regime with its last pair alone."""
        return replace(self, pairs=self.pairs[-1:])

    def in_dtype(self, dtype: str) -> list[Pair]:
        """Return the pairs rounded to a precision: the truth is that of the rounded inputs."""
        return [tuple(x.astype(dtype).astype(np.float64) for x in pair) for pair in self.pairs]


def apart(x: np.ndarray, distance: float, direction: np.ndarray) -> np.ndarray:
    """Return a point at a distance relative to the length of x.

    Half of the step is in a coordinate in which x is zero, where no precision rounds it away.
    """
    step = direction / np.linalg.norm(direction[1:])
    step[0] = 1.0
    return x + distance * np.linalg.norm(x) * step / np.sqrt(2.0)


def regimes(dimension: int = DIMENSION, *, deep: bool = True) -> list[Regime]:
    """Return all of them, in the order of the table. Variances are about one where nothing else is said."""
    rng = np.random.default_rng(0)
    a, b, c, u, v = (rng.standard_normal(dimension).astype(np.float32).astype(np.float64) for _ in range(5))
    a[0] = c[0] = 0.0
    zero = np.zeros(dimension)
    rows = [
        Regime("generic", ((a, b), (a, -b), (0.5 * c, a + c))),
        Regime("coincident", ((a, a), (b, b))),
        *(Regime(f"{d:.0e} apart", ((a, apart(a, d, u)), (c, apart(c, d, v)))) for d in DISTANCES),
        Regime("antipodal", ((a, -a), (b, -0.5 * b))),
        *(Regime(f"{d:.0e} from antipodal", ((a, -apart(a, d, u)),)) for d in (1e-4, 1e-8)),
        Regime("zero", ((a, zero), (zero, zero))),
        Regime("norm 1e-6", ((1e-6 * a, 1e-6 * b), (1e-6 * a, b))),
        Regime("norm 1e6", ((1e6 * a, 1e6 * b), (1e6 * a, b))),
        Regime("norm 1e6, 1e-4 apart", ((1e6 * a, 1e6 * apart(a, 1e-4, u)),)),
    ]
    if deep:
        rows += [
            Regime("generic", ((a, b),), DEPTHS, 0.25),
            Regime("1e-04 apart", ((a, apart(a, 1e-4, u)),), DEPTHS, 0.25),
            Regime("coincident", ((a, a),), DEPTHS, 0.25),
        ]
    return rows
