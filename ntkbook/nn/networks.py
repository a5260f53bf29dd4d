"""Ready-made networks: an MLP, a CNN, a residual network and one with attention."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from ntkbook._validation import check_choice, check_count
from ntkbook.nn._parametric import Scale, check_std
from ntkbook.nn.attention import SelfAttention
from ntkbook.nn.convolution import Conv2d
from ntkbook.nn.linear import Linear
from ntkbook.nn.pooling import GlobalAvgPool2d
from ntkbook.nn.windows import Padding, Size, as_tuple


def mlp(
    sizes: Sequence[int],
    *,
    activation: torch.nn.Module | None = None,
    w_std: Scale = 2**0.5,
    b_std: Scale | None = None,
    parameterization: str = "ntk",
    s: float = 1.0,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
) -> torch.nn.Sequential:
    r"""Fully-connected network with ``len(sizes) - 1`` weight layers.

    .. math:: z^{(1)} = A_1 x, \qquad z^{(l+1)} = A_{l+1}\, \phi(z^{(l)}), \qquad f(x) = z^{(L)}

    with affine maps :math:`A_l` of the given parameterization.

    Parameters
    ----------
    sizes : sequence of int
        :math:`n_0, n_1, \dots, n_L`: input dimension, hidden widths, outputs.
    activation : torch.nn.Module, optional
        :math:`\phi`, without parameters; ReLU by default.
    w_std, b_std, parameterization, s, dtype, device
        As in :class:`ntkbook.nn.Linear`, for every layer; roles are set, and ``s`` is 1 for the first layer.

    Examples
    --------
    >>> import torch
    >>> from ntkbook import nn
    >>> nn.mlp([10, 64, 64, 1], w_std=2**0.5, b_std=0.1)(torch.ones(3, 10)).shape
    torch.Size([3, 1])
    """
    if not isinstance(sizes, Sequence):
        raise TypeError(
            f"sizes must be a sequence of integers, got {type(sizes).__name__}; pass [inputs, widths, "
            "outputs]"
        )
    for size in sizes:
        check_count("sizes", size)
    if len(sizes) < 2:
        raise ValueError(f"sizes must name at least the input and the output, got {list(sizes)}")
    phi = _activation(activation)
    layers: list[torch.nn.Module] = []
    last = len(sizes) - 2
    for i, (n_in, n_out) in enumerate(pairwise(sizes)):
        layers += [phi] if i else []
        layers.append(
            Linear(
                n_in,
                n_out,
                w_std=w_std,
                b_std=b_std,
                parameterization=parameterization,
                role=_role(i, last),
                s=s if i else 1.0,
                dtype=dtype,
                device=device,
            )
        )
    return torch.nn.Sequential(*layers)


def cnn(
    channels: Sequence[int],
    n_outputs: int,
    *,
    kernel_size: Size = 3,
    stride: Size = 1,
    padding: Padding = "same",
    padding_mode: str = "zeros",
    readout: str = "gap",
    image_size: tuple[int, int] | None = None,
    activation: torch.nn.Module | None = None,
    w_std: Scale = 2**0.5,
    b_std: Scale | None = None,
    parameterization: str = "ntk",
    s: float = 1.0,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
) -> torch.nn.Sequential:
    r"""Convolutional network: ``len(channels) - 1`` convolutions with activations, and a dense readout.

    Parameters
    ----------
    channels : sequence of int
        Channels of the images and of every hidden layer.
    n_outputs : int
        Outputs of the dense readout.
    kernel_size, stride, padding, padding_mode
        As in :class:`ntkbook.nn.Conv2d`, for every convolution.
    readout : {"gap", "flatten"}
        Global average pooling or flattening before the dense layer.
    image_size : (int, int), optional
        Height and width of the images, which ``readout="flatten"`` needs for the size of the dense layer.
    activation, w_std, b_std, parameterization, s, dtype, device
        As in :func:`mlp`.

    Examples
    --------
    >>> import torch
    >>> from ntkbook import nn
    >>> net = nn.cnn([3, 16, 16], 10, readout="flatten", image_size=(8, 8))
    >>> net(torch.ones(2, 3, 8, 8)).shape
    torch.Size([2, 10])
    """
    check_choice("readout", readout, ("gap", "flatten"))
    if not isinstance(channels, Sequence) or len(channels) < 2:
        raise ValueError(
            f"channels must name those of the images and of at least one hidden layer, got {channels!r}"
        )
    for count in channels:
        check_count("channels", count)
    if readout == "flatten" and image_size is None:
        raise ValueError("readout='flatten' needs image_size=(height, width) for the size of its dense layer")
    check_count("n_outputs", n_outputs)
    phi = _activation(activation)
    shared = {
        "w_std": w_std,
        "b_std": b_std,
        "parameterization": parameterization,
        "dtype": dtype,
        "device": device,
    }
    layers: list[torch.nn.Module] = []
    last = len(channels) - 1
    spatial = () if image_size is None else as_tuple("image_size", image_size, 2)
    for i, (n_in, n_out) in enumerate(pairwise(channels)):
        convolution = Conv2d(
            n_in,
            n_out,
            kernel_size,
            stride,
            padding,
            padding_mode=padding_mode,
            role=_role(i, last),
            s=s if i else 1.0,
            **shared,  # type: ignore[arg-type]
        )
        spatial = convolution.windows.out_shape(spatial) if spatial else ()
        layers += [convolution, phi]
    positions = 1
    for n in spatial if readout == "flatten" else ():
        positions *= n
    layers.append(GlobalAvgPool2d() if readout == "gap" else torch.nn.Flatten())
    features = channels[-1] * positions
    layers.append(Linear(features, n_outputs, role=_role(last, last), s=s, **shared))  # type: ignore[arg-type]
    return torch.nn.Sequential(*layers)


def _activation(activation: torch.nn.Module | None) -> torch.nn.Module:
    if activation is not None and not isinstance(activation, torch.nn.Module):
        raise TypeError(
            f"activation must be a torch.nn.Module, got {activation!r}; pass an instance such as "
            "torch.nn.ReLU()"
        )
    return torch.nn.ReLU() if activation is None else activation


def _role(i: int, last: int) -> str:
    """Return the role of layer ``i``: the first is ``input``, the last ``output``."""
    return "input" if i == 0 else ("output" if i == last else "hidden")


class ResidualBlock(torch.nn.Module):
    r"""Pre-activation residual block (He et al. 2016).

    .. math:: x + \mathrm{Conv}(\phi(\mathrm{Conv}(\phi(x))))

    Its input must be Gaussian at infinite width: a convolution's output, or another block's.
    """

    def __init__(self, channels: int, *, w_std: Scale = 2**0.5, b_std: Scale | None = None) -> None:
        super().__init__()
        check_count("channels", channels)
        self.first = Conv2d(channels, channels, 3, padding="same", w_std=w_std, b_std=b_std)
        self.second = Conv2d(channels, channels, 3, padding="same", w_std=w_std, b_std=b_std)

    def forward(self, x: Tensor) -> Tensor:
        """Add the branch to its input."""
        branch: Tensor = self.second(torch.relu(self.first(torch.relu(x))))
        return x + branch


def resnet(
    in_channels: int,
    channels: int,
    n_blocks: int,
    n_outputs: int,
    *,
    w_std: Scale = 2**0.5,
    b_std: Scale | None = None,
) -> torch.nn.Sequential:
    """Residual network: a convolution, residual blocks, ReLU, global average pooling, a dense layer.

    Examples
    --------
    >>> import torch
    >>> from ntkbook import nn
    >>> nn.resnet(3, 16, n_blocks=2, n_outputs=10)(torch.ones(2, 3, 8, 8)).shape
    torch.Size([2, 10])
    """
    check_count("channels", channels)
    check_count("n_blocks", n_blocks, 0)
    check_count("n_outputs", n_outputs)
    return torch.nn.Sequential(
        Conv2d(in_channels, channels, 3, padding="same", w_std=w_std, b_std=b_std),
        *(ResidualBlock(channels, w_std=w_std, b_std=b_std) for _ in range(n_blocks)),
        torch.nn.ReLU(),
        GlobalAvgPool2d(),
        Linear(channels, n_outputs, w_std=w_std, b_std=b_std),
    )


class AttentionBlock(torch.nn.Module):
    r"""Residual self-attention, then a residual two-layer network at each token, both behind a layer norm."""

    def __init__(self, width: int, n_heads: int, *, w_std: Scale = 1.0, b_std: Scale | None = None) -> None:
        super().__init__()
        check_count("width", width)
        check_std("w_std", w_std)
        self.attention_norm = torch.nn.LayerNorm(width, elementwise_affine=False)
        self.attention = SelfAttention(width, width, n_heads, w_out_std=w_std, b_std=b_std)
        self.mlp_norm = torch.nn.LayerNorm(width, elementwise_affine=False)
        self.first = Linear(width, width, w_std=w_std, b_std=b_std)
        self.second = Linear(width, width, w_std=w_std, b_std=b_std)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, T, width) to (N, T, width)."""
        x = x + self.attention(self.attention_norm(x))
        branch: Tensor = self.second(torch.relu(self.first(self.mlp_norm(x))))
        return x + branch


class AttentionNetwork(torch.nn.Module):
    """Token embedding, attention blocks, average over tokens, dense readout.

    Maps (N, T, in_features) to (N, n_outputs).

    Examples
    --------
    >>> import torch
    >>> from ntkbook import nn
    >>> net = nn.AttentionNetwork(5, 16, n_blocks=1, n_outputs=2, n_heads=4)
    >>> net(torch.ones(3, 6, 5)).shape
    torch.Size([3, 2])
    """

    def __init__(
        self,
        in_features: int,
        width: int,
        n_blocks: int,
        n_outputs: int,
        n_heads: int = 8,
        *,
        w_std: Scale = 1.0,
        b_std: Scale | None = None,
    ) -> None:
        super().__init__()
        check_count("width", width)
        check_count("n_blocks", n_blocks, 0)
        check_count("n_outputs", n_outputs)
        self.embedding = Linear(in_features, width, w_std=w_std, b_std=b_std)
        self.blocks = torch.nn.Sequential(
            *(AttentionBlock(width, n_heads, w_std=w_std, b_std=b_std) for _ in range(n_blocks))
        )
        self.readout = Linear(width, n_outputs, w_std=w_std, b_std=b_std)

    def forward(self, x: Tensor) -> Tensor:
        """Classify sequences."""
        outputs: Tensor = self.readout(self.blocks(self.embedding(x)).mean(1))
        return outputs
