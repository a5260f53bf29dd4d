"""What autograd's graph behind some tensors consists of, and what it keeps in memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from torch import Tensor
from torch.autograd.graph import Node


def nodes(tensors: Iterable[Tensor]) -> Iterator[Node]:
    """Yield every node of the graph behind some tensors, once."""
    stack = [t.grad_fn for t in tensors if t.grad_fn is not None]
    seen = set(stack)
    while stack:
        node = stack.pop()
        yield node
        for following, _ in node.next_functions:
            if following is not None and following not in seen:
                seen.add(following)
                stack.append(following)


def saved_tensors(tensors: Iterable[Tensor]) -> Iterator[Tensor]:
    """Yield what the graph behind some tensors keeps for the way back.

    Hooks on saved tensors would see the same, but torch.func's transforms in a network refuse them.
    """
    for node in nodes(tensors):
        for name in dir(node):
            if name.startswith("_saved_") or name == "saved_tensors":
                value = getattr(node, name)
                for t in value if isinstance(value, (tuple, list)) else (value,):
                    # Forward mode makes zeros that have no memory, and refuse to say where it would be.
                    if isinstance(t, Tensor) and not t._is_zerotensor():
                        yield t
