"""Runs a traced network on kernels instead of tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import fx

from ntkbook.infinite.inputs import TensorPair
from ntkbook.infinite.kernel import Kernel
from ntkbook.infinite.plan import Plan
from ntkbook.infinite.registry import Call, InfiniteWidthError, find_rule, target_name
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
        result = entry.apply(Call(name, target, args, kwargs, full, self.plain_std))
        return result if full or not isinstance(result, Kernel) else result.diagonal()

    def call_module(self, target: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Apply a module's rule; the module's path names its weights."""
        return self._apply(str(target), self.fetch_attr(target), args, kwargs)

    def call_function(self, target: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Apply a function's rule, or the function itself to shapes and numbers."""
        if target is getattr and isinstance(args[0], Kernel | TensorPair):
            return _attribute(args[0], args[1])
        leaves = _flat((args, kwargs))
        if not any(isinstance(a, Kernel) for a in leaves):
            self._check_no_pair(target, leaves)
            return target(*args, **kwargs)
        return self._apply(self.node.name, target, args, kwargs)

    def call_method(self, target: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Apply a tensor method's rule; sizes are those of the finite network on the first batch."""
        if isinstance(args[0], Kernel | TensorPair) and target in ("size", "dim"):
            shape = _attribute(args[0], "shape")
            axis = args[1] if len(args) > 1 else kwargs.get("dim")
            return len(shape) if target == "dim" else (shape if axis is None else shape[axis])
        self._check_no_pair(target, args[:1])
        return self._apply(self.node.name, target, args, kwargs)

    def _check_no_pair(self, target: Any, values: Sequence[Any]) -> None:
        """Refuse to compute with inputs besides the features, which may differ between the two batches."""
        pairs = [value for value in values if isinstance(value, TensorPair)]
        if pairs:
            names = ", ".join(repr(node.name) for node in self.node.all_input_nodes)
            raise InfiniteWidthError(
                f"{target_name(target)} ({self.node.name!r}) computes with {names}: an input of shape "
                f"{tuple(pairs[0].first.shape)} besides the features, which has no rule; compute it before "
                "the call and pass the result"
            )


def _diagonal(value: Any) -> Any:
    return value.diagonal() if isinstance(value, Kernel) else value


def _attribute(kernel: Kernel | TensorPair, name: str) -> Any:
    if isinstance(kernel, TensorPair):
        return getattr(kernel.first, name)
    if name == "shape":
        return torch.Size(kernel.shape1)
    return len(kernel.shape1) if name == "ndim" else getattr(kernel.nngp, name)


def _flat(value: Any) -> list[Any]:
    if isinstance(value, Kernel | TensorPair):
        return [value]
    if isinstance(value, Mapping):
        return [leaf for v in value.values() for leaf in _flat(v)]
    if isinstance(value, (list, tuple)):
        return [leaf for v in value for leaf in _flat(v)]
    return [value]
