"""What the plots take: tensors, arrays and lists, checked and as float64 arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray


def to_array(
    name: str, value: Any, *, ndim: int | Sequence[int] | None = None, gaps: bool = False
) -> NDArray[np.float64]:
    """Return finite numbers as a float64 array, with NaN where values are missing if gaps are allowed.

    Raises
    ------
    TypeError, ValueError
        Naming the argument, if it holds no real numbers, has another number of axes, is empty, or holds NaN
        or infinity.
    """
    given = np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)
    if given.dtype.kind not in "fiub":
        raise TypeError(f"{name} must hold real numbers, got dtype {given.dtype}; convert it to floats")
    array: NDArray[np.float64] = given.astype(np.float64)
    allowed = () if ndim is None else (ndim,) if isinstance(ndim, int) else tuple(ndim)
    if allowed and array.ndim not in allowed:
        wanted = " or ".join(str(n) for n in allowed)
        raise ValueError(f"{name} must have {wanted} axes, got shape {array.shape}")
    known = array[~np.isnan(array)] if gaps else array
    if known.size == 0:
        raise ValueError(f"{name} is empty: its shape is {array.shape}; pass at least one number")
    if not np.isfinite(known).all():
        count = int((~np.isfinite(known)).sum())
        raise ValueError(f"{name} holds {count} entries that are NaN or infinite; leave them out")
    return array


def check_axes(axes: object) -> None:
    """Require an ``Axes`` to draw in.

    Raises
    ------
    TypeError
        If it is something else.
    """
    if not isinstance(axes, Axes):
        raise TypeError(
            f"axes must be a matplotlib Axes, got {type(axes).__name__}; make one: fig, ax = plt.subplots()"
        )


def check_ascending(name: str, array: NDArray[np.float64]) -> None:
    """Require 2 or more numbers in ascending order.

    Raises
    ------
    ValueError
        Naming the argument and the first place where it descends.
    """
    if len(array) < 2:
        raise ValueError(f"{name} must hold 2 or more numbers in ascending order, got shape {array.shape}")
    steps = np.diff(array)
    if (steps <= 0).any():
        i = int(np.argmax(steps <= 0))
        raise ValueError(
            f"{name} must hold 2 or more numbers in ascending order, but {array[i]:.4g} is followed by "
            f"{array[i + 1]:.4g}, at index {i + 1}; sort it"
        )


def check_length(name: str, array: NDArray[np.float64], axis: int, like: str, length: int) -> None:
    """Require ``length`` entries along an axis.

    Raises
    ------
    ValueError
        Naming both arguments.
    """
    if array.shape[axis] != length:
        raise ValueError(
            f"{name} has shape {array.shape}, but {like} has {length} entries: axis {axis} of {name} must be "
            "as long"
        )
