"""Carrying out a plan: each step adds the contribution of its parameters to the kernel."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from torch import Tensor

from ntkbook.empirical.accumulator import Accumulator
from ntkbook.empirical.contraction import SiteFactor, add_grams, contract
from ntkbook.empirical.jacobian import SampleJacobian
from ntkbook.empirical.network import Network
from ntkbook.empirical.plan import Plan, Step
from ntkbook.empirical.recorder import site_factors
from ntkbook.empirical.structure import Structure
from ntkbook.empirical.tangents import TangentMaps

TotalOf = Callable[[str], Accumulator]


def carry_out(
    plan: Plan, network: Network, structure: Structure, x1: Tensor, x2: Tensor | None, total_of: TotalOf
) -> None:
    """Add every step of a plan to the totals.

    Parameters
    ----------
    plan, network, structure
        What to do, with what.
    x1, x2 : Tensor
        The batches; ``x2=None`` means that both are the same, and pairs i > j are left to be mirrored.
    total_of : callable
        Maps a layer's name to the kernel that its contribution is added to.
    """
    for step in plan.steps:
        if step.route == "structured":
            _structured(step, plan, network, structure, x1, x2, total_of)
        elif step.route == "jacobian":
            _jacobian(step, network, x1, x2, total_of)
        else:
            _vector_product(step, network, x1, x2, total_of)


def layer_of(parameter: str) -> str:
    """Return the name of the layer that owns a parameter; "" for the network itself."""
    return parameter.rpartition(".")[0]


def _ranges(n: int, size: int) -> Iterator[slice]:
    for start in range(0, n, size):
        yield slice(start, min(start + size, n))


def _structured(
    step: Step,
    plan: Plan,
    network: Network,
    structure: Structure,
    x1: Tensor,
    x2: Tensor | None,
    total_of: TotalOf,
) -> None:
    sites = [site for site in structure.sites if site.name in step.names]
    other = x1 if x2 is None else x2
    for rows in _ranges(len(x1), step.tile):
        first = site_factors(network, sites, structure.shapes, x1[rows])
        for columns in _ranges(len(other), step.tile):
            if x2 is None and columns.start < rows.start:
                continue
            same = x2 is None and columns == rows
            second = first if same else site_factors(network, sites, structure.shapes, other[columns])
            for site in sites:
                u = _with_features(site.features, first[site.name])
                v = u if same else _with_features(site.features, second[site.name])
                contract(
                    u,
                    v,
                    total_of(site.name),
                    rows,
                    columns,
                    order=plan.orders[site.name],
                    scratch=plan.scratch,
                )


def _with_features(features: Callable[[Tensor, int], Tensor], factor: SiteFactor) -> SiteFactor:
    return factor if factor.x is None else replace(factor, features=features(factor.x, factor.n))


def _jacobian(step: Step, network: Network, x1: Tensor, x2: Tensor | None, total_of: TotalOf) -> None:
    jacobian = SampleJacobian(network, x1, step.names)
    other = x1 if x2 is None else x2
    for rows in _ranges(len(x1), step.tile):
        first = jacobian(x1[rows])
        for columns in _ranges(len(other), step.tile):
            if x2 is None and columns.start < rows.start:
                continue
            same = x2 is None and columns == rows
            second = first if same else jacobian(other[columns])
            for name in step.names:
                add_grams(first[name], second[name], total_of(layer_of(name)), rows, columns)


def _vector_product(step: Step, network: Network, x1: Tensor, x2: Tensor | None, total_of: TotalOf) -> None:
    """Fill the kernel column by column: pull one output of a sample back, push the result to all."""
    by_layer: dict[int, tuple[Accumulator, list[str]]] = {}
    for name in step.names:
        total = total_of(layer_of(name))
        by_layer.setdefault(id(total), (total, []))[1].append(name)
    other = x1 if x2 is None else x2
    basis = torch.eye(network.n_outputs, dtype=network.dtype, device=network.device)
    for total, names in by_layer.values():
        maps = TangentMaps(network, x1, names)
        for j in range(len(other)):
            for rows in _ranges(j + 1 if x2 is None else len(x1), step.tile):
                block = total.block(rows, slice(j, j + 1))
                for outputs in _ranges(network.n_outputs, step.directions):
                    columns = maps.columns(
                        x1[rows], other[j : j + 1], basis[outputs].unsqueeze(1)
                    )  # (c, n, K)
                    _add_columns(columns, outputs, total, block)


def _add_columns(columns: Tensor, outputs: slice, total: Accumulator, block: Tensor) -> None:
    """Add entries (c, n, K), between c outputs of one sample and all of n samples, to a block (n, 1)."""
    if total.outputs == "full":
        block[:, :, 0, outputs] += columns.permute(1, 2, 0)
        return
    own = columns[:, :, outputs].diagonal(dim1=0, dim2=2).T  # (c, n)
    if total.outputs == "diagonal":
        block[outputs, :, 0] += own
    else:
        block[:, 0] += own.sum(0)
