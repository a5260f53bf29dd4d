"""Average and sum pooling, over windows and over all positions."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ntkbook.nn._inputs import check_axes
from ntkbook.nn.windows import Padding, Size, Windows


class WindowPool2d(torch.nn.Module):
    """Sums over windows, each divided by a number that :meth:`divisors` gives (1 here)."""

    def __init__(
        self,
        kernel_size: Size,
        stride: Size | None = None,
        padding: Padding = "valid",
        *,
        padding_mode: str = "zeros",
    ) -> None:
        super().__init__()
        self.windows = Windows.make(
            2, kernel_size, kernel_size if stride is None else stride, padding, padding_mode
        )

    def divisors(self, i: int, n: int, like: Tensor) -> Tensor:
        """Return what each output along dimension ``i`` of ``n`` inputs is divided by, shape (out,) or ()."""
        return like.new_ones(())

    def forward(self, x: Tensor) -> Tensor:
        """Pool (N, C, H, W) to (N, C, H', W')."""
        check_axes(self, x, "N C H W")
        w = self.windows
        height, width = x.shape[-2:]
        sums = F.avg_pool2d(w.pad(x), w.kernel, w.stride, divisor_override=1)
        rows, columns = self.divisors(0, height, x), self.divisors(1, width, x)
        return sums / rows.reshape(-1, 1) / columns

    def extra_repr(self) -> str:
        """Show the windows."""
        w = self.windows
        sizes = f"kernel_size={w.kernel}, stride={w.stride}"
        return f"{sizes}, padding={w.padding!r}, padding_mode={w.padding_mode!r}"


class AvgPool2d(WindowPool2d):
    r"""Average over windows.

    .. math:: y_{ij} = \frac{1}{|\Omega_{ij}|} \sum_{(a, b) \in \Omega_{ij}} x_{ab}

    Parameters
    ----------
    kernel_size : int or two of them
        The window.
    stride : int or two of them, optional
        Defaults to ``kernel_size``, as in torch.
    padding, padding_mode
        As in :class:`Conv2d`.
    count_include_pad : bool
        Whether :math:`|\Omega|` counts padded zeros (torch's default) or only what lies inside the image.

    Examples
    --------
    >>> import torch
    >>> from ntkbook import nn
    >>> pool = nn.AvgPool2d(3, stride=2, padding="same", count_include_pad=False)
    >>> pool(torch.ones(1, 1, 5, 5)).mean()
    tensor(1.)
    """

    def __init__(
        self,
        kernel_size: Size,
        stride: Size | None = None,
        padding: Padding = "valid",
        *,
        padding_mode: str = "zeros",
        count_include_pad: bool = True,
    ) -> None:
        super().__init__(kernel_size, stride, padding, padding_mode=padding_mode)
        self.count_include_pad = count_include_pad

    def divisors(self, i: int, n: int, like: Tensor) -> Tensor:
        """Return the number of inputs under each window along dimension ``i``."""
        return self.windows.counts(i, n, like, include_pad=self.count_include_pad)


class SumPool2d(WindowPool2d):
    r"""Sum over windows, :math:`y_{ij} = \sum_{(a, b) \in \Omega_{ij}} x_{ab}`.

    Parameters are those of :class:`AvgPool2d` without ``count_include_pad``.

    Examples
    --------
    >>> import torch
    >>> from ntkbook import nn
    >>> nn.SumPool2d(2)(torch.ones(1, 1, 4, 4))
    tensor([[[[4., 4.],
              [4., 4.]]]])
    """


class GlobalAvgPool2d(torch.nn.Module):
    r"""Average over all positions, (N, C, H, W) to (N, C).

    Examples
    --------
    >>> import torch
    >>> from ntkbook import nn
    >>> nn.GlobalAvgPool2d()(torch.ones(2, 3, 4, 4)).shape
    torch.Size([2, 3])
    """

    def forward(self, x: Tensor) -> Tensor:
        """Average over height and width."""
        check_axes(self, x, "N C H W")
        return x.mean((-2, -1))


class GlobalSumPool2d(torch.nn.Module):
    r"""Sum over all positions, (N, C, H, W) to (N, C).

    Examples
    --------
    >>> import torch
    >>> from ntkbook import nn
    >>> nn.GlobalSumPool2d()(torch.ones(2, 3, 4, 4))[0]
    tensor([16., 16., 16.])
    """

    def forward(self, x: Tensor) -> Tensor:
        """Sum over height and width."""
        check_axes(self, x, "N C H W")
        return x.sum((-2, -1))
