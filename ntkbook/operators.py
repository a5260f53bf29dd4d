r"""Kernels of linear differential operators of a network: the tangent kernels of physics-informed learning.

A network u trained on boundary values u(x_b) and on the residual of a linear equation (R u)(x_r) = f moves in
function space by the Gram matrix (Wang, Yu and Perdikaris 2022, Lemma 3.1)

.. math::
    K = \begin{pmatrix} K_{uu} & K_{ur} \\ K_{ru} & K_{rr} \end{pmatrix}, \qquad
    K_{ur} = \langle \nabla_\theta u(x_b), \nabla_\theta (R u)(x_r) \rangle .

At infinite width operators act on the kernel itself, one on each argument: :math:`K_{ur}(x, x') = R_{x'}
\Theta(x, x')` and :math:`K_{rr}(x, x') = R_x R_{x'} \Theta(x, x')` (:func:`apply`). At finite width they act
on the network (:func:`empirical`). Either way :func:`block_kernel` puts the blocks together.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ntkbook._differential_operator import (
    Operator,
    Polynomial,
    identity,
    laplacian,
    partial,
    polynomial_of,
    values_of,
)
from ntkbook._validation import check_alike, check_choice, check_count, check_finite, check_tensor
from ntkbook.empirical.checks import check_inputs, check_module
from ntkbook.empirical.jacobian import SampleJacobian
from ntkbook.empirical.network import Network, exact_operators

__all__ = ["Operator", "apply", "block_kernel", "empirical", "identity", "laplacian", "partial"]

KernelFunction = Callable[[Tensor, Tensor], Tensor]
# Derivatives of high order keep thousands of intermediates of a tile's size.
_TILE = 64
# Bytes of the gradients of one chunk of samples.
_CHUNK_BYTES = 2**28


def apply(
    kernel: KernelFunction, left: Operator = identity, right: Operator = identity
) -> Callable[..., Tensor]:
    r"""Return the kernel of an operator of a network with another: ``left`` in x, ``right`` in x'.

    .. math:: k_{LR}(x, x') = L_x R_{x'}\, k(x, x')

    Of an NNGP kernel this is the covariance of (L u)(x) and (R u)(x') at infinite width, of an NTK the limit
    of :math:`\langle \nabla_\theta (L u)(x), \nabla_\theta (R u)(x') \rangle`.

    Parameters
    ----------
    kernel : callable
        From batches (N1, d), (N2, d) to (N1, N2), by operations that autograd can differentiate; entry (i, j)
        from rows i and j alone. For example ``lambda a, b: ntkbook.infinite_width(net)(a, b).ntk``.
    left, right : Operator
        Linear differential operators.

    Returns
    -------
    callable
        ``(x1, x2=None) -> Tensor`` of shape (N1, N2), itself differentiable where ``kernel`` is; ``x2=None``
        means ``x1``.

    Raises
    ------
    TypeError, ValueError
        If a batch is not (N, d), floating point and finite, the two do not fit, an operator names a
        coordinate that they lack, ``kernel`` returns something else, or it is not smooth enough: found by
        comparing derivatives on both sides of one coincident pair, up to the operators' orders
        together. A network of ReLUs has no second derivative; use a smooth activation such as
        ``torch.nn.Tanh`` or ``ntkbook.nn.Erf``.

    Notes
    -----
    All derivatives of all pairs of a tile come from one evaluation of the kernel, at inputs shifted by common
    vectors s and t: the sum :math:`\sum_{ij} v_{ij} k(x_i + s, x'_j + t)` is differentiated in s and t in
    reverse mode, and last in v, which gives every pair's value at once. Each derivative is one pass over the
    graph so far, and makes it up to three times as long; a Laplacian takes 1 + d passes. One core, float64,
    Laplacians on both sides, d = 2, two hidden layers of ``Erf``: 30 microseconds per pair. Activations
    without a closed form (``torch.nn.Tanh``) go through quadrature, and one hidden layer of them takes 0.2 s
    per pair; ``ntkbook.nn.Erf`` resembles tanh. Memory: that of the graph of one tile of 64 by 64 pairs, 0.5
    GB in this example, unless gradients of the result are wanted; then that of all tiles.

    Examples
    --------
    >>> import torch
    >>> from ntkbook import operators
    >>> rbf = lambda a, b: torch.exp(-0.5 * (a[:, None] - b).square().sum(-1))
    >>> origin = torch.zeros(1, 1)
    >>> slope, curvature = operators.partial(0), operators.laplacian()
    >>> operators.apply(rbf, slope, slope)(origin)
    tensor([[1.]])
    >>> operators.apply(rbf, curvature, curvature)(origin)
    tensor([[3.]])
    """
    if not callable(kernel):
        raise TypeError(f"kernel must be a function of two batches, got {type(kernel).__name__}")
    _check_operator("left", left)
    _check_operator("right", right)

    def applied(x1: Tensor, x2: Tensor | None = None) -> Tensor:
        first, second = _check_points("x1", x1), _check_points("x2", x1 if x2 is None else x2)
        check_alike("x2", second, "x1", first)
        if first.shape[1] != second.shape[1]:
            raise ValueError(
                f"x1 has {first.shape[1]} coordinates but x2 has {second.shape[1]}; they must agree"
            )
        for operator in (left, right):
            for part in operator.parts:
                polynomial_of(part, first.shape[1])
        with torch.enable_grad():
            _check_smooth(kernel, first.detach(), left.order + right.order)
        rows = [
            torch.cat([_tile(kernel, left, right, a, b) for b in torch.split(second, _TILE)], 1)
            for a in torch.split(first, _TILE)
        ]
        result = torch.cat(rows)
        if not bool(torch.isfinite(result).all()):
            raise ValueError(_ROUGH.format(found="some are not finite", order=left.order + right.order))
        return result

    return applied


def empirical(
    net: torch.nn.Module,
    x1: Tensor,
    x2: Tensor | None = None,
    left: Operator = identity,
    right: Operator = identity,
    *,
    outputs: str = "mean",
    chunk_size: int | None = None,
) -> Tensor:
    r"""Return the tangent kernel of an operator of a network with another, at its present weights.

    .. math::
        \hat K_{ab}(x, x') = \langle \nabla_\theta (L u)_a(x; \theta),\,
        \nabla_\theta (R u)_b(x'; \theta) \rangle

    Parameters
    ----------
    net : torch.nn.Module
        The network u, from (N, d) to (N, K).
    x1, x2 : Tensor
        Points (N1, d) and (N2, d); ``x2=None`` means ``x1``.
    left, right : Operator
        Linear differential operators.
    outputs : {"mean", "full"}
        The mean over a = b, or all pairs of outputs.
    chunk_size : int, optional
        Points whose gradients are held at a time; by default as many as fit 256 MB on each side.

    Returns
    -------
    Tensor
        (N1, N2), or (N1, N2, K, K); not part of any autograd graph.

    Raises
    ------
    TypeError, ValueError
        As :func:`ntkbook.empirical_ntk`, or if inputs are not (N, d).

    Notes
    -----
    Derivatives in x in forward mode, those in the P parameters by one backward pass per point and output;
    then :math:`N_1 N_2 K^2 P` multiply-adds. Derivatives of kinked activations are those of autograd, zero
    almost everywhere: the Laplacian of a ReLU network has kernel 0.

    Examples
    --------
    >>> import torch
    >>> from ntkbook import operators
    >>> _ = torch.manual_seed(0)
    >>> net = torch.nn.Sequential(
    ...     torch.nn.Linear(2, 16), torch.nn.Tanh(), torch.nn.Linear(16, 1))
    >>> x = torch.randn(5, 2)
    >>> left, right = operators.laplacian(), operators.identity
    >>> operators.empirical(net, x, x[:3], left, right).shape
    torch.Size([5, 3])
    """
    check_choice("outputs", outputs, ("mean", "full"))
    if chunk_size is not None:
        check_count("chunk_size", chunk_size)
    _check_operator("left", left)
    _check_operator("right", right)
    check_module(net)
    first, second = check_inputs(
        net, _check_points("x1", x1), None if x2 is None else _check_points("x2", x2)
    )
    second = first if second is None else second
    with exact_operators(), torch.no_grad():
        gradients = [_Gradients(net, operator, x) for operator, x in ((left, first), (right, second))]
        k = gradients[0].n_outputs
        per_point = k * gradients[0].n_parameters * first.element_size()
        size = max(1, _CHUNK_BYTES // per_point) if chunk_size is None else chunk_size
        rows = []
        for a in torch.split(first, size):
            jacobian = gradients[0](a)
            rows.append(
                torch.cat(
                    [_contract(jacobian, gradients[1](b), outputs) for b in torch.split(second, size)], 1
                )
            )
        return torch.cat(rows)


def block_kernel(kernel: KernelFunction | torch.nn.Module, *conditions: tuple[Operator, Tensor]) -> Tensor:
    r"""Return the Gram matrix of several conditions on one function, each an operator and its points.

    .. math:: K = \big( K_{cc'} \big), \qquad K_{cc'} = (L_c)_x (L_{c'})_{x'}\, k(X_c, X_{c'})

    Parameters
    ----------
    kernel : callable or torch.nn.Module
        A kernel as in :func:`apply`, or a network with one output, whose tangent kernel is meant as in
        :func:`empirical`.
    *conditions : (Operator, Tensor)
        Say ``(operators.identity, x_boundary), (operators.laplacian(), x_residual)`` for a Poisson problem.

    Returns
    -------
    Tensor
        Symmetric, (N, N) with N the number of points of all conditions, in their order.

    Raises
    ------
    TypeError, ValueError
        If there is no condition, one is not a pair, or as :func:`apply` and :func:`empirical`.

    Examples
    --------
    >>> import torch, ntkbook
    >>> from ntkbook import nn, operators
    >>> net = nn.mlp([1, 64, 1], activation=nn.Erf(), b_std=1.0)
    >>> kernel = ntkbook.infinite_width(net)
    >>> x_boundary = torch.tensor([[0.0], [1.0]])
    >>> x_residual = torch.linspace(0, 1, 5)[:, None]
    >>> k = operators.block_kernel(
    ...     lambda a, b: kernel(a, b).ntk,
    ...     (operators.identity, x_boundary),
    ...     (operators.laplacian(), x_residual),
    ... )
    >>> k.shape, bool(torch.linalg.eigvalsh(k).min() > -1e-4)
    (torch.Size([7, 7]), True)
    """
    if not conditions:
        raise ValueError("conditions is empty, got no pair; pass at least one condition, (operator, points)")
    for i, condition in enumerate(conditions):
        if not isinstance(condition, tuple) or len(condition) != 2:
            raise TypeError(
                f"conditions[{i}] must be a pair (operator, points), got {type(condition).__name__}"
            )
        _check_operator(f"conditions[{i}][0]", condition[0])
        _check_points(f"conditions[{i}][1]", condition[1])
    blocks: dict[tuple[int, int], Tensor] = {}
    for i, (left, x1) in enumerate(conditions):
        for j, (right, x2) in enumerate(conditions[i:], start=i):
            if isinstance(kernel, torch.nn.Module):
                full = empirical(kernel, x1, x2, left, right, outputs="full")
                if full.shape[-1] != 1:
                    raise ValueError(
                        f"net must have one output, got {full.shape[-1]}; its blocks come from "
                        "operators.empirical(..., outputs='full')"
                    )
                block = full[:, :, 0, 0]
            else:
                block = apply(kernel, left, right)(x1, x2)
            blocks[i, j] = block if i != j else 0.5 * (block + block.mT)
            blocks[j, i] = blocks[i, j].mT
    n = len(conditions)
    return torch.cat([torch.cat([blocks[i, j] for j in range(n)], 1) for i in range(n)])


class _Gradients:
    """Gradients of an operator of a network in its parameters, point by point."""

    def __init__(self, net: torch.nn.Module, operator: Operator, x: Tensor) -> None:
        network = Network(_Applied(net, operator), x)
        self.n_outputs = network.n_outputs
        self.n_parameters = sum(p.numel() for p in network.parameters.values())
        self.jacobian = SampleJacobian(network, x, list(network.parameters))

    def __call__(self, x: Tensor) -> Tensor:
        """Return (N, K, P)."""
        return torch.cat(list(self.jacobian(x).values()), -1)


class _Applied(torch.nn.Module):
    """The network L u."""

    def __init__(self, net: torch.nn.Module, operator: Operator) -> None:
        super().__init__()
        self.net, self.operator = net, operator

    def forward(self, x: Tensor) -> Tensor:
        return self.operator(lambda y: self.net(y).reshape(len(y), -1))(x)


def _contract(first: Tensor, second: Tensor, outputs: str) -> Tensor:
    if outputs == "full":
        return torch.einsum("iap,jbp->ijab", first, second)
    return first.flatten(1) @ second.flatten(1).mT / first.shape[1]


def _tile(kernel: KernelFunction, left: Operator, right: Operator, x1: Tensor, x2: Tensor) -> Tensor:
    """Apply both operators to one tile of the kernel; see the notes of :func:`apply`."""
    plain = kernel(x1, x2)
    _check_values(plain, len(x1), len(x2))
    outer = torch.is_grad_enabled() and plain.requires_grad
    d = x1.shape[1]
    with torch.enable_grad():
        s, t = x1.new_zeros(d).requires_grad_(), x2.new_zeros(d).requires_grad_()
        v = torch.ones_like(plain).requires_grad_()
        shifted = kernel(x1 + s, x2 + t)
        total = x1.new_zeros(())
        for p in left.parts:
            for q in right.parts:
                weight = v
                if p.coefficient is not None:
                    weight = weight * values_of(p.coefficient, x1)[:, None]
                if q.coefficient is not None:
                    weight = weight * values_of(q.coefficient, x2)
                half = _differentiate((weight * shifted).sum(), s, polynomial_of(p, d))
                total = total + _differentiate(half, t, polynomial_of(q, d))
        return _gradient(total, v, create_graph=outer)


def _differentiate(value: Tensor, s: Tensor, polynomial: Polynomial) -> Tensor:
    """Apply a polynomial in the derivatives by the entries of s; each gradient is taken once."""
    gradients: dict[tuple[int, ...], Tensor] = {}

    def derivative(axes: tuple[int, ...]) -> Tensor:
        if not axes:
            return value
        head = axes[:-1]
        if head not in gradients:
            gradients[head] = _gradient(derivative(head), s, create_graph=True)
        return gradients[head][axes[-1]]

    terms = [c * derivative(axes) for axes, c in polynomial.items()]
    return sum(terms[1:], start=terms[0])


def _gradient(value: Tensor, x: Tensor, *, create_graph: bool) -> Tensor:
    """Gradient of a scalar, zero where it does not depend on x."""
    if not value.requires_grad:
        return torch.zeros_like(x)
    (gradient,) = torch.autograd.grad(
        value, x, create_graph=create_graph, retain_graph=True, allow_unused=True, materialize_grads=True
    )
    return gradient


_ROUGH = (
    "the kernel is not smooth enough for derivatives of order {order} at coincident inputs ({found}), so "
    "the operators of this network do not exist at infinite width; use a smooth activation such as "
    "torch.nn.Tanh, torch.nn.GELU, ntkbook.nn.Erf or ntkbook.nn.Sin instead of a kinked one such as ReLU"
)


def _check_smooth(kernel: KernelFunction, x: Tensor, order: int) -> None:
    r"""Refuse a kernel that has a kink at coincident inputs.

    Kinked activations put a term :math:`|x - x'|^p`, p odd, into the kernel: its derivative of order p jumps
    across x = x', by the same amount however near one looks, and higher ones are infinite there.
    """
    if order == 0:
        return
    own = x[x.square().sum(1).argmax()]
    try:
        point, tolerance, steps = own.double(), 1e-6, (1e-3, 1e-4)
        value, shift = _across(kernel, point, steps)
    except RuntimeError:  # the kernel holds tensors of a lower precision
        point, tolerance, steps = own, 1e-2, (3e-2, 3e-3)
        value, shift = _across(kernel, point, steps)
    unit = _unit(point)
    size = float(value.detach().abs().max())  # of the j-th derivative, as far as the scale of inputs tells
    for j in range(1, order + 1):
        value = _gradient(value.sum(), shift, create_graph=True)
        right_far, left_far, right_near, left_near = value.tolist()
        jump_far, jump_near = abs(right_far - left_far), abs(right_near - left_near)
        size /= unit
        noise = tolerance * max(abs(right_near), abs(left_near), size)
        if jump_near > max(noise, 0.5 * jump_far) or not bool(torch.isfinite(value).all()):
            raise ValueError(_ROUGH.format(order=order, found=f"that of order {j} jumps by {jump_near:.3g}"))


def _across(kernel: KernelFunction, point: Tensor, steps: tuple[float, float]) -> tuple[Tensor, Tensor]:
    """Return the kernel of a point with four on a line through it, and their places on that line."""
    direction = torch.cos(1.0 + torch.arange(len(point), dtype=point.dtype, device=point.device))
    places = [sign * step * _unit(point) for step in steps for sign in (1.0, -1.0)]
    shift = torch.tensor(places, dtype=point.dtype, device=point.device, requires_grad=True)
    value = kernel(point + shift[:, None] * direction, point[None])
    _check_values(value, 4, 1)
    return value[:, 0], shift


def _unit(point: Tensor) -> float:
    return float(point.abs().max()) or 1.0


def _check_operator(name: str, operator: object) -> None:
    if not isinstance(operator, Operator):
        hint = "; call it" if operator in (partial, laplacian) else ""
        raise TypeError(
            f"{name} must be an operator made of operators.identity, operators.partial(i) and "
            f"operators.laplacian(), got {type(operator).__name__}{hint}"
        )


def _check_points(name: str, x: object) -> Tensor:
    return check_finite(name, check_tensor(name, x, ndim=2))


def _check_values(value: object, n1: int, n2: int) -> None:
    if not isinstance(value, Tensor):
        raise TypeError(
            f"kernel must return a tensor, got {type(value).__name__}; of an infinite-width kernel choose a "
            "field: lambda a, b: kernel(a, b).ntk"
        )
    if value.shape != (n1, n2):
        raise ValueError(
            f"kernel must map {n1} and {n2} points to a tensor ({n1}, {n2}), got {tuple(value.shape)}"
        )
