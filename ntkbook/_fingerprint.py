"""One number for "the same kernel on the same data": what a Gram store compares before it resumes.

Two objects get the same fingerprint if they are built alike from equal values: tensors by their bytes,
modules by their settings, parameters and buffers, functions by their code, defaults, captured values and
the globals they name. Where that cannot be told, the object is refused: a fingerprint that is too lenient
would mix two matrices.
"""

from __future__ import annotations

import hashlib
import re
import types
from collections.abc import Callable, Mapping, Sequence, Set
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

_PLAIN = (type(None), bool, int, float, complex, str, bytes, torch.dtype, torch.device, torch.Size, range)
_BY_NAME = {
    "ntkbook",
    "torch",
    "numpy",
    "scipy",
    "math",
    "functools",
}  # packages whose functions do not change
_MODULE_MACHINERY = {
    "_parameters",
    "_buffers",
    "_modules",
    "_non_persistent_buffers_set",
    "_is_full_backward_hook",
}


def fingerprint(value: object) -> str:
    """Return a hexadecimal digest of ``value``.

    Raises
    ------
    TypeError
        If a part of ``value`` has no state that can be compared between two processes.
    """
    digest = hashlib.sha256()
    _feed(value, digest.update, {})
    return digest.hexdigest()


def _feed(value: Any, write: Callable[[Any], None], seen: dict[int, Any]) -> None:
    """Write all that ``value`` consists of; ``seen`` holds the objects met, in order, and alive."""
    if isinstance(value, _PLAIN) or value is Ellipsis:
        write(f"{type(value).__name__} {value!r};".encode())
        return
    # Whether two equal tuples are one object differs from process to process; whether two modules are
    # does not.
    if not isinstance(value, tuple | types.CodeType):
        if id(value) in seen:
            write(f"again {list(seen).index(id(value))};".encode())
            return
        seen[id(value)] = value
    write(f"<{type(value).__module__}.{type(value).__qualname__}>".encode())
    for part in _parts(value):
        if isinstance(part, memoryview):
            write(part)
        else:
            _feed(part, write, seen)
    write(b".")


def _parts(value: Any) -> Sequence[Any]:
    """Return what determines ``value``, besides its type."""
    if isinstance(value, Tensor):
        plain = value.detach().cpu().contiguous()
        return [str(plain.dtype), tuple(plain.shape), plain.flatten().view(torch.uint8).numpy().data]
    if isinstance(value, np.ndarray | np.generic):
        array = np.ascontiguousarray(value)
        return [str(array.dtype), array.shape, array.reshape(-1).view(np.uint8).data]
    if isinstance(value, torch.fx.GraphModule):
        return [value.code, *_state(value)]
    if isinstance(value, torch.nn.Module):
        return [*_state(value), *_items(value._modules), *_settings(value)]
    if isinstance(value, partial):
        return [value.func, value.args, value.keywords]
    if isinstance(value, types.MethodType):
        return [value.__self__, value.__func__]
    if isinstance(value, types.FunctionType):
        return _function_parts(value)
    if isinstance(value, types.CodeType):
        return [value.co_code, value.co_names, value.co_varnames, value.co_consts]
    if isinstance(value, type | types.ModuleType | types.BuiltinFunctionType):
        return [getattr(value, "__module__", ""), getattr(value, "__qualname__", value.__name__)]
    if isinstance(value, re.Pattern):
        return [value.pattern, value.flags]
    if isinstance(value, Mapping):
        return _items(value)
    if isinstance(value, Set):
        return sorted(fingerprint(member) for member in value)
    if isinstance(value, Sequence):
        return list(value)
    if hasattr(value, "__dict__"):
        return _items(vars(value))
    raise TypeError(
        f"cannot tell whether a {type(value).__name__} is the same in two runs; "
        "give the kernel as a function of plain values, tensors and modules"
    )


def _function_parts(function: types.FunctionType) -> Sequence[Any]:
    """Return a function's name, defaults and captured values; of a caller's own also code and globals."""
    cells = [cell.cell_contents for cell in function.__closure__ or ()]
    name = [function.__module__, function.__qualname__]
    parts = [*name, function.__defaults__, function.__kwdefaults__, *cells]
    if (function.__module__ or "").partition(".")[0] in _BY_NAME:
        return parts
    used = (function.__globals__[name] for name in _names(function.__code__) if name in function.__globals__)
    return [*parts, function.__code__, *used]


def _names(code: types.CodeType) -> list[str]:
    """Return the global names that code and the functions nested in it use."""
    nested = [
        name
        for constant in code.co_consts
        if isinstance(constant, types.CodeType)
        for name in _names(constant)
    ]
    return [*code.co_names, *nested]


def _state(module: torch.nn.Module) -> list[Any]:
    return [module.training, *_items(dict(module.named_parameters(recurse=False))), *_items(module._buffers)]


def _settings(module: torch.nn.Module) -> list[Any]:
    """Return a module's own attributes, such as w_std, without torch's registries and hooks."""
    own = {k: v for k, v in vars(module).items() if k not in _MODULE_MACHINERY and "_hooks" not in k}
    return _items(own)


def _items(mapping: Mapping[Any, Any]) -> list[Any]:
    return [part for key in sorted(mapping, key=repr) for part in (key, mapping[key])]
