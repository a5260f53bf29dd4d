"""A network's kernel at infinite width for GPyTorch, with scales that are learned layer by layer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from ntkbook._validation import check_choice
from ntkbook.infinite import infinite_width
from ntkbook.nn._parametric import ParametricLayer

try:
    from gpytorch.constraints import Interval, Positive
    from gpytorch.kernels import Kernel
except ModuleNotFoundError as missing:
    raise ModuleNotFoundError(
        "this kernel is for GPyTorch; install it with: pip install 'ntkbook[gpytorch]'"
    ) from missing

# Inputs of one block along the diagonal, of which only the diagonal is kept.
_DIAGONAL_BLOCK = 32


class NetworkKernel(Kernel):  # type: ignore[misc]
    r"""The NNGP or NTK of a network as a covariance function, differentiable in the scales of its layers.

    .. math::
        k(x, x') = \lim_{n \to \infty} \mathbb E[f(x) f(x')] \quad (\text{NNGP}) \qquad\text{or}\qquad
        k(x, x') = \lim_{n \to \infty} \nabla_\theta f(x) \cdot \nabla_\theta f(x') \quad (\text{NTK})

    Every layer of :mod:`ntkbook.nn` with a ``w_std`` has its own, and so has every bias its ``b_std``; they
    are positive parameters, which GPyTorch learns with the others. For a factor on the whole kernel wrap
    this one in :class:`gpytorch.kernels.ScaleKernel`.

    Parameters
    ----------
    net : torch.nn.Module
        As for :func:`ntkbook.infinite_width`; its scales are the starting values, its weights say dtype and
        device of the parameters. It is not changed, and its weights are not parameters of the kernel.
    kernel : {"nngp", "ntk"}
        Which of the two.
    w_std_constraint, b_std_constraint : gpytorch.constraints.Interval, optional
        By default ``Positive()``.
    **kwargs
        ``active_dims``, the columns of the inputs that the network sees.

    Attributes
    ----------
    w_std : Tensor, shape (L,)
        Standard deviations of the weights of the L layers, in the order of ``net.modules()``. Can be
        assigned: a number for all of them, or one for each.
    b_std : Tensor, shape (B,)
        The same for the B layers that have a bias; empty if none has one.
    raw_w_std, raw_b_std : torch.nn.Parameter
        The same without constraint.

    Raises
    ------
    ValueError
        If the net has no layers with scales, or a scale of 0, which no positive parameter can be; if a
        batch shape is asked for or batches of data sets come in.
    InfiniteWidthError
        If the network has no exact limit.

    Notes
    -----
    A call costs what :func:`ntkbook.infinite_width` costs with gradients: :math:`O(LN^2)` time and
    memory; the network is traced anew, in milliseconds. The diagonal alone costs :math:`O(32LN)`. Device and
    dtype are those of the inputs; in float64, call ``model.double()`` as for any GPyTorch model.

    Examples
    --------
    >>> import torch
    >>> from ntkbook import nn
    >>> from ntkbook.gpytorch_kernel import NetworkKernel
    >>> kernel = NetworkKernel(nn.mlp([2, 1, 1], w_std=2**0.5, b_std=0.1))
    >>> kernel.w_std
    tensor([1.4142, 1.4142], grad_fn=<SoftplusBackward0>)
    >>> kernel(torch.eye(2)).to_dense().shape
    torch.Size([2, 2])
    """

    def __init__(
        self,
        net: torch.nn.Module,
        kernel: str = "nngp",
        w_std_constraint: Interval | None = None,
        b_std_constraint: Interval | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if self.batch_shape:
            raise ValueError(
                f"batch_shape={tuple(self.batch_shape)} is not supported: scales are those of one network; "
                "use a kernel for each"
            )
        self.which = check_choice("kernel", kernel, ("nngp", "ntk"))
        infinite_width(net)  # raises now what would be raised at the first call
        # In a tuple, so that the weights do not become parameters of the kernel.
        self._net = (net,)
        weights = [float(layer.w_std) for layer in self._layers()]
        biases = [float(layer.b_std) for layer in self._layers() if layer.b_std is not None]
        if not weights:
            raise ValueError(
                "net has no layer with a w_std to be learned; use layers of ntkbook.nn, such as Linear"
            )
        if 0.0 in weights + biases:
            raise ValueError(
                "net has a layer with w_std=0 or b_std=0, but learned scales are positive; start from a "
                "positive value, or leave the bias out with b_std=None"
            )
        for name, values, constraint in (
            ("w_std", weights, w_std_constraint),
            ("b_std", biases, b_std_constraint),
        ):
            if constraint is not None and not isinstance(constraint, Interval):
                raise TypeError(
                    f"{name}_constraint must be a gpytorch constraint, got {type(constraint).__name__}; pass "
                    "gpytorch.constraints.Positive()"
                )
            raw = self._layers()[0].weight.new_zeros(len(values))
            self.register_parameter(f"raw_{name}", torch.nn.Parameter(raw))
            self.register_constraint(f"raw_{name}", constraint or Positive())
            setattr(self, name, raw.new_tensor(values))

    @property
    def w_std(self) -> Tensor:
        """Standard deviations of the weights."""
        return self._scales("w_std")

    @w_std.setter
    def w_std(self, value: float | Tensor) -> None:
        self._set_scales("w_std", value)

    @property
    def b_std(self) -> Tensor:
        """Standard deviations of the biases."""
        return self._scales("b_std")

    @b_std.setter
    def b_std(self, value: float | Tensor) -> None:
        self._set_scales("b_std", value)

    def forward(
        self, x1: Tensor, x2: Tensor, diag: bool = False, last_dim_is_batch: bool = False, **params: Any
    ) -> Tensor:
        """Return the kernel (N, M) of inputs (N, d) and (M, d), or its diagonal (N,)."""
        if last_dim_is_batch or x1.ndim != 2 or x2.ndim != 2:
            raise ValueError(
                f"NetworkKernel takes inputs (N, d) and (M, d), without batches and last_dim_is_batch; got "
                f"{tuple(x1.shape)} and {tuple(x2.shape)}, last_dim_is_batch={last_dim_is_batch}; use one "
                "kernel for each batch"
            )
        if diag and len(x1) != len(x2):
            raise ValueError(
                f"with diag=True x1 and x2 hold as many inputs, got {tuple(x1.shape)} and {tuple(x2.shape)}"
            )
        with self._scaled_network() as net:
            kernel = infinite_width(net)
            if diag:
                pairs = zip(torch.split(x1, _DIAGONAL_BLOCK), torch.split(x2, _DIAGONAL_BLOCK), strict=True)
                return torch.cat([getattr(kernel(a, b), self.which).diagonal() for a, b in pairs])
            # The symmetric kernel is half the work, and symmetric to the bit.
            without_graph = not (x1.requires_grad or x2.requires_grad)
            same = x1 is x2 or (without_graph and x1.dtype == x2.dtype and torch.equal(x1, x2))
            values: Tensor = getattr(kernel(x1, None if same else x2), self.which)
            return values

    def _layers(self) -> list[ParametricLayer]:
        return [module for module in self._net[0].modules() if isinstance(module, ParametricLayer)]

    @contextmanager
    def _scaled_network(self) -> Iterator[torch.nn.Module]:
        """Lend the network the current scales, which carry gradients."""
        layers = self._layers()
        before = [(layer.w_std, layer.b_std) for layer in layers]
        w_std, b_std = iter(self.w_std), iter(self.b_std)
        try:
            for layer in layers:
                layer.w_std = next(w_std)
                layer.b_std = None if layer.b_std is None else next(b_std)
            yield self._net[0]
        finally:
            for layer, (weights, biases) in zip(layers, before, strict=True):
                layer.w_std, layer.b_std = weights, biases

    def _scales(self, name: str) -> Tensor:
        raw: Tensor = getattr(self, f"raw_{name}")
        scales: Tensor = getattr(self, f"raw_{name}_constraint").transform(raw)
        return scales

    def _set_scales(self, name: str, value: float | Tensor) -> None:
        raw = getattr(self, f"raw_{name}")
        values = torch.as_tensor(value, dtype=raw.dtype, device=raw.device).detach()
        if values.shape not in (torch.Size([]), raw.shape) or not bool((values > 0).all()):
            raise ValueError(
                f"{name} must be one positive number, or {len(raw)} of them, one for each layer; got {value}"
            )
        constraint = getattr(self, f"raw_{name}_constraint")
        self.initialize(**{f"raw_{name}": constraint.inverse_transform(values.expand_as(raw))})
