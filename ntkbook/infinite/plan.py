"""What is decided before anything is computed: the graph, its layouts, and whether it is allowed at all."""

from __future__ import annotations

import builtins
import operator
from typing import Any

import torch
from torch import fx
from torch.nn.utils.parametrize import is_parametrized

from ntkbook.infinite.in_place import check_overwritten
from ntkbook.infinite.registry import InfiniteWidthError, find_refusal, find_rule, target_name
from ntkbook.infinite.tracing import trace


class Plan:
    """The traced network with the layout of every value.

    The full spatial covariance costs a factor of the number of positions more than its diagonal. One walk
    backwards over the graph tells which values need it: a value does if any of its users does.

    Attributes
    ----------
    graph_module : torch.fx.GraphModule
        The traced network.
    full : dict of Node to bool
        Whether a value is needed with its full spatial covariance.
    channels_last : dict of Node to bool
        Where each input of the network has its channels.
    flattened : set of Node
        Inputs that are flattened before anything else, which can be done before any covariance is computed.

    Raises
    ------
    InfiniteWidthError
        If an operation has no rule, weights are used twice, or the control flow depends on data.
    """

    def __init__(self, net: torch.nn.Module) -> None:
        if not isinstance(net, torch.nn.Module):
            raise TypeError(f"net must be a torch.nn.Module, got {type(net).__name__}")
        self.graph_module = trace(net)
        self.nodes = list(self.graph_module.graph.nodes)
        self._check_rules()
        self._check_changes(net)
        self._check_tied_weights(net)
        self.full = self._layouts()
        inputs = [node for node in self.nodes if node.op == "placeholder"]
        self.channels_last = {node: self._channels_last(node) for node in inputs}
        self.flattened = {node for node in inputs if self._is_flattened_first(node)}

    def target(self, node: fx.Node) -> Any:
        """Return the module, function or method name that a node calls."""
        if node.op == "call_module":
            return self.graph_module.get_submodule(str(node.target))
        return node.target

    def modules(self) -> list[tuple[str, torch.nn.Module]]:
        """Return the modules that the graph calls, with their paths."""
        return [(str(n.target), self.target(n)) for n in self.nodes if n.op == "call_module"]

    def _check_rules(self) -> None:
        for node in self.nodes:
            if node.op == "get_attr":
                value = operator.attrgetter(str(node.target))(self.graph_module)
                if isinstance(value, torch.nn.Parameter):
                    raise InfiniteWidthError(
                        f"parameter {node.target!r} is used directly in forward; its distribution is "
                        "unknown: put it into a layer of ntkbook.nn, or register_rule the module that owns it"
                    )
            if node.op not in ("call_module", "call_function", "call_method") or _reads_no_values(node):
                continue
            target = self.target(node)
            title = type(target).__name__ if node.op == "call_module" else target_name(target)
            where = f"{title} ({str(node.target) if node.op == 'call_module' else node.name!r})"
            if node.meta.get("no_grad"):
                raise InfiniteWidthError(
                    f"{where} runs without gradients (torch.no_grad or inference_mode in forward), so that "
                    "the tangent kernel would lack what comes before it, which no rule covers; remove it"
                )
            reason = find_refusal(target)
            if reason is not None:
                raise InfiniteWidthError(f"{where}: {reason}")
            if find_rule(target) is None:
                raise InfiniteWidthError(
                    f"{where} has no infinite-width rule; register one with ntkbook.infinite.register_rule, "
                    "or use ntkbook.nn.Elementwise(fn) if it acts on each feature alone"
                )

    def _check_changes(self, net: torch.nn.Module) -> None:
        """Refuse what changes a layer, or a value, behind the back of its rule."""
        for name, module in [("", net), *self.modules()]:
            hooks = module._forward_hooks or module._forward_pre_hooks
            if hooks or "forward" in vars(module) or is_parametrized(module):
                what = "forward hooks" if hooks else "a forward or a parametrization of its own"
                raise InfiniteWidthError(
                    f"{type(module).__name__} ({name!r}) has {what}, which its rule does not see; remove "
                    "them, or put what they do into a module of its own"
                )
        check_overwritten([node for node in self.nodes if not _reads_no_values(node)], self.target)

    def _check_tied_weights(self, net: torch.nn.Module) -> None:
        called: dict[str, str] = {}
        for node in self.nodes:
            if node.op == "call_module" and any(True for _ in self.target(node).parameters()):
                if str(node.target) in called:
                    raise InfiniteWidthError(
                        f"tied weights: module {node.target!r} is called more than once, so its outputs are "
                        "correlated; give each call a layer of its own"
                    )
                called[str(node.target)] = node.name
        owners: dict[int, str] = {}
        for name, parameter in net.named_parameters(remove_duplicate=False):
            owner = owners.setdefault(parameter.data_ptr() or id(parameter), name)
            if owner != name and parameter.numel():
                raise InfiniteWidthError(
                    f"tied weights: parameters {owner!r} and {name!r} are one tensor, so layers are "
                    "correlated; give each layer its own"
                )

    def _layouts(self) -> dict[fx.Node, bool]:
        full: dict[fx.Node, bool] = dict.fromkeys(self.nodes, False)
        for node in reversed(self.nodes):
            if node.op == "output":
                needs_full = True
            elif node.op in ("call_module", "call_function", "call_method"):
                entry = find_rule(self.target(node))
                if entry is None:
                    continue
                needs = entry.needs
                if callable(needs):
                    needs = needs(self.target(node), node.args, node.kwargs)
                needs_full = full[node] if needs == "keep" else needs == "full"
            else:
                continue
            for argument in node.all_input_nodes:
                full[argument] |= needs_full
        return full

    def _channels_last(self, node: fx.Node) -> bool:
        """Follow an input's users to the first that says where channels are; by default first."""
        waiting, seen = [node], {node}
        while waiting:
            for user in waiting.pop(0).users:
                if user in seen:
                    continue
                seen.add(user)
                entry = find_rule(self.target(user)) if user.op != "output" else None
                if entry is not None and entry.channels is not None:
                    return entry.channels == "last"
                waiting.append(user)
        return False

    def _is_flattened_first(self, node: fx.Node) -> bool:
        users = [user for user in node.users if not _reads_no_values(user)]
        return bool(users) and all(self._flattens(user) for user in users)

    def _flattens(self, node: fx.Node) -> bool:
        if node.op == "output":
            return False
        target = self.target(node)
        if isinstance(target, torch.nn.Flatten):
            return target.start_dim == 1 and target.end_dim == -1
        if target in (torch.flatten, "flatten"):
            arguments = dict(zip(("start_dim", "end_dim"), node.args[1:], strict=False)) | node.kwargs
            return bool(arguments.get("start_dim", 0) == 1 and arguments.get("end_dim", -1) == -1)
        return bool(target in ("view", "reshape") and len(node.args) == 3 and node.args[2] == -1)


def _reads_no_values(node: fx.Node) -> bool:
    """Whether a node handles shapes and numbers only."""
    if node.op == "call_method":
        return node.target in ("size", "dim")
    if node.op == "call_function" and node.target is builtins.getattr:
        return node.args[1] in ("shape", "ndim", "device", "dtype")
    sources = node.all_input_nodes
    return node.op == "call_function" and bool(sources) and all(_is_number(n) for n in sources)


def _is_number(node: fx.Node) -> bool:
    return node.op in ("call_function", "call_method") and _reads_no_values(node)
