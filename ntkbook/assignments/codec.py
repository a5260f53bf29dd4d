"""Values as plain JSON: what crosses the border between the grader and a submission's process.

Nothing is ever unpickled, so a submission cannot run code in the grader by what it returns. Tensors, arrays,
numbers, truth values, text, lists and dictionaries cross; any other object crosses as the name of its type.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

MAX_ENTRIES = 4_000_000
_DTYPES = {
    name: np.dtype(name)
    for name in ("bool", "uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64")
} | {name: np.dtype(name) for name in ("complex64", "complex128")}


class CodecError(ValueError):
    """Something that cannot be encoded, or a message that no encoder wrote."""


@dataclass(frozen=True)
class Foreign:
    """Stands for an object that cannot cross; it has the name of the object's type."""

    type_name: str


def encode(value: object, functions: list[Callable[..., object]] | None = None, depth: int = 0) -> Any:
    """Return ``value`` as what ``json`` can write.

    Parameters
    ----------
    value : object
    functions : list, optional
        Where given, a function crosses as its place in this list, to which it is appended.
    depth : int
        How deeply nested the value is; more than 8 is refused.

    Raises
    ------
    CodecError
        For deep nesting, or more than 4,000,000 entries.
    """
    if depth > 8:
        raise CodecError("the value is nested more than 8 deep")
    if value is None or isinstance(value, (bool, str)):
        return value if value is None or isinstance(value, bool) else str(value)
    if isinstance(value, (int, float)):
        number = int(value) if isinstance(value, int) else float(value)
        return number if isinstance(number, float) or abs(number) < 2**63 else float(number)
    if isinstance(value, (torch.Tensor, np.ndarray, np.generic, complex)):
        return _encode_array(value)
    if isinstance(value, (list, tuple)):
        if len(value) > MAX_ENTRIES:
            raise CodecError(f"a list of {len(value)} entries is too long")
        return {"list": [encode(entry, functions, depth + 1) for entry in value]}
    if isinstance(value, dict):
        return {"dict": {str(name): encode(entry, functions, depth + 1) for name, entry in value.items()}}
    if callable(value) and functions is not None:
        functions.append(value)
        return {"function": len(functions) - 1}
    return {"foreign": type(value).__name__}


def _encode_array(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().resolve_conj().resolve_neg()
        value = (value.float() if value.dtype == torch.bfloat16 else value).numpy()
    array = np.ascontiguousarray(value).reshape(np.shape(value))
    if array.dtype.name not in _DTYPES:
        return {"foreign": f"array of {array.dtype.name}"}
    if array.size > MAX_ENTRIES:
        raise CodecError(f"an array of shape {array.shape} has more than {MAX_ENTRIES} entries")
    data = base64.b64encode(array.tobytes()).decode()
    return {"array": data, "dtype": array.dtype.name, "shape": list(array.shape)}


def decode(message: Any, function: Callable[[int], Callable[..., object]] | None = None) -> Any:
    """Return the value of a message: arrays as tensors, tuples as lists, strangers as `Foreign`.

    Parameters
    ----------
    message : object
        From ``json``; it need not be trusted.
    function : callable, optional
        Gives the function at a place of the sender's list.

    Raises
    ------
    CodecError
        If no `encode` can have written the message.
    """
    if message is None or isinstance(message, (bool, int, float, str)):
        return message
    if not isinstance(message, dict) or not message:
        raise CodecError("not a message of this protocol")
    kind = next(iter(message))
    content = message[kind]
    if kind == "array":
        return _decode_array(message)
    if kind == "list" and isinstance(content, list):
        return [decode(entry, function) for entry in content]
    if kind == "dict" and isinstance(content, dict):
        return {str(name): decode(entry, function) for name, entry in content.items()}
    if kind == "function" and function is not None and isinstance(content, int):
        return function(content)
    if kind == "foreign" and isinstance(content, str):
        return Foreign(content[:80])
    raise CodecError("not a message of this protocol")


def _decode_array(message: dict[str, Any]) -> torch.Tensor:
    dtype, shape, data = (message.get(name) for name in ("dtype", "shape", "array"))
    good_shape = isinstance(shape, list) and len(shape) <= 16
    if not good_shape or not all(type(n) is int and 0 <= n <= MAX_ENTRIES for n in shape or ()):
        raise CodecError("an array without a shape")
    if not isinstance(dtype, str) or dtype not in _DTYPES or not isinstance(data, str):
        raise CodecError("an array without dtype or data")
    content = base64.b64decode(data, validate=True)
    # The product is taken in Python's integers, which do not overflow.
    if len(content) != math.prod(shape or ()) * _DTYPES[dtype].itemsize:
        raise CodecError("an array whose data do not fill its shape")
    return torch.from_numpy(np.frombuffer(content, _DTYPES[dtype]).reshape(shape).copy())
