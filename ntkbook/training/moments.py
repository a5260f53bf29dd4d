"""At which steps a run is recorded."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ntkbook._validation import check_count


def log_steps(steps: int, n: int) -> list[int]:
    """Return 0 and up to n whole numbers from 1 to ``steps``, about equally far apart on a logarithmic axis.

    Parameters
    ----------
    steps : int
        The last one.
    n : int
        How many; numbers that would come twice are left out.

    Examples
    --------
    >>> from ntkbook import training
    >>> training.log_steps(1000, 7)
    [0, 1, 3, 10, 32, 100, 316, 1000]
    """
    check_count("steps", steps)
    check_count("n", n)
    return [0, *np.unique(np.round(np.geomspace(1, steps, n)).astype(int)).tolist()]


def moments(record: int | np.integer | Iterable[int], steps: int) -> list[int]:
    """Return the steps to record: those given, or a number of them, equally spaced from 0 to ``steps``.

    Raises
    ------
    TypeError, ValueError
        If they are not whole numbers in order, or one lies beyond the last step.
    """
    if isinstance(record, int | np.integer):
        if record < 2:
            raise ValueError(f"record must be at least 2, the first and the last step, got {record}")
        return [int(step) for step in np.unique(np.round(np.linspace(0, steps, record)))]
    given = list(record) if isinstance(record, Iterable) else []
    listed = [] if isinstance(record, str) else [int(step) for step in given]
    if not listed or listed != given:
        raise ValueError(f"record must be a count or a sequence of whole numbers of steps, got {record!r}")
    if sorted(set(listed)) != listed:
        raise ValueError("record must name each step once, in ascending order; use sorted(set(record))")
    if listed[0] < 0 or listed[-1] > steps:
        raise ValueError(f"record runs from {listed[0]} to {listed[-1]}, but the run from 0 to steps={steps}")
    return listed
