"""Everything public, by introspection: names, methods and parameters.

Public is what ``__all__`` of the package and of its parts lists, and what the reference page documents.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

MODULES = (
    "ntkbook",
    "ntkbook.assignments",
    "ntkbook.cntk",
    "ntkbook.colab",
    "ntkbook.data",
    "ntkbook.dynamics",
    "ntkbook.estimators",
    "ntkbook.gram",
    "ntkbook.infinite",
    "ntkbook.nn",
    "ntkbook.operators",
    "ntkbook.plotting",
    "ntkbook.training",
    "ntkbook.verify",
)
REFERENCE = Path(__file__).parents[2] / "book" / "api.md"

# Operators and calls that are public although their names begin with an underscore.
SPECIAL = {"__call__", "__matmul__", "__rmul__", "__add__", "__sub__", "__getitem__"}


@dataclass(frozen=True)
class Public:
    """A public callable.

    Attributes
    ----------
    name : str
        Without ``ntkbook.``; of a method with its class.
    parameters : dict of str to str
        From the names of its parameters to their annotations.
    """

    name: str
    parameters: dict[str, str]


def documented() -> Iterator[tuple[str, object]]:
    """Yield what the reference page documents by name."""
    for path in re.findall(
        r"auto(?:function|class|exception):: (\S+)", REFERENCE.read_text(encoding="utf-8")
    ):
        module, _, name = path.rpartition(".")
        yield path.removeprefix("ntkbook."), getattr(import_module(module), name)


def listed() -> Iterator[tuple[str, object]]:
    """Yield what the parts of the package list in ``__all__``."""
    for module in map(import_module, MODULES):
        for name in module.__all__:
            path = f"{module.__name__}.{name}".removeprefix("ntkbook.")
            yield path, getattr(module, name)


def public_callables() -> list[Public]:
    """Return every public function, class and method that takes arguments, each under its first name."""
    found: list[Public] = []
    seen: set[int] = set()
    for path, value in (*listed(), *documented()):
        if not callable(value) or id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, type) and issubclass(value, BaseException):
            continue
        found.append(Public(path, _parameters(value)))
        if isinstance(value, type):
            found += [Public(f"{path}.{name}", _parameters(method)) for name, method in _methods(value)]
    return [each for each in found if each.parameters]


def _methods(kind: type) -> Iterator[tuple[str, object]]:
    """Yield the methods that the package gives a class, its own and inherited ones."""
    own = [base for base in kind.__mro__ if base.__module__.startswith("ntkbook")]
    for name in sorted({name for base in own for name in vars(base)}):
        member = getattr(kind, name)
        shown = not name.startswith("_") or name in SPECIAL
        if shown and inspect.isroutine(member) and member.__module__.startswith("ntkbook"):
            yield name, member


def _parameters(value: object) -> dict[str, str]:
    signature = inspect.signature(value)  # type: ignore[arg-type]
    return {
        name: str(parameter.annotation)
        for name, parameter in signature.parameters.items()
        if name != "self" and parameter.kind is not inspect.Parameter.VAR_KEYWORD
    }
