r"""Kernel contributions of one layer from its features and cotangents, in two orders of summation.

With h the features (n, G, T, I) and c the cotangents (n, K, G, T, O) of ``rules``, the layer adds

.. math::

    \Theta_{ij}^{ab} = \sum_g \sum_{t,t'} \langle h_{igt}, h_{jgt'} \rangle
    \langle c^a_{igt}, c^b_{jgt'} \rangle
    = \sum_g \Big\langle \sum_t c^a_{igt} h_{igt}^\top, \sum_{t'} c^b_{jgt'} h_{jgt'}^\top \Big\rangle .

The first form multiplies two *Grams* and never builds a gradient; the second builds per-sample *gradients*, a
slice of the O rows at a time. Which one is cheaper depends on T alone against I and O: see ``cost.py``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from ntkbook.empirical.accumulator import Accumulator
from ntkbook.empirical.cost import SiteShape
from ntkbook.empirical.separable import pair_products

Order = Literal["gram", "gradient"]


@dataclass
class SiteFactor:
    """What a batch leaves behind at one layer: an input and cotangents, or gradients already formed.

    Attributes
    ----------
    shape : SiteShape
        G, T, I, O.
    n : int
        The number of samples.
    x : Tensor or None
        The layer's input.
    features : Tensor or None
        h, made of ``x`` for the time of a contraction: (n, G, T, I), or integers (n, G, T) for one-hot
        features.
    cotangents : Tensor or None
        c, stored as (n, G, K, O, T). None beside ``x`` stands for the identity: the layer's output is the
        network's, so that ``c^a = e_a``, G = T = 1 and O = K.
    weights : Tensor or None
        (n, G, K, O), where c is a product: ``cotangents`` then are profiles, (n, G, 1, O, T). See
        ``separable.py``.
    gradients : Tensor or None
        (n, K, P), where ``shape.reduces``.
    """

    shape: SiteShape
    n: int
    x: Tensor | None = None
    features: Tensor | None = None
    cotangents: Tensor | None = None
    weights: Tensor | None = None
    gradients: Tensor | None = None


def sample_gradients(features: Tensor, cotangents: Tensor, n_features: int) -> Tensor:
    """Return the per-sample gradients of a layer, (n, K, P), from h (n, G, T, I) and c (n, G, K, O, T)."""
    if not features.is_floating_point():
        features = _one_hot(features, n_features, cotangents.dtype)
    n, g, k, o, t = cotangents.shape
    # One matrix product per (sample, group), with the outputs folded into the rows.
    product = torch.bmm(cotangents.reshape(n * g, k * o, t), features.reshape(n * g, t, -1))
    return product.view(n, g, k, -1).transpose(1, 2).flatten(2)


def feature_gram(h1: Tensor, h2: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the products of all pairs of features, (G, n1, T, n2, T')."""
    if not h1.is_floating_point():
        left = h1.transpose(0, 1).unsqueeze(-1).unsqueeze(-1)  # (G, n1, T, 1, 1)
        right = h2.transpose(0, 1).unsqueeze(1).unsqueeze(1)  # (G, 1, 1, n2, T')
        return ((left == right) & (left >= 0)).to(dtype)
    g, n1, t1, n2, t2 = h1.shape[1], len(h1), h1.shape[2], len(h2), h2.shape[2]
    left, right = (h.to(dtype).transpose(0, 1).flatten(1, 2) for h in (h1, h2))
    return torch.bmm(left, right.mT).reshape(g, n1, t1, n2, t2)


def _one_hot(tokens: Tensor, n_features: int, dtype: torch.dtype) -> Tensor:
    # An entry of -1 is the zero feature: shift by one, and drop the column of the shifted -1.
    return F.one_hot(tokens + 1, n_features + 1)[..., 1:].to(dtype)


def contract(
    first: SiteFactor,
    second: SiteFactor,
    total: Accumulator,
    rows: slice,
    columns: slice,
    *,
    order: Order,
    scratch: int,
) -> None:
    """Add one layer's contribution to the block of ``total`` that belongs to two ranges of samples.

    Parameters
    ----------
    first, second : SiteFactor
        Of the samples in ``rows`` and ``columns``. If they are one object, only the sample pairs i <= j are
        promised; others may stay partial.
    total : Accumulator
        Where to add.
    rows, columns : slice
        The ranges, with explicit start and stop.
    order : {"gram", "gradient"}
        The order of summation.
    scratch : int
        Bytes that temporary tensors may take; at least one pair of samples is always processed.
    """
    if first.gradients is not None and second.gradients is not None:
        add_grams(first.gradients, second.gradients, total, rows, columns)
    elif first.weights is not None and second.weights is not None:
        _contract_separable(first, second, total, rows, columns, scratch)
    elif first.weights is not None or second.weights is not None:
        # Chance made one batch factor: all its samples have cotangents of zero, say.
        whole = [_multiplied(factor) for factor in (first, second)]
        contract(whole[0], whole[1], total, rows, columns, order=order, scratch=scratch)
    elif order == "gradient" and first.cotangents is not None:
        _contract_gradients(first, second, total, rows, columns, scratch)
    else:
        _contract_grams(first, second, total, rows, columns, scratch)


def sample_tiles(n1: int, n2: int, pairs: int, side: int | None = None) -> Iterator[tuple[slice, slice]]:
    """Cut n1 x n2 samples into tiles of at most ``pairs`` pairs.

    With ``side``, the problem is symmetric: square tiles of at most that side, on and above the diagonal.
    """
    pairs = max(pairs, 1)
    if side is not None:
        side = max(1, min(side, math.isqrt(pairs)))
        for i in range(0, n1, side):
            for j in range(i, n2, side):
                yield slice(i, min(i + side, n1)), slice(j, min(j + side, n2))
        return
    width = min(n2, max(math.isqrt(pairs), pairs // n1))
    height = max(1, min(n1, pairs // width))
    for i in range(0, n1, height):
        for j in range(0, n2, width):
            yield slice(i, min(i + height, n1)), slice(j, min(j + width, n2))


def _symmetric_side(n: int, n_outputs: int) -> int:
    # Four tiles a side leave 10 of 16 to compute; fewer rows than 80 would starve the matrix product.
    return max(-(-n // 4), -(-80 // n_outputs))


def _shift(part: slice, start: int) -> slice:
    return slice(start + part.start, start + part.stop)


def add_grams(u: Tensor, v: Tensor, total: Accumulator, rows: slice, columns: slice) -> None:
    """Add the Gram of gradients u (n1, K, P) and v (n2, K, P); of one object, only pairs i <= j."""
    side = _symmetric_side(len(u), total.n_outputs) if u is v else None
    for i, j in sample_tiles(len(u), len(v), len(u) * len(v), side):
        total.add_gram(u[i], v[j], _shift(i, rows.start), _shift(j, columns.start))


def _contract_gradients(
    first: SiteFactor, second: SiteFactor, total: Accumulator, rows: slice, columns: slice, scratch: int
) -> None:
    shape = first.shape
    samples = first.n + (0 if second is first else second.n)
    # Gradients of one channel, twice: once as a product and once in the order, or the dtype, that is summed.
    per_channel = 2 * samples * total.n_outputs * shape.groups * shape.features * total.buffer.element_size()
    width = max(1, min(shape.channels, scratch // per_channel))
    for o in range(0, shape.channels, width):
        u = _channel_gradients(first, o, width)
        v = u if second is first else _channel_gradients(second, o, width)
        add_grams(u, v, total, rows, columns)


def _channel_gradients(factor: SiteFactor, start: int, width: int) -> Tensor:
    assert factor.features is not None
    assert factor.cotangents is not None
    channels = factor.cotangents[:, :, :, start : start + width]
    return sample_gradients(factor.features, channels, factor.shape.features)


def _multiplied(factor: SiteFactor) -> SiteFactor:
    if factor.weights is None or factor.cotangents is None:
        return factor
    return replace(factor, cotangents=factor.weights.unsqueeze(-1) * factor.cotangents, weights=None)


def _contract_separable(
    first: SiteFactor, second: SiteFactor, total: Accumulator, rows: slice, columns: slice, scratch: int
) -> None:
    shape, item = first.shape, total.buffer.element_size()
    samples = first.n + (0 if second is first else second.n)
    width = max(1, min(shape.channels, scratch // (2 * samples * shape.groups * shape.features * item)))
    side = _symmetric_side(first.n, total.n_outputs) if second is first else None
    for o in range(0, shape.channels, width):
        m1, w1 = _separable_rows(first, o, width, total.dtype)
        m2, w2 = (m1, w1) if second is first else _separable_rows(second, o, width, total.dtype)
        per_pair = 2 * (1 if total.outputs == "mean" else total.n_outputs) * m1.shape[1] * item
        for i, j in sample_tiles(first.n, second.n, scratch // per_pair, side):
            block = total.block(_shift(i, rows.start), _shift(j, columns.start))
            block.add_(pair_products(m1[i], m2[j], w1[i], w2[j], total.outputs))


def _separable_rows(factor: SiteFactor, start: int, width: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return profiles applied to features, (n, G O, I), and weights, (n, K, G O), of some channels."""
    assert factor.weights is not None
    summed = _channel_gradients(factor, start, width).to(
        dtype
    )  # (n, 1, G O I): the profile is the only output
    weights = factor.weights[..., start : start + width].transpose(1, 2).flatten(2)
    return summed.view(factor.n, weights.shape[2], -1), weights.to(dtype)


def _contract_grams(
    first: SiteFactor, second: SiteFactor, total: Accumulator, rows: slice, columns: slice, scratch: int
) -> None:
    assert first.features is not None
    assert second.features is not None
    shape = first.shape
    per_pair = shape.gram_entries_per_pair(total.outputs, total.n_outputs) * total.buffer.element_size()
    side = _symmetric_side(first.n, total.n_outputs) if second is first else None
    for i, j in sample_tiles(first.n, second.n, scratch // per_pair, side):
        gram = feature_gram(first.features[i], second.features[j], total.dtype)
        block = total.block(_shift(i, rows.start), _shift(j, columns.start))
        if first.cotangents is None or second.cotangents is None:
            _add_identity(gram, total, block)
        else:
            _add_products(gram, first.cotangents[i], second.cotangents[j], total, block)


def _add_identity(gram: Tensor, total: Accumulator, block: Tensor) -> None:
    gram = gram[0, :, 0, :, 0]  # G = T = 1
    if total.outputs == "full":
        block.diagonal(dim1=1, dim2=3).add_(gram.unsqueeze(-1))
    else:
        block.add_(gram, alpha=total.n_outputs if total.outputs == "mean" else 1)


def _add_products(gram: Tensor, c1: Tensor, c2: Tensor, total: Accumulator, block: Tensor) -> None:
    """Add sum_g sum_tt' gram_g <c1_g, c2_g> to a block, for cotangents (n, G, K, O, T)."""
    for g in range(c1.shape[1]):
        u, v = c1[:, g].to(total.dtype), c2[:, g].to(total.dtype)  # (n, K, O, T)
        (n1, k, o, t1), (n2, t2) = u.shape, (len(v), v.shape[3])
        weights = gram[g]  # (n1, T, n2, T')
        if total.outputs == "full":
            left, right = (c.transpose(2, 3).reshape(-1, o) for c in (u, v))  # (n K T, O)
            products = (left @ right.T).view(n1, k, t1, n2, k, t2)
            products.mul_(weights.view(n1, 1, t1, n2, 1, t2))
            block.add_(products.view(n1, k, n2, k) if t1 == t2 == 1 else products.sum((2, 5)))
        elif total.outputs == "diagonal":
            left, right = (c.permute(1, 0, 3, 2).reshape(k, -1, o) for c in (u, v))  # (K, n T, O)
            products = torch.bmm(left, right.mT).view(k, n1, t1, n2, t2)
            block.add_(products.mul_(weights).sum((2, 4)))
        else:
            left, right = (c.permute(0, 3, 1, 2).reshape(-1, k * o) for c in (u, v))  # (n T, K O)
            products = (left @ right.T).view(n1, t1, n2, t2)
            block.add_(products.mul_(weights).sum((1, 3)))
