"""From an estimator's parameters to the kernel of its network at infinite width."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ntkbook import nn
from ntkbook._validation import check_count
from ntkbook.infinite import InfiniteWidthKernel, Kernel, infinite_width
from ntkbook.nn._parametric import Scale

Activation = str | torch.nn.Module
Network = torch.nn.Module | InfiniteWidthKernel

DEPTH, W_STD, B_STD, ACTIVATION = 3, 2**0.5, 0.1, "relu"

_ACTIVATIONS: dict[str, Callable[[], torch.nn.Module]] = {
    "abs": nn.Abs,
    "cos": nn.Cos,
    "elu": torch.nn.ELU,
    "erf": nn.Erf,
    "gelu": torch.nn.GELU,
    "identity": torch.nn.Identity,
    "leaky_relu": torch.nn.LeakyReLU,
    "rbf": nn.Rbf,
    "relu": torch.nn.ReLU,
    "sigmoid": torch.nn.Sigmoid,
    "silu": torch.nn.SiLU,
    "sin": nn.Sin,
    "softplus": torch.nn.Softplus,
    "tanh": torch.nn.Tanh,
}


def network_kernel(
    net: Network | None,
    n_features: int,
    *,
    depth: int,
    w_std: Scale,
    b_std: Scale,
    activation: Activation,
) -> InfiniteWidthKernel:
    """Return the kernel of ``net``, or of the fully-connected network that the other arguments describe."""
    if net is None:
        check_count("depth", depth, 0)
        # The widths do not matter: the kernel is that of the limit.
        sizes = [n_features] + [1] * int(depth) + [1]
        return infinite_width(nn.mlp(sizes, activation=_module(activation), w_std=w_std, b_std=b_std))
    given = {"depth": depth, "w_std": w_std, "b_std": b_std, "activation": activation}
    usual = {"depth": DEPTH, "w_std": W_STD, "b_std": B_STD, "activation": ACTIVATION}
    without_effect = [f"{name}={value!r}" for name, value in given.items() if value != usual[name]]
    if without_effect:
        raise ValueError(
            f"{', '.join(without_effect)} would have no effect, because net is given; set the layers of net, "
            "or leave net=None"
        )
    if isinstance(net, InfiniteWidthKernel):
        return net
    if not isinstance(net, torch.nn.Module):
        raise TypeError(
            f"net must be a torch.nn.Module, what ntkbook.infinite_width returns, or None; got "
            f"{type(net).__name__}. For any other kernel pass Gram matrices, with kernel='precomputed'"
        )
    return infinite_width(net)


def evaluate(kernel: InfiniteWidthKernel, x1: Tensor, x2: Tensor | None = None) -> Kernel:
    """Return the kernel of two batches, with matrices (N1, N2) in its fields ``nngp`` and ``ntk``."""
    with torch.no_grad():
        value = kernel(x1, x2)
    if value.nngp.ndim != 2:
        raise ValueError(
            f"the network has outputs at {value.spatial} positions, an estimator needs one; "
            "end it with Flatten or a global pool and a dense layer"
        )
    return value


def _module(activation: Activation) -> torch.nn.Module:
    if isinstance(activation, torch.nn.Module):
        return activation
    if activation not in _ACTIVATIONS:
        raise ValueError(
            f"activation must be a module or one of {', '.join(map(repr, _ACTIVATIONS))}; got {activation!r}"
        )
    return _ACTIVATIONS[activation]()
