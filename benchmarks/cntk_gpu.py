"""CNTK on a GPU: time per image pair, and the difference from the reference.

Run ``python benchmarks/cntk_gpu.py`` (``make bench-gpu``) on a machine with CUDA. No figures from hardware
have been taken yet: elsewhere the compiled kernel's registers are what can be told, and the tests tell
them.
"""

from __future__ import annotations

import time

import torch

import ntkbook
from ntkbook.cntk import reference
from ntkbook.cntk.recursion import arora, coincident


def main() -> None:
    if not torch.cuda.is_available():
        print("CNTK on a GPU: not measured. Run `make bench-gpu` where there is a CUDA device.")
        return
    print(torch.cuda.get_device_name())
    generator = torch.Generator().manual_seed(0)
    for depth, readout, n in ((5, "gap", 32), (20, "gap", 32), (20, "flatten", 512)):
        x, z = (torch.rand(n, 3, 32, 32, generator=generator).cuda() for _ in range(2))
        times = []
        for _ in range(4):
            torch.cuda.synchronize()
            start = time.perf_counter()
            ours = ntkbook.cntk(x, z, depth=depth, readout=readout, dtype=torch.float32)
            torch.cuda.synchronize()
            times.append(time.perf_counter() - start)
        pair = x[:1].double(), z[:1].double()
        recursion = arora(3, (depth,), readout, 32 * 32, True)
        sums = reference.kernel_sums(*pair, *coincident(*pair), recursion)
        error = abs(ours[0, 0].item() / recursion.finish(sums)[1].item() - 1)
        print(
            f"32x32x3, {readout}, depth {depth:2d}, float32: {min(times) / n**2 * 1e6:8.2f} us per pair, "
            f"first call {times[0]:.1f} s, differs from the reference by {error:.0e}"
        )


if __name__ == "__main__":
    main()
