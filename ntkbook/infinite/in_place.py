"""Values that are written over: the same as new ones, as long as nobody reads the old ones afterwards."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import fx

from ntkbook.infinite.registry import InfiniteWidthError, find_rule, is_in_place, target_name


def written(node: fx.Node, target: Any) -> fx.Node | None:
    """Return the value that an operation writes over: its first input, or None.

    In place are operators like ``+=``, methods and functions like ``mul_``, and whatever has ``inplace``.
    """
    if node.op == "call_module":
        in_place = bool(getattr(target, "inplace", False))
    elif node.op in ("call_function", "call_method"):
        in_place = bool(node.kwargs.get("inplace", False)) or is_in_place(target)
    else:
        return None
    first = node.args[0] if node.args else next(iter(node.all_input_nodes), None)
    return first if in_place and isinstance(first, fx.Node) else None


def check_overwritten(nodes: Sequence[fx.Node], target: Callable[[fx.Node], Any]) -> None:
    """Require that no value is read after an operation has written over it, by its own name or another.

    Parameters
    ----------
    nodes : sequence of Node
        The graph in order, without what handles shapes and numbers only.
    target : callable
        From a node to its module, function or method name.

    Raises
    ------
    InfiniteWidthError
        Naming the operation, the value, and who reads it afterwards.
    """
    place = {node: i for i, node in enumerate(nodes)}
    sharing: dict[fx.Node, set[fx.Node]] = {}  # with every value those that may lie in the same memory
    for node in nodes:
        changed = written(node, target(node)) if node.op != "output" else None
        if changed is not None and changed.op == "get_attr":
            raise InfiniteWidthError(
                f"{target_name(target(node))} ({node.name!r}) writes to {changed.target!r}, a tensor of the "
                "network; use the form that returns a new tensor"
            )
        if changed in sharing:
            for value in sorted(sharing[changed], key=place.__getitem__, reverse=True):
                for user in value.users:
                    if place.get(user, -1) > place[node]:
                        raise InfiniteWidthError(_message(node, target(node), changed, value, user))
        together = {node}
        if changed in sharing or not _is_fresh(node, target):
            for source in node.all_input_nodes if changed is None else [changed]:
                together |= sharing.get(source, set())
        for member in together:
            sharing[member] = together


def _is_fresh(node: fx.Node, target: Callable[[fx.Node], Any]) -> bool:
    if node.op not in ("call_module", "call_function", "call_method"):
        return True
    entry = find_rule(target(node))
    return entry is not None and entry.fresh


def _message(node: fx.Node, target: Any, changed: fx.Node, value: fx.Node, user: fx.Node) -> str:
    title = type(target).__name__ if isinstance(target, torch.nn.Module) else target_name(target)
    shared = "" if value is changed else f", and with it {value.name!r}, which may be the same memory,"
    return (
        f"{title} ({node.name!r}) changes {changed.name!r} in place{shared} though {user.name!r} uses "
        f"{value.name!r} after that; use the form that returns a new tensor (k = h + b, h.mul(2), "
        "inplace=False), and go on with its result"
    )
