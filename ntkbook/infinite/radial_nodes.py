"""Gauss-Legendre nodes on a half line, crowded towards zero as functions of a large argument need them."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

SPLIT = 1.5  # nodes are graded up to here, where a Gaussian has most of its mass, and even beyond


def graded_nodes(near: int, far: int, end: float, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Nodes and weights on [0, end] that resolve lengths down to ``scale`` at zero.

    Parameters
    ----------
    near, far : int
        Number of nodes up to 1.5, and beyond.
    end : float
        Where the line is cut.
    scale : Tensor
        (..., 1), the smallest length.

    Returns
    -------
    tuple of Tensor
        Nodes and weights, both (..., near + far).

    Examples
    --------
    >>> nodes, weights = graded_nodes(12, 12, 9.0, torch.tensor([[0.1]]))
    >>> nodes.shape, (weights * torch.exp(-nodes)).sum()       # 1 - exp(-9)
    (torch.Size([1, 24]), tensor(0.9999))
    """
    inner, inner_weight = crowded_nodes(near, torch.full_like(scale, SPLIT), scale)
    node, node_weight = legendre(far, scale)
    outer, outer_weight = SPLIT + (end - SPLIT) * node, (end - SPLIT) * node_weight
    shape = (*scale.shape[:-1], far)
    return (
        torch.cat([inner, outer.expand(shape)], dim=-1),
        torch.cat([inner_weight, outer_weight.expand(shape)], dim=-1),
    )


def crowded_nodes(count: int, length: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Nodes and weights on [0, length], even up to ``scale`` and beyond it even in the logarithm."""
    node, weight = legendre(count, length)
    stretch = torch.asinh(length / scale)
    argument = stretch * node
    return scale * argument.sinh(), scale * stretch * argument.cosh() * weight


def legendre(count: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Gauss-Legendre nodes and weights on [0, 1], on the device and of the dtype of ``like``."""
    nodes, weights = _legendre(count)
    dtype, device = like.dtype, like.device
    return torch.tensor(nodes, dtype=dtype, device=device), torch.tensor(weights, dtype=dtype, device=device)


@lru_cache
def _legendre(count: int) -> tuple[list[float], list[float]]:
    nodes, weights = np.polynomial.legendre.leggauss(count)
    return (0.5 * (nodes + 1.0)).tolist(), (0.5 * weights).tolist()
