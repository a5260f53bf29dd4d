"""Convolutions and transposed convolutions."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ntkbook._validation import check_count
from ntkbook.nn._inputs import check_axes
from ntkbook.nn._parametric import ParametricLayer, Scale
from ntkbook.nn.windows import Padding, Size, TransposedWindows, Windows, as_tuple


class _Convolution(ParametricLayer):
    """A convolution over ``n_spatial`` dimensions with channels first."""

    n_spatial: int

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Padding = "valid",
        *,
        dilation: Size = 1,
        padding_mode: str = "zeros",
        w_std: Scale = 1.0,
        b_std: Scale | None = None,
        parameterization: str = "ntk",
        role: str = "hidden",
        s: float = 1.0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        self.in_channels = check_count("in_channels", in_channels)
        self.out_channels = check_count("out_channels", out_channels)
        self.windows = Windows.make(self.n_spatial, kernel_size, stride, padding, padding_mode, dilation)
        super().__init__(
            (out_channels, in_channels, *self.windows.kernel),
            (out_channels,),
            channels_in=in_channels,
            channels_out=out_channels,
            area=math.prod(self.windows.kernel),
            w_std=w_std,
            b_std=b_std,
            parameterization=parameterization,
            role=role,
            s=s,
            device=device,
            dtype=dtype,
        )

    def forward(self, x: Tensor) -> Tensor:
        """Convolve; the window's whole fan-in normalizes also at the borders."""
        check_axes(self, x, "N C T" if self.n_spatial == 1 else "N C H W", C=self.in_channels)
        convolve = F.conv1d if self.n_spatial == 1 else F.conv2d
        weight, bias = self.scaled_parameters()
        return convolve(self.windows.pad(x), weight, bias, self.windows.stride, 0, self.windows.dilation)

    def extra_repr(self) -> str:
        """Show sizes, windows and standard deviations."""
        w = self.windows
        return f"{super().extra_repr()}, kernel_size={w.kernel}, stride={w.stride}, padding={w.padding!r}"


class Conv1d(_Convolution):
    r"""Convolution over sequences, (N, C, T) to (N, C', T').

    .. math::
        z_{c t} = \frac{\sigma_w}{\sqrt{C q}} \sum_{c', a} W_{c c' a}\, x_{c', \, t s + a - p} + \sigma_b b_c

    Parameters are those of :class:`Conv2d` with one spatial dimension; ``weight`` (C', C, q), ``bias`` (C',).

    Examples
    --------
    >>> import torch
    >>> from ntkbook import nn
    >>> nn.Conv1d(3, 8, 5, stride=2, padding="same")(torch.ones(2, 3, 9)).shape
    torch.Size([2, 8, 5])
    """

    n_spatial = 1


class Conv2d(_Convolution):
    r"""Convolution over images, (N, C, H, W) to (N, C', H', W').

    .. math:: z_{c, ij} = \frac{\sigma_w}{\sqrt{C q_1 q_2}} \sum_{c', a, b}
        W_{c c' a b}\, x_{c',\, i s_1 + a - p_1,\, j s_2 + b - p_2} + \sigma_b b_c

    The fan-in counts the whole window, also where it overhangs the border (Arora et al. 2019 and
    Garriga-Alonso et al. 2019 do the same).

    Parameters
    ----------
    in_channels, out_channels : int
        Channels of input and output.
    kernel_size : int or two of them
        The sides q of the window.
    stride : int or two of them
        The steps s from one window to the next.
    dilation : int or two of them
        The distance between neighbouring entries of a window.
    padding : {"valid", "same"} or int or two of them
        ``"same"`` gives ``ceil(n / stride)`` positions, the odd pad last, at every stride.
    padding_mode : {"zeros", "circular"}
        What the pad holds.
    w_std, b_std, parameterization, role, s
        As in :class:`ntkbook.nn.Linear`.

    Notes
    -----
    ``weight`` (C', C, q1, q2), ``bias`` (C',).

    Examples
    --------
    >>> import torch
    >>> from ntkbook import nn
    >>> conv = nn.Conv2d(3, 8, 3, stride=2, padding="same", w_std=2**0.5)
    >>> conv(torch.ones(2, 3, 7, 8)).shape
    torch.Size([2, 8, 4, 4])
    """

    n_spatial = 2


class ConvTranspose2d(ParametricLayer):
    r"""Transposed convolution over images, (N, C, H, W) to (N, C', H', W').

    .. math:: z_{c, ij} = \frac{\sigma_w}{\sqrt{C q_1 q_2}} \sum_{c', a, b}
        W_{c' c a b}\, x_{c',\, (i + p_1 - a)/s_1,\, (j + p_2 - b)/s_2} + \sigma_b b_c

    over the windows ``a, b`` for which both positions are integers inside the image.

    Parameters
    ----------
    in_channels, out_channels : int
        Channels of input and output.
    kernel_size, stride : int or two of them
        The windows.
    padding : {"valid", "same"} or int or two of them
        ``"same"`` gives ``n * stride`` outputs, ``"valid"`` gives ``n * stride + max(kernel_size - stride,
        0)``, and an integer crops both ends as in torch.
    padding_mode : {"zeros", "circular"}
        ``"circular"`` (with ``padding="same"``) folds what overhangs back to the other end.
    w_std, b_std, parameterization, role, s
        As in :class:`ntkbook.nn.Linear`; the fan-in is ``in_channels`` times the whole window.

    Notes
    -----
    ``weight`` (C, C', q1, q2) as in torch, ``bias`` (C',).

    Examples
    --------
    >>> import torch
    >>> from ntkbook import nn
    >>> conv = nn.ConvTranspose2d(3, 8, 3, stride=2, padding="same")
    >>> conv(torch.ones(2, 3, 4, 5)).shape
    torch.Size([2, 8, 8, 10])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Padding = "valid",
        *,
        padding_mode: str = "zeros",
        w_std: Scale = 1.0,
        b_std: Scale | None = None,
        parameterization: str = "ntk",
        role: str = "hidden",
        s: float = 1.0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        self.in_channels = check_count("in_channels", in_channels)
        self.out_channels = check_count("out_channels", out_channels)
        self.windows = TransposedWindows.make(2, kernel_size, stride, padding, padding_mode)
        super().__init__(
            (in_channels, out_channels, *self.windows.kernel),
            (out_channels,),
            channels_in=in_channels,
            channels_out=out_channels,
            area=math.prod(self.windows.kernel),
            w_std=w_std,
            b_std=b_std,
            parameterization=parameterization,
            role=role,
            s=s,
            device=device,
            dtype=dtype,
        )

    def forward(self, x: Tensor) -> Tensor:
        """Write every input through its window, then crop or fold."""
        check_axes(self, x, "N C H W", C=self.in_channels)
        weight, bias = self.scaled_parameters()
        w = self.windows
        out = F.conv_transpose2d(x, weight, None, w.stride)
        for i in range(2):
            axis, n = out.ndim - 2 + i, x.shape[x.ndim - 2 + i]
            missing = w.full_size(i, n) - out.shape[axis]
            out = F.pad(out, [0, 0] * (1 - i) + [0, missing])
            out = w.fit_axis(out, axis, i, n)
        return out if bias is None else out + bias[:, None, None]


class LocallyConnected2d(ParametricLayer):
    r"""Convolution without weight sharing: every output position has filters and biases of its own.

    .. math:: z_{c, ij} = \frac{\sigma_w}{\sqrt{C q_1 q_2}} \sum_{c', a, b}
        W_{c c' a b}^{(ij)}\, x_{c',\, i s_1 + a - p_1,\, j s_2 + b - p_2} + \sigma_b b_c^{(ij)}

    Parameters
    ----------
    in_channels, out_channels : int
        Channels of input and output.
    input_size : int or two of them
        Height and width of the input, which fix the number of filters.
    kernel_size, stride, padding, padding_mode, w_std, b_std, parameterization, role, s
        As in :class:`Conv2d`.

    Notes
    -----
    ``weight`` (C', C q1 q2, H', W'), ``bias`` (C', H', W').

    Examples
    --------
    >>> import torch
    >>> from ntkbook import nn
    >>> layer = nn.LocallyConnected2d(3, 8, 6, kernel_size=3, padding="same")
    >>> layer(torch.ones(2, 3, 6, 6)).shape
    torch.Size([2, 8, 6, 6])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        input_size: Size,
        kernel_size: Size,
        stride: Size = 1,
        padding: Padding = "valid",
        *,
        padding_mode: str = "zeros",
        w_std: Scale = 1.0,
        b_std: Scale | None = None,
        parameterization: str = "ntk",
        role: str = "hidden",
        s: float = 1.0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        self.in_channels = check_count("in_channels", in_channels)
        self.out_channels = check_count("out_channels", out_channels)
        self.input_size = as_tuple("input_size", input_size, 2)
        self.windows = Windows.make(2, kernel_size, stride, padding, padding_mode)
        area = math.prod(self.windows.kernel)
        out_size = self.windows.out_shape(self.input_size)
        super().__init__(
            (out_channels, in_channels * area, *out_size),
            (out_channels, *out_size),
            channels_in=in_channels,
            channels_out=out_channels,
            area=area,
            w_std=w_std,
            b_std=b_std,
            parameterization=parameterization,
            role=role,
            s=s,
            device=device,
            dtype=dtype,
        )

    def forward(self, x: Tensor) -> Tensor:
        """Contract every patch with the filters of its position."""
        height, width = self.input_size
        check_axes(self, x, "N C H W", C=self.in_channels, H=height, W=width)
        weight, bias = self.scaled_parameters()
        patches = F.unfold(
            self.windows.pad(x), self.windows.kernel, stride=self.windows.stride
        )  # (N, Cqq, H'W')
        out = torch.einsum("nkp,okp->nop", patches, weight.flatten(2))
        out = out.reshape(*out.shape[:2], *weight.shape[2:])
        return out if bias is None else out + bias
