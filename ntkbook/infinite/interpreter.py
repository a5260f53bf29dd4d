"""Runs a traced network on kernels instead of tensors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import fx

from ntkbook.infinite.kernel import Kernel
from ntkbook.infinite.plan import Plan
from ntkbook.infinite.registry import Call, find_rule
from ntkbook.nn._parametric import Scale


class KernelInterpreter(fx.Interpreter):
    """Applies each node's rule, and keeps no more of the spatial covariance than the plan asks for.

    Parameters
    ----------
    plan : Plan
        The traced network and its layouts.
    plain_std : tuple
        ``w_std`` and ``b_std`` of layers that do not carry their own.
    """

    def __init__(self, plan: Plan, plain_std: tuple[Scale | None, Scale | None]) -> None:
        super().__init__(plan.graph_module)
        self.plan, self.plain_std = plan, plain_std
        self.extra_traceback = False  # messages say what to do; where is said by their names
        self.node: fx.Node

    def run_node(self, n: fx.Node) -> Any:
        """Remember which node runs, for its name and layout."""
        self.node = n
        return super().run_node(n)

    def _apply(self, name: str, target: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        entry = find_rule(target)
        assert entry is not None  # the plan has checked
        full = self.plan.full[self.node]
        if entry.needs == "diagonal" or (entry.needs == "keep" and not full):
            # Another user of the same value may have asked for all of it.
            args, kwargs = fx.node.map_aggregate((args, dict(kwargs)), _diagonal)
        result = entry.rule(Call(name, target, args, kwargs, full, self.plain_std))
        return result if full or not isinstance(result, Kernel) else result.diagonal()

    def call_module(self, target: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Apply a module's rule; the module's path names its weights."""
        return self._apply(str(target), self.fetch_attr(target), args, kwargs)

    def call_function(self, target: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Apply a function's rule, or the function itself to shapes and numbers."""
        if target is getattr and isinstance(args[0], Kernel):
            return _attribute(args[0], args[1])
        if not any(isinstance(a, Kernel) for a in _flat((args, kwargs))):
            return target(*args, **kwargs)
        return self._apply(self.node.name, target, args, kwargs)

    def call_method(self, target: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Apply a tensor method's rule; sizes are those of the finite network on the first batch."""
        if isinstance(args[0], Kernel) and target in ("size", "dim"):
            shape = _attribute(args[0], "shape")
            return len(shape) if target == "dim" else (shape[args[1]] if len(args) > 1 else shape)
        return self._apply(self.node.name, target, args, kwargs)


def _diagonal(value: Any) -> Any:
    return value.diagonal() if isinstance(value, Kernel) else value


def _attribute(kernel: Kernel, name: str) -> Any:
    if name == "shape":
        return torch.Size(kernel.shape1)
    return len(kernel.shape1) if name == "ndim" else getattr(kernel.nngp, name)


def _flat(value: Any) -> list[Any]:
    if isinstance(value, Kernel):
        return [value]
    if isinstance(value, Mapping):
        return [leaf for v in value.values() for leaf in _flat(v)]
    if isinstance(value, (list, tuple)):
        return [leaf for v in value for leaf in _flat(v)]
    return [value]
