r"""Linear differential operators with variable coefficients, as sums of mixed partial derivatives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import jvp

from ntkbook._validation import check_count, check_number, check_tensor

Coefficient = Callable[[Tensor], Tensor]
# From mixed derivatives, as sorted axes, to constant factors: {(0, 0): 1.0, (1, 1): 1.0} for a Laplacian.
Polynomial = dict[tuple[int, ...], float]


@dataclass(frozen=True)
class Part:
    """A coefficient (None for 1) times a polynomial in partial derivatives, given the input dimension."""

    coefficient: Coefficient | None
    polynomial: Callable[[int], Polynomial]


@dataclass(frozen=True)
class Operator:
    r"""A linear differential operator :math:`(R u)(x) = \sum_\alpha c_\alpha(x)\, \partial^\alpha u(x)`.

    Built from :data:`identity`, :func:`partial` and :func:`laplacian` by ``+``, ``-``, multiples ``c * R``
    with a number or a function c of a batch (N, d) that returns (N,), and products ``R @ S``, where S must
    have constant coefficients.

    Attributes
    ----------
    order : int
        Derivatives it takes at most.

    Examples
    --------
    >>> import torch
    >>> from ntkbook import operators
    >>> heat = operators.partial(0) - 0.1 * operators.laplacian(1)    # of u(t, x)
    >>> transport = (lambda x: x[:, 1]) * operators.partial(1)             # x u_x
    >>> (heat + transport).order
    2
    """

    parts: tuple[Part, ...]
    order: int

    def __add__(self, other: Operator) -> Operator:
        """Sum of two operators."""
        if not isinstance(other, Operator):
            raise TypeError(
                f"an operator can be added to an operator only, got {type(other).__name__}; for a multiple "
                "of u add c * operators.identity"
            )
        return Operator(self.parts + other.parts, max(self.order, other.order))

    def __sub__(self, other: Operator) -> Operator:
        """Difference of two operators."""
        return self + (-1.0 * other if isinstance(other, Operator) else other)

    def __neg__(self) -> Operator:
        """Negative of the operator."""
        return -1.0 * self

    def __rmul__(self, factor: float | Coefficient) -> Operator:
        """Multiply by a number, or by a function of the point."""
        if isinstance(factor, bool):
            raise TypeError(f"an operator's factor must be a number, got {factor}; pass a float")
        if isinstance(factor, int | float):
            check_number("an operator's factor", factor)
            return Operator(tuple(Part(p.coefficient, _scaled(p, factor)) for p in self.parts), self.order)
        if not callable(factor):
            raise TypeError(
                f"an operator's factor must be a number or a function of a batch (N, d), got "
                f"{type(factor).__name__}; compose operators by R @ S"
            )
        return Operator(
            tuple(Part(_product(factor, p.coefficient), p.polynomial) for p in self.parts), self.order
        )

    def __matmul__(self, other: Operator) -> Operator:
        """Apply ``other`` first, then this one."""
        if not isinstance(other, Operator):
            raise TypeError(f"an operator can be composed with an operator only, got {type(other).__name__}")
        if any(part.coefficient is not None for part in other.parts):
            raise ValueError(
                "R @ S needs constant coefficients in S, because R would have to differentiate them; expand "
                "the product by hand"
            )
        parts = tuple(Part(p.coefficient, _composed(p, q)) for p in self.parts for q in other.parts)
        return Operator(parts, self.order + other.order)

    def __call__(self, u: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        """Act on a function from (N, d) to (N, K) that maps each row on its own; exact, in forward mode.

        Examples
        --------
        >>> import torch
        >>> from ntkbook import operators
        >>> u = lambda x: (x**3).sum(1, keepdim=True)
        >>> operators.laplacian()(u)(torch.tensor([[1.0, 2.0]]))
        tensor([[18.]])
        """
        if not callable(u):
            raise TypeError(f"u must be a function of a batch (N, d), got {type(u).__name__}; pass a network")

        def applied(x: Tensor) -> Tensor:
            check_tensor("x", x, ndim=2)
            total: Tensor | None = None
            for part in self.parts:
                terms = [c * _derivative(u, axes)(x) for axes, c in polynomial_of(part, x.shape[1]).items()]
                value = sum(terms[1:], start=terms[0])
                if part.coefficient is not None:
                    value = value * values_of(part.coefficient, x)[:, None]
                total = value if total is None else total + value
            assert total is not None
            return total

        return applied


identity = Operator((Part(None, lambda d: {(): 1.0}),), 0)
"""The operator that leaves u as it is."""


def partial(axis: int) -> Operator:
    r"""Return :math:`\partial / \partial x_i`, i = ``axis`` counted from 0.

    Raises
    ------
    TypeError, ValueError
        If ``axis`` is no whole number from 0; when applied, if inputs have no such coordinate.

    Examples
    --------
    >>> import torch
    >>> from ntkbook import operators
    >>> product = lambda x: x[:, :1] * x[:, 1:]
    >>> operators.partial(1)(product)(torch.tensor([[3.0, 5.0]]))
    tensor([[3.]])
    """
    check_count("axis", axis, 0)
    return Operator((Part(None, lambda d: {(axis,): 1.0}),), 1)


def laplacian(*axes: int) -> Operator:
    r"""Return :math:`\sum_i \partial^2 / \partial x_i^2` over all coordinates, or over the ``axes`` given.

    Raises
    ------
    TypeError, ValueError
        As :func:`partial`; also if a coordinate is named twice.

    Examples
    --------
    >>> import torch
    >>> from ntkbook import operators
    >>> u = lambda x: x[:, :1] * x[:, 1:] ** 2
    >>> operators.laplacian(1)(u)(torch.tensor([[3.0, 5.0]]))
    tensor([[6.]])
    """
    for axis in axes:
        check_count("axis", axis, 0)
    if len(set(axes)) < len(axes):
        raise ValueError(
            f"axes must name each coordinate once, got {axes}; for a multiple write 2 * laplacian(0)"
        )
    return Operator((Part(None, lambda d: {(i, i): 1.0 for i in axes or range(d)}),), 2)


def _derivative(u: Callable[[Tensor], Tensor], axes: tuple[int, ...]) -> Callable[[Tensor], Tensor]:
    """Mixed partial derivative of a function of rows: along one coordinate, all rows move together."""
    if not axes:
        return u
    lower = _derivative(u, axes[:-1])

    def derived(x: Tensor) -> Tensor:
        direction = torch.zeros_like(x)
        direction[:, axes[-1]] = 1.0
        result: Tensor = jvp(lower, (x,), (direction,))[1]
        return result

    return derived


def _scaled(part: Part, factor: float) -> Callable[[int], Polynomial]:
    return lambda d: {axes: factor * c for axes, c in part.polynomial(d).items()}


def _composed(first: Part, second: Part) -> Callable[[int], Polynomial]:
    def polynomial(d: int) -> Polynomial:
        product: Polynomial = {}
        for a, c in first.polynomial(d).items():
            for b, e in second.polynomial(d).items():
                axes = tuple(sorted(a + b))
                product[axes] = product.get(axes, 0.0) + c * e
        return product

    return polynomial


def _product(factor: Coefficient, coefficient: Coefficient | None) -> Coefficient:
    return factor if coefficient is None else lambda x: factor(x) * coefficient(x)


def polynomial_of(part: Part, d: int) -> Polynomial:
    polynomial = part.polynomial(d)
    top = max((axis for axes in polynomial for axis in axes), default=-1)
    if top >= d:
        raise ValueError(
            f"an operator differentiates along coordinate {top}, but inputs have {d}, counted from 0; mend "
            "the operator's axis or the inputs"
        )
    return polynomial


def values_of(coefficient: Coefficient, x: Tensor) -> Tensor:
    value = coefficient(x)
    if not isinstance(value, Tensor) or value.shape != x.shape[:1]:
        got = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        raise ValueError(
            f"an operator's coefficient must map {tuple(x.shape)} to ({len(x)},), got {got}; "
            "for one coordinate write lambda x: x[:, 0]"
        )
    return value
