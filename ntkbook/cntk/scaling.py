"""How the fast engines keep the CNTK inside the range of their floats."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ntkbook.cntk.recursion import Recursion
from ntkbook.cntk.reference import patch_sum

# Below it the reciprocals of two deviations would leave the range of single precision; it is 1e-34 of the
# largest.
SMALLEST_VARIANCE = 1e-34


@dataclass(frozen=True)
class Scaling:
    r"""How an engine keeps the recursion inside the range of its floats at no cost per entry.

    An engine iterates scaled covariances :math:`\tilde\Sigma^{(h)} = g_h \Sigma^{(h)}` with g chosen such
    that the layer factors vanish: :math:`\tilde\Sigma^{(h+1)} = m_h\,(\mathcal{B}[2 \tilde K^{(h)}]) +
    \tilde\beta_{h+1}`. The patch sum then grows by up to q^2 per layer, and where it has grown enough,
    :math:`m_h` is a power of two that takes it down; elsewhere it is 1 and nothing is multiplied. Powers
    of two change no digit of a result.

    Attributes
    ----------
    pixel : float
        What the pixels are divided by, a power of two.
    rescale : tuple of float
        :math:`m_1, \dots, m_{L-1}`.
    biases : tuple of float
        :math:`\tilde\beta_1, \dots, \tilde\beta_L`.
    unscale : tuple of float
        :math:`1 / (2 g_h)` for h = 1..L: turns sums of :math:`2 \tilde K^{(h)}` into sums of :math:`K^{(h)}`.
    """

    pixel: float
    rescale: tuple[float, ...]
    biases: tuple[float, ...]
    unscale: tuple[float, ...]

    @classmethod
    def of(cls, recursion: Recursion, largest_pixel: float, shape: tuple[int, int, int]) -> Scaling:
        """Return the scaling for images (C, P, Q) = ``shape`` with values up to +-``largest_pixel``.

        Raises
        ------
        ValueError
            If layers of very small or large weights take the covariances out of the range of float64.
        """
        try:
            scaling = cls._of(recursion, largest_pixel, shape)
            in_range = all(0 < each < math.inf for each in scaling.unscale)
        except (OverflowError, ZeroDivisionError):
            in_range = False
        if not in_range:
            weights, biases = (recursion.input_weight, *recursion.weights), recursion.biases
            raise ValueError(
                f"w_std and b_std take covariances out of the range of float64: over {len(biases)} layers "
                f"the variances of weights are {min(weights):.3g} to {max(weights):.3g}, of biases "
                f"{min(biases):.3g} to {max(biases):.3g}; use values nearer to 1"
            )
        return scaling

    @classmethod
    def _of(cls, recursion: Recursion, largest_pixel: float, shape: tuple[int, int, int]) -> Scaling:
        channels, rows, columns = shape
        q = recursion.kernel_size
        if recursion.input_weight > 0:
            bias_size = math.sqrt(recursion.biases[0] / recursion.input_weight)
            pixel = _power_of_two(max(largest_pixel, bias_size))
            # g_1: the scaled recursion starts from the bare patch sum.
            gain = 1.0 / (recursion.input_weight * pixel**2)
        else:  # no pixel counts
            pixel, gain = math.inf, _unit_gain(recursion.biases[0])
        biases, rescale, unscale = [recursion.biases[0] * gain], [], [0.5 / gain]
        # No scaled variance exceeds that of a picture whose pixels are all the largest.
        bound = _window_sums(torch.full((rows, columns), 4.0 * channels, dtype=torch.float64), q) + biases[0]
        for weight, bias in zip(recursion.weights, recursion.biases[1:], strict=True):
            # A layer without weights starts anew from its bias.
            gain_next = gain * 2.0 / weight if weight > 0 else _unit_gain(bias)
            bound_next = _window_sums(bound, q) * (weight > 0) + bias * gain_next
            size = float(bound_next.max())
            factor = 1.0 if size < 2.0**40 else 1.0 / _power_of_two(size)
            gain, bound = gain_next * factor, bound_next * factor
            rescale.append(factor if weight > 0 else 0.0)
            biases.append(bias * gain)
            unscale.append(0.5 / gain)
        return cls(pixel, tuple(rescale), tuple(biases), tuple(unscale))


def _unit_gain(bias: float) -> float:
    """Return the scale in which a bias's variance is of the order of 1."""
    return 1.0 / _power_of_two(bias)


def _window_sums(values: Tensor, size: int) -> Tensor:
    """Return what ``patch_sum`` does for one small picture (P, Q).

    Average pooling starts torch's threads however small its input is, and they wait for the next work at
    full speed: time that the engine's own threads then lack.
    """
    padded = F.pad(values, (size // 2,) * 4)
    return padded.unfold(0, size, 1).unfold(1, size, 1).sum((-2, -1))


def _power_of_two(value: float) -> float:
    """Return the largest power of two that is at most ``value`` (1 for 0)."""
    return 2.0 ** math.floor(math.log2(value)) if value > 0 else 1.0


def scaled_deviations(images: Tensor, recursion: Recursion, scaling: Scaling) -> Tensor:
    r"""Return :math:`\sqrt{\tilde\Sigma^{(h)}_{p,p}}` of each image with itself, (N, L, P, Q), in float64.

    ``images`` are (N, C, P, Q), already divided by ``scaling.pixel``. Variances below
    ``SMALLEST_VARIANCE`` count as zero.
    """
    variance = patch_sum(images.double().square().sum(1), recursion.kernel_size) + scaling.biases[0]
    found = [variance]
    for factor, bias in zip(scaling.rescale, scaling.biases[1:], strict=True):
        variance = factor * patch_sum(variance, recursion.kernel_size) + bias
        found.append(variance)
    stacked = torch.stack(found, 1)
    return torch.where(stacked > SMALLEST_VARIANCE, stacked, 0.0).sqrt()
