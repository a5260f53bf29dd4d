"""A module seen as a function of its trainable parameters and a batch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from ntkbook.empirical.checks import check_output


class Network:
    r"""The function :math:`(\theta, X) \mapsto f(X; \theta)` of a module, outputs flattened to K.

    Attributes
    ----------
    net : torch.nn.Module
        The module itself; it is never changed.
    parameters : dict of str to Tensor
        The trainable parameters, detached; a tied parameter appears once, under its first name.
    sample_shape : torch.Size
        The shape of one output, before flattening.
    n_outputs : int
        K, the number of entries of one output.
    dtype, device
        Those of the output.

    Parameters
    ----------
    net : torch.nn.Module
        A module for which ``checks.check_module`` has passed.
    x : Tensor
        A batch, of which at most two samples are run to learn the output's shape.
    copy_parameters : bool
        Whether later changes of the module's trainable parameters leave this function as it is.

    Raises
    ------
    ValueError
        If the module cannot be called on the batch, or the output of a sample changes with its companions in
        the batch, or from call to call.
    """

    def __init__(self, net: nn.Module, x: Tensor, *, copy_parameters: bool = False) -> None:
        self.net = net
        self.parameters: dict[str, Tensor] = {
            name: p.detach().clone() if copy_parameters else p.detach()
            for name, p in net.named_parameters()
            if p.requires_grad
        }
        probe = x[:2]
        before = _random_states(x.device)
        with torch.no_grad():
            together = check_output(_call(net, probe), len(probe))
            alone = check_output(_call(net, probe[:1]), 1)
        if not all(torch.equal(a, b) for a, b in zip(before, _random_states(x.device), strict=True)):
            raise ValueError(
                f"{type(net).__name__} draws random numbers in forward, so its output changes from call to "
                "call; call net.eval(), or take the draws out of forward"
            )
        self.sample_shape = together.shape[1:]
        self.n_outputs = self.sample_shape.numel()
        self.dtype, self.device = together.dtype, together.device
        # Sums differ with the batch size by rounding; a mixed output differs by far more.
        tolerance = min(1e3 * torch.finfo(self.dtype).eps, 0.05)
        alike = torch.allclose(together[:1], alone, rtol=0.0, atol=tolerance * float(together.abs().max()))
        gap = (together[:1] - alone).abs().max()
        if not alike and float(gap) > tolerance * self._sensitivity(probe, together):
            raise ValueError(
                f"the output of {type(net).__name__} for one sample changes with the other samples of the "
                "batch, but the kernel of two samples needs a function of one sample: call net.eval(), and "
                "take batch statistics out of forward"
            )

    def _sensitivity(self, x: Tensor, output: Tensor) -> float:
        """Return the change of the output over the relative change of parameters and inputs that makes it.

        Where terms cancel, rounding is relative to this, the size of the terms, and not to the output.
        """
        step = math.sqrt(torch.finfo(self.dtype).eps)

        def moved(t: Tensor, k: int) -> Tensor:
            if not t.is_floating_point():
                return t
            # Equal tensors move differently: their change must not cancel as they do.
            pattern = wave((t.numel() + k,), t.dtype, t.device)[k:].reshape(t.shape)
            return t * (1 + step * pattern)

        with torch.no_grad():
            parameters = {
                name: moved(p, k) for k, (name, p) in enumerate(self.net.named_parameters(), start=1)
            }
            output_there: Tensor = functional_call(self.net, parameters, (moved(x, 0),))
        return float((output_there - output).abs().max()) / step

    def __call__(self, parameters: Mapping[str, Tensor], x: Tensor) -> Tensor:
        """Return the outputs, (N, K), with some parameters replaced by those given."""
        output: Tensor = functional_call(self.net, dict(parameters), (x,))
        return output.reshape(len(x), self.n_outputs)


def wave(shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return fixed entries without structure, for checks that must not draw random numbers."""
    size = torch.Size(shape)
    return torch.cos(1.0 + torch.arange(size.numel(), dtype=dtype, device=device)).reshape(size)


def _random_states(device: torch.device) -> list[Tensor]:
    states = [torch.get_rng_state()]
    return [*states, torch.cuda.get_rng_state(device)] if device.type == "cuda" else states


def _call(net: nn.Module, x: Tensor) -> object:
    try:
        return net(x)
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, ValueError) as error:  # of torch, and of layers that look at shapes
        raise ValueError(
            f"{type(net).__name__} cannot be called on {len(x)} samples, a batch of shape {tuple(x.shape)}; "
            f"the first axis must be the batch (a single sample needs x.unsqueeze(0)): {error}"
        ) from error


@contextmanager
def exact_operators() -> Iterator[None]:
    """Keep float32 at float32 precision (no TF32), and operators differentiable, inside the block.

    Fused attention has neither forward-mode nor second derivatives; the plain form of it has all.
    """
    matmul, convolution = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.set_float32_matmul_precision(matmul)
        torch.backends.cudnn.allow_tf32 = convolution
        torch.backends.mha.set_fastpath_enabled(fused)
