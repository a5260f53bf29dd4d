"""One number for "the same kernel on the same data": what a Gram store compares before it resumes.

Two objects get the same fingerprint if they are built alike from equal values: tensors by their bytes,
modules by their settings, parameters, buffers and hooks, functions by their code, defaults, captured
values and the globals they name, a caller's own classes by the functions in them. Where that cannot be
told, the object is refused: a fingerprint that is too lenient would mix two matrices.
"""

from __future__ import annotations

import hashlib
import re
import sys
import types
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
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
# What torch keeps in every module; of that, the hooks that can change a value or a gradient.
_MODULE_MACHINERY = set(vars(torch.nn.Module())) - {"training"}
_HOOKS = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")


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
    for part in (*_parts(value), *_class_parts(type(value))):
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
        return [*_state(value), *_settings(value)]
    if isinstance(value, partial):
        return [value.func, value.args, value.keywords]
    if isinstance(value, types.MethodType):
        return [value.__self__, value.__func__]
    if isinstance(value, types.FunctionType):
        return _function_parts(value)
    if isinstance(value, types.CodeType):
        return [value.co_code, value.co_names, value.co_varnames, value.co_consts]
    if isinstance(value, type):
        return [value.__module__, value.__qualname__, *_class_parts(value)]
    if isinstance(value, types.ModuleType | types.BuiltinFunctionType):
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


def _is_callers(module: str | None) -> bool:
    """Whether code is the caller's own, which changes between two runs, and no installed package's."""
    root = (module or "").partition(".")[0]
    if root in _BY_NAME or root in sys.stdlib_module_names - {"__main__"}:
        return False
    file = getattr(sys.modules.get(module or ""), "__file__", None) or ""
    return "site-packages" not in file and "dist-packages" not in file


def _class_parts(cls: type) -> list[Any]:
    """Return the functions of a caller's own class and of its bases; counters and constants are left out."""
    found: list[Any] = []
    for base in cls.__mro__:
        if not _is_callers(base.__module__):
            continue
        for name, member in sorted(vars(base).items()):
            if isinstance(member, staticmethod | classmethod):
                member = member.__func__
            if isinstance(member, property):
                found += [name, member.fget]
            elif isinstance(member, types.FunctionType):
                found += [name, member]
    return found


def _used(names: Sequence[str], space: Mapping[str, Any], within: tuple[Any, ...] = ()) -> Iterator[Any]:
    """Yield what code names in a namespace and, of the caller's own modules there, in theirs."""
    for name in names:
        if name not in space:
            continue
        value = space[name]
        yield value
        if isinstance(value, types.ModuleType) and value not in within and _is_callers(value.__name__):
            yield from _used(names, vars(value), (*within, value))


def _function_parts(function: types.FunctionType) -> Sequence[Any]:
    """Return a function's name, defaults and captured values; of a caller's own also code and globals."""
    cells = [cell.cell_contents for cell in function.__closure__ or ()]
    name = [function.__module__, function.__qualname__]
    parts = [*name, function.__defaults__, function.__kwdefaults__, *cells]
    if (function.__module__ or "").partition(".")[0] in _BY_NAME:
        return parts
    names = _names(function.__code__)
    captured = dict(zip(function.__code__.co_freevars, cells, strict=True))
    modules = {name: cell for name, cell in captured.items() if isinstance(cell, types.ModuleType)}
    used = [*_used(names, function.__globals__), *_used([*modules, *names], modules)]
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
    hooks = [list(getattr(module, kind, {}).values()) for kind in _HOOKS]
    parameters = _items(dict(module.named_parameters(recurse=False)))
    return [module.training, *parameters, *_items(module._buffers), *_items(module._modules), *hooks]


def _settings(module: torch.nn.Module) -> list[Any]:
    """Return a module's own attributes, such as w_std, without torch's registries."""
    own = {k: v for k, v in vars(module).items() if k not in _MODULE_MACHINERY}
    return _items(own)


def _items(mapping: Mapping[Any, Any]) -> list[Any]:
    return [part for key in sorted(mapping, key=repr) for part in (key, mapping[key])]
