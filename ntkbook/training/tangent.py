"""The tangent kernel of one architecture at many weights: what depends only on the architecture is kept."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ntkbook.empirical.accumulator import Accumulator, Outputs
from ntkbook.empirical.network import Network
from ntkbook.empirical.plan import Plan, Problem, make_plan
from ntkbook.empirical.routes import carry_out, layer_of
from ntkbook.empirical.structure import Structure, find_structure


class TangentKernel:
    r"""The kernel of gradient descent with a factor :math:`r_p` on the learning rate of each parameter.

    .. math:: \hat\Theta_{ab}(x, x') = \sum_p r_p \,
        \frac{\partial f_a(x; \theta)}{\partial \theta_p} \frac{\partial f_b(x'; \theta)}{\partial \theta_p}

    `ntkbook.empirical_ntk` probes a network and plans the work anew at each call, which takes most of the
    time of a small one; here that is done once for all weights. Parameters with equal factors share a pass.

    Parameters
    ----------
    net : torch.nn.Module
        The architecture; it is copied.
    factors : mapping of str to float
        Factors of the trained parameters, by name.
    x1, x2 : Tensor
        Batches; ``x2=None`` means ``x1``.
    outputs : {"full", "diagonal", "mean"}
        As in `ntkbook.empirical_ntk`.
    """

    def __init__(
        self,
        net: nn.Module,
        factors: Mapping[str, float],
        x1: Tensor,
        x2: Tensor | None = None,
        outputs: Outputs = "full",
    ) -> None:
        self._x1, self._x2, self._outputs = x1, x2, outputs
        self._layers = list(dict.fromkeys(layer_of(name) for name in factors))
        self._passes: list[tuple[float, Network, Structure, Plan]] = []
        for factor in dict.fromkeys(factors.values()):
            part = copy.deepcopy(net)
            for name, p in part.named_parameters():
                p.requires_grad_(factors.get(name) == factor)
            self._passes.append((factor, *self._prepare(part)))

    def _prepare(self, net: nn.Module) -> tuple[Network, Structure, Plan]:
        x1, x2 = self._x1, self._x2
        probe = x1 if x2 is None or len(x1) > 1 else x2
        with torch.no_grad():
            network = Network(net, probe)
            structure = find_structure(network, probe)
            n2 = len(x1 if x2 is None else x2)
            item, copies = network.dtype.itemsize, len(self._layers)
            problem = Problem(self._outputs, len(x1), n2, network.n_outputs, x2 is None, item, copies)
            plan = make_plan(
                problem, network, structure, probe, remainder="cheaper", chunk_size=None, memory_limit=None
            )
        return network, structure, plan

    def __call__(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return each trained layer's part of the kernel at given parameters and buffers, in order."""
        total: dict[str, Tensor] = {}
        for factor, network, structure, plan in self._passes:
            for name, part in self._parts(network, structure, plan, state).items():
                total[name] = factor * part + total[name] if name in total else factor * part
        return {layer: total[layer] for layer in self._layers}

    def _parts(
        self, network: Network, structure: Structure, plan: Plan, state: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        with torch.no_grad():
            for name, value in (*network.net.named_parameters(), *network.net.named_buffers()):
                value.copy_(state[name])
            n2 = len(self._x1 if self._x2 is None else self._x2)
            sums = {
                name: Accumulator(
                    self._outputs, len(self._x1), n2, network.n_outputs, network.dtype, network.device
                )
                for name in dict.fromkeys(layer_of(name) for name in network.parameters)
            }
            carry_out(plan, network, structure, self._x1, self._x2, sums.__getitem__)
            if self._x2 is None:
                for part in sums.values():
                    part.mirror()
        return {name: part.result() for name, part in sums.items()}
