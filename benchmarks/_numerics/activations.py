"""Errors of ``infinite_width`` for one activation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import mpmath as mp
import numpy as np
import torch
from dual_cases import Case
from torch import Tensor

from _numerics import integral, recursion
from _numerics.cells import UNITS, Cell, compare
from _numerics.regimes import Pair, Regime
from ntkbook import infinite_width, nn

# Deeper networks through the quadrature are measured pair by pair only: a layer takes milliseconds.
_ALL_ROUTES = 3


def routes(
    net: torch.nn.Module, pair: Pair, dtype: torch.dtype, cheap: bool
) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Yield both kernels of a pair by each way through the code: alone, in a Gram matrix, with gradients."""
    kernel = infinite_width(net)
    x1, x2 = (torch.tensor(x[None], dtype=dtype) for x in pair)
    generator = torch.Generator().manual_seed(0)
    others = torch.randn(4, x1.shape[1], generator=generator).to(dtype) * x1.abs().max()
    both = torch.cat([x1, x2, others])
    with torch.no_grad():
        alone = kernel(x1, x2)
    yield "pair", alone.nngp[0, 0], alone.ntk[0, 0]
    if not cheap:
        return
    with torch.no_grad():
        gram = kernel(both)
    yield "Gram", gram.nngp[0, 1], gram.ntk[0, 1]
    x1.requires_grad_(True)
    traced = kernel(x1, x2)
    yield "with gradient", traced.nngp[0, 0].detach(), traced.ntk[0, 0].detach()
    outputs = (
        traced.nngp.sum()
        if net[1].__class__ is torch.nn.ELU and net[1].alpha != 1
        else (traced.nngp + traced.ntk).sum()
    )
    if outputs.isfinite():
        (slope,) = torch.autograd.grad(outputs, x1)
        if not slope.isfinite().all():
            yield "gradient", slope.sum(), slope.sum()


def network(case: Case, regime: Regime, depth: int, dtype: torch.dtype) -> torch.nn.Module:
    """Return the network that a regime is measured on."""
    sizes = [len(regime.pairs[0][0]), *[1] * depth, 1]
    return nn.mlp(sizes, activation=case.module, w_std=recursion.gain(case), b_std=regime.b_std, dtype=dtype)


def measure(case: Case, rows: Sequence[Regime], dtype: str) -> dict[str, Cell]:
    """Return one cell for each regime, by its name."""
    found: dict[str, Cell] = {}
    for row in rows:
        cells = [Cell() for _ in row.depths]
        for pair in row.in_dtype(dtype):
            _add_pair(cells, case, row, pair, dtype)
        found.update(zip(row.names, cells, strict=True))
    return found


def _add_pair(cells: Sequence[Cell], case: Case, row: Regime, pair: Pair, dtype: str) -> None:
    with mp.workdps(recursion.DIGITS):
        w2, b2 = mp.mpf(recursion.gain(case)) ** 2, mp.mpf(row.b_std) ** 2
        start = recursion.covariances(*pair, w2, b2)
        # Integrals in double precision are exact to 1e-15, enough to judge single (see ``calibration``).
        precision = np.float64 if dtype == "float32" else integral.EXTENDED
        truths = recursion.run(case, start, w2, b2, row.depths, dtype=precision)
        moved = recursion.rounding(case, start, w2, b2, truths, UNITS[dtype], equal=np.array_equal(*pair))
        for cell, depth in zip(cells, row.depths, strict=True):
            net = network(case, row, depth, getattr(torch, dtype))
            cheap = depth <= _ALL_ROUTES or case.name not in integral.FUNCTIONS
            try:
                measured = list(routes(net, pair, getattr(torch, dtype), cheap=cheap))
            except ValueError as error:
                cell.refusals.append(str(error))
                continue
            for route, *kernels in measured:
                for kernel, value, change in zip(("nngp", "ntk"), kernels, moved[depth], strict=True):
                    exact = getattr(truths[depth], kernel)
                    compare(cell, kernel, f"{route}, {kernel}", float(value), exact, change, dtype)
