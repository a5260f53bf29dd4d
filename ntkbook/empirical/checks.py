"""What an empirical kernel refuses, each by name: batches, modes of training, parameters."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd
from torch.nn.modules.instancenorm import _InstanceNorm

from ntkbook._validation import check_finite, is_real


def check_module(net: object, *, needs_gradient: bool = True) -> nn.Module:
    """Return ``net`` if a kernel can be made of it as it stands.

    Raises
    ------
    TypeError
        If it is not a module.
    ValueError
        If a layer is random or mixes samples in its present mode, or no parameter is trainable, or a
        parameter is not finite.
    """
    if not isinstance(net, nn.Module):
        raise TypeError(f"net must be a torch.nn.Module, got {type(net).__name__}")
    check_mode(net)
    if needs_gradient and not any(p.requires_grad for p in net.parameters()):
        raise ValueError(
            f"no parameter of {type(net).__name__} requires grad, so its tangent kernel is empty; call "
            "net.requires_grad_(True) or unfreeze the layers that are meant"
        )
    for name, parameter in net.named_parameters():
        check_finite(f"parameter {name!r} of net", parameter.detach())
    return net


def check_mode(net: nn.Module) -> None:
    """Refuse layers whose output, in their present mode, is random or mixes the samples of a batch.

    Raises
    ------
    ValueError
        Naming the first such layer, and the call that mends it.
    """
    for name, module in net.named_modules():
        label = f"layer {name!r} ({type(module).__name__})" if name else f"net ({type(module).__name__})"
        if isinstance(module, _BatchNorm) and (module.training or not module.track_running_stats):
            if module.training:
                raise ValueError(
                    f"{label} is batch normalization in train mode: an output then depends on the whole "
                    "batch, and the kernel of two samples is not defined; call net.eval()"
                )
            raise ValueError(
                f"{label} keeps no running statistics (track_running_stats=False), so it mixes the samples "
                "of a batch in eval mode too; use GroupNorm or LayerNorm, or keep running statistics"
            )
        if isinstance(module, _InstanceNorm) and module.training and module.track_running_stats:
            raise ValueError(f"{label} updates its running statistics in train mode; call net.eval()")
        if module.training and _drops(module):
            raise ValueError(
                f"{label} drops entries at random in train mode, so the kernel would be a random draw; call "
                "net.eval()"
            )


def _drops(module: nn.Module) -> bool:
    if isinstance(module, _DropoutNd):
        return module.p > 0
    if isinstance(module, nn.MultiheadAttention | nn.RNNBase):
        return float(module.dropout) > 0
    return isinstance(module, nn.RReLU) and module.lower < module.upper


def check_inputs(net: nn.Module, x1: object, x2: object | None) -> tuple[Tensor, Tensor | None]:
    """Return the two batches if they fit each other and the module.

    Integer inputs (token ids) are allowed. Neither batch may be empty.

    Raises
    ------
    TypeError
        If a batch is not a tensor.
    ValueError
        Naming the batch, what is wrong with it, and the remedy.
    """
    first = _check_batch("x1", x1)
    second = None if x2 is None else _check_batch("x2", x2)
    if second is not None:
        if second.device != first.device:
            raise ValueError(
                f"x2 is on {second.device} but x1 is on {first.device}; move one with x2.to(x1.device)"
            )
        if second.dtype != first.dtype:
            raise ValueError(
                f"x2 is {second.dtype} but x1 is {first.dtype}; convert one with x2.to(x1.dtype)"
            )
        if second.shape[1:] != first.shape[1:]:
            raise ValueError(
                f"x1 has samples of shape {tuple(first.shape[1:])} but x2 has samples of shape "
                f"{tuple(second.shape[1:])}; both must be alike after the batch axis"
            )
    _check_against_parameters(net, first)
    for name, x in (("x1", first), ("x2", second)):
        if x is not None and (x.is_floating_point() or x.is_complex()):
            check_finite(name, x)
    return first, second


def _check_batch(name: str, x: object) -> Tensor:
    if not isinstance(x, Tensor):
        raise TypeError(f"{name} must be a torch.Tensor, got {type(x).__name__}; use torch.as_tensor({name})")
    if x.ndim == 0:
        raise ValueError(f"{name} has no batch axis: its shape is (); pass {name}.unsqueeze(0)")
    if x.numel() == 0:
        raise ValueError(f"{name} is empty: its shape is {tuple(x.shape)}; pass at least one sample")
    return x.detach()


def _check_against_parameters(net: nn.Module, x: Tensor) -> None:
    parameters = list(net.parameters())
    for parameter in parameters:
        if parameter.device != x.device:
            raise ValueError(
                f"x1 is on {x.device} but the parameters of net are on {parameter.device}; move it with "
                f"x1.to({str(parameter.device)!r})"
            )
    dtypes = {p.dtype for p in parameters}
    if x.is_floating_point() and len(dtypes) == 1 and x.dtype not in dtypes:
        dtype = dtypes.pop()
        raise ValueError(
            f"x1 is {x.dtype} but the parameters of net are {dtype}; convert it with x1.to({dtype})"
        )


def check_output(output: object, n_samples: int) -> Tensor:
    """Return a module's output if a kernel can be made of it.

    Raises
    ------
    TypeError
        If it is not a real floating-point tensor, so that it has no gradient.
    ValueError
        If its first axis is not the batch, or it is not finite.
    """
    if not isinstance(output, Tensor):
        raise TypeError(
            f"net must return one tensor, got {type(output).__name__}; wrap it in a module that returns the "
            "tensor"
        )
    if not is_real(output.dtype):
        raise TypeError(
            f"net's output is {output.dtype}, which has no gradient; return real scores (logits) instead of "
            "labels"
        )
    if output.ndim == 0 or output.shape[0] != n_samples:
        raise ValueError(
            f"net maps {n_samples} samples to an output of shape {tuple(output.shape)}; the first axis must "
            "be the batch (a single sample needs x.unsqueeze(0))"
        )
    if output.numel() == 0:
        raise ValueError(
            f"net's output is empty: its shape is {tuple(output.shape)}; return at least one number each"
        )
    check_finite("the output of net", output.detach())
    return output
