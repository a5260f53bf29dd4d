"""The table of rules: what each module and function does to a kernel, open to users."""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor

from ntkbook._validation import check_choice
from ntkbook.infinite.inputs import TensorPair
from ntkbook.infinite.kernel import Kernel
from ntkbook.nn._parametric import Scale

# Python's in-place operators, each with the operator that returns a new value.
OPERATORS: dict[Any, Any] = {
    operator.iadd: operator.add,
    operator.iand: operator.and_,
    operator.ifloordiv: operator.floordiv,
    operator.ilshift: operator.lshift,
    operator.imatmul: operator.matmul,
    operator.imod: operator.mod,
    operator.imul: operator.mul,
    operator.ior: operator.or_,
    operator.ipow: operator.pow,
    operator.irshift: operator.rshift,
    operator.isub: operator.sub,
    operator.itruediv: operator.truediv,
    operator.ixor: operator.xor,
}

# By what other names torch's functions take some arguments.
_OTHER_NAMES = {
    "input": ("x", "a", "x1"),
    "other": ("x2",),
    "dim": ("axis",),
    "keepdim": ("keepdims",),
    "dim0": ("axis0",),
    "dim1": ("axis1",),
}

Needs = Literal["keep", "full", "diagonal"]
Target = type[torch.nn.Module] | Callable[..., Any] | str


class InfiniteWidthError(ValueError):
    """A network has no infinite-width kernel that is exact; the message names the cause and the remedy."""


@dataclass(frozen=True)
class Call:
    """One operation of the traced network, applied to kernels.

    A rule reads arguments by :attr:`kernel`, :meth:`argument` and :meth:`several`, which keep account: an
    argument that was given and that the rule has not read is refused, whatever the rule.

    Attributes
    ----------
    name : str
        The module's path in the network (or the node's name): the identity of its weights, and the name in
        messages.
    target : Any
        The module, the function, or the name of the tensor method.
    args, kwargs : tuple, dict
        Arguments, with a :class:`Kernel` wherever the network has a tensor.
    full : bool
        Whether the result is needed in the full layout; a rule may return more than is needed, never less.
    plain_std : tuple
        ``w_std`` and ``b_std`` for layers that do not say what their weights' distribution is.
    """

    name: str
    target: Any
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    full: bool
    plain_std: tuple[Scale | None, Scale | None] = (None, None)
    _read: set[int | str] = field(default_factory=set, init=False, repr=False, compare=False)

    @property
    def kernel(self) -> Kernel:
        """The first argument, which must be a kernel."""
        name = "input"
        if isinstance(self.target, torch.nn.Module) and not self.args:
            name = next(iter(inspect.signature(self.target.forward).parameters), name)
        value = self.argument(0, name, None)
        if not isinstance(value, Kernel):
            raise self.error(f"its first argument is {shown(value)}, not the network's features")
        return value

    def argument(self, position: int | None, name: str, default: Any) -> Any:
        """Return an argument given by position or by name; by name only where ``position`` is None."""
        names = (name, *_OTHER_NAMES.get(name, ()))
        self._read.update(names)
        if position is not None:
            self._read.add(position)
            if len(self.args) > position:
                return self.args[position]
        return next((self.kwargs[each] for each in names if each in self.kwargs), default)

    def several(self, position: int, name: str) -> tuple[Any, ...]:
        """Return what is given as one tuple, or spread over all arguments from ``position`` on."""
        values = self.args[position:] or (self.argument(None, name, ()),)
        self._read.update(range(position, len(self.args)))
        return tuple(values[0]) if len(values) == 1 and isinstance(values[0], tuple | list) else values

    def dimension(self, value: Any, ndim: int) -> int:
        """Return one of ``ndim`` dimensions, counted from the first."""
        if isinstance(value, bool) or not isinstance(value, int) or not -ndim <= value < ndim:
            raise self.error(
                f"dimension {shown(value)} is none of the {ndim} of its features; use an integer from "
                f"{-ndim} to {ndim - 1}"
            )
        return value % ndim

    def check_read(self) -> None:
        """Refuse arguments that were given and not read; ``inplace`` is a matter of the plan."""
        given: list[tuple[int | str, Any]] = [*enumerate(self.args), *self.kwargs.items()]
        for key, value in given:
            if key in self._read or value is None or key == "inplace":
                continue
            which = f"{key}={shown(value)}" if isinstance(key, str) else f"{key + 1}, {shown(value)},"
            raise self.error(
                f"its argument {which} has no rule; leave it out, or register a rule that reads it by "
                "call.argument"
            )

    @property
    def title(self) -> str:
        """The operation as messages call it."""
        kind = (
            type(self.target).__name__
            if isinstance(self.target, torch.nn.Module)
            else target_name(self.target)
        )
        return f"{kind} ({self.name!r})"

    def error(self, reason: str) -> InfiniteWidthError:
        """Return an error that names this operation."""
        return InfiniteWidthError(f"{self.title}: {reason}")


Rule = Callable[[Call], Any]
R = TypeVar("R", bound=Rule)


@dataclass(frozen=True)
class Entry:
    """A rule with what the plan must know of it.

    Attributes
    ----------
    rule : callable
        Maps a :class:`Call` to the output's kernel. Run by :meth:`apply` alone.
    needs : {"keep", "full", "diagonal"} or callable
        Spatial covariance that the rule needs of its input: as much as its output needs, all of it, or its
        diagonal; or a function of (target, args, kwargs) that tells.
    channels : {"first", "last"} or None
        Where the layer expects channels, None if it does not care.
    fresh : bool
        Whether the finite network's output never shares memory with its input, as views do: writing over one
        then leaves the other as it is. Otherwise a value that is read after the other was written over is
        refused.
    """

    rule: Rule
    needs: Needs | Callable[[Any, tuple[Any, ...], Mapping[str, Any]], Needs]
    channels: Literal["first", "last"] | None
    fresh: bool

    def apply(self, call: Call) -> Any:
        """Run the rule, and refuse what it has not read."""
        result = self.rule(call)
        call.check_read()
        return result


_entries: dict[Target, Entry] = {}
_refusals: dict[Target, str] = {}
_families: list[tuple[Callable[[torch.nn.Module], bool], Entry]] = []


def register_rule(
    *targets: Target,
    needs: Needs | Callable[[Any, tuple[Any, ...], Mapping[str, Any]], Needs] = "keep",
    channels: Literal["first", "last"] | None = None,
    fresh: bool = False,
) -> Callable[[R], R]:
    """Register how modules, functions or tensor methods act on kernels, in place of any earlier rule.

    Arguments that are given in ``forward`` and that the rule does not read are refused: see :class:`Call`.
    A module that writes over its input says so by a true attribute ``inplace``.

    Parameters
    ----------
    *targets : type, callable or str
        Module classes (subclasses with the same ``forward`` inherit the rule), functions as they appear in
        ``forward``, names of tensor methods. In-place forms (``mul_``, ``*=``) follow with theirs.
    needs, channels, fresh
        As in :class:`Entry`.

    Raises
    ------
    TypeError, ValueError
        If there is no target, one is none of these, or ``needs`` or ``channels`` is unknown.

    Examples
    --------
    A layer that multiplies its input by a fixed number:

    >>> import torch
    >>> from ntkbook import infinite_width, nn
    >>> from ntkbook.infinite import register_rule
    >>> class Times(torch.nn.Module):
    ...     def __init__(self, factor):
    ...         super().__init__()
    ...         self.factor = factor
    ...     def forward(self, x):
    ...         return self.factor * x
    >>> @register_rule(Times)
    ... def times(call):
    ...     return call.kernel.map(lambda t: call.target.factor**2 * t)
    >>> net = torch.nn.Sequential(nn.Linear(2, 8), Times(3.0))
    >>> infinite_width(net)(torch.ones(1, 2)).nngp
    tensor([[9.]])
    """
    _check_targets(targets)
    if not callable(needs):
        check_choice("needs", needs, ("keep", "full", "diagonal"))
    if channels is not None:
        check_choice("channels", channels, ("first", "last"))

    def register(rule: R) -> R:
        for target in targets:
            _entries[target] = Entry(rule, needs, channels, fresh)
            _refusals.pop(target, None)
        return rule

    return register


def register_family(belongs: Callable[[torch.nn.Module], bool]) -> Callable[[R], R]:
    """Register a rule for all modules that a predicate accepts and that have no entry of their own."""

    def register(rule: R) -> R:
        _families.append((belongs, Entry(rule, "keep", None, fresh=False)))
        return rule

    return register


def register_refusal(*targets: Target, reason: str) -> None:
    """Register that modules, functions or methods have no rule; ``reason`` says why and names the remedy.

    Raises
    ------
    TypeError, ValueError
        If a target is none of these, or there is no reason.
    """
    _check_targets(targets)
    if not isinstance(reason, str) or not reason:
        raise ValueError(f"reason must say why there is no rule and name the remedy, got {reason!r}")
    for target in targets:
        _refusals[target] = reason


def _check_targets(targets: tuple[object, ...]) -> None:
    if not targets:
        raise TypeError("targets is empty; name at least one module type, function or tensor method")
    for target in targets:
        if isinstance(target, torch.nn.Module) or not (callable(target) or isinstance(target, str)):
            raise TypeError(
                f"targets must be module types, functions or names of tensor methods, got {target!r}; of a "
                "module pass the type"
            )


def is_in_place(target: Any) -> bool:
    """Whether an operator, function or method writes over its first argument, as ``+=`` and ``mul_`` do."""
    if isinstance(target, torch.nn.Module):
        return False
    name = target_name(target)
    by_name = name.endswith("_") and not name.endswith("__") and getattr(operator, name, None) is not target
    return target in OPERATORS or by_name


def out_of_place(target: Any) -> Any:
    """Return the form that returns a new tensor of what writes over its first argument, None if unknown."""
    if not is_in_place(target):
        return None
    if target in OPERATORS:
        return OPERATORS[target]
    name = target_name(target)
    if isinstance(target, str):
        return name[:-1]
    return getattr(torch, name[:-1], None) if target is getattr(torch, name, None) else None


def _keys(target: Any) -> tuple[Any, ...]:
    """Return what a target may be registered as: a module as any class whose ``forward`` it runs."""
    if not isinstance(target, torch.nn.Module):
        plain = out_of_place(target)
        return (target,) if plain is None else (target, plain)
    runs = (type(target).forward, torch.nn.Module.forward)
    return tuple(kind for kind in type(target).__mro__ if getattr(kind, "forward", None) in runs)


def find_rule(target: Any) -> Entry | None:
    """Return the entry of a module, function or method name, or None if it is unknown or refused."""
    for key in _keys(target):
        if key in _entries:
            return _entries[key]
        if key in _refusals:
            return None
    if isinstance(target, torch.nn.Module):
        return next((entry for belongs, entry in _families if belongs(target)), None)
    return None


def find_refusal(target: Any) -> str | None:
    """Return why a target is refused, or None."""
    if find_rule(target) is not None:
        return None
    return next((_refusals[key] for key in _keys(target) if key in _refusals), None)


def is_known(module: torch.nn.Module) -> bool:
    """Whether a module has a rule or a refusal, so that nothing inside it matters."""
    return find_rule(module) is not None or find_refusal(module) is not None


def target_name(target: Any) -> str:
    """Return a function's or method's name as a reader would write it."""
    return target if isinstance(target, str) else getattr(target, "__name__", repr(target))


def shown(value: object) -> str:
    """Return what a message shows of an argument."""
    if isinstance(value, Kernel):
        return f"features of shape {value.shape1}"
    if isinstance(value, Tensor) and value.ndim:
        return f"a tensor of shape {tuple(value.shape)}"
    if isinstance(value, TensorPair):
        return f"a further input of shape {tuple(value.first.shape)}"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
