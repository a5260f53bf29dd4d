"""Recording a layer's input and output during a forward pass, and the output's gradients afterwards."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ntkbook.empirical.contraction import SiteFactor, sample_gradients
from ntkbook.empirical.cost import SiteShape
from ntkbook.empirical.network import Network
from ntkbook.empirical.rules import LayerRule
from ntkbook.empirical.separable import separate


@dataclass(frozen=True)
class Site:
    """A layer of the network that a rule explains.

    Attributes
    ----------
    name : str
        The layer's name in the network; "" for the network itself.
    layer : torch.nn.Module
        The layer.
    rule : LayerRule
        Its rule.
    trainable : frozenset of str
        The layer's own parameters that take part.
    """

    name: str
    layer: nn.Module
    rule: LayerRule
    trainable: frozenset[str]

    def features(self, x: Tensor, n: int) -> Tensor:
        """Return h of an input whose first axis is the batch, or the batch times positions."""
        features = self.rule.features(self.layer, x, self.trainable)
        return _fold(features, n, 2)

    def cotangents(self, g: Tensor, n: int) -> Tensor:
        """Return c of the output's gradient, as (n, G, T, O)."""
        return _fold(self.rule.cotangents(self.layer, g), n, 2)


def _fold(values: Tensor, n: int, axis: int) -> Tensor:
    """Turn (n w, G, T, ...) into (n, G, w T, ...): a batch axis that forward merged with positions."""
    if len(values) == n:
        return values
    if len(values) % n:
        raise ValueError(
            f"the layer's first axis has {len(values)} entries, not a multiple of the {n} samples"
        )
    return values.reshape(n, -1, *values.shape[1:]).transpose(1, 2).flatten(axis, axis + 1)


@dataclass
class Visit:
    """What one forward pass shows of a site: its inputs with their graph, and the last call."""

    calls: int = 0
    sources: list[Tensor] = field(default_factory=list)
    x: Tensor | None = None
    output: Tensor | None = None
    returned: Tensor | None = None


@dataclass
class Recording:
    """A forward pass with the graph of its outputs.

    Attributes
    ----------
    outputs : Tensor
        (n, K).
    visits : dict of str to Visit
        By the site's name.
    last : str or None
        The site whose output is the network's output, of shape (n, K).
    """

    outputs: Tensor
    visits: dict[str, Visit] = field(default_factory=dict)
    last: str | None = None


def record(
    network: Network, sites: Sequence[Site], x: Tensor, parameters: Mapping[str, Tensor], *, cut: bool = False
) -> Recording:
    """Run the network on a batch, keeping the input and the output of each site.

    Parameters
    ----------
    network : Network
        The function.
    sites : sequence of Site
        Where to look.
    x : Tensor
        The batch.
    parameters : mapping of str to Tensor
        Stand-ins for the trainable parameters. If they are detached, the graph holds no gradients of weights.
    cut : bool
        Whether the graph ends at each site's output.
    """
    visits = {site.name: Visit() for site in sites}
    with torch.enable_grad(), _hooks(sites, visits, cut):
        raw: Tensor = functional_call(network.net, dict(parameters), (x,))
        outputs = raw.reshape(len(x), network.n_outputs)
    last = None
    for site in sites:
        visit = visits[site.name]
        if visit.calls == 1 and raw is visit.returned and raw.ndim == 2:
            last = site.name
    return Recording(outputs, visits, last)


@contextmanager
def _hooks(sites: Sequence[Site], visits: Mapping[str, Visit], cut: bool) -> Iterator[None]:
    handles = [
        site.layer.register_forward_hook(_hook(visits[site.name], cut), with_kwargs=True) for site in sites
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _hook(visit: Visit, cut: bool) -> Any:
    def hook(layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Tensor) -> Tensor:
        visit.calls += 1
        source = args[0] if args else next(iter(kwargs.values()))
        visit.sources.append(source)
        visit.x = source.detach()
        visit.output = output if output.requires_grad and not cut else output.detach().requires_grad_()
        # What follows gets a copy: an activation that works in place would replace the output under our eyes.
        visit.returned = visit.output.clone()
        return visit.returned

    return hook


def site_shape(site: Site, features: Tensor, cotangents: Tensor) -> SiteShape:
    """Return G, T, I, O of a site's features (n, G, T, I) and cotangents (n, G, T, O)."""
    one_hot = not features.is_floating_point()
    # One-hot features are as many as the layer has parameters for each channel.
    size = sum(p.numel() for name, p in site.layer.named_parameters() if name in site.trainable)
    groups, positions, channels = cotangents.shape[1:]
    width = size // (groups * channels) if one_hot else features.shape[-1]
    return SiteShape(groups, positions, width, channels, one_hot)


def site_factors(
    network: Network, sites: Sequence[Site], shapes: Mapping[str, SiteShape], x: Tensor
) -> dict[str, SiteFactor]:
    """Return what a batch leaves behind at each site: one forward pass, and K backward passes.

    Features are left to be made from the layer's input when they are contracted, since patches of an image
    are many times larger than the image.

    Raises
    ------
    RuntimeError
        If a site is not called exactly once, although it was so on the samples that were probed.
    """
    n, k = len(x), network.n_outputs
    recording = record(network, sites, x, network.parameters)
    factors: dict[str, SiteFactor] = {}
    pending: list[tuple[Site, Tensor, Tensor | None]] = []
    for site in sites:
        visit, shape = recording.visits[site.name], shapes[site.name]
        if visit.calls != 1 or visit.x is None or visit.output is None:
            raise RuntimeError(
                f"layer {site.name!r} was called {visit.calls} times on this batch but once on its first "
                "samples: the network's control flow depends on the data; use method='jacobian'"
            )
        factor = SiteFactor(shape, n)
        factors[site.name] = factor
        if shape.reduces:
            factor.gradients = visit.output.new_empty((n, k, shape.n_parameters))
            pending.append((site, visit.output, site.features(visit.x, n)))
            continue
        factor.x = visit.x
        if not (site.name == recording.last and shape.groups == shape.positions == 1):
            factor.cotangents = visit.output.new_empty((n, shape.groups, k, shape.channels, shape.positions))
            pending.append((site, visit.output, None))
    if pending:
        _pull_back(recording.outputs, pending, factors)
    for factor in factors.values():
        product = None if factor.cotangents is None else separate(factor.cotangents)
        if product is not None:
            factor.weights, factor.cotangents = product[0], product[1].unsqueeze(2)
    return factors


def _pull_back(
    outputs: Tensor, pending: Sequence[tuple[Site, Tensor, Tensor | None]], factors: Mapping[str, SiteFactor]
) -> None:
    """Fill cotangents and gradients by one backward pass per output."""
    n, k = outputs.shape
    targets = [output for _, output, _ in pending]
    basis = torch.eye(k, dtype=outputs.dtype, device=outputs.device)
    for a in range(k):
        pulled: Sequence[Tensor | None] = [None] * len(targets)  # for an output that depends on no parameter
        if outputs.requires_grad:
            pulled = torch.autograd.grad(
                outputs, targets, basis[a].expand(n, k), retain_graph=a + 1 < k, allow_unused=True
            )
        for (site, output, features), g in zip(pending, pulled, strict=True):
            factor = factors[site.name]
            c = site.cotangents(torch.zeros_like(output) if g is None else g, n).mT  # (n, G, O, T)
            if features is None:
                assert factor.cotangents is not None
                factor.cotangents[:, :, a] = c
            else:
                assert factor.gradients is not None
                factor.gradients[:, a] = sample_gradients(features, c.unsqueeze(2), factor.shape.features)[
                    :, 0
                ]
