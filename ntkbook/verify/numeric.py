"""Compare numbers with numbers: equality within a stated tolerance, and bounds."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ntkbook.verify.verdict import State, Verdict

# A wrong version counts as told apart only this many tolerances away: nearer, luck decides.
MARGIN = 10.0


def as_array(name: str, value: Any) -> NDArray[Any]:
    """Return a float64 (or complex128) array of a number, array, tensor or nested list.

    Raises
    ------
    TypeError
        For single precision: a check in float32 cannot reach the tolerances that tell formulas apart.
    ValueError
        For NaN or infinite entries.
    """
    if hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    array = np.asarray(value)
    if array.dtype.kind == "f" and array.dtype.itemsize < 8:
        raise TypeError(f"{name} is {array.dtype}: checks run in float64; compute it with .double()")
    if array.dtype.kind not in "fciu":
        raise TypeError(f"{name} must hold numbers, got dtype {array.dtype}")
    array = array.astype(np.complex128 if array.dtype.kind == "c" else np.float64)
    if array.size == 0:
        raise ValueError(f"{name} is empty (shape {array.shape}): an empty comparison always holds")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} holds NaN or infinite entries; remove them, or mend what made them")
    return array


def compare(actual: Any, expected: Any, rtol: float, scale: float | None) -> Verdict:
    """Compare two arrays of one shape: max |actual - expected| / scale against ``rtol``.

    ``scale`` is max |expected| unless given; it must be given where the expected value is 0, as
    the size of the terms that cancel.
    """
    try:
        left, right = as_array("actual", actual), as_array("expected", expected)
    except ValueError as problem:
        return Verdict("fails", float("inf"), rtol, str(problem))
    if left.shape != right.shape:
        # No broadcasting: (N, 1) against (N,) would compare all pairs and hide a transposed index.
        return Verdict("fails", float("inf"), rtol, f"shapes differ: {left.shape} and {right.shape}")
    size = float(np.abs(right).max()) if scale is None else scale
    if size == 0:
        raise ValueError("expected is 0 everywhere: give scale=, the size of the terms that cancel")
    residual = float(np.abs(left - right).max()) / size
    state: State = "holds" if residual <= rtol else "fails" if residual > MARGIN * rtol else "undecided"
    return Verdict(state, residual, rtol, f"{left.size} numbers" if left.size > 1 else "1 number")


def compare_bound(smaller: Any, larger: Any, rtol: float) -> Verdict:
    """Compare ``smaller <= larger`` entry by entry.

    The residual is the largest excess (smaller - larger) / max |larger|: it is negative where the bound
    holds with room, and ``rtol`` allows for rounding only.
    """
    try:
        low, high = as_array("smaller", smaller), as_array("larger", larger)
    except ValueError as problem:
        return Verdict("fails", float("inf"), rtol, str(problem))
    if low.dtype.kind == "c" or high.dtype.kind == "c":
        name = "smaller" if low.dtype.kind == "c" else "larger"
        raise TypeError(f"{name} must hold real numbers, got complex128: complex ones have no order")
    if low.shape != high.shape:
        return Verdict("fails", float("inf"), rtol, f"shapes differ: {low.shape} and {high.shape}")
    size = float(np.abs(high).max())
    if size == 0:
        raise ValueError("larger is 0 everywhere: the bound says nothing about sizes")
    residual = float((low - high).max()) / size
    state: State = "holds" if residual <= rtol else "fails" if residual > MARGIN * rtol else "undecided"
    return Verdict(state, residual, rtol, f"{low.size} comparisons")


def shares_storage(first: Any, second: Any) -> bool:
    """Tell whether two values are the same object or views of the same memory."""
    if first is second:
        return True
    arrays = [v.detach().cpu().numpy() if hasattr(v, "detach") else v for v in (first, second)]
    return all(isinstance(a, np.ndarray) for a in arrays) and bool(np.shares_memory(*arrays))


def mutants(expected: Any) -> dict[str, Any]:
    """Make wrong versions of an array: a sign, a coefficient and, for matrices, the indices."""
    right = as_array("expected", expected)
    versions = {"sign flipped": -right, "off by 1 %": 1.01 * right}
    if right.ndim == 2 and right.shape[0] == right.shape[1] and not np.allclose(right, right.T, rtol=1e-3):
        versions["transposed"] = right.T.copy()
    return versions
