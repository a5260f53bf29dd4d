"""From a module to its graph, with nothing lost on the way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import fx

from ntkbook.infinite.registry import OPERATORS, InfiniteWidthError, is_known


class _Proxy(fx.Proxy):
    """Stands for a value while ``forward`` is traced.

    To fx's own proxy ``k += b`` is ``k = k + b``, which leaves all other names of ``k`` at the old value, and
    a new attribute is one of the proxy. Here the first is recorded as what it is, the second refused.
    """

    __array_ufunc__ = None  # NumPy's numbers leave ``number * proxy`` to the proxy

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


def _recorded(function: Callable[[Any, Any], Any]) -> Callable[[fx.Proxy, object], fx.Proxy]:
    def method(self: fx.Proxy, other: object) -> fx.Proxy:
        return self.tracer.create_proxy("call_function", function, (self, other), {})

    return method


for _function in OPERATORS:
    setattr(_Proxy, f"__{_function.__name__}__", _recorded(_function))


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

    def create_arg(self, a: Any) -> Any:
        return super().create_arg(a.item() if isinstance(a, np.generic) else a)


def _version(buffer: torch.Tensor) -> int:
    """Return how often a tensor was written to."""
    return 0 if buffer.is_inference() else buffer._version


def _put_back(net: torch.nn.Module, buffers: dict[str, torch.Tensor]) -> list[str]:
    """Give a network its buffers back where ``forward`` put others, proxies of them; return their names."""
    replaced = []
    for name, buffer in buffers.items():
        owner, _, last = name.rpartition(".")
        own = net.get_submodule(owner)._buffers
        if own.get(last) is not buffer:
            own[last] = buffer
            replaced.append(name)
    return replaced


def trace(net: torch.nn.Module) -> fx.GraphModule:
    """Return the graph of a network; a bare layer is wrapped, so that its rule is used and not its forward.

    Raises
    ------
    InfiniteWidthError
        If the control flow of ``forward`` depends on its input, or it writes to entries, attributes or
        buffers.
    """
    whole = torch.nn.Sequential(net) if is_known(net) else net
    buffers = dict(net.named_buffers())
    before = {name: _version(buffer) for name, buffer in buffers.items()}
    try:
        with torch.enable_grad():
            graph = fx.GraphModule(whole, _Tracer().trace(whole))
    except (fx.proxy.TraceError, RuntimeError, TypeError) as error:
        raise InfiniteWidthError(
            f"the forward of {type(net).__name__} cannot be traced ({error}): it depends on the values or "
            "the length of its input, or calls an operation with arguments that it does not take; an "
            "infinite-width kernel needs one graph for all inputs: make the branch a fixed choice, or move "
            "it out"
        ) from error
    finally:
        changed = _put_back(net, buffers)
    changed += [name for name, buffer in buffers.items() if _version(buffer) != before[name]]
    if changed:
        raise InfiniteWidthError(
            f"the forward of {type(net).__name__} changes its buffer {changed[0]!r}, so that every call is "
            "another function; compute what it needs without writing to buffers"
        )
    return graph
