"""Comparisons that say what kind of mistake they see, without giving the answer away."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ntkbook.assignments.questions import Miss

SINGLE_PRECISION = 1e-4


def require(condition: object, hint: str) -> None:
    """Raise `Miss` with the hint if the condition does not hold."""
    if not bool(condition):
        raise Miss(hint)


def close(value: Tensor, expected: Tensor, rtol: float = 1e-6) -> bool:
    """Return whether no entry is off by more than ``rtol`` times the largest entry expected."""
    if value.shape != expected.shape:
        return False
    scale = max(float(expected.abs().max()), 1e-300)
    return float((value - expected).abs().max()) <= rtol * scale


def agree(
    value: Tensor,
    expected: Tensor,
    hint: str,
    *,
    rtol: float = 1e-6,
    known: Mapping[str, Tensor] | None = None,
) -> None:
    """Raise `Miss` unless the value is the expected one.

    Parameters
    ----------
    value, expected : Tensor
        Of one shape, in double precision.
    hint : str
        What to think about, where the mistake is none of those below.
    rtol : float
        Of the largest entry expected. The routes to a value differ by rounding, about 1e-12.
    known : mapping of str to Tensor, optional
        What typical mistakes give, each under the hint that leads out of it.

    Raises
    ------
    Miss
        With the hint of the mistake that the value shows: a known one, the sign, one constant factor, the
        transpose, single precision; else ``hint``.

    Examples
    --------
    >>> x = torch.tensor([1.0, 2.0])
    >>> agree(-x, x, "Think again.")
    Traceback (most recent call last):
    ntkbook.assignments.questions.Miss: Right up to the sign. Think again.
    """
    if close(value, expected, rtol):
        return
    for words, wrong in (known or {}).items():
        if close(value, wrong, rtol):
            raise Miss(words)
    if close(value, -expected, rtol):
        raise Miss(f"Right up to the sign. {hint}")
    if _parallel(value, expected, rtol):
        raise Miss(f"Right up to one constant factor. {hint}")
    square = value.ndim == 2 and value.shape[0] == value.shape[1]
    if square and close(value.mT, expected, rtol):
        raise Miss(f"This is the transpose: which argument has the rows? {hint}")
    if close(value, expected, SINGLE_PRECISION):
        raise Miss("Right to a few digits only: keep to float64, the dtype of the inputs, in every step.")
    raise Miss(hint)


def agree_up_to_factor(value: Tensor, expected: Tensor, hint: str, *, rtol: float = 1e-6) -> None:
    """Raise `Miss` unless the value is a multiple of the expected one other than 0, of either sign.

    It is the partial credit for a right structure: another criterion judges the factor.
    """
    if not _parallel(value, expected, rtol):
        raise Miss(hint)


def _parallel(value: Tensor, expected: Tensor, rtol: float) -> bool:
    if expected.numel() < 2 or not bool(torch.any(value != 0)):
        return False
    factor = (value * expected).sum() / (expected * expected).sum()
    return bool(factor != 0) and close(value / factor, expected, rtol)
