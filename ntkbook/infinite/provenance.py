"""Which weight layers a value depends on, and what follows for sums and products of branches."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Root:
    r"""One weight layer's output (or the network's input) from which a value is computed channel by channel.

    Given everything upstream, a weight layer's output is a mean-zero Gaussian, independent from channel to
    channel. Two such outputs are independent in the limit as soon as one of them uses weights that the other
    never meets.

    Attributes
    ----------
    weights : str or None
        The weight layer's name; None for an input of the network.
    upstream : frozenset of str
        Every weight layer met on the way, this one included.
    """

    weights: str | None
    upstream: frozenset[str]

    def independent_of(self, other: Root) -> bool:
        """Whether the two outputs are independent in the limit."""
        return (self.weights is not None and self.weights not in other.upstream) or (
            other.weights is not None and other.weights not in self.upstream
        )


def fresh_root(name: str, roots: Iterable[Root]) -> frozenset[Root]:
    """Return the root of a new weight layer ``name`` applied to a value with the given roots."""
    upstream = frozenset({name}).union(*(root.upstream for root in roots))
    return frozenset({Root(name, upstream)})


def independent(a: frozenset[Root], b: frozenset[Root]) -> bool:
    """Whether two values are independent in the limit, channel by channel."""
    return all(p.independent_of(q) for p in a for q in b)


def describe(roots: frozenset[Root]) -> str:
    """Name the roots for an error message."""
    return ", ".join(sorted("the input" if root.weights is None else repr(root.weights) for root in roots))
