"""Windows of convolution and pooling: sizes, padding, and where each output looks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from ntkbook._validation import check_choice

Size = int | Sequence[int]
Padding = str | int | Sequence[int]


def as_tuple(name: str, value: Size, n: int, *, minimum: int = 1) -> tuple[int, ...]:
    """Return ``value`` as ``n`` integers, each at least ``minimum``."""
    entries = tuple(value) if isinstance(value, Sequence) else (value,) * n
    # NumPy's integers too: sizes often come out of an array.
    whole = all(isinstance(e, Integral) and not isinstance(e, bool) and e >= minimum for e in entries)
    if len(entries) != n or not whole:
        raise ValueError(f"{name} must be an integer >= {minimum} or {n} of them, got {value!r}")
    return tuple(int(e) for e in entries)


@dataclass(frozen=True)
class Windows:
    """Window positions along each spatial dimension.

    Output ``o`` of dimension ``i`` reads the inputs ``o * stride[i] + a * dilation[i] - before[i]`` for
    ``0 <= a < kernel[i]``; what lies outside is zero, or wrapped around when ``padding_mode`` is
    ``"circular"``.

    Attributes
    ----------
    kernel, stride, dilation : tuple of int
        One entry per spatial dimension.
    padding : str or tuple of int
        ``"same"`` gives ``ceil(n / stride)`` positions with the odd pad last; ``"valid"`` pads nothing;
        integers pad both ends.
    padding_mode : {"zeros", "circular"}
        What the pad holds.
    """

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: str | tuple[int, ...]
    padding_mode: Literal["zeros", "circular"] = "zeros"
    dilation: tuple[int, ...] = ()

    @classmethod
    def make(
        cls,
        n: int,
        kernel_size: Size,
        stride: Size,
        padding: Padding,
        padding_mode: str = "zeros",
        dilation: Size = 1,
    ) -> Windows:
        """Check the arguments of an ``n``-dimensional layer and build its windows."""
        if isinstance(padding, str):
            pad: str | tuple[int, ...] = check_choice("padding", padding, ("same", "valid"))
        else:
            pad = as_tuple("padding", padding, n, minimum=0)
        check_choice("padding_mode", padding_mode, ("zeros", "circular"))
        return cls(
            as_tuple("kernel_size", kernel_size, n),
            as_tuple("stride", stride, n),
            pad,
            "circular" if padding_mode == "circular" else "zeros",
            as_tuple("dilation", dilation, n),
        )

    def extent(self, i: int) -> int:
        """Return the number of inputs that a window spans along dimension ``i``."""
        return (self.kernel[i] - 1) * self.dilation[i] + 1

    def pads(self, i: int, n: int) -> tuple[int, int]:
        """Return how many entries are added before and after ``n`` inputs along dimension ``i``."""
        if self.padding == "valid":
            return 0, 0
        if self.padding == "same":
            positions = -(-n // self.stride[i])
            total = max((positions - 1) * self.stride[i] + self.extent(i) - n, 0)
            return total // 2, total - total // 2
        return int(self.padding[i]), int(self.padding[i])

    def out_size(self, i: int, n: int) -> int:
        """Return the number of outputs for ``n`` inputs along dimension ``i``.

        Raises
        ------
        ValueError
            If the window is wider than the padded input.
        """
        size = (n + sum(self.pads(i, n)) - self.extent(i)) // self.stride[i] + 1
        if size < 1:
            raise ValueError(
                f"a window of {self.extent(i)} does not fit {n} positions with padding={self.padding!r}; "
                f"use padding='same' or a smaller kernel_size"
            )
        return size

    def out_shape(self, spatial: Sequence[int]) -> tuple[int, ...]:
        """Return the output's spatial shape."""
        return tuple(self.out_size(i, n) for i, n in enumerate(spatial))

    def counts(self, i: int, n: int, like: Tensor, *, include_pad: bool) -> Tensor:
        """Return how many of ``n`` inputs each window along dimension ``i`` holds, shape (out,) or ().

        Without ``include_pad`` padded zeros do not count; wrapped entries always do.
        """
        if include_pad or self.padding_mode == "circular":
            return like.new_full((), self.kernel[i])
        first = torch.arange(self.out_size(i, n), device=like.device) * self.stride[i] - self.pads(i, n)[0]
        return ((first + self.kernel[i]).clamp(max=n) - first.clamp(min=0)).to(like.dtype)

    def pad(self, x: Tensor) -> Tensor:
        """Pad the last ``len(kernel)`` dimensions of ``x``, so that windows need no padding any more."""
        n_spatial = len(self.kernel)
        pads = [self.pads(i, x.shape[x.ndim - n_spatial + i]) for i in range(n_spatial)]
        for i, (before, after) in enumerate(pads):
            x = pad_axis(x, x.ndim - n_spatial + i, before, after, self.padding_mode)
        return x


def pad_axis(x: Tensor, axis: int, before: int, after: int, mode: str) -> Tensor:
    """Pad one axis with zeros, or around the circle as often as it takes."""
    if before == after == 0:
        return x
    if mode == "circular":
        n = x.shape[axis]
        return x.index_select(axis, torch.arange(-before, n + after, device=x.device) % n)
    return F.pad(x, [0, 0] * (x.ndim - 1 - axis) + [before, after])


@dataclass(frozen=True)
class TransposedWindows:
    """Window positions of a transposed convolution along each spatial dimension.

    Input ``q`` writes to the outputs ``q * stride[i] + a - crop[i]`` for ``0 <= a < kernel[i]``; what falls
    outside is dropped, or wrapped around when ``padding_mode`` is ``"circular"``.

    ``"same"`` gives ``n * stride`` outputs, ``"valid"`` gives ``n * stride + max(kernel - stride, 0)``, and
    an integer ``p`` gives torch's ``(n - 1) * stride + kernel - 2 p``. Circular padding folds to ``n *
    stride`` outputs.
    """

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: str | tuple[int, ...]
    padding_mode: Literal["zeros", "circular"] = "zeros"

    @classmethod
    def make(
        cls, n: int, kernel_size: Size, stride: Size, padding: Padding, padding_mode: str
    ) -> TransposedWindows:
        """Check the arguments of an ``n``-dimensional layer and build its windows."""
        plain = Windows.make(n, kernel_size, stride, padding, padding_mode)
        if plain.padding_mode == "circular" and plain.padding != "same":
            raise ValueError(
                f"padding_mode='circular' folds a transposed convolution to n * stride outputs, which is "
                f"padding='same'; got padding={padding!r}"
            )
        return cls(plain.kernel, plain.stride, plain.padding, plain.padding_mode)

    def crop(self, i: int) -> int:
        """Return how many leading outputs are dropped (or folded) along dimension ``i``."""
        overlap = max(self.kernel[i] - self.stride[i], 0)
        if self.padding == "valid":
            return 0
        return overlap // 2 if self.padding == "same" else int(self.padding[i])

    def full_size(self, i: int, n: int) -> int:
        """Return the number of outputs before cropping."""
        if isinstance(self.padding, str):
            return n * self.stride[i] + max(self.kernel[i] - self.stride[i], 0)
        return (n - 1) * self.stride[i] + self.kernel[i]

    def out_size(self, i: int, n: int) -> int:
        """Return the number of outputs for ``n`` inputs along dimension ``i``."""
        if self.padding == "same":
            return n * self.stride[i]
        size = self.full_size(i, n) - 2 * self.crop(i)
        if size < 1:
            raise ValueError(
                f"padding={self.padding!r} crops all {self.full_size(i, n)} outputs; use less padding"
            )
        return size

    def out_shape(self, spatial: Sequence[int]) -> tuple[int, ...]:
        """Return the output's spatial shape."""
        return tuple(self.out_size(i, n) for i, n in enumerate(spatial))

    def fit_axis(self, x: Tensor, axis: int, i: int, n: int) -> Tensor:
        """Crop or fold the uncropped outputs along ``axis``; ``n`` is the number of inputs."""
        size, crop = self.out_size(i, n), self.crop(i)
        if self.padding_mode == "zeros":
            return x.narrow(axis, crop, size)
        where = (torch.arange(x.shape[axis], device=x.device) - crop) % size
        shape = list(x.shape)
        shape[axis] = size
        return x.new_zeros(shape).index_add(axis, where, x)
