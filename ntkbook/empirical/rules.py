r"""Rules of layers whose parameter gradients are outer products, and the registry that holds them.

A rule states, for one layer type, that the gradient of output a at sample i is

.. math::

    \frac{\partial f_a(x_i)}{\partial W_g} = \sum_{t=1}^T c^a_{i,g,t} \, h_{i,g,t}^\top
    \in \mathbb{R}^{O \times I}, \qquad g = 1, \dots, G,

with *features* h, (n, G, T, I), made from the layer's input and *cotangents* c, (n, G, T, O), made from the
gradient of output a with respect to the layer's output. G counts independent groups, T positions that share
weights. A bias is one more feature that is always 1. Every kernel contribution follows from h and c, without
the gradient itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

Features = Callable[[Any, Tensor, frozenset[str]], Tensor]
Cotangents = Callable[[Any, Tensor], Tensor]


@dataclass(frozen=True)
class LayerRule:
    r"""How one layer type turns its input and output gradient into features and cotangents.

    Attributes
    ----------
    parameters : tuple of str
        Names of the layer's own parameters that the rule explains.
    features : callable
        ``features(layer, x, trainable)`` maps the layer's input to h, of shape (n, G, T, I). ``trainable``
        holds those names of ``parameters`` that take part; features of the others must be left out. An
        integer tensor of shape (n, G, T) stands for one-hot features, an entry of -1 for the zero feature.
    cotangents : callable
        ``cotangents(layer, g)`` maps the gradient with respect to the layer's output to c, of shape (n, G, T,
        O).
    applies : callable, optional
        ``applies(layer)`` returns "" if the rule holds for this layer with its options, otherwise the reason
        why not.
    """

    parameters: tuple[str, ...]
    features: Features
    cotangents: Cotangents
    applies: Callable[[Any], str] = lambda layer: ""


_RULES: dict[type[nn.Module], LayerRule] = {}


def register_rule(layer_type: type[nn.Module], rule: LayerRule) -> None:
    r"""Teach the structured route a layer type, in place of any earlier rule.

    A rule serves exactly this type, not its subclasses, whose ``forward`` may differ. Before each use it is
    checked on two samples against autograd; parameters that it does not explain go the Jacobian route, with a
    warning.

    Parameters
    ----------
    layer_type : type
        A subclass of ``torch.nn.Module``.
    rule : LayerRule
        Its features and cotangents.

    Raises
    ------
    TypeError
        If ``layer_type`` is not a module type, or ``rule`` not a ``LayerRule``.

    Examples
    --------
    A layer that scales each feature, y = s * x, has the gradient c_g = g_g, h_g = x_g in each of G groups:

    >>> import torch
    >>> from ntkbook.empirical.rules import LayerRule, register_rule
    >>> class Scale(torch.nn.Module):
    ...     def __init__(self, n):
    ...         super().__init__()
    ...         self.s = torch.nn.Parameter(torch.ones(n))
    ...     def forward(self, x):
    ...         return self.s * x
    >>> register_rule(Scale, LayerRule(
    ...     parameters=("s",),
    ...     features=lambda layer, x, trainable: x[:, :, None, None],
    ...     cotangents=lambda layer, g: g[:, :, None, None]))
    """
    if not (isinstance(layer_type, type) and issubclass(layer_type, nn.Module)):
        raise TypeError(f"layer_type must be a subclass of torch.nn.Module, got {layer_type!r}")
    if not isinstance(rule, LayerRule):
        raise TypeError(f"rule must be a LayerRule, got {type(rule).__name__}")
    _RULES[layer_type] = rule


def find_rule(layer: nn.Module) -> LayerRule | None:
    """Return the rule of exactly this layer's type, or None."""
    return _RULES.get(type(layer))
