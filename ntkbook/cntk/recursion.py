r"""The CNTK recursion as numbers: what every engine is given, whatever the convention.

All conventions are one recursion over pairs of positions p of the first and p' of the second image. With
the patch sum :math:`[\mathcal{B} A]_{p,p'} = \sum_{|a|, |b| \le (q-1)/2} A_{p + (a,b),\, p' + (a,b)}`
(zero outside the images),

.. math::

    \Sigma^{(1)} &= u\, \mathcal{B}[x \cdot x'] + \beta_1, & \Theta^{(1)} &= \Sigma^{(1)}, \\
    K^{(h)} &= \mathbb{E}[\phi(z)\phi(z')], & \dot K^{(h)} &= \mathbb{E}[\dot\phi(z)\dot\phi(z')],
        \quad (z, z') \sim \mathcal{N}(0, \Sigma^{(h)}), \\
    \Sigma^{(h+1)} &= c_h\, \mathcal{B}[K^{(h)}] + \beta_{h+1}, &
    \Theta^{(h+1)} &= \Sigma^{(h+1)} + c_h\, \mathcal{B}[\dot K^{(h)} \odot \Theta^{(h)}],

and a depth-:math:`h` kernel needs two numbers per image pair, the sums of :math:`K^{(h)}` and of
:math:`\dot K^{(h)} \odot \Theta^{(h)}` over all pairs of positions (global average pooling) or over equal
positions (flattening). Engines return those sums; :meth:`Recursion.finish` makes kernels of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor


@dataclass(frozen=True)
class Recursion:
    r"""The constants of one CNTK.

    Attributes
    ----------
    kernel_size : int
        The odd side q of the patch.
    input_weight : float
        u, the weight of the first patch sum.
    weights : tuple of float
        :math:`c_1, \dots, c_{L-1}`, the weights of the later patch sums.
    biases : tuple of float
        :math:`\beta_1, \dots, \beta_L`, the variances of the convolutions' biases.
    depths : tuple of int
        The depths h, each in 1..L, whose kernels are wanted.
    readout : str
        ``"gap"`` sums over all pairs of positions, ``"flatten"`` over equal positions.
    readout_weight : float
        The weight of that sum.
    readout_bias : float
        The variance of the last layer's bias.
    train_ends : bool
        Whether the first convolution and the last layer are trained; if not, :math:`\Theta^{(1)} = 0` and
        the last layer adds nothing of its own.
    """

    kernel_size: int
    input_weight: float
    weights: tuple[float, ...]
    biases: tuple[float, ...]
    depths: tuple[int, ...]
    readout: str
    readout_weight: float
    readout_bias: float
    train_ends: bool

    def finish(self, sums: Tensor) -> tuple[Tensor, Tensor]:
        """Return the kernels (nngp, ntk), each (D, N1, N2), from the engines' sums (D, 2, N1, N2)."""
        nngp = self.readout_weight * sums[:, 0] + self.readout_bias
        through_hidden = self.readout_weight * sums[:, 1]
        return nngp, nngp + through_hidden if self.train_ends else through_hidden


def arora(
    kernel_size: int, depths: Sequence[int], readout: str, positions: int, train_ends: bool
) -> Recursion:
    """Return the constants of Arora et al. (2019): c_sigma / q^2 per layer, no bias, no channels' fan-in."""
    deepest, factor = max(depths), 2.0 / kernel_size**2
    return Recursion(
        kernel_size=kernel_size,
        input_weight=1.0,
        weights=(factor,) * (deepest - 1),
        biases=(0.0,) * deepest,
        depths=tuple(depths),
        readout=readout,
        readout_weight=factor / positions**2 if readout == "gap" else factor,
        readout_bias=0.0,
        train_ends=train_ends,
    )


def ntk_parameterization(
    convolutions: Sequence[tuple[float, float]],
    dense: tuple[float, float],
    kernel_size: int,
    depths: Sequence[int],
    readout: str,
    positions: int,
    channels: int,
    train_ends: bool,
) -> Recursion:
    """Return the constants of a network in the NTK parameterization.

    Parameters
    ----------
    convolutions : sequence of (float, float)
        (w_std, b_std) of each convolution, the first one first.
    dense : (float, float)
        (w_std, b_std) of the dense layer behind the readout.
    kernel_size, depths, readout, train_ends
        As in :class:`Recursion`.
    positions, channels : int
        The number of pixels and of channels of an image.
    """
    patch = kernel_size**2
    w_dense, b_dense = dense
    return Recursion(
        kernel_size=kernel_size,
        input_weight=convolutions[0][0] ** 2 / (channels * patch),
        weights=tuple(w**2 / patch for w, _ in convolutions[1:]),
        biases=tuple(b**2 for _, b in convolutions),
        depths=tuple(depths),
        readout=readout,
        readout_weight=w_dense**2 / (positions**2 if readout == "gap" else positions),
        readout_bias=b_dense**2,
        train_ends=train_ends,
    )


def coincident(x1: Tensor, x2: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return numbers (N1,) and (N2,), on the CPU, that agree exactly where two images are equal.

    Equal images have correlation 1 at equal positions, where rounding must not be trusted: the NTK's
    kappa_0 turns an error of eps in the correlation into one of sqrt(eps).
    """
    numbers: dict[bytes, int] = {}

    def number(images: Tensor) -> Tensor:
        rows = (images.detach().flatten(1) + 0.0).cpu()  # + 0.0 makes one zero of the two
        return torch.tensor([numbers.setdefault(row.numpy().tobytes(), len(numbers)) for row in rows])

    first = number(x1)
    return first, first if x2 is None else number(x2)


def even_slices(count: int, size: int) -> Iterator[slice]:
    """Yield slices of at most ``size`` that cover range(count), as even as can be."""
    pieces = -(-count // size)
    edges = [count * piece // pieces for piece in range(pieces + 1)]
    yield from (slice(begin, end) for begin, end in pairwise(edges))
