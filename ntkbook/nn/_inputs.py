"""What layers require of the tensors that they are called on."""

from __future__ import annotations

import torch
from torch import Tensor


def check_axes(layer: torch.nn.Module, x: Tensor, axes: str, **sizes: int) -> None:
    """Require the axes that a layer knows, and their sizes where it has fixed them.

    torch itself takes a convolution's input without a batch, and a pool over all positions reduces the last
    two axes of any tensor: both would go on with a result of another meaning.

    Parameters
    ----------
    layer : torch.nn.Module
        For the message.
    x : Tensor
        The layer's input.
    axes : str
        Their names, such as ``"N C H W"``; ``"..."`` in the first place stands for any number of axes.
    **sizes : int
        The sizes of some of them.

    Raises
    ------
    TypeError, ValueError
        With the shapes wanted and received.
    """
    if isinstance(x, torch.fx.Proxy):  # a tracer's stand-in has no shape
        return
    if not isinstance(x, Tensor):
        raise TypeError(
            f"{type(layer).__name__} takes x as a torch.Tensor, got {type(x).__name__}; "
            "use torch.as_tensor(x)"
        )
    names = axes.split()
    open_ended = names[0] == "..."
    fixed = names[1:] if open_ended else names
    shape = tuple(x.shape)
    fits = len(shape) >= len(fixed) if open_ended else len(shape) == len(fixed)
    tail = shape[len(shape) - len(fixed) :]
    if fits and all(size == sizes.get(name, size) for name, size in zip(fixed, tail, strict=True)):
        return
    wanted = ", ".join(str(sizes.get(name, name)) for name in names)
    alone = not open_ended and len(shape) == len(fixed) - 1
    remedy = "for one sample pass x.unsqueeze(0)" if alone else "reshape x, or build the layer for its sizes"
    raise ValueError(f"{type(layer).__name__} takes x of shape ({wanted}), got shape {shape}; {remedy}")
