r"""Dual activations: what an activation does to a Gaussian covariance.

For :math:`(u, v) \sim N(0, [[q_{11}, q_{12}], [q_{12}, q_{22}]])` the infinite-width recursion needs

.. math::
    \hat\phi = E[\phi(u) \phi(v)], \qquad \hat{\dot\phi} = E[\phi'(u) \phi'(v)]

elementwise: the first carries the NNGP covariance through the activation, the second multiplies the NTK.
:func:`dual` computes both for a module, through a registry that :func:`register_dual` extends.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

from ntkbook._validation import check_alike, check_tensor


class DualMoments(NamedTuple):
    """The two moments, both of the broadcast shape of the covariances."""

    phi_phi: Tensor
    """E[phi(u) phi(v)]."""
    dphi_dphi: Tensor
    """E[phi'(u) phi'(v)]."""


DualRule = Callable[[Any, Tensor, Tensor, Tensor], DualMoments]
_Rule = TypeVar("_Rule", bound=DualRule)

_RULES: dict[type[torch.nn.Module], DualRule] = {}


def register_dual(*module_types: type[torch.nn.Module]) -> Callable[[_Rule], _Rule]:
    """Declare a function to be the dual activation of one or more module types.

    Parameters
    ----------
    *module_types : type
        Subclasses of ``torch.nn.Module`` that act elementwise. The type must match exactly: a subclass may
        compute something else, so it is not covered by its parent's rule.

    Returns
    -------
    callable
        A decorator for ``rule(module, q11, q12, q22) -> DualMoments``, whose tensor arguments broadcast. It
        must be differentiable by autograd, and be right for coincident inputs and zero variances.

    Raises
    ------
    TypeError
        If there is no argument, or one is not a module type.

    Examples
    --------
    >>> class Square(torch.nn.Module):
    ...     def forward(self, x):
    ...         return x ** 2
    >>> @register_dual(Square)
    ... def _square(module, q11, q12, q22):
    ...     return DualMoments(q11 * q22 + 2 * q12 ** 2, 4 * q12)
    >>> one = torch.ones(1)
    >>> dual(Square(), one, 0.5 * one, one).phi_phi
    tensor([1.5000])
    """
    if not module_types:
        raise TypeError("register_dual got no module_types; name at least one subclass of torch.nn.Module")
    for module_type in module_types:
        if not (isinstance(module_type, type) and issubclass(module_type, torch.nn.Module)):
            raise TypeError(
                f"register_dual takes subclasses of torch.nn.Module, got {module_type!r}; pass the type, "
                "not an instance"
            )

    def decorate(rule: _Rule) -> _Rule:
        for module_type in module_types:
            _RULES[module_type] = rule
        return rule

    return decorate


def has_dual(module: torch.nn.Module) -> bool:
    """Whether :func:`dual` knows this module.

    Raises
    ------
    TypeError
        If ``module`` is not a module.

    Examples
    --------
    >>> has_dual(torch.nn.ReLU()), has_dual(torch.nn.Softmax(dim=-1))
    (True, False)
    """
    return type(_as_module("module", module)) in _RULES


def dual(activation: torch.nn.Module, q11: Tensor, q12: Tensor, q22: Tensor) -> DualMoments:
    r"""Moments of an activation of two correlated Gaussians.

    .. math::
        E[\phi(u) \phi(v)], \quad E[\phi'(u) \phi'(v)], \qquad
        (u, v) \sim N\left(0, \begin{pmatrix} q_{11} & q_{12} \\ q_{12} & q_{22} \end{pmatrix}\right)

    Parameters
    ----------
    activation : torch.nn.Module
        An elementwise module with a registered dual (see :func:`register_dual`).
    q11, q22 : Tensor
        Variances; they broadcast against ``q12``, e.g. shapes (N1, 1) and (1, N2).
    q12 : Tensor
        Covariance, e.g. (N1, N2). All three of one device and one floating-point dtype.

    Returns
    -------
    DualMoments
        ``phi_phi`` and ``dphi_dphi``, of the broadcast shape. Their derivatives of any order follow by
        autograd.

    Raises
    ------
    TypeError
        If the module has no registered dual, or an argument is not a floating-point tensor.
    ValueError
        If devices, dtypes or shapes do not agree.

    Notes
    -----
    Values are not inspected, so that nothing waits for a GPU: a covariance that no pair of Gaussians has
    (:math:`q_{12}^2 > q_{11} q_{22}`) is treated as the nearest collinear pair where that matters.

    Examples
    --------
    >>> q = torch.tensor([1.0, 2.0])
    >>> moments = dual(torch.nn.ReLU(), q, q, q)
    >>> moments.phi_phi, moments.dphi_dphi
    (tensor([0.5000, 1.0000]), tensor([0.5000, 0.5000]))
    """
    rule = rule_of(_as_module("activation", activation))
    for name, value in (("q11", q11), ("q12", q12), ("q22", q22)):
        check_tensor(name, value)
    for name, value in (("q11", q11), ("q22", q22)):
        check_alike(name, value, "q12", q12)
    try:
        torch.broadcast_shapes(q11.shape, q12.shape, q22.shape)  # type: ignore[no-untyped-call]
    except RuntimeError as error:
        raise ValueError(
            f"q11, q12, q22 of shapes {tuple(q11.shape)}, {tuple(q12.shape)}, {tuple(q22.shape)} do not "
            "broadcast; for N1 by N2 pairs pass (N1, 1), (N1, N2) and (1, N2)"
        ) from error
    return rule(activation, q11, q12, q22)


def dual_diagonal(activation: torch.nn.Module, q: Tensor) -> Tensor:
    r"""Second moment :math:`E[\phi(u)^2]` of an activation of :math:`u \sim N(0, q)`, of the shape of ``q``.

    Raises
    ------
    TypeError
        As :func:`dual`.

    Examples
    --------
    >>> q = torch.tensor([2.0, 0.0])
    >>> dual_diagonal(torch.nn.LeakyReLU(0.5), q)   # (1 + 0.25) / 2 * q
    tensor([1.2500, 0.0000])
    """
    return dual(activation, check_tensor("q", q), q, q).phi_phi


def _as_module(name: str, value: object) -> torch.nn.Module:
    if not isinstance(value, torch.nn.Module):
        raise TypeError(
            f"{name} must be an instance of torch.nn.Module, got {value!r}; pass, say, torch.nn.ReLU()"
        )
    return value


def rule_of(activation: torch.nn.Module) -> DualRule:
    """Return the rule that :func:`dual` uses for a module.

    Raises
    ------
    TypeError
        If there is none.
    """
    rule = _RULES.get(type(activation))
    if rule is not None:
        return rule
    name = type(activation).__name__
    if isinstance(activation, torch.nn.PReLU):
        raise TypeError(
            "PReLU has a trainable slope, whose tangent kernel is not that of a fixed activation; use "
            "torch.nn.LeakyReLU(negative_slope) with the slope fixed"
        )
    raise TypeError(
        f"{name} has no registered dual activation; if it acts elementwise, wrap its function as "
        "ntkbook.nn.Elementwise(fn), or register a closed form with ntkbook.register_dual"
    )
