"""From batches of inputs to the covariance they start with."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ntkbook._validation import check_alike, check_finite, check_tensor, has_values
from ntkbook.infinite.kernel import Kernel, batch_diagonal, no_ntk, tie
from ntkbook.infinite.provenance import Root

Batch = Tensor | tuple[Tensor, ...]


class TensorPair(NamedTuple):
    """A further input of the network (a graph's adjacency, say), for the first and the second batch."""

    first: Tensor
    second: Tensor


def check_batch(name: str, batch: Batch) -> tuple[Tensor, ...]:
    """Return a batch as a tuple of checked tensors: the inputs, then what ``forward`` takes besides."""
    tensors = batch if isinstance(batch, tuple) else (batch,)
    for i, value in enumerate(tensors):
        label = name if len(tensors) == 1 else f"{name}[{i}]"
        tensor = check_tensor(label, value)
        if tensor.ndim < 2:
            raise ValueError(
                f"{label} must have a batch and a feature dimension, got shape {tuple(tensor.shape)}; "
                f"use {label}.reshape(-1, 1) for scalars"
            )
        if has_values(tensor):
            check_finite(label, tensor)
        check_alike(label, tensor, name, tensors[0])
        if len(tensor) != len(tensors[0]):
            raise ValueError(
                f"{label} has {len(tensor)} entries but {name} has {len(tensors[0])}; they must agree"
            )
    return tensors


def check_pair(x1: tuple[Tensor, ...], x2: tuple[Tensor, ...]) -> None:
    """Require two batches that one network can take."""
    if len(x1) != len(x2):
        raise ValueError(f"x1 has {len(x1)} tensors but x2 has {len(x2)}; the network takes as many of both")
    for i, (a, b) in enumerate(zip(x1, x2, strict=True)):
        check_alike(f"x2[{i}]" if len(x2) > 1 else "x2", b, f"x1[{i}]" if len(x1) > 1 else "x1", a)
        if a.shape[1:] != b.shape[1:]:
            raise ValueError(
                f"x1 and x2 must have inputs of one shape, got {tuple(a.shape)} and {tuple(b.shape)}; "
                "only their first dimensions may differ"
            )


def equal_pairs(x1: Tensor, x2: Tensor | None) -> Tensor | None:
    """Return which inputs of two batches are equal, (N1, N2) of bool, or None if it is known or none are.

    Equal inputs have equal fingerprints: one random-looking linear combination of their entries in float64.
    Rows are reduced in one call, so that equal rows round alike. Of one batch (``x2=None``), the pairs (i, i)
    are known.
    """
    both = (x1 if x2 is None else torch.cat([x1, x2])).detach().flatten(1).to(torch.float64)
    steps = torch.arange(both.shape[1], dtype=torch.float64, device=both.device)
    prints = (both * torch.sin(1.2345 * steps + 0.5)).sum(1)
    first, second = (prints, prints) if x2 is None else (prints[: len(x1)], prints[len(x1) :])
    # Sorting finds whether there are any without an N1 x N2 table.
    n_distinct = torch.unique(prints).numel() if x2 is None else None
    if n_distinct == len(x1) or (x2 is not None and not bool(torch.isin(first, second).any())):
        return None
    return first[:, None] == second


def input_kernel(
    x1: Tensor,
    x2: Tensor | None,
    *,
    channels_last: bool,
    flatten: bool,
    full: bool,
    coincident: Tensor | None,
) -> Kernel:
    r"""Return the covariance of inputs.

    .. math:: \mathcal K(x, p; x', p') = \frac{1}{C} \sum_c x_{c p} x'_{c p'}

    Parameters
    ----------
    x1, x2 : Tensor
        Batches (N1, ...) and (N2, ...); ``x2=None`` for the symmetric kernel.
    channels_last : bool
        Whether channels are the last dimension (else the one after the batch).
    flatten : bool
        Whether all dimensions but the first are features.
    full : bool
        Whether the full spatial covariance is wanted.
    coincident : Tensor or None
        As in :class:`Kernel`.
    """
    shape1, shape2 = tuple(x1.shape), tuple(x1.shape if x2 is None else x2.shape)
    if flatten:
        x1, x2 = x1.flatten(1), None if x2 is None else x2.flatten(1)
        shape1, shape2 = (shape1[0], x1.shape[1]), (shape2[0], x1.shape[1])
    axis = len(shape1) - 1 if channels_last or len(shape1) == 2 else 1
    spatial = tuple(n for i, n in enumerate(shape1) if i not in (0, axis))

    def positions(x: Tensor) -> Tensor:
        return x.movedim(axis, -1).reshape(x.shape[0], -1, x.shape[axis])  # (N, P, C)

    first = positions(x1)
    second = first if x2 is None else positions(x2)
    keep_full = full and bool(spatial)
    nngp = _cross(first, second, spatial, full=keep_full)
    if x2 is None:
        own1 = own2 = batch_diagonal(nngp)
    else:
        own1, own2 = (_own(x, spatial, full=keep_full) for x in (first, second))
    kernel = Kernel(
        nngp=nngp,
        ntk=no_ntk(nngp),
        cov1=own1,
        cov2=own2,
        shape1=shape1,
        shape2=shape2,
        channel_axis=axis,
        layout="full" if keep_full else ("diagonal" if spatial else "features"),
        symmetric=x2 is None,
        roots=frozenset({Root(None, frozenset())}),
        coincident=coincident,
    )
    return kernel if coincident is None else kernel.replace(nngp=tie(nngp, own1, coincident))


def _cross(a: Tensor, b: Tensor, spatial: tuple[int, ...], *, full: bool) -> Tensor:
    n1, n2, n_positions, n_channels = len(a), len(b), a.shape[1], a.shape[2]
    if not spatial:
        return a.squeeze(1) @ b.squeeze(1).mT / n_channels
    if full:
        gram = a.flatten(0, 1) @ b.flatten(0, 1).mT / n_channels
        return (
            gram.reshape(n1, n_positions, n2, n_positions).transpose(1, 2).reshape(n1, n2, *spatial, *spatial)
        )
    gram = a.transpose(0, 1) @ b.permute(1, 2, 0) / n_channels  # (P, N1, N2)
    return gram.permute(1, 2, 0).reshape(n1, n2, *spatial)


def _own(x: Tensor, spatial: tuple[int, ...], *, full: bool) -> Tensor:
    if full:
        return (x @ x.mT / x.shape[-1]).reshape(len(x), *spatial, *spatial)
    return (x * x).mean(-1).reshape(len(x), *spatial)
