"""One entry of the table: the worst error of a regime, relative to the kernel and to what rounding may do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import mpmath as mp
import numpy as np

UNITS = {"float32": 2.0**-24, "float64": 2.0**-53}
LARGEST = {name: mp.mpf(float(np.finfo(name).max)) for name in UNITS}
SMALLEST = {name: mp.mpf(float(np.finfo(name).tiny)) for name in UNITS}


@dataclass
class Cell:
    """The worst of one regime, over its pairs and the routes through the code."""

    nngp: float = 0.0
    ntk: float = 0.0
    ratio: float = 0.0
    """Error over what rounding alone may do, the larger of the two kernels'."""
    faults: list[str] = field(default_factory=list)
    """NaN, infinities where there is a number, numbers where there is an infinity."""
    refusals: list[str] = field(default_factory=list)
    """Messages of errors that the package raised instead of returning a number."""

    def add(self, kernel: str, error: float, allowed: float) -> None:
        """Take a measurement into account."""
        setattr(self, kernel, max(getattr(self, kernel), error))
        self.ratio = max(self.ratio, error / allowed)


def compare(
    cell: Cell, kernel: str, label: str, number: float, truth: Sequence[mp.mpf], change: mp.mpf, dtype: str
) -> None:
    """Enter the error of one number.

    ``truth`` holds the kernel of the pair and of its two inputs, which set the scale; ``change`` is what
    rounding may do. Nothing below the smallest normal number is asked for, and a number beyond the range must
    come out infinite.
    """
    exact, own1, own2 = truth
    if np.isnan(number):
        cell.faults.append(f"{label}: NaN")
    elif abs(exact) > LARGEST[dtype]:
        if number != float("inf") * mp.sign(exact):
            cell.faults.append(f"{label}: {number} instead of infinity")
    elif np.isinf(number):
        cell.faults.append(f"{label}: infinite instead of {mp.nstr(exact, 3)}")
    else:
        scale = max(mp.sqrt(own1 * own2), SMALLEST[dtype])
        cell.add(kernel, float(abs(mp.mpf(number) - exact) / scale), float(change / scale + UNITS[dtype]))
