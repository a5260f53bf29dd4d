r"""Activations, as modules, functions and methods.

.. math::
    \mathcal K' = E[\phi(u) \phi(v)], \qquad \Theta' = E[\phi'(u) \phi'(v)]\, \Theta, \qquad
    (u, v) \sim N\left(0, \begin{pmatrix} \mathcal K_{11} & \mathcal K \\ \mathcal K & \mathcal K_{22}
    \end{pmatrix}\right)

elementwise, for every pair of inputs and positions (Jacot et al. 2018, equations in Theorem 1).
"""

from __future__ import annotations

import operator
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from ntkbook import nn
from ntkbook.infinite.dual_activations import dual, dual_diagonal, has_dual
from ntkbook.infinite.dual_rectified import slopes
from ntkbook.infinite.kernel import Kernel, at_first, at_second
from ntkbook.infinite.rectifier import rectify
from ntkbook.infinite.registry import Call, Target, register_family, register_rule, shown


def activate(call: Call, module: torch.nn.Module) -> Kernel:
    """Apply an elementwise function to Gaussian features."""
    k = call.kernel
    if not k.gaussian:
        raise call.error(_not_gaussian(k))
    v1, v2 = k.variances()
    n = len(k.spatial) if k.layout == "full" else 0
    pair = at_first(v1, n).unsqueeze(1), k.nngp, at_second(v2, n).unsqueeze(0)
    kinked = None if torch.is_grad_enabled() else slopes(module)
    if kinked is None:
        moments = dual(module, *pair)
        nngp, ntk = moments.phi_phi, moments.dphi_dphi * k.ntk
    else:
        nngp, ntk = rectify(*kinked, *pair, k.ntk)

    def own(v: Tensor, cov: Tensor) -> Tensor:
        if kinked is not None and k.layout != "full":
            return v * (0.5 * (kinked[0] ** 2 + kinked[1] ** 2))
        if k.layout != "full":
            return dual_diagonal(module, v)
        return dual(module, at_first(v, n), cov, at_second(v, n)).phi_phi

    return k.with_covariances(
        nngp,
        ntk,
        lambda: own(v1, k.cov1),
        lambda: own(v2, k.cov2),
        gaussian=False,
        centred=False,
    )


def _not_gaussian(k: Kernel) -> str:
    if not k.has_parameters:
        return "it acts on the network's input, which is no Gaussian process; put a weight layer before it"
    return (
        "its input is not Gaussian, because it follows an activation, a flattening, a product, a "
        "concatenation of channels or a dropout; put a weight layer before it (and Flatten after the "
        "activation, which is the same function)"
    )


@register_family(has_dual)
def activation(call: Call) -> Kernel:
    """Any module with a dual activation."""
    return activate(call, call.target)


@register_rule(torch.nn.Identity)
def identity(call: Call) -> Kernel:
    """No operation."""
    return call.kernel


Build = Callable[[Call], torch.nn.Module]

# Functional twins: what module each function stands for, given its arguments.
_TWINS: dict[tuple[Target, ...], Build] = {
    (torch.relu, F.relu, "relu"): lambda call: torch.nn.ReLU(),
    (F.leaky_relu,): lambda call: torch.nn.LeakyReLU(call.argument(1, "negative_slope", 0.01)),
    (F.gelu,): lambda call: torch.nn.GELU(call.argument(1, "approximate", "none")),
    (torch.tanh, F.tanh, "tanh"): lambda call: torch.nn.Tanh(),
    (torch.sigmoid, F.sigmoid, "sigmoid"): lambda call: torch.nn.Sigmoid(),
    (F.silu,): lambda call: torch.nn.SiLU(),
    (F.mish,): lambda call: torch.nn.Mish(),
    (F.softplus,): lambda call: torch.nn.Softplus(
        call.argument(1, "beta", 1), call.argument(2, "threshold", 20)
    ),
    (F.elu,): lambda call: torch.nn.ELU(call.argument(1, "alpha", 1.0)),
    (torch.erf, "erf"): lambda call: nn.Erf(1.0, 1.0, 0.0),
    (torch.sin, "sin"): lambda call: nn.Sin(1.0, 1.0, 0.0),
    (torch.cos, "cos"): lambda call: nn.Cos(1.0, 1.0, 0.0),
    (torch.exp, "exp"): lambda call: nn.Exp(1.0, 1.0),
    (torch.abs, operator.abs, "abs"): lambda call: nn.Abs(),
    (torch.sign, "sign"): lambda call: nn.Sign(),
    (torch.square, "square"): lambda call: nn.Monomial(2),
    (torch.pow, operator.pow, "pow"): lambda call: nn.Monomial(_power(call)),
}


def _power(call: Call) -> int:
    exponent = call.argument(1, "exponent", None)
    if isinstance(exponent, bool) or not isinstance(exponent, int) or exponent < 1:
        raise call.error(
            f"only powers 1, 2, 3, ... have a rule, got {shown(exponent)}; use ntkbook.nn.Elementwise(fn)"
        )
    return exponent


def _register_twin(targets: tuple[Target, ...], build: Build) -> None:
    @register_rule(*targets, fresh=True)
    def twin(call: Call) -> Kernel:
        return activate(call, build(call))


for _targets, _build in _TWINS.items():
    _register_twin(_targets, _build)
