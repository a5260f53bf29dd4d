r"""Activations whose derivatives of every order are known, so that the quadrature need not trace them.

With :math:`t = \tanh x`, derivatives of tanh are polynomials in t: :math:`\tanh^{(n)} = P_n(t)`, :math:`P_0 =
t`, :math:`P_{n+1} = (1 - t^2) P_n'`. The logistic sigmoid is :math:`s(x) = (1 + \tanh(x / 2)) / 2`, softplus
has derivative s, and SiLU, Mish and the approximate GELU are x times an affine function of a tanh.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import ClassVar, Self

import torch
from torch import Tensor


@dataclass(frozen=True)
class KnownFunction:
    """An elementwise function, or its derivative of the given order."""

    order: int = 0

    def derivative(self) -> Self:
        """Return the next derivative."""
        return replace(self, order=self.order + 1)

    def __call__(self, x: Tensor) -> Tensor:
        """Evaluate elementwise."""
        raise TypeError(
            "KnownFunction is the base of functions and has no value itself; use one of its subclasses"
        )


@dataclass(frozen=True)
class Tanh(KnownFunction):
    """Hyperbolic tangent.

    Examples
    --------
    >>> Tanh().derivative()(torch.zeros(1))
    tensor([1.])
    """

    def __call__(self, x: Tensor) -> Tensor:
        """Evaluate elementwise."""
        t = torch.tanh(x)
        if self.order == 0:
            return t
        return _polynomial(_tanh_coefficients(self.order), t)


@dataclass(frozen=True)
class Logistic(KnownFunction):
    """Logistic sigmoid.

    Examples
    --------
    >>> Logistic()(torch.zeros(1)), Logistic(order=1)(torch.zeros(1))
    (tensor([0.5000]), tensor([0.2500]))
    """

    def __call__(self, x: Tensor) -> Tensor:
        """Evaluate elementwise."""
        if self.order == 0:
            return torch.sigmoid(x)
        return 0.5 ** (self.order + 1) * Tanh(self.order)(0.5 * x)


@dataclass(frozen=True)
class Softplus(KnownFunction):
    """log(1 + exp(beta x)) / beta, without a threshold beyond which it turns linear.

    Examples
    --------
    >>> Softplus()(torch.zeros(1))
    tensor([0.6931])
    """

    beta: float = 1.0

    def __call__(self, x: Tensor) -> Tensor:
        """Evaluate elementwise."""
        if self.order == 0:
            return -torch.nn.functional.logsigmoid(-self.beta * x) / self.beta
        return self.beta ** (self.order - 1) * Logistic(self.order - 1)(self.beta * x)


@dataclass(frozen=True)
class _TanhGated(KnownFunction):
    """x (c + (1 - c) tanh(y(x))), differentiated through the Taylor coefficients of y at x.

    Those of t = tanh(y) follow from t' = (1 - t^2) y': k t_k = sum over j of j y_j (1 - t^2)_(k - j).
    """

    constant: ClassVar[float]

    def _inner(self, x: Tensor) -> list[Tensor | float]:
        """Taylor coefficients of y at x, up to the order of this derivative."""
        raise TypeError("_TanhGated has no inner function; use one of its subclasses")

    def __call__(self, x: Tensor) -> Tensor:
        """Evaluate elementwise."""
        y = self._inner(x)
        t = [torch.tanh(torch.as_tensor(y[0]))]
        slack = [1.0 - t[0].square()]  # coefficients of 1 - t^2
        for k in range(1, self.order + 1):
            t.append(sum((j * y[j] * slack[k - j] for j in range(1, k + 1)), start=torch.zeros_like(x)) / k)
            slack.append(-sum((t[i] * t[k - i] for i in range(k + 1)), start=torch.zeros_like(x)))
        gate = [(1.0 - self.constant) * c for c in t]
        gate[0] = gate[0] + self.constant
        n = self.order
        return math.factorial(n) * (x * gate[n] + (gate[n - 1] if n else 0.0))


@dataclass(frozen=True)
class SiLU(_TanhGated):
    """x times the logistic sigmoid of x.

    Examples
    --------
    >>> SiLU(order=1)(torch.zeros(1))
    tensor([0.5000])
    """

    constant = 0.5

    def _inner(self, x: Tensor) -> list[Tensor | float]:
        return [0.5 * x, 0.5, *([0.0] * self.order)]


@dataclass(frozen=True)
class GELUTanh(_TanhGated):
    """GELU's approximation by a hyperbolic tangent, y = sqrt(2 / pi) (x + 0.044715 x^3).

    Examples
    --------
    >>> GELUTanh()(torch.ones(1))
    tensor([0.8412])
    """

    constant = 0.5

    def _inner(self, x: Tensor) -> list[Tensor | float]:
        a, b = math.sqrt(2.0 / math.pi), math.sqrt(2.0 / math.pi) * 0.044715
        return [a * x + b * x**3, a + 3.0 * b * x.square(), 3.0 * b * x, b, *([0.0] * self.order)]


@dataclass(frozen=True)
class Mish(_TanhGated):
    """x times the hyperbolic tangent of softplus.

    Examples
    --------
    >>> Mish()(torch.ones(1))
    tensor([0.8651])
    """

    constant = 0.0

    def _inner(self, x: Tensor) -> list[Tensor | float]:
        return [Softplus(k)(x) / math.factorial(k) for k in range(self.order + 1)]


@dataclass(frozen=True)
class ELU(KnownFunction):
    """x for positive x, alpha (exp(x) - 1) for others; derivatives apart from what happens at zero.

    Examples
    --------
    >>> ELU(order=1, alpha=2.0)(torch.tensor([-1.0, 1.0]))
    tensor([0.7358, 1.0000])
    """

    alpha: float = 1.0

    def __call__(self, x: Tensor) -> Tensor:
        """Evaluate elementwise."""
        if self.order == 0:
            return torch.nn.functional.elu(x, alpha=self.alpha)
        left = self.alpha * torch.exp(x.clamp(max=0.0))
        return torch.where(x > 0, 1.0 if self.order == 1 else 0.0, left)


def _polynomial(coefficients: tuple[float, ...], x: Tensor) -> Tensor:
    result = torch.full_like(x, coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        result = result * x + coefficient
    return result


@lru_cache
def _tanh_coefficients(order: int) -> tuple[float, ...]:
    """Coefficients of P_n, lowest power first."""
    if order == 0:
        return (0.0, 1.0)
    lower = _tanh_coefficients(order - 1)
    slope = [k * lower[k] for k in range(1, len(lower))]
    shifted = [0.0, 0.0, *slope]
    return tuple(a - b for a, b in zip([*slope, 0.0, 0.0], shifted, strict=True))
