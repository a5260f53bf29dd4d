r"""Geometry of a Gaussian pair, accurate where its correlation is near one, and derivatives by hand.

A centred pair :math:`(u, v)` has variances :math:`q_{11}, q_{22}` and covariance :math:`q_{12}`. Moments of
it depend on the angle :math:`\theta = \arccos(q_{12} / \sqrt{q_{11} q_{22}})` or on the determinant
:math:`\Delta = q_{11} q_{22} - q_{12}^2`, and both lose all accuracy near collinear pairs if written so. Here
they come from :math:`d = \sqrt{q_{11} q_{22}} - |q_{12}|`, with exactly coincident or antipodal inputs giving
exactly 0.

Derivatives are supplied instead of traced (:func:`with_partials`): Price's theorem makes each derivative of a
Gaussian moment another moment, which keeps gradients of every order finite and accurate.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch._C._functorch import TransformType, get_interpreter_stack

Value = Callable[[Tensor, Tensor, Tensor], Tensor]
Partials = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]


class Frame(NamedTuple):
    """A pair in units where both variances are one, up to rounding; shapes broadcast to that of the pair."""

    covariance: Tensor
    """q12 in these units: the cosine of the angle, up to rounding."""
    width: Tensor
    """sqrt(q11 q22) in these units."""
    scale: Tensor
    """sqrt(q11 q22), by which a covariance is multiplied to go back."""

    def gap(self) -> Tensor:
        """Width minus size of the covariance, not below zero."""
        return (self.width - self.covariance.abs()).clamp(min=0.0)

    def acute_angle(self) -> Tensor:
        """Angle between u and v or between u and -v, whichever is at most a right one."""
        angle = self.gap().div_(2.0 * self.width).sqrt_().asin_().mul_(2.0)
        # A right angle to the last bit: on some processors the inverse sine of sqrt(1/2) is a bit off.
        return torch.where(self.covariance == 0, math.pi / 2, angle)

    def sine(self) -> Tensor:
        """Sine of the angle, times the width."""
        return (self.gap() * (self.width + self.covariance.abs())).sqrt_()


class Unit(NamedTuple):
    """A variance and what turns it into one."""

    inverse: Tensor
    """Inverse standard deviation; 0 for a zero variance."""
    variance: Tensor
    """The variance in its own units: 1 up to rounding, also if it is zero: all its angles are right ones."""
    deviation: Tensor
    """Standard deviation."""


def unit(variance: Tensor) -> Unit:
    """Units in which a variance is one. Below four times the smallest normal number it counts as zero."""
    positive = variance >= 4.0 * torch.finfo(variance.dtype).tiny  # else the square of the inverse overflows
    inverse = torch.where(positive, variance, 1.0).rsqrt() * positive
    return Unit(inverse, torch.where(positive, variance * (inverse * inverse), 1.0), variance * inverse)


def frame(q11: Tensor, q12: Tensor, q22: Tensor) -> Frame:
    """Bring a pair to unit variances, so that neither tiny nor huge ones leave the floating-point range."""
    return frame_of(unit(q11), q12, unit(q22))


def frame_of(first: Unit, q12: Tensor, second: Unit) -> Frame:
    """As :func:`frame`, of variances whose units are known."""
    # The same product as in unit(): equal inputs round equally, and the gap is exactly 0.
    return Frame(
        q12 * (first.inverse * second.inverse),
        (first.variance * second.variance).sqrt(),
        first.deviation * second.deviation,
    )


class _WithPartials(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(value: Value, partials: Partials, q11: Tensor, q12: Tensor, q22: Tensor) -> Tensor:
        return value(q11, q12, q22)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.partials = inputs[1]
        ctx.save_for_backward(*inputs[2:])
        ctx.save_for_forward(*inputs[2:])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        q = ctx.saved_tensors
        slopes = ctx.partials(*q)
        return None, None, *((grad * p).sum_to_size(x.shape) for x, p in zip(q, slopes, strict=True))

    @staticmethod
    def jvp(ctx: Any, _value: None, _partials: None, *tangents: Tensor | None) -> Tensor:
        return push_forward(tangents, ctx.partials(*ctx.saved_tensors))


def push_forward(tangents: Sequence[Tensor | None], partials: Sequence[Tensor]) -> Tensor:
    """Return the directional derivative of an elementwise function with these partial derivatives.

    Raises
    ------
    RuntimeError
        In forward mode within forward mode, where torch loses the outer tangent of a function that brings its
        own derivative, and would return 0.
    """
    transforms = [level.key() for level in get_interpreter_stack() or ()]
    if transforms.count(TransformType.Jvp) > 1:
        raise RuntimeError(
            "these kernels have no forward-mode derivative of a forward-mode derivative (torch.func.jvp or "
            "jacfwd, nested); take the inner or the outer one with torch.func.grad, vjp or jacrev"
        )
    terms = [t * p for t, p in zip(tangents, partials, strict=True) if t is not None]
    return sum(terms[1:], start=terms[0])


def with_partials(value: Value, partials: Partials, q11: Tensor, q12: Tensor, q22: Tensor) -> Tensor:
    """Evaluate an elementwise function of (q11, q12, q22) whose derivatives are given, not traced.

    Parameters
    ----------
    value : callable
        From broadcasting (q11, q12, q22) to a tensor of their broadcast shape.
    partials : callable
        From the same to its three derivatives, which must themselves be differentiable: gradients of any
        order then come from it, except forward mode within forward mode, which is refused. It may call
        ``with_partials`` again.

    Examples
    --------
    >>> q = torch.tensor([2.0], requires_grad=True)
    >>> product = with_partials(lambda a, b, c: a * b * c, lambda a, b, c: (b * c, a * c, a * b), q, q, q)
    >>> torch.autograd.grad(product, q)
    (tensor([12.]),)
    """
    result: Tensor = _WithPartials.apply(value, partials, q11, q12, q22)  # type: ignore[no-untyped-call]
    return result


def reciprocal(value: Tensor) -> Tensor:
    """1 / value, and 0 where value is not positive, with finite derivatives in both cases."""
    positive = value > 0
    return torch.where(positive, 1.0 / torch.where(positive, value, 1.0), 0.0)


def sine(q11: Tensor, q12: Tensor, q22: Tensor) -> Tensor:
    r""":math:`S = \sqrt{q_{11} q_{22} - q_{12}^2}`, exactly 0 for exactly coincident inputs.

    Where S is 0 its derivatives, which are infinite, are given as 0.

    Examples
    --------
    >>> q = torch.tensor([3.0])
    >>> sine(q, q, q)
    tensor([0.])
    """
    return with_partials(_sine_value, _sine_partials, q11, q12, q22)


def _sine_value(q11: Tensor, q12: Tensor, q22: Tensor) -> Tensor:
    pair = frame(q11, q12, q22)
    return pair.sine() * pair.scale


def _sine_partials(q11: Tensor, q12: Tensor, q22: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    inverse = reciprocal(sine(q11, q12, q22))
    return 0.5 * q22 * inverse, -q12 * inverse, 0.5 * q11 * inverse


def determinant(q11: Tensor, q12: Tensor, q22: Tensor) -> Tensor:
    r""":math:`\Delta = q_{11} q_{22} - q_{12}^2`, not below zero.

    For pairs that may nearly coincide (both variances below twice the covariance) it is written with the
    differences :math:`q_{11} - |q_{12}|`, which are then exact.

    Examples
    --------
    >>> q = torch.tensor([1e6])
    >>> determinant(q, q - 1, q)              # the difference of the two squares is 0 in float32
    tensor([1999999.])
    """
    return with_partials(_determinant_value, _determinant_partials, q11, q12, q22)


def _determinant_value(q11: Tensor, q12: Tensor, q22: Tensor) -> Tensor:
    size = q12.abs()
    excess1, excess2 = q11 - size, q22 - size
    close = (excess1 < size) & (excess2 < size)
    by_differences = size * (excess1 + excess2) + excess1 * excess2
    return torch.where(close, by_differences, q11 * q22 - size.square()).clamp(min=0.0)


def _determinant_partials(q11: Tensor, q12: Tensor, q22: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return q22, -2.0 * q12, q11
