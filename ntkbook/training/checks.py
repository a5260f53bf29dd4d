"""What `train` refuses about its batches and its list of things to keep."""

from __future__ import annotations

from collections.abc import Collection

from torch import Tensor, nn

from ntkbook._validation import check_finite

KEEP = ("kernel", "kernels", "linearization", "networks", "parameters")


def check_batch(name: str, x: object, net: nn.Module, like: Tensor | None = None) -> Tensor:
    """Return a batch if the network can be called on it and it fits the training batch.

    Raises
    ------
    TypeError
        If it is not a tensor.
    ValueError
        If it has no rows, is not finite, or differs in device, dtype or the shape of a sample from the
        network or from the training batch.
    """
    if not isinstance(x, Tensor):
        raise TypeError(f"{name} must be a torch.Tensor, got {type(x).__name__}; use torch.as_tensor({name})")
    if x.ndim == 0 or x.numel() == 0:
        raise ValueError(
            f"{name} has shape {tuple(x.shape)}; the first axis must count samples, at least one"
        )
    if like is not None and (
        x.shape[1:] != like.shape[1:] or x.dtype != like.dtype or x.device != like.device
    ):
        raise ValueError(
            f"{name} holds samples of shape {tuple(x.shape[1:])}, {x.dtype} on {x.device}; those of x_train "
            f"have shape {tuple(like.shape[1:])}, {like.dtype} on {like.device}; make them alike"
        )
    parameters = list(net.parameters())
    if any(p.device != x.device for p in parameters):
        raise ValueError(
            f"{name} is on {x.device} but the network is on {parameters[0].device}; move one of them"
        )
    dtypes = {p.dtype for p in parameters}
    if x.is_floating_point():
        if len(dtypes) == 1 and x.dtype not in dtypes:
            raise ValueError(f"{name} is {x.dtype} but the network is {dtypes.pop()}; convert one of them")
        check_finite(name, x)
    return x.detach()


def check_keep(keep: Collection[str], net: nn.Module) -> frozenset[str]:
    """Return what to keep as a set, if all of it is known.

    Raises
    ------
    TypeError, ValueError
        Listing the choices.
    """
    if isinstance(keep, str):
        raise TypeError(
            f"keep must be a collection of names, got the string {keep!r}; write keep=({keep!r},)"
        )
    if not isinstance(keep, Collection):
        raise TypeError(f"keep must be a collection of names, got {type(keep).__name__}; pass a tuple")
    names = [name for name, _ in net.named_parameters()]
    unknown = sorted(set(keep) - {*KEEP, *names})
    if unknown:
        raise ValueError(
            f"keep does not know {', '.join(map(repr, unknown))}; it takes {', '.join(map(repr, KEEP))} and "
            f"the names of parameters: {', '.join(names)}"
        )
    return frozenset(keep)
