r"""The Jacobian route: per-sample gradients of every output, contracted parameter by parameter.

It needs nothing but autograd, so it serves any module; the other routes are tested against it.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.func import vjp, vmap

from ntkbook.empirical.network import Network, wave

logger = logging.getLogger("ntkbook.empirical")


class SampleJacobian:
    r"""Computes :math:`J_i = \partial f(x_i; \theta) / \partial \theta`, sample by sample.

    ``torch.func`` vectorizes over samples and outputs. A module that it cannot vectorize, or vectorizes
    wrongly (control flow that depends on the data, operators without a batching rule or with a faulty one),
    is run sample by sample through plain autograd instead.

    Parameters
    ----------
    network : Network
        The function.
    x : Tensor
        A batch, of which two samples are run both ways.
    names : sequence of str
        The parameters.
    """

    def __init__(self, network: Network, x: Tensor, names: Sequence[str]) -> None:
        self.network, self.names = network, names
        self.vectorizes = True
        k = network.n_outputs
        few = wave((min(k, 3), k), network.dtype, network.device)
        try:
            fast = self._vectorized(x[:2], few)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:  # functorch reports every kind of refusal as a RuntimeError
            self._give_up(str(error))
            return
        slow = self._looped(x[:2], few)
        tolerance = torch.finfo(network.dtype).eps ** 0.5
        for name in names:
            if not torch.allclose(
                fast[name], slow[name], rtol=0.0, atol=tolerance * float(slow[name].abs().max())
            ):
                self._give_up(f"the gradients of {name!r} come out differently")
                return

    def _give_up(self, error: str) -> None:
        self.vectorizes = False
        logger.info(
            "%s cannot be vectorized over samples (%s); its Jacobian is taken sample by sample",
            type(self.network.net).__name__,
            error.strip().split("\n")[0],
        )

    def __call__(self, x: Tensor) -> dict[str, Tensor]:
        """Return the gradients with respect to each parameter, (n, K, P) with P its size."""
        basis = torch.eye(self.network.n_outputs, dtype=self.network.dtype, device=self.network.device)
        return self._vectorized(x, basis) if self.vectorizes else self._looped(x, basis)

    def _vectorized(self, x: Tensor, cotangents: Tensor) -> dict[str, Tensor]:
        """Return u^T J_i for each row u of (c, K), as (n, c, P)."""
        network = self.network
        moving = {name: network.parameters[name] for name in self.names}
        fixed = {name: p for name, p in network.parameters.items() if name not in moving}

        def rows(sample: Tensor) -> dict[str, Tensor]:
            pullback = vjp(
                lambda parameters: network({**fixed, **parameters}, sample.unsqueeze(0))[0], moving
            )[1]
            pulled: dict[str, Tensor] = vmap(pullback)(cotangents)[0]
            return pulled

        jacobian = vmap(rows)(x)
        return {name: jacobian[name].reshape(len(x), len(cotangents), -1) for name in self.names}

    def _looped(self, x: Tensor, cotangents: Tensor) -> dict[str, Tensor]:
        network = self.network
        leaves = {name: network.parameters[name].detach().requires_grad_() for name in self.names}
        rows = {
            name: torch.zeros(len(x), len(cotangents), p.numel(), dtype=p.dtype, device=p.device)
            for name, p in leaves.items()
        }
        for i in range(len(x)):
            with torch.enable_grad():
                output = network({**network.parameters, **leaves}, x[i : i + 1])
            if not output.requires_grad:
                continue  # no parameter reaches the output: the gradient is zero
            for a, u in enumerate(cotangents):
                gradients = torch.autograd.grad(
                    output, list(leaves.values()), u.unsqueeze(0), retain_graph=True, allow_unused=True
                )
                for name, gradient in zip(self.names, gradients, strict=True):
                    if gradient is not None:
                        rows[name][i, a] = gradient.to_dense().reshape(-1)
        return rows
