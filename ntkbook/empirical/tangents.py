r"""Products with the Jacobian and its transpose, and through them products with the kernel.

The vector :math:`J^\top u` costs one backward pass, :math:`J v` one forward-mode pass; the kernel
:math:`\Theta(X, Y) = J_X J_Y^\top` needs neither of the two matrices.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.func import jvp, vjp, vmap

from ntkbook.empirical.network import Network, wave

logger = logging.getLogger("ntkbook.empirical")

Tangents = dict[str, Tensor]


class TangentMaps:
    """The maps between outputs and parameters that the Jacobian defines.

    Parameters
    ----------
    network : Network
        The function.
    x : Tensor
        A batch, of which one sample is run to learn how the module can be pushed forward.
    names : sequence of str, optional
        The parameters that move; by default all trainable ones.

    Attributes
    ----------
    mode : {"forward", "backward", "rows"}
        How :meth:`push` works: by forward-mode differentiation; where an operator has none, or does not treat
        a ``no_grad`` block as reverse mode does, by differentiating the linear map u -> J^T u; where that has
        no derivative either, by one backward pass for each entry of the result.
    """

    def __init__(self, network: Network, x: Tensor, names: Sequence[str] | None = None) -> None:
        self.network = network
        names = list(network.parameters) if names is None else names
        self._moving = {name: network.parameters[name] for name in names}
        self._fixed = {name: p for name, p in network.parameters.items() if name not in self._moving}
        self.batches: bool | None = None
        self.mode: Literal["forward", "backward", "rows"] = "rows"
        for mode in ("forward", "backward"):
            refusal = self._try(mode, x[:1])
            if not refusal:
                self.mode = mode
                break
            logger.info("%s has no products in %s mode (%s)", type(network.net).__name__, mode, refusal)

    def _try(self, mode: Literal["forward", "backward"], x: Tensor) -> str:
        """Return "" if <u, J v> = <J^T u, v> holds in a mode, otherwise what is wrong."""
        v = {name: wave(p.shape, p.dtype, p.device) for name, p in self._moving.items()}
        u = wave((1, self.network.n_outputs), self.network.dtype, self.network.device)
        pulled = self.pull(x, u)
        try:
            pushed = self._push_forward(x, v) if mode == "forward" else self._push_backward(x, v)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:  # includes NotImplementedError: an operator without such a derivative
            return str(error).strip().split("\n")[0]
        here, there = (u * pushed).sum(), sum((pulled[name] * v[name]).sum() for name in v)
        size = (u * pushed).norm() * u.numel() ** 0.5 + sum(
            pulled[name].norm() * v[name].norm() for name in v
        )
        tolerance = torch.finfo(self.network.dtype).eps ** 0.5
        return "" if bool((here - there).abs() <= tolerance * size) else "it differs from reverse mode"

    def pull(self, x: Tensor, u: Tensor) -> Tangents:
        """Return J(x)^T u for u (n, K), as a dict of tensors shaped like the parameters."""
        tangents: Tangents = vjp(self._at(x), self._moving)[1](u)[0]
        return {name: tangent.to_dense() for name, tangent in tangents.items()}

    def push(self, x: Tensor, v: Mapping[str, Tensor]) -> Tensor:
        """Return J(x) v, (n, K), for v shaped like the parameters."""
        if self.mode == "forward":
            return self._push_forward(x, v)
        return self._push_backward(x, v) if self.mode == "backward" else self._push_rows(x, v)

    def columns(self, x: Tensor, y: Tensor, u: Tensor) -> Tensor:
        """Return J(x) J(y)^T u for c cotangents at once: u (c, n', K), the result (c, n, K)."""
        if self.batches is None:
            self.batches = self._columns_agree(x[:2], y[:2])
        return self._columns_at_once(x, y, u) if self.batches else self._columns_in_turn(x, y, u)

    def _columns_at_once(self, x: Tensor, y: Tensor, u: Tensor) -> Tensor:
        pullback = vjp(self._at(y), self._moving)[1]
        pulled: Tangents = vmap(pullback)(u)[0]
        pushed: Tensor = vmap(lambda one: self.push(x, one))(pulled)
        return pushed

    def _columns_in_turn(self, x: Tensor, y: Tensor, u: Tensor) -> Tensor:
        return torch.stack([self.push(x, self.pull(y, one)) for one in u])

    def _columns_agree(self, x: Tensor, y: Tensor) -> bool:
        # A missing batching rule raises, a faulty one returns other numbers.
        u = wave((3, len(y), self.network.n_outputs), self.network.dtype, self.network.device)
        try:
            fast = self._columns_at_once(x, y, u)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError:
            return False
        slow = self._columns_in_turn(x, y, u)
        tolerance = torch.finfo(self.network.dtype).eps ** 0.5
        return torch.allclose(fast, slow, rtol=0.0, atol=tolerance * float(slow.abs().max()))

    def _at(self, x: Tensor) -> Callable[[Tangents], Tensor]:
        return lambda moving: self.network({**self._fixed, **moving}, x)

    def _push_forward(self, x: Tensor, v: Mapping[str, Tensor]) -> Tensor:
        pushed: Tensor = jvp(self._at(x), (self._moving,), (dict(v),))[1]
        return pushed

    def _push_backward(self, x: Tensor, v: Mapping[str, Tensor]) -> Tensor:
        # u -> J^T u is linear, and its own transpose is the map wanted: differentiate it at any u.
        start = torch.zeros(
            len(x), self.network.n_outputs, dtype=self.network.dtype, device=self.network.device
        )
        pushed: Tensor = vjp(lambda u: self.pull(x, u), start)[1](dict(v))[0]
        return pushed

    def _push_rows(self, x: Tensor, v: Mapping[str, Tensor]) -> Tensor:
        n, k = len(x), self.network.n_outputs
        pushed = torch.zeros(n, k, dtype=self.network.dtype, device=self.network.device)
        for i in range(n):
            for a in range(k):
                u = torch.zeros_like(pushed[:1])
                u[0, a] = 1.0
                row = self.pull(x[i : i + 1], u)
                pushed[i, a] = torch.stack([(row[name] * v[name]).sum() for name in self._moving]).sum()
        return pushed
