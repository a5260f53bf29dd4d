"""One number for "the same kernel on the same data": what a Gram store compares before it resumes.

Two objects get the same fingerprint if they are built alike from equal values: tensors by their bytes,
modules by their settings, parameters, buffers and hooks, functions by their code, defaults, attributes,
captured values and what they name among globals and in the modules that they import, a caller's own
classes by all that is in them and the names of their bases. Where that cannot be told, the object is
refused: a fingerprint that is too lenient would mix two matrices, one that is too strict costs a
computation.
"""

from __future__ import annotations

import dis
import hashlib
import importlib.util
import logging
import re
import sys
import types
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from functools import cached_property, partial
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
_C_METHODS = (types.MethodDescriptorType, types.WrapperDescriptorType, types.ClassMethodDescriptorType)
# What torch keeps in every module; of that, the hooks that can change a value or a gradient.
_MODULE_MACHINERY = set(vars(torch.nn.Module())) - {"training"}
_HOOKS = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")
# What Python itself puts into a class: documentation, places in files, and copies of what is in its code.
_CLASS_MACHINERY = {
    *("__module__", "__qualname__", "__doc__", "__dict__", "__weakref__", "__slots__", "__annotations__"),
    *("__firstlineno__", "__static_attributes__", "__annotate_func__", "__annotations_cache__"),
    *("__abstractmethods__", "_abc_impl", "__dataclass_fields__", "__dataclass_params__", "__match_args__"),
    *("__orig_bases__", "__parameters__", "__type_params__"),
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


def _feed(value: Any, write: Callable[[Any], None], seen: dict[int, tuple[int, Any]]) -> None:
    """Write all that ``value`` consists of; ``seen`` holds the objects met, with their numbers, alive."""
    if isinstance(value, _PLAIN) or value is Ellipsis:
        write(f"{type(value).__name__} {value!r};".encode())
        if type(value) in _PLAIN or value is Ellipsis:
            return
    # Whether two equal tuples are one object differs from process to process; whether two modules are
    # does not.
    if type(value) is not tuple and not isinstance(value, types.CodeType):
        if id(value) in seen:
            write(f"again {seen[id(value)][0]};".encode())
            return
        seen[id(value)] = (len(seen), value)
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
        called = [node.target for node in value.graph.nodes if isinstance(node.target, types.FunctionType)]
        return [value.code, *called, *_state(value)]
    if isinstance(value, torch.nn.Module):
        return [*_state(value), *_settings(value)]
    if isinstance(value, partial):
        return [value.func, value.args, value.keywords]
    if isinstance(value, types.MethodType):
        return [value.__self__, value.__func__]
    if isinstance(value, types.FunctionType):
        return _function_parts(value)
    if isinstance(value, types.CodeType):
        code = [value.co_code, value.co_exceptiontable, value.co_names, value.co_varnames]
        return [*code, value.co_consts]
    if isinstance(value, type):
        return [value.__module__, value.__qualname__, *_class_parts(value)]
    if isinstance(value, types.ModuleType):
        return [value.__name__]
    if isinstance(value, types.BuiltinFunctionType):
        # A method in C belongs to no module, but to its object.
        bound: list[Any] = [value.__self__] if value.__module__ is None else []
        return [value.__module__, value.__qualname__, *bound]
    if isinstance(value, _C_METHODS):
        return [value.__objclass__, value.__name__]
    if isinstance(value, logging.Logger):
        return [value.name]
    if isinstance(value, re.Pattern):
        return [value.pattern, value.flags]
    attributes = _attributes(value)
    if isinstance(value, Mapping):
        return [*_items(value), *_items(attributes)]
    if isinstance(value, Set):
        return [*sorted(fingerprint(member) for member in value), *_items(attributes)]
    if isinstance(value, Sequence):
        return [*value, *_items(attributes)]
    if hasattr(value, "__dict__") or attributes or isinstance(value, _PLAIN):
        return _items(attributes)
    raise TypeError(
        f"cannot tell whether a {type(value).__name__} is the same in two runs; "
        "give the kernel as a function of plain values, tensors and modules"
    )


def _attributes(value: object) -> dict[str, Any]:
    """Return an object's own attributes, whether they are in a dictionary or in slots."""
    slots = [
        name
        for base in type(value).__mro__
        if "__slots__" in vars(base)
        for name, member in vars(base).items()
        if isinstance(member, types.MemberDescriptorType) and hasattr(value, name)
    ]
    return {**getattr(value, "__dict__", {}), **{name: getattr(value, name) for name in slots}}


def _is_known(module: str) -> bool:
    """Whether a module belongs to Python or to a package whose code does not change."""
    root = module.partition(".")[0]
    return root in _BY_NAME or root in sys.stdlib_module_names - {"__main__"}


def _is_callers(module: str) -> bool:
    """Whether a module, loaded or not, is the caller's own, which changes between two runs."""
    if _is_known(module):
        return False
    root = module.partition(".")[0]
    loaded = sys.modules.get(module) or sys.modules.get(root)
    specification = None if loaded else importlib.util.find_spec(root)
    file = getattr(loaded, "__file__", None) or getattr(specification, "origin", None) or ""
    return "site-packages" not in file and "dist-packages" not in file


def _class_parts(cls: type) -> list[Any]:
    """Return what is in a caller's own class and in those of its bases that are, and the bases' names."""
    found: list[Any] = []
    for base in cls.__mro__:
        if not _is_callers(base.__module__):
            continue
        found += [f"{parent.__module__}.{parent.__qualname__}" for parent in base.__bases__]
        for name, member in sorted(vars(base).items()):
            if isinstance(member, staticmethod | classmethod):
                member = member.__func__
            elif isinstance(member, property):
                member = member.fget
            elif isinstance(member, cached_property):
                member = member.func
            # A slot, or a field of a named tuple: the values are in the objects.
            is_place = hasattr(type(member), "__set__") and not hasattr(member, "__dict__")
            if name not in _CLASS_MACHINERY and not is_place:
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
    """Return a function's name, defaults and captured values; of a caller's own all that it uses."""
    captured = dict(
        zip(function.__code__.co_freevars, map(_content, function.__closure__ or ()), strict=True)
    )
    name = [function.__module__, function.__qualname__]
    parts = [*name, function.__defaults__, function.__kwdefaults__, *captured.values()]
    # Not by __module__, which functools.wraps copies from another function.
    if _is_known(function.__globals__.get("__name__", "")):
        return parts
    names = _names(function.__code__)
    modules = {
        **{name: cell for name, cell in captured.items() if isinstance(cell, types.ModuleType)},
        **{f"import {i}": module for i, module in enumerate(_imported(function))},
    }
    used = [*_used(names, function.__globals__), *_used([*modules, *names], modules)]
    return [*parts, function.__code__, *_items(vars(function)), *used]


def _content(cell: types.CellType) -> Any:
    """Return what a cell holds: nothing, where a function was not yet defined when it was captured."""
    try:
        return cell.cell_contents
    except ValueError:
        return None


def _codes(code: types.CodeType) -> list[types.CodeType]:
    """Return code and that of the functions nested in it."""
    nested = [
        c for constant in code.co_consts if isinstance(constant, types.CodeType) for c in _codes(constant)
    ]
    return [code, *nested]


def _names(code: types.CodeType) -> list[str]:
    """Return the global names that code and the functions nested in it use."""
    return [name for each in _codes(code) for name in each.co_names]


def _imported(function: types.FunctionType) -> Iterator[types.ModuleType]:
    """Yield the caller's own modules that a function imports when it runs."""
    for code in _codes(function.__code__):
        steps = [step for step in dis.get_instructions(code) if step.opname != "EXTENDED_ARG"]
        for place, step in enumerate(steps):
            if step.opname != "IMPORT_NAME":
                continue
            level, members = (before.argval for before in steps[place - 2 : place])
            if level == 0 and not _is_callers(step.argval):
                continue
            try:
                yield importlib.__import__(step.argval, function.__globals__, None, members or (), level)
            except ImportError:  # there in one run and not in the other, it makes another kernel
                continue


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
