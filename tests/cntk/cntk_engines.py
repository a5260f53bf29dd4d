"""Run one engine by name, on the arguments of the public function."""

import torch

from ntkbook.cntk import cpu, reference
from ntkbook.cntk.recursion import arora, coincident, ntk_parameterization

ENGINES = {"reference": reference.block_sums, "cpu": cpu.block_sums}


def recursion_of(x, depths, readout="gap", q=3, convention="arora", w_std=2**0.5, b_std=0.0, trained="all"):
    positions, ends = x.shape[2] * x.shape[3], trained == "all"
    if convention == "arora":
        return arora(q, depths, readout, positions, ends)
    layers = [(w_std, b_std)] * max(depths)
    return ntk_parameterization(layers, layers[0], q, depths, readout, positions, x.shape[1], ends)


def run_engine(engine, x1, x2, recursion):
    """Return (nngp, ntk), each (D, N1, N2), without the symmetric case."""
    sums = torch.full((len(recursion.depths), 2, len(x1), len(x2)), torch.nan, dtype=torch.float64)
    same1, same2 = coincident(x1, x2)
    for rows, columns, block in engine(x1, x2, same1, same2, recursion, symmetric=False):
        sums[:, :, rows, columns] = block.cpu()
    return recursion.finish(sums)


def pictures(n, channels, rows, columns, seed=0, dtype=torch.float64):
    """Smooth signed images, as correlated as photographs."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(n, channels, rows, columns, generator=generator, dtype=torch.float64)
    smooth = torch.nn.functional.avg_pool2d(noise, 3, stride=1, padding=1)
    return (smooth / smooth.std() + 0.3).to(dtype)
