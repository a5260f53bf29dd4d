r"""Sums, products and concatenations of branches.

For values that are independent in the limit, channel by channel, and of which at most one has a mean,

.. math::
    f = a + b: \; \mathcal K = \mathcal K_a + \mathcal K_b, \; \Theta = \Theta_a + \Theta_b; \qquad
    f = a\,b: \; \mathcal K = \mathcal K_a \mathcal K_b, \; \Theta = \Theta_a \mathcal K_b + \mathcal K_a
    \Theta_b .

Whether they are is read off the weights they depend on (:mod:`ntkbook.infinite.provenance`); everything else
is refused.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ntkbook._validation import check_square, has_values
from ntkbook.infinite.kernel import Kernel
from ntkbook.infinite.provenance import describe, independent
from ntkbook.infinite.registry import Call, register_rule

Number = int | float | Tensor


def _is_number(value: Any) -> bool:
    return (isinstance(value, int | float) and not isinstance(value, bool)) or (
        isinstance(value, Tensor) and value.ndim == 0
    )


def scale(call: Call, k: Kernel, factor: Number) -> Kernel:
    """Multiply a value by a number."""
    try:
        if not isinstance(factor, Tensor):
            factor = check_square("its factor", factor)
        elif has_values(factor):
            check_square("its factor", factor.detach(), k.nngp.dtype)
    except (TypeError, ValueError) as error:
        raise call.error(str(error)) from error
    if isinstance(factor, Tensor) and not factor.is_floating_point():
        factor = factor.to(k.nngp.dtype)  # squares of integers wrap around
    return k.map(lambda t: t * factor**2)


def _check_alike(call: Call, a: Kernel, b: Kernel) -> None:
    if a.shape1 != b.shape1 or a.channel_axis != b.channel_axis:
        raise call.error(
            f"branches have shapes {a.shape1} and {b.shape1}, channels in dimensions {a.channel_axis} and "
            f"{b.channel_axis}; they must agree, since broadcasting would correlate positions"
        )
    if a.width != b.width:
        raise call.error(
            "branches have tangent kernels of different order in the width (mup or mean_field hidden layers "
            "against others); merge hidden layers with hidden layers"
        )


def _check_independent(call: Call, a: Kernel, b: Kernel, *, means: bool) -> None:
    if not independent(a.roots, b.roots):
        shared = a.roots & b.roots or a.roots | b.roots
        raise call.error(
            f"its branches are correlated: both are computed from {describe(shared)} without a weight layer "
            "of their own in between; end all branches but one with a weight layer, or write a constant "
            "multiple as a product with a number"
        )
    if means and not (a.centred or b.centred):
        raise call.error(
            "two of its branches have a mean that does not vanish (as after an activation), so they are "
            "correlated; end all branches but one with a weight layer"
        )


def _coincident(kernels: Sequence[Kernel]) -> Tensor | None:
    """Return the pairs whose covariance is their variance in every branch: none behind a dropout's masks."""
    found = [k.coincident for k in kernels]
    return None if any(pairs is None for pairs in found) else found[0]


def add(call: Call, a: Kernel, b: Kernel) -> Kernel:
    """Add two independent branches."""
    _check_alike(call, a, b)
    _check_independent(call, a, b, means=True)
    return a.with_covariances(
        a.nngp + b.nngp,
        a.ntk + b.ntk,
        lambda: a.cov1 + b.cov1,
        lambda: a.cov2 + b.cov2,
        roots=a.roots | b.roots,
        gaussian=a.gaussian and b.gaussian,
        centred=a.centred and b.centred,
        coincident=_coincident((a, b)),
    )


def multiply(call: Call, a: Kernel, b: Kernel) -> Kernel:
    """Multiply two independent branches."""
    _check_alike(call, a, b)
    _check_independent(call, a, b, means=False)
    if a.width is not None:
        raise call.error(
            "products inside mup or mean_field networks have no rule; use parameterization='ntk'"
        )
    return a.with_covariances(
        a.nngp * b.nngp,
        a.ntk * b.nngp + a.nngp * b.ntk,
        lambda: a.cov1 * b.cov1,
        lambda: a.cov2 * b.cov2,
        roots=a.roots | b.roots,
        gaussian=False,
        centred=a.centred or b.centred,
        coincident=_coincident((a, b)),
    )


def _operands(call: Call) -> tuple[Any, Any]:
    other = call.argument(1, "other", None)
    return call.argument(0, "input", None), other


@register_rule(operator.add, torch.add, "add", fresh=True)
def sum_rule(call: Call) -> Kernel:
    """Add branches, with torch's ``alpha``."""
    return _signed_sum(call)


@register_rule(operator.sub, torch.sub, "sub", fresh=True)
def difference_rule(call: Call) -> Kernel:
    """Subtract branches: the covariance of a centred branch does not see its sign."""
    return _signed_sum(call)


def _signed_sum(call: Call) -> Kernel:
    a, b = _operands(call)
    alpha = call.argument(None, "alpha", 1)
    if not (isinstance(a, Kernel) and isinstance(b, Kernel)):
        constant = b if isinstance(a, Kernel) else a
        if _is_number(constant) and not isinstance(constant, Tensor) and constant == 0:
            return a if isinstance(a, Kernel) else b
        raise call.error(
            "adding a constant gives features a mean, which no rule carries; use the bias of a weight layer, "
            "or ntkbook.nn.Elementwise for a shifted activation"
        )
    if not _is_number(alpha):
        raise call.error(f"alpha must be a number, got {type(alpha).__name__}; multiply the branch first")
    return add(call, a, b if not isinstance(alpha, Tensor) and alpha == 1 else scale(call, b, alpha))


@register_rule(operator.mul, torch.mul, torch.multiply, "mul", fresh=True)
def product_rule(call: Call) -> Kernel:
    """Multiply two branches, or a branch and a number."""
    a, b = _operands(call)
    if isinstance(a, Kernel) and isinstance(b, Kernel):
        return multiply(call, a, b)
    kernel, factor = (a, b) if isinstance(a, Kernel) else (b, a)
    if not _is_number(factor):
        raise call.error(
            "it multiplies features by a tensor, which treats channels or positions unequally; only numbers "
            "have a rule"
        )
    return scale(call, kernel, factor)


@register_rule(operator.truediv, torch.div, "div", fresh=True)
def quotient_rule(call: Call) -> Kernel:
    """Divide by a number."""
    a, b = _operands(call)
    rounding = call.argument(None, "rounding_mode", None)
    if not (isinstance(a, Kernel) and _is_number(b)):
        raise call.error("only division by a number has a rule; use torch.nn.LayerNorm to normalize")
    if rounding is not None:
        raise call.error("rounding_mode rounds features, which has no rule; use ntkbook.nn.Elementwise(fn)")
    if b == 0:
        raise call.error("it divides by 0; divide by another number")
    return scale(call, a, 1 / b)


@register_rule(operator.neg, torch.neg, "neg", fresh=True)
def negation_rule(call: Call) -> Kernel:
    """Return the branch itself: covariances do not see the sign."""
    return call.kernel


@register_rule(torch.cat, torch.concat, fresh=True)
def concatenation_rule(call: Call) -> Kernel:
    """``torch.cat`` over channels, or over positions of independent branches."""
    kernels = call.argument(0, "tensors", ())
    dim = call.argument(1, "dim", 0)
    if not all(isinstance(k, Kernel) for k in kernels):
        raise call.error("it concatenates features with a constant tensor, whose covariance is not known")
    return concatenate(call, kernels, call.dimension(dim, len(kernels[0].shape1)))


def concatenate(call: Call, kernels: Sequence[Kernel], axis: int) -> Kernel:
    """Concatenate branches along one axis of the finite network's tensors."""
    first = kernels[0]
    for k in kernels[1:]:
        shapes = (first.shape1, k.shape1)
        if (
            any(
                len(s) != len(first.shape1)
                or s[:axis] + s[axis + 1 :] != first.shape1[:axis] + first.shape1[axis + 1 :]
                for s in shapes
            )
            or k.channel_axis != first.channel_axis
        ):
            raise call.error(f"shapes {first.shape1} and {k.shape1} must agree outside dimension {axis}")
        if k.width != first.width or k.width is not None:
            raise call.error(
                "concatenation inside mup or mean_field networks has no rule; use parameterization='ntk'"
            )
    if axis == 0:
        raise call.error("concatenation along the batch would relate different inputs; use dim >= 1")

    def shape(which: str) -> tuple[int, ...]:
        shapes = [getattr(k, which) for k in kernels]
        return (*shapes[0][:axis], sum(s[axis] for s in shapes), *shapes[0][axis + 1 :])

    roots = frozenset[Any]().union(*(k.roots for k in kernels))
    changes: dict[str, Any] = {"roots": roots, "centred": all(k.centred for k in kernels)}
    changes["coincident"] = _coincident(kernels)
    changes |= {"shape1": shape("shape1"), "shape2": shape("shape2")}
    if axis == first.channel_axis:
        total = changes["shape1"][axis]
        shares = [k.n_channels / total for k in kernels]

        def mix(tensors: Sequence[Tensor]) -> Tensor:
            return sum(
                (t * share for t, share in zip(tensors, shares, strict=True)),
                start=torch.zeros_like(tensors[0]),
            )

        return _joined(kernels, mix, gaussian=False, **changes)
    for i, a in enumerate(kernels if first.layout == "full" else ()):
        for b in kernels[i + 1 :]:
            _check_independent(call, a, b, means=True)
    position = first.spatial_dims.index(axis)

    def join(tensors: Sequence[Tensor]) -> Tensor:
        return _block_diagonal(tensors, len(first.spatial), position, full=first.layout == "full")

    return _joined(kernels, join, gaussian=all(k.gaussian for k in kernels), **changes)


def _joined(kernels: Sequence[Kernel], join: Any, **changes: Any) -> Kernel:
    def field(name: str) -> Tensor:
        joined: Tensor = join([getattr(k, name) for k in kernels])
        return joined

    return kernels[0].with_covariances(
        field("nngp"), field("ntk"), lambda: field("cov1"), lambda: field("cov2"), **changes
    )


def _block_diagonal(tensors: Sequence[Tensor], n_spatial: int, position: int, *, full: bool) -> Tensor:
    """Concatenate covariances along a spatial dimension; blocks of different branches are zero."""
    axis = tensors[0].ndim - n_spatial + position
    if not full:
        return torch.cat(list(tensors), dim=axis)
    first = axis - n_spatial
    sizes = [t.shape[axis] for t in tensors]
    rows = []
    for i, t in enumerate(tensors):
        blocks = []
        for j, size in enumerate(sizes):
            shape = list(t.shape)
            shape[axis] = size
            blocks.append(t if i == j else t.new_zeros(shape))
        rows.append(torch.cat(blocks, dim=axis))
    return torch.cat(rows, dim=first)
