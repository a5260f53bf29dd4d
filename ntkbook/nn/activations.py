"""Activations that torch lacks, each with a known dual activation at infinite width.

Every one is an ordinary elementwise module without parameters, so a network that uses it also runs at finite
width. The constants (a, b, c, ...) are Python numbers: they are part of the architecture and are not trained.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from ntkbook._validation import check_count, check_number, check_positive


class Erf(nn.Module):
    r"""Affine error function, :math:`\phi(x) = a\, \mathrm{erf}(b x) + c`.

    Examples
    --------
    >>> Erf(a=2.0, c=1.0)(torch.zeros(2))
    tensor([1., 1.])
    """

    def __init__(self, a: float = 1.0, b: float = 1.0, c: float = 0.0) -> None:
        super().__init__()
        self.a, self.b, self.c = check_number("a", a), check_number("b", b), check_number("c", c)

    def forward(self, x: Tensor) -> Tensor:
        """Apply elementwise."""
        return self.a * torch.erf(self.b * x) + self.c

    def extra_repr(self) -> str:
        """Constants, for printing."""
        return f"a={self.a}, b={self.b}, c={self.c}"


class SigmoidLike(Erf):
    r"""Error function near the sigmoid, :math:`\phi(x) = (\mathrm{erf}(x / 2.4020563531719796) + 1) / 2`.

    The scale minimizes the squared distance to the logistic sigmoid on [-5, 5]; unlike the sigmoid, it has a
    dual activation in closed form.

    Examples
    --------
    >>> SigmoidLike()(torch.tensor([0.0, 2.0]))       # the sigmoid of 2 is 0.8808
    tensor([0.5000, 0.8805])
    """

    def __init__(self) -> None:
        super().__init__(a=0.5, b=1 / 2.4020563531719796, c=0.5)


class Sin(nn.Module):
    r"""Sine, :math:`\phi(x) = a \sin(b x + c)`.

    Examples
    --------
    >>> Sin(a=3.0, c=torch.pi / 2)(torch.zeros(1))
    tensor([3.])
    """

    def __init__(self, a: float = 1.0, b: float = 1.0, c: float = 0.0) -> None:
        super().__init__()
        self.a, self.b, self.c = check_number("a", a), check_number("b", b), check_number("c", c)

    def forward(self, x: Tensor) -> Tensor:
        """Apply elementwise."""
        return self.a * torch.sin(self.b * x + self.c)

    def extra_repr(self) -> str:
        """Constants, for printing."""
        return f"a={self.a}, b={self.b}, c={self.c}"


class Cos(nn.Module):
    r"""Cosine, :math:`\phi(x) = a \cos(b x + c)`.

    Examples
    --------
    >>> Cos(a=3.0)(torch.zeros(1))
    tensor([3.])
    """

    def __init__(self, a: float = 1.0, b: float = 1.0, c: float = 0.0) -> None:
        super().__init__()
        self.a, self.b, self.c = check_number("a", a), check_number("b", b), check_number("c", c)

    def forward(self, x: Tensor) -> Tensor:
        """Apply elementwise."""
        return self.a * torch.cos(self.b * x + self.c)

    def extra_repr(self) -> str:
        """Constants, for printing."""
        return f"a={self.a}, b={self.b}, c={self.c}"


class Rbf(nn.Module):
    r"""Activation with the RBF kernel, :math:`\phi(x) = \sqrt2 \sin(\sqrt{2 \gamma} x + \pi / 4)`.

    After a layer with covariance :math:`q`, the new covariance is :math:`e^{-\gamma (q_{11} + q_{22} - 2
    q_{12})}`.

    Raises
    ------
    ValueError
        If gamma is not positive.

    Examples
    --------
    >>> Rbf(gamma=0.5)(torch.tensor([torch.pi / 4]))
    tensor([1.4142])
    """

    def __init__(self, gamma: float = 1.0) -> None:
        super().__init__()
        self.gamma = check_positive("gamma", gamma)

    def forward(self, x: Tensor) -> Tensor:
        """Apply elementwise."""
        return math.sqrt(2.0) * torch.sin(math.sqrt(2.0 * self.gamma) * x + math.pi / 4)

    def extra_repr(self) -> str:
        """Constants, for printing."""
        return f"gamma={self.gamma}"


class Abs(nn.Module):
    r"""Absolute value, :math:`\phi(x) = |x|`.

    Examples
    --------
    >>> Abs()(torch.tensor([-2.0, 1.0]))
    tensor([2., 1.])
    """

    def forward(self, x: Tensor) -> Tensor:
        """Apply elementwise."""
        return x.abs()


class Sign(nn.Module):
    r"""Sign, :math:`\phi(x) = \mathrm{sign}(x)`, with :math:`\phi(0) = 0`.

    Its derivative is taken as zero, as autograd does: at infinite width no tangent kernel passes through it.

    Examples
    --------
    >>> Sign()(torch.tensor([-2.0, 0.0, 1.0]))
    tensor([-1.,  0.,  1.])
    """

    def forward(self, x: Tensor) -> Tensor:
        """Apply elementwise."""
        return x.sign()


class ABReLU(nn.Module):
    r"""Two slopes, :math:`\phi(x) = a \min(x, 0) + b \max(x, 0)`.

    ``ABReLU(0, 1)`` is ReLU, ``ABReLU(-1, 1)`` the absolute value, ``ABReLU(1, 1)`` the identity.

    Examples
    --------
    >>> ABReLU(0.5, 2.0)(torch.tensor([-2.0, 1.0]))
    tensor([-1.,  2.])
    """

    def __init__(self, a: float, b: float) -> None:
        super().__init__()
        self.a, self.b = check_number("a", a), check_number("b", b)

    def forward(self, x: Tensor) -> Tensor:
        """Apply elementwise."""
        return self.a * x.clamp(max=0.0) + self.b * x.clamp(min=0.0)

    def extra_repr(self) -> str:
        """Constants, for printing."""
        return f"a={self.a}, b={self.b}"


class Exp(nn.Module):
    r"""Exponential, :math:`\phi(x) = a e^{b x}`.

    Examples
    --------
    >>> Exp(a=2.0)(torch.zeros(1))
    tensor([2.])
    """

    def __init__(self, a: float = 1.0, b: float = 1.0) -> None:
        super().__init__()
        self.a, self.b = check_number("a", a), check_number("b", b)

    def forward(self, x: Tensor) -> Tensor:
        """Apply elementwise."""
        return self.a * torch.exp(self.b * x)

    def extra_repr(self) -> str:
        """Constants, for printing."""
        return f"a={self.a}, b={self.b}"


class Gaussian(nn.Module):
    r"""Gaussian bump, :math:`\phi(x) = a e^{b x^2}` with :math:`b < 0`.

    Raises
    ------
    ValueError
        If b is not negative: a growing :math:`e^{b x^2}` has no second moment once the variance of x
        reaches :math:`1 / 4b`.

    Examples
    --------
    >>> Gaussian(a=2.0)(torch.tensor([0.0, 1.0]))
    tensor([2.0000, 0.7358])
    """

    def __init__(self, a: float = 1.0, b: float = -1.0) -> None:
        super().__init__()
        self.a, self.b = check_number("a", a), check_number("b", b)
        if self.b >= 0:
            raise ValueError(f"b must be negative in a exp(b x^2), got {b}; pass b={-abs(self.b) or -1.0}")

    def forward(self, x: Tensor) -> Tensor:
        """Apply elementwise."""
        return self.a * torch.exp(self.b * x.square())

    def extra_repr(self) -> str:
        """Constants, for printing."""
        return f"a={self.a}, b={self.b}"


class Gabor(nn.Module):
    r"""Gabor wavelet, :math:`\phi(x) = e^{-x^2} \sin x`.

    Examples
    --------
    >>> Gabor()(torch.tensor([1.0]))
    tensor([0.3096])
    """

    def forward(self, x: Tensor) -> Tensor:
        """Apply elementwise."""
        return torch.exp(-x.square()) * torch.sin(x)


class Monomial(nn.Module):
    r"""Power, :math:`\phi(x) = x^n`.

    Raises
    ------
    TypeError, ValueError
        If the degree is not an integer at least 0.

    Examples
    --------
    >>> Monomial(3)(torch.tensor([-2.0]))
    tensor([-8.])
    """

    def __init__(self, degree: int) -> None:
        super().__init__()
        self.degree = check_count("degree", degree, 0)

    def forward(self, x: Tensor) -> Tensor:
        """Apply elementwise."""
        return x**self.degree

    def extra_repr(self) -> str:
        """Constants, for printing."""
        return f"degree={self.degree}"


class RectifiedMonomial(nn.Module):
    r"""Rectified power, :math:`\phi(x) = x^n` for :math:`x \ge 0` and 0 for :math:`x < 0`.

    Degree 0 is the unit step and degree 1 is ReLU. The derivative of the step is taken as zero, as autograd
    does.

    Raises
    ------
    TypeError, ValueError
        If the degree is not an integer at least 0.

    Examples
    --------
    >>> RectifiedMonomial(2)(torch.tensor([-2.0, 3.0]))
    tensor([0., 9.])
    """

    def __init__(self, degree: int) -> None:
        super().__init__()
        self.degree = check_count("degree", degree, 0)

    def forward(self, x: Tensor) -> Tensor:
        """Apply elementwise."""
        if self.degree == 0:
            return (x >= 0).to(x.dtype)
        return x.clamp(min=0.0) ** self.degree

    def extra_repr(self) -> str:
        """Constants, for printing."""
        return f"degree={self.degree}"


class Polynomial(nn.Module):
    r"""Polynomial, :math:`\phi(x) = c_0 + c_1 x + \dots + c_n x^n`.

    Parameters
    ----------
    coefficients : sequence of float
        :math:`c_0, c_1, \dots`, lowest power first.

    Raises
    ------
    ValueError
        If there is no coefficient, or one is not finite.

    Examples
    --------
    >>> Polynomial([1.0, 0.0, 2.0])(torch.tensor([3.0]))
    tensor([19.])
    """

    def __init__(self, coefficients: Sequence[float]) -> None:
        super().__init__()
        if not isinstance(coefficients, Sequence):
            raise TypeError(
                f"coefficients must be a sequence of numbers, got {type(coefficients).__name__}; pass a "
                "list, lowest power first"
            )
        self.coefficients = tuple(check_number("coefficients", c) for c in coefficients)
        if not self.coefficients:
            raise ValueError("coefficients is empty; pass at least the constant term, e.g. [0.0, 1.0] for x")

    def forward(self, x: Tensor) -> Tensor:
        """Apply elementwise."""
        result = torch.full_like(x, self.coefficients[-1])
        for coefficient in self.coefficients[-2::-1]:
            result = result * x + coefficient
        return result

    def extra_repr(self) -> str:
        """Constants, for printing."""
        return f"coefficients={list(self.coefficients)}"


class Hermite(nn.Module):
    r"""Normalized probabilists' Hermite polynomial, :math:`\phi(x) = He_n(x) / \sqrt{n!}`.

    These are orthonormal under the standard normal distribution, so at unit variances the dual activation is
    :math:`\rho^n`. The dual is exact at other variances too.

    Raises
    ------
    TypeError, ValueError
        If the degree is not an integer at least 0.

    Examples
    --------
    >>> Hermite(2)(torch.tensor([3.0]))      # (x**2 - 1) / 2**0.5
    tensor([5.6569])
    """

    def __init__(self, degree: int) -> None:
        super().__init__()
        self.degree = check_count("degree", degree, 0)

    def forward(self, x: Tensor) -> Tensor:
        """Apply elementwise, by the three-term recursion of the orthonormal polynomials."""
        previous, current = torch.zeros_like(x), torch.ones_like(x)
        for n in range(self.degree):
            previous, current = current, (x * current - math.sqrt(n) * previous) / math.sqrt(n + 1)
        return current

    def extra_repr(self) -> str:
        """Constants, for printing."""
        return f"degree={self.degree}"


class Elementwise(nn.Module):
    r"""Any function elementwise, :math:`\phi(x) = \mathrm{fn}(x)`; its dual activation comes by quadrature.

    Parameters
    ----------
    fn : callable
        Takes and returns a tensor of one shape, acts on each element alone, and is differentiable by
        autograd. The quadrature is accurate to about 1e-10 if fn is analytic away from zero, on a scale of
        about one; it may have a kink at zero. With kinks elsewhere the error is about 1e-3. Gradients of the
        NNGP kernel are right with a kink, gradients of the tangent kernel are not: they lack the derivative
        of the jump in fn's slope.

    Raises
    ------
    TypeError
        If fn is not callable.

    Examples
    --------
    >>> Elementwise(torch.atan)(torch.tensor([0.0, 1.0]))
    tensor([0.0000, 0.7854])
    """

    def __init__(self, fn: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        if not callable(fn):
            raise TypeError(f"fn must be callable, got {type(fn).__name__}; pass e.g. torch.atan")
        self.fn = fn

    def forward(self, x: Tensor) -> Tensor:
        """Apply elementwise."""
        return self.fn(x)

    def extra_repr(self) -> str:
        """Function's name, for printing."""
        return f"fn={getattr(self.fn, '__name__', repr(self.fn))}"
