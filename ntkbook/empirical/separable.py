r"""Cotangents that factor into an output's weight and a profile over positions, as under pooling.

Below a pooled linear readout :math:`f_a = \sum_o V_{ao} \frac1T \sum_t \phi(z_{ot})` the cotangents are
:math:`c^a_{ot} = V_{ao} \, \phi'(z_{ot}) / T = \alpha^a_o \beta_{ot}`. Then the K gradients of a sample
differ by a factor on each row, and the kernel of the layer is

.. math::

    \Theta_{ij}^{ab} = \sum_{g,o} \alpha^a_{igo} \alpha^b_{jgo} \langle m_{igo}, m_{jgo} \rangle, \qquad
    m_{igo} = \sum_t \beta_{igot} h_{igt} \in \mathbb{R}^I ,

with K times fewer sums over positions and :math:`K^2` times fewer products of gradients. Whether a layer's
cotangents factor is found from their values, to rounding, on every batch.
"""

from __future__ import annotations

import torch
from torch import Tensor

_ROUNDING = 16  # allowed residual, in units of the dtype's precision relative to the largest profile


def separate(cotangents: Tensor) -> tuple[Tensor, Tensor] | None:
    """Return weights (n, G, K, O) and profiles (n, G, O, T) whose product the cotangents are, or None.

    Parameters
    ----------
    cotangents : Tensor
        c, (n, G, K, O, T).
    """
    if cotangents.shape[2] == 1 or cotangents.shape[4] == 1:
        return None
    # Most layers show with one sample that they do not factor.
    return None if _factors(cotangents[:1]) is None else _factors(cotangents)


def _factors(c: Tensor) -> tuple[Tensor, Tensor] | None:
    sizes = torch.linalg.vector_norm(c, dim=-1)  # (n, G, K, O)
    largest = sizes.argmax(2, keepdim=True)  # (n, G, 1, O): each profile is read off its largest output
    profiles = c.gather(2, largest.unsqueeze(-1).expand(*largest.shape, c.shape[-1]))  # (n, G, 1, O, T)
    norms = sizes.gather(2, largest).square()
    weights = (c * profiles).sum(-1) / norms.where(norms > 0, 1.0)
    low, high = torch.addcmul(c, weights.unsqueeze(-1), profiles, value=-1).aminmax()
    allowed = _ROUNDING * torch.finfo(c.dtype).eps * sizes.max()
    return (weights, profiles[:, :, 0]) if bool((high <= allowed) & (low >= -allowed)) else None


def pair_products(m1: Tensor, m2: Tensor, w1: Tensor, w2: Tensor, outputs: str) -> Tensor:
    """Return the kernel of two tiles: (n1, K, n2, K), (K, n1, n2) or (n1, n2), as ``outputs`` asks.

    Parameters
    ----------
    m1, m2 : Tensor
        Profiles applied to features, (n, R, I) for the R rows (g, o).
    w1, w2 : Tensor
        Weights, (n, K, R).
    outputs : {"full", "diagonal", "mean"}
        Which pairs of outputs; the mean as a sum.
    """
    grams = torch.bmm(m1.transpose(0, 1), m2.permute(1, 2, 0))  # (R, n1, n2)
    if outputs == "mean":
        return (grams * torch.bmm(w1.permute(2, 0, 1), w2.permute(2, 1, 0))).sum(0)
    scaled = w1.unsqueeze(2) * grams.permute(1, 2, 0).unsqueeze(1)  # (n1, K, n2, R)
    if outputs == "diagonal":
        return (scaled * w2.transpose(0, 1)).sum(-1).transpose(0, 1)
    n1, k, n2, rows = scaled.shape
    blocks = torch.bmm(scaled.permute(2, 0, 1, 3).reshape(n2, n1 * k, rows), w2.transpose(1, 2))
    return blocks.view(n2, n1, k, k).permute(1, 2, 0, 3)
