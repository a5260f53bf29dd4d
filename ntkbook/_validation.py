"""Checks on arguments, shared by the whole package.

Every message names the argument, what was received and what to do about it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def check_tensor(name: str, value: object, *, ndim: int | Sequence[int] | None = None) -> Tensor:
    """Return ``value`` if it is a floating-point tensor of an allowed rank.

    Parameters
    ----------
    name : str
        The argument's name, for the message.
    value : object
        What the caller passed.
    ndim : int or sequence of int, optional
        The allowed numbers of dimensions.

    Raises
    ------
    TypeError
        If ``value`` is not a tensor, or not of a real floating-point dtype.
    ValueError
        If its rank is not allowed, or it has no elements.
    """
    if not isinstance(value, Tensor):
        raise TypeError(
            f"{name} must be a torch.Tensor, got {type(value).__name__}; use torch.as_tensor({name})"
        )
    if not value.is_floating_point():
        raise TypeError(
            f"{name} must be real floating point, got {value.dtype}; use {name}.to(torch.float64)"
        )
    if ndim is not None:
        allowed = (ndim,) if isinstance(ndim, int) else tuple(ndim)
        if value.ndim not in allowed:
            wanted = " or ".join(str(n) for n in allowed)
            raise ValueError(f"{name} must have {wanted} dimensions, got shape {tuple(value.shape)}")
    if value.numel() == 0:
        raise ValueError(f"{name} is empty: its shape is {tuple(value.shape)}; pass at least one entry")
    return value


def check_finite(name: str, value: Tensor) -> Tensor:
    """Return ``value`` if it holds no NaN and no infinity; one synchronization on a GPU.

    Raises
    ------
    ValueError
        With the number of offending entries and the place of the first.
    """
    good = torch.isfinite(value)
    if not bool(good.all()):
        bad = torch.nonzero(~good)
        raise ValueError(
            f"{name} holds {len(bad)} entries that are NaN or infinite, the first at index "
            f"{tuple(bad[0].tolist())}; remove or replace them"
        )
    return value


def check_alike(name: str, value: Tensor, like_name: str, like: Tensor) -> None:
    """Require the same device and dtype of two tensors.

    Raises
    ------
    ValueError
        Naming both tensors, what differs and the call that mends it.
    """
    if value.device != like.device:
        raise ValueError(
            f"{name} is on {value.device} but {like_name} is on {like.device}; "
            f"move one with {name}.to({like_name}.device)"
        )
    if value.dtype != like.dtype:
        raise ValueError(
            f"{name} is {value.dtype} but {like_name} is {like.dtype}; "
            f"convert one with {name}.to({like_name}.dtype)"
        )


def check_positive(name: str, value: float, *, zero_allowed: bool = False) -> float:
    """Return ``value`` as a float if it is finite and positive (or zero, where allowed).

    Raises
    ------
    ValueError
        Naming the argument and its value.
    """
    number = float(value)
    if not (number > 0 or (zero_allowed and number == 0)) or number == float("inf"):
        wanted = "finite and not negative" if zero_allowed else "finite and positive"
        raise ValueError(f"{name} must be {wanted}, got {value}")
    return number


def check_choice(name: str, value: str, choices: Sequence[str]) -> str:
    """Return ``value`` if it is one of ``choices``.

    Raises
    ------
    ValueError
        Listing the choices.
    """
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(repr(c) for c in choices)}; got {value!r}")
    return value
