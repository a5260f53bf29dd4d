"""Checks on arguments, shared by the whole package.

Every message names the argument, what was received and what to do about it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, SupportsFloat

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor


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
        If ``value`` is not a dense tensor, or not of a real floating-point dtype.
    ValueError
        If its rank is not allowed, or it has no elements.
    """
    if not isinstance(value, Tensor):
        raise TypeError(
            f"{name} must be a torch.Tensor, got {type(value).__name__}; use torch.as_tensor({name})"
        )
    if not is_real(value.dtype):
        raise TypeError(
            f"{name} must be real floating point, got {value.dtype}; use {name}.to(torch.float64)"
        )
    if value.layout != torch.strided:
        raise TypeError(f"{name} must be a dense tensor, got layout {value.layout}; use {name}.to_dense()")
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
        With the number of offending entries and the place of the first; or for a tensor without values.
    """
    if value.is_meta:
        raise ValueError(
            f"{name} is on the meta device, where tensors have a shape {tuple(value.shape)} and no values; "
            "make it on the CPU or a GPU"
        )
    good = torch.isfinite(value)
    if not bool(good.all()):
        bad = torch.nonzero(~good)
        raise ValueError(
            f"{name} holds {len(bad)} entries that are NaN or infinite, the first at index "
            f"{tuple(bad[0].tolist())}; remove or replace them"
        )
    return value


def is_real(dtype: torch.dtype) -> bool:
    """Whether torch computes with it as real numbers; floats of one byte (float8) are for storage alone."""
    return dtype.is_floating_point and dtype.itemsize > 1


def as_numpy(tensor: Tensor) -> NDArray[Any]:
    """Return the entries as NumPy numbers; those of bfloat16, which it lacks, as float32, which holds all."""
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).cpu().numpy()


def has_values(*tensors: Tensor) -> bool:
    """Whether entries may be looked at: not those of fake tensors, nor inside ``torch.func``."""
    return not torch.compiler.is_compiling() and not any(
        isinstance(t, FakeTensor) or t.is_meta or torch._C._functorch.is_functorch_wrapped_tensor(t)
        for t in tensors
    )


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


def as_float(name: str, value: object) -> float:
    """Return ``value`` as a float if it is a real number, infinity and NaN included.

    A tensor or array with one entry counts as a number; text and truth values do not.

    Raises
    ------
    TypeError
        Naming the argument and what was received.
    """
    try:
        if isinstance(value, SupportsFloat) and not isinstance(value, bool | np.bool_ | str):
            return float(value)
    except (TypeError, ValueError, RuntimeError, OverflowError):  # several entries, complex, beyond floats
        pass
    raise TypeError(f"{name} must be a real number, got {_shown(value)}; pass a float")


def check_number(name: str, value: SupportsFloat) -> float:
    """Return ``value`` as a float if it is a finite real number.

    Raises
    ------
    TypeError, ValueError
        Naming the argument and what was received.
    """
    number = as_float(name, value)
    if not math.isfinite(number):
        raise ValueError(f"{name} must be finite, got {value}")
    return number


def check_positive(name: str, value: SupportsFloat, *, zero_allowed: bool = False) -> float:
    """Return ``value`` as a float if it is finite and positive (or zero, where allowed).

    Raises
    ------
    TypeError, ValueError
        Naming the argument and what was received.
    """
    number = as_float(name, value)
    if not (number > 0 or (zero_allowed and number == 0)) or number == math.inf:
        wanted = "finite and not negative" if zero_allowed else "finite and positive"
        raise ValueError(f"{name} must be {wanted}, got {value}")
    return number


def check_square(name: str, value: SupportsFloat, dtype: torch.dtype = torch.float64) -> float:
    """Return ``value`` as a float if it is zero or its square is a normal, finite number of ``dtype``.

    Raises
    ------
    TypeError, ValueError
        Naming the argument, what was received and the range.
    """
    number = check_number(name, value)
    limits = torch.finfo(dtype)
    if number != 0 and not limits.tiny <= number * number <= limits.max:
        least, largest = math.sqrt(limits.tiny), math.sqrt(limits.max)
        raise ValueError(
            f"{name} must be 0 or between {least:.1e} and {largest:.1e} in size, so that {dtype} holds its "
            f"square, got {value}; use a value nearer to 1"
        )
    return number


def check_count(name: str, value: object, at_least: int | None = 1) -> int:
    """Return ``value`` if it is an integer that is large enough; of any size with ``at_least=None``.

    Raises
    ------
    TypeError
        If it is no integer.
    ValueError
        If it is below ``at_least``.
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"{name} must be an integer, got {_shown(value)}; pass a whole number")
    if at_least is not None and value < at_least:
        raise ValueError(f"{name} must be at least {at_least}, got {value}")
    return int(value)


def check_seed(name: str, seed: object) -> int:
    """Return ``seed`` if NumPy's and torch's generators take it, and some thousand after it.

    Raises
    ------
    TypeError, ValueError
        Naming the argument and its value.
    """
    value = check_count(name, seed, 0)
    if value >= 2**63:
        raise ValueError(f"{name} must be less than 2**63, got {value}")
    return value


def check_dtype(name: str, dtype: object) -> torch.dtype:
    """Return ``dtype`` if it is a real floating-point dtype.

    Raises
    ------
    TypeError
        Naming what was received.
    """
    if not isinstance(dtype, torch.dtype) or not is_real(dtype):
        raise TypeError(
            f"{name} must be a real floating-point torch dtype such as torch.float64, got {_shown(dtype)}"
        )
    return dtype


def check_choice(name: str, value: str, choices: Sequence[str]) -> str:
    """Return ``value`` if it is one of ``choices``.

    Raises
    ------
    ValueError
        Listing the choices.
    """
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(repr(c) for c in choices)}; got {_shown(value)}")
    return value


def _shown(value: object) -> str:
    """Return what a message shows of a value: its shape if it has one, else what Python prints of it."""
    if isinstance(value, Tensor | np.ndarray) and value.ndim:
        return f"{type(value).__name__} of shape {tuple(value.shape)}"
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
