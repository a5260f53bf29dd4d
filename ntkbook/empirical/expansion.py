r"""Taylor expansions of a module in its parameters, as modules that train like the original."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, jvp

from ntkbook._validation import check_count
from ntkbook.empirical.checks import check_mode, check_module
from ntkbook.empirical.network import exact_operators

Parameters = dict[str, Tensor]


class TaylorExpansion(nn.Module):
    r"""A module's Taylor polynomial in its parameters, around their values at construction.

    Parameters
    ----------
    net : torch.nn.Module
        The network f; it is copied.
    degree : int
        The polynomial's degree.

    Attributes
    ----------
    net : torch.nn.Module
        A copy of the network whose parameters are :math:`\theta`: they, and no others, are the expansion's
        parameters, in the original order. Load other values into them, or train them.
    degree : int
        The degree.
    """

    net: nn.Module

    def __init__(self, net: nn.Module, degree: int) -> None:
        super().__init__()
        self.degree = check_count("degree", degree, 0)
        self.net = copy.deepcopy(check_module(net, needs_gradient=False))
        self._anchors = {name: f"anchor_{i}" for i, (name, _) in enumerate(self.net.named_parameters())}
        for name, p in self.net.named_parameters():
            self.register_buffer(self._anchors[name], p.detach().clone())

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """Return the polynomial's value, with the arguments and the shape of the original's output."""
        check_mode(self.net)
        start = {name: self.get_buffer(anchor) for name, anchor in self._anchors.items()}
        step = {name: p - start[name] for name, p in self.net.named_parameters()}

        def function(parameters: Parameters) -> tuple[Tensor, ...]:
            return (functional_call(self.net, parameters, args, kwargs),)

        with exact_operators():
            derivatives = _derivatives(function, step, self.degree)(start)
        terms = [value / math.factorial(order) for order, value in enumerate(derivatives)]
        return torch.stack(terms).sum(0) if len(terms) > 1 else terms[0]

    def extra_repr(self) -> str:
        """Show the degree."""
        return f"degree={self.degree}"


def _derivatives(
    function: Callable[[Parameters], tuple[Tensor, ...]], step: Parameters, order: int
) -> Callable[[Parameters], tuple[Tensor, ...]]:
    """Return a function with the derivatives of orders 0 to ``order`` along a step, by nested jvps."""
    if order == 0:
        return function
    lower = _derivatives(function, step, order - 1)

    def all_orders(parameters: Parameters) -> tuple[Tensor, ...]:
        pushed = jvp(lower, (parameters,), (step,))
        return (*pushed[0], pushed[1][-1])

    return all_orders


def taylor_expand(net: nn.Module, degree: int) -> TaylorExpansion:
    r"""Return a module's Taylor polynomial in its parameters, as a module with the same call.

    .. math::

        f_d(x; \theta) = \sum_{k=0}^{d} \frac{1}{k!} \frac{\mathrm d^k}{\mathrm d t^k}
        f\big(x; \theta_0 + t (\theta - \theta_0)\big) \Big|_{t=0},
        \qquad f - f_d = O(\lVert \theta - \theta_0 \rVert^{d+1})

    :math:`\theta_0` are the parameters of ``net`` at the call, :math:`\theta` the parameters of the result,
    equal at first. Training the result trains the polynomial.

    Parameters
    ----------
    net : torch.nn.Module
        The network f, differentiable ``degree`` times in forward mode; it is copied, not changed.
    degree : int
        d, 0 or more.

    Returns
    -------
    TaylorExpansion
        The polynomial; ``.parameters()`` come in the order of ``net.parameters()``.

    Raises
    ------
    TypeError
        If ``net`` is not a module, or ``degree`` no whole number.
    ValueError
        If ``degree`` is negative, or ``net`` is in train mode with batch normalization or dropout.

    Notes
    -----
    A call costs up to :math:`2^d` forward passes. Blocks under ``torch.no_grad`` inside ``net.forward`` do
    not stop forward-mode differentiation; use ``detach`` there.

    Examples
    --------
    >>> import torch, ntkbook
    >>> _ = torch.manual_seed(0)
    >>> net = torch.nn.Sequential(
    ...     torch.nn.Linear(3, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
    >>> quadratic = ntkbook.taylor_expand(net, 2)
    >>> x = torch.randn(4, 3)
    >>> torch.allclose(quadratic(x), net(x))
    True
    """
    return TaylorExpansion(net, degree)


def linearize(net: nn.Module) -> TaylorExpansion:
    r"""Return a module linearized in its parameters, as a module with the same call.

    .. math:: f_1(x; \theta) = f(x; \theta_0) + J(x; \theta_0) \, (\theta - \theta_0)

    Its tangent kernel is that of ``net`` at :math:`\theta_0` and never changes, so under the squared loss its
    training is solved in closed form. This is :func:`taylor_expand` of degree 1; see there for parameters and
    errors.

    Parameters
    ----------
    net : torch.nn.Module
        The network f; it is copied, not changed.

    Returns
    -------
    TaylorExpansion
        The linear model; ``.parameters()`` come in the order of ``net.parameters()``.

    Examples
    --------
    >>> import torch, ntkbook
    >>> _ = torch.manual_seed(0)
    >>> net = torch.nn.Sequential(
    ...     torch.nn.Linear(3, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
    >>> linear = ntkbook.linearize(net)
    >>> x = torch.randn(4, 3)
    >>> before = ntkbook.empirical_ntk(linear, x)
    >>> with torch.no_grad():
    ...     for p in linear.parameters():
    ...         _ = p.add_(torch.randn_like(p))
    >>> torch.allclose(ntkbook.empirical_ntk(linear, x), before, atol=1e-5)
    True
    """
    return TaylorExpansion(net, 1)
