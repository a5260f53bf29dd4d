"""Which parameters of a network its layers' rules explain, checked on two samples against autograd."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ntkbook.empirical import nn_rules as _nn_rules  # noqa: F401 -- registers the rules
from ntkbook.empirical import torch_rules as _torch_rules  # noqa: F401 -- registers the rules
from ntkbook.empirical.accumulator import Accumulator
from ntkbook.empirical.contraction import SiteFactor, contract
from ntkbook.empirical.cost import SiteShape, cheaper_order
from ntkbook.empirical.graph import nodes, saved_tensors
from ntkbook.empirical.network import Network, wave
from ntkbook.empirical.recorder import Recording, Site, Visit, record, site_shape
from ntkbook.empirical.rules import find_rule


@dataclass
class Structure:
    """What a probe of two samples tells of a network.

    Attributes
    ----------
    sites : list of Site
        Layers whose rules hold, in the network's order.
    shapes : dict of str to SiteShape
        Their sizes, by name.
    unexplained : dict of str to str
        For each other trainable parameter, why no rule serves it.
    graph_bytes : int
        Bytes that one sample's forward pass keeps for the backward pass.
    output_bytes : int
        Bytes of one sample's outputs at the sites, and of the copies that recording makes of them.
    """

    sites: list[Site] = field(default_factory=list)
    shapes: dict[str, SiteShape] = field(default_factory=dict)
    unexplained: dict[str, str] = field(default_factory=dict)
    graph_bytes: int = 0
    output_bytes: int = 0


def find_structure(network: Network, x: Tensor, *, rules: bool = True) -> Structure:
    """Probe a network with two samples of a batch; without ``rules``, only measure its forward pass.

    A layer counts as explained if it has a rule, is called exactly once, shares no parameter with another
    layer, if no parameter of it is used outside of its call, and if its rule reproduces autograd's inner
    products of two samples' gradients.
    """
    probe = x[:2]
    n = len(probe)
    candidates, unexplained = _candidates(network) if rules else ([], {})
    structure = Structure()
    mixture = wave((n, network.n_outputs), network.dtype, network.device)
    true, structure.graph_bytes = _true_gradients(network, probe, mixture)
    try:
        # As in the real run: recording must not change what it records, and parameters carry no graph.
        recording = record(network, candidates, probe, network.parameters)
        visited = [site for site in candidates if recording.visits[site.name].calls == 1]
        pulled = _pulled(recording, visited, mixture)
        elsewhere = _used_elsewhere(network, candidates, probe)
    except RuntimeError as error:
        why = f"its network cannot be recorded ({str(error).splitlines()[0]})"
        structure.unexplained = {name: unexplained.get(name, why) for name in network.parameters}
        return structure
    for site in candidates:
        visit = recording.visits[site.name]
        shape: SiteShape | None = None
        if visit.calls != 1:
            why = f"its layer is called {visit.calls} times" if visit.calls else "its layer is never called"
        elif elsewhere.intersection(_names(site)):
            why = "it, or a parameter beside it, is used outside of its layer's call"
        else:
            shape, why = _check(site, visit, true, pulled[site.name])
        if shape is None:
            unexplained.update(dict.fromkeys(_names(site), why))
            continue
        structure.sites.append(site)
        structure.shapes[site.name] = shape
        structure.output_bytes += 2 * _output(visit).nbytes // n
    structure.unexplained = {name: unexplained[name] for name in network.parameters if name in unexplained}
    return structure


def _true_gradients(
    network: Network, x: Tensor, mixture: Tensor
) -> tuple[list[dict[str, Tensor | None]], int]:
    """Return each sample's gradient of its mixed outputs, and the bytes that one sample's graph keeps."""
    leaves = {name: p.detach().requires_grad_() for name, p in network.parameters.items()}
    with torch.enable_grad():
        outputs = network(leaves, x)
    resident = {
        t.untyped_storage().data_ptr()
        for t in (*leaves.values(), *network.net.buffers(), *network.net.parameters())
    }
    saved = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in saved_tensors([outputs])}
    size = sum(nbytes for place, nbytes in saved.items() if place not in resident)
    gradients: list[dict[str, Tensor | None]] = []
    for i in range(len(x)):
        row: tuple[Tensor | None, ...] = (None,) * len(leaves)
        if outputs.requires_grad:
            cotangent = torch.zeros_like(mixture)
            cotangent[i] = mixture[i]
            row = torch.autograd.grad(
                outputs, list(leaves.values()), cotangent, retain_graph=True, allow_unused=True
            )
        dense = [None if g is None else g.to_dense() for g in row]
        gradients.append(dict(zip(leaves, dense, strict=True)))
    return gradients, size // len(x)


def _used_elsewhere(network: Network, sites: list[Site], x: Tensor) -> set[str]:
    """Return the parameters that are reached although each site's call is cut out of the graph.

    This does not depend on values, so it also sees a use that has no gradient at the samples probed.
    """
    leaves = {name: p.detach().requires_grad_() for name, p in network.parameters.items()}
    recording = record(network, sites, x, leaves, cut=True)
    names = {id(leaf): name for name, leaf in leaves.items()}
    tensors = [recording.outputs, *(t for visit in recording.visits.values() for t in visit.sources)]
    found = {names[id(t)] for t in tensors if id(t) in names}
    for behind in nodes(tensors):
        for node, _ in behind.next_functions:
            variable = getattr(node, "variable", None)  # only nodes that accumulate into a leaf have one
            if variable is not None and id(variable) in names:
                found.add(names[id(variable)])
    return found


def _pulled(recording: Recording, visited: list[Site], mixture: Tensor) -> dict[str, Tensor | None]:
    """Return the gradients of all samples' mixed outputs with respect to the sites' outputs."""
    if not visited or not recording.outputs.requires_grad:
        return dict.fromkeys((site.name for site in visited), None)
    targets = [_output(recording.visits[site.name]) for site in visited]
    pulled = torch.autograd.grad(recording.outputs, targets, mixture, allow_unused=True)
    return {site.name: g for site, g in zip(visited, pulled, strict=True)}


def _candidates(network: Network) -> tuple[list[Site], dict[str, str]]:
    """Return the layers with a rule for their trainable parameters, and why other parameters have none."""
    owners: dict[int, int] = {}
    for _, layer in network.net.named_modules():
        for p in layer._parameters.values():
            if p is not None:
                owners[id(p)] = owners.get(id(p), 0) + 1
    sites, unexplained = [], {}
    for prefix, layer in network.net.named_modules():
        rule = find_rule(layer)
        refusal = "" if rule is None else rule.applies(layer)
        usable: set[str] = set()
        for name, p in layer._parameters.items():
            full = f"{prefix}.{name}" if prefix else name
            if p is None or full not in network.parameters:
                continue
            if owners[id(p)] > 1:
                unexplained[full] = "it is tied: several layers hold it"
            elif rule is None:
                unexplained[full] = f"no rule for layers of type {type(layer).__name__}"
            elif name not in rule.parameters:
                unexplained[full] = f"the rule for {type(layer).__name__} does not know it"
            elif refusal:
                unexplained[full] = refusal
            else:
                usable.add(name)
        if rule is not None and usable:
            sites.append(Site(prefix, layer, rule, frozenset(usable)))
    return sites, unexplained


def _names(site: Site) -> list[str]:
    return [f"{site.name}.{name}" if site.name else name for name in sorted(site.trainable)]


def _output(visit: Visit) -> Tensor:
    assert visit.output is not None
    return visit.output


def _check(
    site: Site, visit: Visit, true: list[dict[str, Tensor | None]], pulled: Tensor | None
) -> tuple[SiteShape | None, str]:
    """Compare the rule's inner products of the samples' gradients with autograd's."""
    assert visit.x is not None
    output, n = _output(visit), len(true)
    everything = slice(0, n)
    found = Accumulator("full", n, n, 1, output.dtype, output.device)
    try:
        features = site.features(visit.x, n)
        cotangents = site.cotangents(torch.zeros_like(output) if pulled is None else pulled, n)
        shape = site_shape(site, features, cotangents)
        factor = SiteFactor(shape, n, visit.x, features, cotangents.mT.unsqueeze(2))
        order = cheaper_order(shape, "full", n, n, 1, symmetric=True)
        contract(factor, factor, found, everything, everything, order=order, scratch=2**26)
    except (RuntimeError, ValueError, IndexError) as error:
        return None, f"its rule does not fit the layer's call ({str(error).splitlines()[0]})"
    found.mirror()
    expected = torch.zeros(n, n, dtype=output.dtype, device=output.device)
    for name in _names(site):
        for i in range(n):
            for j in range(n):
                left, right = true[i][name], true[j][name]
                if left is not None and right is not None:
                    expected[i, j] += left.flatten() @ right.flatten()
    # Two orders of summation differ by rounding; a missing or doubled term by a good part of the whole.
    tolerance = math.sqrt(torch.finfo(expected.dtype).eps) * float(expected.abs().max())
    if torch.allclose(found.buffer[:, 0, :, 0], expected, rtol=0.0, atol=tolerance):
        return shape, ""
    return None, "its layer's rule does not explain its gradient (a hook, or a wrong rule)"


def forward_cost(network: Network, x: Tensor) -> float:
    """Return the multiply-adds of one sample's forward pass.

    Where the network differentiates inside, which the counter refuses: one for each parameter.
    """
    from torch.utils.flop_counter import (
        FlopCounterMode,
    )  # on first use it loads torch's compiler, for a second

    counter = FlopCounterMode(display=False)
    try:
        with counter, torch.no_grad():
            network(network.parameters, x[:1])
    except RuntimeError:
        return float(sum(p.numel() for p in network.parameters.values()))
    return counter.get_total_flops() / 2
