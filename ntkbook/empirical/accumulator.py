"""Where the blocks of a kernel are summed: one buffer, three choices of outputs."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Outputs = Literal["full", "diagonal", "mean"]

_MIRROR_STRIP = 64  # samples mirrored at a time: bounds the temporary copy


class Accumulator:
    r"""Sums Grams of per-sample gradients into one kernel.

    For :math:`u_{i,a} \in \mathbb{R}^P`, a slice of the gradient of output a at sample i, a call of
    :meth:`add_gram` adds :math:`\langle u_{i,a}, v_{j,b} \rangle` to the entries that ``outputs`` asks for.

    Attributes
    ----------
    buffer : Tensor
        ``"full"``: (N1, K, N2, K), so that a tile of samples is one strided matrix;
        ``"diagonal"``: (K, N1, N2); ``"mean"``: (N1, N2), still the sum over outputs.
    """

    def __init__(
        self, outputs: Outputs, n1: int, n2: int, n_outputs: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        self.outputs, self.n_outputs, self.dtype = outputs, n_outputs, dtype
        shape: tuple[int, ...] = {
            "full": (n1, n_outputs, n2, n_outputs),
            "diagonal": (n_outputs, n1, n2),
            "mean": (n1, n2),
        }[outputs]
        self.buffer = torch.zeros(shape, dtype=dtype, device=device)

    def block(self, rows: slice, columns: slice) -> Tensor:
        """Return the view of the buffer that belongs to two ranges of samples."""
        if self.outputs == "full":
            return self.buffer[rows, :, columns]
        return self.buffer[..., rows, columns]

    def add_gram(self, u: Tensor, v: Tensor, rows: slice, columns: slice) -> None:
        """Add the Gram of ``u`` (n1, K, P) with ``v`` (n2, K, P) to one block."""
        u, v = u.to(self.dtype), v.to(self.dtype)
        block = self.block(rows, columns)
        if self.outputs == "full":
            k = self.n_outputs
            matrix = self.buffer.flatten(2).flatten(0, 1)  # (N1 K, N2 K), a view
            tile = matrix[rows.start * k : rows.stop * k, columns.start * k : columns.stop * k]
            tile.addmm_(u.flatten(0, 1), v.flatten(0, 1).T)
        elif self.outputs == "diagonal":
            block.baddbmm_(u.permute(1, 0, 2), v.permute(1, 2, 0))
        else:
            block.addmm_(u.flatten(1), v.flatten(1).T)

    def mirror(self) -> None:
        """Copy the entries of sample pairs i <= j to j, i; for a symmetric kernel of which half was made."""
        full = self.outputs == "full"
        n = self.buffer.shape[-2] if full else self.buffer.shape[-1]
        for start in range(0, n, _MIRROR_STRIP):
            strip = slice(start, min(start + _MIRROR_STRIP, n))
            left, above = self.block(strip, slice(0, start)), self.block(slice(0, start), strip)
            left.copy_(above.permute(2, 3, 0, 1) if full else above.mT)
            corner = self.block(strip, strip)
            m = strip.stop - strip.start
            upper = torch.ones(m, m, dtype=torch.bool, device=corner.device).triu()
            upper, flipped = (
                (upper[:, None, :, None], corner.permute(2, 3, 0, 1)) if full else (upper, corner.mT)
            )
            corner.copy_(torch.where(upper, corner, flipped))

    def result(self) -> Tensor:
        """Return the kernel: (N1, N2, K, K), (N1, N2, K) or (N1, N2); the first two are views."""
        if self.outputs == "full":
            return self.buffer.permute(0, 2, 1, 3)
        if self.outputs == "diagonal":
            return self.buffer.permute(1, 2, 0)
        return self.buffer.div_(self.n_outputs)
