"""The one value that flows through a network at infinite width."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

import torch
from torch import Tensor

from ntkbook.infinite.provenance import Root

Layout = Literal["features", "diagonal", "full"]


@dataclass(frozen=True)
class Kernel:
    r"""Covariance and tangent kernel of a layer's outputs on two batches of inputs.

    .. math::
        \mathcal K(x, p; x', p') = \lim_{n \to \infty} \mathbb E[ f_c(x)_p f_c(x')_{p'} ], \qquad
        \Theta(x, p; x', p') = \lim_{n \to \infty} \partial_\theta f_c(x)_p \cdot \partial_\theta f_c(x')_{p'}

    for any channel c and positions p, p'. N1 and N2 count inputs; S stands for the spatial shape: nothing for
    features, (H, W) for images, (T,) for sequences.

    Attributes
    ----------
    nngp : Tensor
        :math:`\mathcal K`. Layout ``"features"``: (N1, N2). Layout ``"diagonal"``: ``(N1, N2, *S)``, the
        entries p = p'. Layout ``"full"``: ``(N1, N2, *S, *S)``, so (N1, N2, H, W, H', W') for images.
    ntk : Tensor
        :math:`\Theta`, with the shape of ``nngp``.
    cov1 : Tensor
        :math:`\mathcal K` of each input of the first batch with itself: (N1,), ``(N1, *S)`` or
        ``(N1, *S, *S)``.
    cov2 : Tensor
        The same for the second batch.
    shape1, shape2 : tuple of int
        Shapes of the finite network's tensors at this point.
    channel_axis : int
        Which axis of ``shape1`` holds the channels.
    layout : {"features", "diagonal", "full"}
        See ``nngp``.
    symmetric : bool
        Whether both batches are one, so that ``cov1`` and ``cov2`` are diagonals of ``nngp``.
    roots : frozenset of Root
        What the value depends on.
    gaussian : bool
        Whether channels are identically distributed Gaussians, as after a weight layer.
    centred : bool
        Whether every channel has mean zero given everything but the last weights.
    width : int or None
        Set inside a ``mup`` or ``mean_field`` network, where the tangent kernel of hidden layers grows with
        the width n: ``ntk`` then holds the limit of :math:`\Theta / n`, and this field n.
    coincident : Tensor or None
        (N1, N2) of bool: pairs of equal inputs, whose covariance is kept equal to their variance to the last
        bit; None if there are none, or only the pairs (i, i) of a symmetric kernel.
    """

    nngp: Tensor
    ntk: Tensor
    cov1: Tensor
    cov2: Tensor
    shape1: tuple[int, ...]
    shape2: tuple[int, ...]
    channel_axis: int
    layout: Layout
    symmetric: bool
    roots: frozenset[Root]
    gaussian: bool = False
    centred: bool = False
    width: int | None = None
    coincident: Tensor | None = None

    @property
    def spatial_dims(self) -> tuple[int, ...]:
        """Which dimensions of ``shape1`` are spatial, in order."""
        return tuple(d for d in range(len(self.shape1)) if d not in (0, self.channel_axis))

    @property
    def spatial(self) -> tuple[int, ...]:
        """The spatial shape S."""
        return tuple(self.shape1[d] for d in self.spatial_dims)

    @property
    def n_channels(self) -> int:
        """Channels of the finite network."""
        return self.shape1[self.channel_axis]

    @property
    def has_parameters(self) -> bool:
        """Whether any weight layer is upstream; without one, ``ntk`` is zero."""
        return any(root.upstream for root in self.roots)

    def replace(self, **changes: Any) -> Self:
        """Return a copy with some fields changed."""
        return replace(self, **changes)

    def map(self, fn: Callable[[Tensor], Tensor], **changes: Any) -> Self:
        """Apply one linear map of spatial covariances to every field that holds one.

        ``fn`` sees any number of leading batch dimensions. Fields that are known from others are not computed
        twice.
        """
        nngp = fn(self.nngp)
        ntk = fn(self.ntk) if self.has_parameters else no_ntk(nngp)
        return self.with_covariances(nngp, ntk, lambda: fn(self.cov1), lambda: fn(self.cov2), **changes)

    def with_covariances(
        self,
        nngp: Tensor,
        ntk: Tensor,
        cov1: Callable[[], Tensor],
        cov2: Callable[[], Tensor],
        **changes: Any,
    ) -> Self:
        """Return a copy with new covariances; ``cov1``, ``cov2`` run only if they cannot be read off."""
        if self.symmetric:
            own1 = own2 = batch_diagonal(nngp)
        else:
            own1, own2 = cov1(), cov2()
        coincident = changes.get("coincident", self.coincident)
        if coincident is not None:
            nngp = tie(nngp, own1, coincident)
        return replace(self, nngp=nngp, ntk=ntk, cov1=own1, cov2=own2, **changes)

    def variances(self) -> tuple[Tensor, Tensor]:
        """Return the variances of every position, ``(N1, *S)`` and ``(N2, *S)``."""
        if self.layout != "full":
            return self.cov1, self.cov2
        n = len(self.spatial)
        return position_diagonal(self.cov1, n), position_diagonal(self.cov2, n)

    def diagonal(self) -> Self:
        """Return the kernel in the diagonal layout."""
        if self.layout != "full":
            return self
        n = len(self.spatial)
        return self.map(lambda t: position_diagonal(t, n), layout="diagonal")


def at_first(v: Tensor, n_spatial: int) -> Tensor:
    """Return variances (N, *S) as (N, *S, 1, ...), to broadcast along the second position."""
    return v.reshape(*v.shape, *(1,) * n_spatial)


def at_second(v: Tensor, n_spatial: int) -> Tensor:
    """Return variances (N, *S) as (N, 1, ..., *S), to broadcast along the first position."""
    return v.reshape(v.shape[0], *(1,) * n_spatial, *v.shape[1:])


def no_ntk(nngp: Tensor) -> Tensor:
    """Return a zero tangent kernel that takes no memory."""
    return nngp.new_zeros(()).expand(nngp.shape)


def batch_diagonal(t: Tensor) -> Tensor:
    """Return the entries (i, i, ...) of (N, N, ...) as (N, ...)."""
    return t.diagonal(dim1=0, dim2=1).movedim(-1, 0)


def position_diagonal(t: Tensor, n_spatial: int) -> Tensor:
    """Return the entries p = p' of (..., *S, *S) as (..., *S)."""
    for done in range(n_spatial):
        left = n_spatial - done  # pairs still to go; each diagonal found moves to the end, in order
        first = t.ndim - done - 2 * left
        t = t.diagonal(dim1=first, dim2=first + left)
    return t


def tie(nngp: Tensor, own1: Tensor, coincident: Tensor) -> Tensor:
    """Give coincident pairs the variance of their input, to the last bit, and leave gradients as they are."""
    mask = coincident.reshape(*coincident.shape, *(1,) * (nngp.ndim - 2))
    return nngp + torch.where(mask, own1.unsqueeze(1) - nngp, 0).detach()
