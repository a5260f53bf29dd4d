r"""The CNTK in plain PyTorch, from the formulas: the readable reference, and the fast engines' fallback.

A convolution moves both positions of a pair (p, p') together, so the displacement p' - p never changes:
the 4-D recursion is (2P - 1)(2Q - 1) independent 2-D ones for global average pooling and a single one,
displacement (0, 0), for flattening. Each is run here on tensors (N1, N2, H, W) whose entry (i, j) is the
pair of the i, j-th positions that the displacement leaves in both images. Everything is differentiable,
also at equal images, and runs on any device.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from ntkbook.cntk.recursion import Recursion, even_slices

_BLOCK_POSITIONS = 131_072  # pairs of images times positions that are worked on at once


def patch_sum(covariance: Tensor, kernel_size: int) -> Tensor:
    """Return the sum over the q x q neighbourhood of every entry of the last two axes, zero outside."""
    flat = covariance.flatten(0, -3).unsqueeze(1)
    summed = F.avg_pool2d(flat, kernel_size, stride=1, padding=kernel_size // 2, divisor_override=1)
    return summed.reshape(covariance.shape)


def relu_moments(covariance: Tensor, norm: Tensor, coincide: Tensor | None = None) -> tuple[Tensor, Tensor]:
    r"""Return the ReLU's :math:`\mathbb{E}[\phi(z)\phi(z')]`, :math:`\mathbb{E}[\dot\phi(z)\dot\phi(z')]`.

    .. math::

        \mathbb{E}[\phi\phi] = \frac{w}{2\pi} (\sin\vartheta + (\pi - \vartheta) \cos\vartheta), \qquad
        \mathbb{E}[\dot\phi\dot\phi] = \frac{\pi - \vartheta}{2\pi}, \qquad w \cos\vartheta = \Sigma

    (Cho and Saul 2009, eqs. 4-6). The angle is taken from d = w - |Sigma|, where the cosine has lost it:
    with :math:`e = d / w`, the angle between the lines is :math:`2 \arcsin\sqrt{e / 2}`.

    Parameters
    ----------
    covariance : Tensor, (...)
        Sigma.
    norm : Tensor, (...)
        w, the geometric mean of the two variances; zero where a variance is zero, and both moments are
        zero there.
    coincide : Tensor of bool, (...), optional
        Where the two arguments are known to be equal, so that d = 0 exactly.
    """
    alive = norm > 0
    w = torch.where(alive, norm, torch.ones_like(norm))
    # The slope of the root at 0 is infinite; a constant there makes it 0, the mean of its two sides.
    apart = (norm > covariance.abs()) & alive
    if coincide is not None:
        apart = apart & ~coincide
    e = torch.where(apart, (w - covariance.abs()) / w, torch.ones_like(w))
    angle = torch.where(apart, 2 * torch.asin(torch.sqrt(e / 2)), torch.zeros_like(w))
    cosine = torch.where(apart, 1 - e, torch.ones_like(w))
    sine = torch.where(apart, torch.sqrt(e * (2 - e)), torch.zeros_like(w))
    opposite = covariance < 0  # the angle of the lines is measured from the nearer of 0 and pi
    kernel = (sine + torch.where(opposite, angle, math.pi - angle) * cosine.copysign(covariance)) * norm
    kernel_dot = torch.where(opposite, angle, math.pi - angle) * alive
    return kernel / (2 * math.pi), kernel_dot / (2 * math.pi)


def variances(images: Tensor, recursion: Recursion) -> list[Tensor]:
    """Return the diagonals of Sigma^(1), ..., Sigma^(L) of each image with itself, each (N, P, Q)."""
    q = recursion.kernel_size
    variance = recursion.input_weight * patch_sum(images.square().sum(1), q) + recursion.biases[0]
    found = [variance]
    for weight, bias in zip(recursion.weights, recursion.biases[1:], strict=True):
        variance = weight * patch_sum(variance / 2, q) + bias  # the ReLU halves a second moment
        found.append(variance)
    return found


def block_sums(
    x1: Tensor, x2: Tensor, same1: Tensor, same2: Tensor, recursion: Recursion, *, symmetric: bool
) -> Iterator[tuple[slice, slice, Tensor]]:
    """Yield (rows, columns, sums): the sums that :meth:`Recursion.finish` takes, (D, 2, n1, n2), by blocks.

    Parameters
    ----------
    x1, x2 : Tensor, (N1, C, P, Q) and (N2, C, P, Q)
        The images, in the dtype to work in.
    same1, same2 : Tensor of int, (N1,) and (N2,)
        Equal numbers mark equal images, see :func:`ntkbook.cntk.recursion.coincident`.
    recursion : Recursion
        The constants.
    symmetric : bool
        Whether x2 is x1. Then only blocks on and above the diagonal come.

    Notes
    -----
    Time O(N1 N2 P^2 Q^2 L) for global average pooling and O(N1 N2 P Q L) for flattening. Without
    gradients the memory is about 10 fields of a block's positions, 10 MB whatever N1 and N2.
    """
    images = max(1, math.isqrt(_BLOCK_POSITIONS // x1[0, 0].numel()))
    for rows in even_slices(len(x1), images):
        for columns in even_slices(len(x2), images):
            if not symmetric or columns.start >= rows.start:
                yield (
                    rows,
                    columns,
                    kernel_sums(x1[rows], x2[columns], same1[rows], same2[columns], recursion),
                )


def kernel_sums(x1: Tensor, x2: Tensor, same1: Tensor, same2: Tensor, recursion: Recursion) -> Tensor:
    """Return one block of :func:`block_sums`, (D, 2, N1, N2)."""
    deviations1 = [_safe_root(v) for v in variances(x1, recursion)]
    deviations2 = [_safe_root(v) for v in variances(x2, recursion)]
    coincide = (same1[:, None] == same2[None, :]).to(x1.device)[:, :, None, None]
    rows, columns = x1.shape[-2:]
    displacements = [(0, 0)]
    if recursion.readout == "gap":
        displacements = [(a, b) for a in range(1 - rows, rows) for b in range(1 - columns, columns)]
    sums = torch.zeros(len(recursion.depths), 2, len(x1), len(x2), dtype=torch.float64, device=x1.device)
    for down, right in displacements:
        part1 = (
            ...,
            slice(max(0, -down), rows - max(0, down)),
            slice(max(0, -right), columns - max(0, right)),
        )
        part2 = (
            ...,
            slice(max(0, down), rows - max(0, -down)),
            slice(max(0, right), columns - max(0, -right)),
        )
        products = torch.einsum("ncij,mcij->nmij", x1[part1], x2[part2])
        norms = [
            left[part1][:, None] * right_[part2][None]
            for left, right_ in zip(deviations1, deviations2, strict=True)
        ]
        sums = sums + _one_displacement(products, norms, coincide if down == right == 0 else None, recursion)
    return sums


def _one_displacement(
    products: Tensor, norms: list[Tensor], coincide: Tensor | None, recursion: Recursion
) -> Tensor:
    """Return one displacement's part of the sums; ``products`` and each of ``norms`` are (N1, N2, H, W)."""
    q = recursion.kernel_size
    sigma = recursion.input_weight * patch_sum(products, q) + recursion.biases[0]
    theta = sigma if recursion.train_ends else torch.zeros_like(sigma)
    by_depth = {}
    for layer, norm in enumerate(norms):
        kernel, kernel_dot = relu_moments(sigma, norm, coincide)
        if layer + 1 in recursion.depths:
            both = torch.stack([kernel, kernel_dot * theta])
            by_depth[layer + 1] = both.sum((-2, -1)).double()
        if layer + 1 < len(norms):
            weight = recursion.weights[layer]
            sigma = weight * patch_sum(kernel, q) + recursion.biases[layer + 1]
            theta = sigma + weight * patch_sum(kernel_dot * theta, q)
    return torch.stack([by_depth[depth] for depth in recursion.depths])


def _safe_root(variance: Tensor) -> Tensor:
    """Return the square root, with slope 0 at 0."""
    positive = variance > 0
    return torch.where(positive, torch.where(positive, variance, torch.ones_like(variance)).sqrt(), 0.0)
