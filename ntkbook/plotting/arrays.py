"""What the plots take: tensors, arrays and lists, checked and as float64 arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def to_array(
    name: str, value: Any, *, ndim: int | Sequence[int] | None = None, gaps: bool = False
) -> NDArray[np.float64]:
    """Return finite numbers as a float64 array, with NaN where values are missing if gaps are allowed.

    Raises
    ------
    ValueError
        Naming the argument, if it has another number of axes, is empty, or holds NaN or infinity.
    """
    detached = value.detach().cpu() if hasattr(value, "detach") else value
    array: NDArray[np.float64] = np.asarray(detached, dtype=np.float64)
    allowed = () if ndim is None else (ndim,) if isinstance(ndim, int) else tuple(ndim)
    if allowed and array.ndim not in allowed:
        wanted = " or ".join(str(n) for n in allowed)
        raise ValueError(f"{name} must have {wanted} axes, got shape {array.shape}")
    known = array[~np.isnan(array)] if gaps else array
    if known.size == 0:
        raise ValueError(f"{name} is empty: its shape is {array.shape}")
    if not np.isfinite(known).all():
        count = int((~np.isfinite(known)).sum())
        raise ValueError(f"{name} holds {count} entries that are NaN or infinite; leave them out")
    return array


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
