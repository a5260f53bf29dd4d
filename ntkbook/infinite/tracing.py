"""From a module to its graph, with nothing lost on the way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import fx

from ntkbook.infinite.registry import OPERATORS, InfiniteWidthError, is_known


class _Proxy(fx.Proxy):
    """Stands for a value while ``forward`` is traced.

    To fx's own proxy ``k += b`` is ``k = k + b``, which leaves all other names of ``k`` at the old value, and
    a new attribute is one of the proxy. Here the first is recorded as what it is, the second refused.
    """

    def __setitem__(self, key: object, value: object) -> None:
        raise InfiniteWidthError(
            f"forward writes to entries of {self.node.name!r} ({self.node.name}[...] = ...), which has no "
            "rule; compute a new tensor from all entries"
        )

    def __setattr__(self, name: str, value: object) -> None:
        if hasattr(torch.Tensor, name):
            raise InfiniteWidthError(
                f"forward sets {self.node.name}.{name}, which has no rule; compute a new tensor instead"
            )
        super().__setattr__(name, value)


def _recorded(operator: Callable[[Any, Any], Any]) -> Callable[[fx.Proxy, object], fx.Proxy]:
    def method(self: fx.Proxy, other: object) -> fx.Proxy:
        return self.tracer.create_proxy("call_function", operator, (self, other), {})

    return method


for _operator in OPERATORS:
    setattr(_Proxy, f"__{_operator.__name__}__", _recorded(_operator))


class _Tracer(fx.Tracer):
    """Stops at every module that has a rule or a refusal, and goes through all others."""

    def is_leaf_module(self, m: torch.nn.Module, module_qualified_name: str) -> bool:
        return is_known(m) or super().is_leaf_module(m, module_qualified_name)

    def proxy(self, node: fx.Node) -> fx.Proxy:
        return _Proxy(node, self)

    def create_node(self, *args: Any, **kwargs: Any) -> fx.Node:
        node = super().create_node(*args, **kwargs)
        node.meta["no_grad"] = not torch.is_grad_enabled()
        return node


def trace(net: torch.nn.Module) -> fx.GraphModule:
    """Return the graph of a network; a bare layer is wrapped, so that its rule is used and not its forward.

    Raises
    ------
    InfiniteWidthError
        If the control flow of ``forward`` depends on its input, or it changes values that have no rule.
    """
    whole = torch.nn.Sequential(net) if is_known(net) else net
    try:
        with torch.enable_grad():
            return fx.GraphModule(whole, _Tracer().trace(whole))
    except (fx.proxy.TraceError, RuntimeError, TypeError) as error:
        raise InfiniteWidthError(
            f"the forward of {type(net).__name__} cannot be traced ({error}): it depends on the values or "
            "the length of its input, or calls an operation with arguments that it does not take; an "
            "infinite-width kernel needs one graph for all inputs: make the branch a fixed choice, or move "
            "it out"
        ) from error
