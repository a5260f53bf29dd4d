"""CNTK on the CPU: time per image pair against a naive twin, share of the core's peak, threads, memory.

Run ``python benchmarks/cntk.py``; ``--digits`` adds the Gram matrix of the 1,797 digits (a minute or two on
two cores). Each row is the best of several repetitions in one process pinned to one core, on one thread,
unless it says otherwise. Memory is the peak of the resident set of a process of its own, beyond inputs,
result and compiled code.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import ntkbook

# Additions and multiplications per entry and layer, as ntkbook.cntk._cpu_kernels does them in single
# precision: two masked sums of three (8), rows and bias (5), tables (2), d and e (2), root (1), P (10), R
# (8), moments (7).
FLOPS = 43


def naive_cntk(x: Tensor, z: Tensor, depth: int) -> Tensor:
    """Kernel of one image pair (C, P, Q) under global average pooling, on whole 4-D tensors."""

    def box(a: Tensor) -> Tensor:
        rows, columns = a.shape[:2]
        padded = torch.nn.functional.pad(a, (1, 1) * 4)
        total = torch.zeros_like(a)
        for s in range(3):
            for t in range(3):
                total += padded[s : s + rows, t : t + columns, s : s + rows, t : t + columns]
        return total

    def deviations(a: Tensor) -> list[Tensor]:
        variance = torch.nn.functional.avg_pool2d(a.square().sum(0)[None], 3, 1, 1, divisor_override=1)[0]
        found = []
        for _ in range(depth):
            found.append(variance.sqrt())
            variance = torch.nn.functional.avg_pool2d(variance[None], 3, 1, 1)[0]
        return found

    sigma = box(torch.einsum("cij,ckl->ijkl", x, z))
    theta = sigma
    for layer, (one, two) in enumerate(zip(deviations(x), deviations(z), strict=True)):
        norm = one[:, :, None, None] * two
        rho = (sigma / norm).clamp(-1, 1)
        angle = torch.pi - torch.acos(rho)
        sigma = norm * (rho * angle + (1 - rho * rho).sqrt()) / (9 * torch.pi)
        theta = angle / (9 * torch.pi) * theta + sigma
        if layer + 1 < depth:
            sigma, theta = box(sigma), box(theta)
    return theta.mean()


def best(call: Callable[[], object], repetitions: int) -> float:
    call()
    times = []
    for _ in range(repetitions):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


def peak_flops() -> float:
    """Return the core's measured single-precision peak: independent chains of fused multiply-adds."""
    from numba import njit

    from ntkbook.cntk._lanes import fma, lane_count, load, splat, store

    @njit(error_model="numpy")
    def chains(data: np.ndarray, rounds: int) -> None:
        step = splat(np.float32(0.999), data)
        a = b = c = d = e = f = g = h = i = j = k = m = load(data, 0)
        for _ in range(rounds):
            a, b, c, d = fma(a, step, step), fma(b, step, a), fma(c, step, step), fma(d, step, step)
            e, f, g, h = fma(e, step, step), fma(f, step, step), fma(g, step, step), fma(h, step, step)
            i, j, k, m = fma(i, step, step), fma(j, step, step), fma(k, step, step), fma(m, step, step)
        store(data, 0, a + b + c + d + e + f + g + h + i + j + k + m)

    data = np.ones(64, np.float32)
    rounds = 2_000_000
    return 2 * 12 * lane_count(data.dtype) * rounds / best(lambda: chains(data, rounds), 5)


def images(n: int, shape: tuple[int, int, int], dtype: torch.dtype = torch.float32, seed: int = 0) -> Tensor:
    return torch.rand(n, *shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def pooling(peak: float) -> None:
    for depth, repetitions in ((5, 15), (20, 8)):
        x, z = images(2, (3, 32, 32)), images(2, (3, 32, 32), seed=1)
        ours = best(lambda x=x, z=z, depth=depth: ntkbook.cntk(x, z, depth=depth), repetitions) / 4
        twin = best(lambda x=x, z=z, depth=depth: naive_cntk(x[0], z[0], depth), 3)
        error = abs(ntkbook.cntk(x[:1], z[:1], depth=depth).item() / naive_cntk(x[0], z[0], depth).item() - 1)
        share = FLOPS * depth * 32**4 / ours / peak
        print(
            f"32x32x3, GAP, depth {depth:2d}, float32: {ours * 1e3:6.2f} ms per pair; naive 4-D torch "
            f"{twin * 1e3:6.1f} ms, {twin / ours:4.1f} times; {share:.0%} of the core's peak; "
            f"differ by {error:.0e}"
        )
        x, z = x.double(), z.double()
        double = best(lambda x=x, z=z, depth=depth: ntkbook.cntk(x, z, depth=depth), 3) / 4
        print(f"{'':28}float64: {double * 1e3:6.2f} ms per pair")


def flattening() -> None:
    for dtype in (torch.float32, torch.float64):
        x, z = images(64, (3, 32, 32), dtype), images(64, (3, 32, 32), dtype, seed=1)
        ours = (
            best(lambda x=x, z=z, d=dtype: ntkbook.cntk(x, z, depth=20, readout="flatten", dtype=d), 6)
            / 64**2
        )
        print(f"32x32x3, Flatten, depth 20, {str(dtype)[6:]}: {ours * 1e6:.1f} us per pair")


def threads() -> None:
    os.sched_setaffinity(0, range(os.cpu_count() or 1))
    x, z = images(6, (3, 32, 32)), images(6, (3, 32, 32), seed=1)
    times: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(6):  # in turn, so that a machine that slows down slows both
        for count, taken in times.items():
            torch.set_num_threads(count)
            taken.append(best(lambda: ntkbook.cntk(x, z, depth=20), 2))
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:  # what this machine's cores can give
        alone = pool.submit(on_core, 0).result()
        together = sum(alone / each for each in pool.map(on_core, (0, 1)))
    print(
        f"two threads: {min(times[1]) / min(times[2]):.2f} times one; "
        f"two processes at once: {together:.2f} times the work of one"
    )


def on_core(core: int) -> float:
    """Return the time of one call on this core alone, on one thread."""
    os.sched_setaffinity(0, {core})
    torch.set_num_threads(1)
    x, z = images(6, (3, 32, 32)), images(6, (3, 32, 32), seed=1)
    return best(lambda: ntkbook.cntk(x, z, depth=20), 8)


def digits() -> None:
    from sklearn.datasets import load_digits

    torch.set_num_threads(os.cpu_count() or 1)
    x = torch.from_numpy(load_digits().images)[:, None].float() / 16
    start = time.perf_counter()
    ntkbook.gram(lambda a, b: ntkbook.cntk(a, b, depth=20), x, tile_size=128)
    print(
        f"digits Gram, 1,797 images of 8x8, depth 20, GAP, {os.cpu_count()} cores: "
        f"{time.perf_counter() - start:.0f} s"
    )


def start_up() -> None:
    code = (
        "import time; t0 = time.perf_counter(); import torch; t1 = time.perf_counter(); import ntkbook; "
        "t2 = time.perf_counter(); ntkbook.cntk(torch.ones(1, 1, 2, 2), depth=2); t3 = time.perf_counter(); "
        "print(f'import torch {t1 - t0:.1f} s, ntkbook {t2 - t1:.1f} s, first call {t3 - t2:.1f} s')"
    )
    with tempfile.TemporaryDirectory() as cache:
        for label in ("nothing cached", "cached on disk"):
            environment = {**os.environ, "NUMBA_CACHE_DIR": cache}
            done = subprocess.run(
                [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
            )
            print(f"{label}: {done.stdout.strip()}")


def memory() -> None:
    """Print the extra memory of one call, in a process of its own."""
    ntkbook.cntk(images(2, (3, 32, 32)), depth=20)  # compiled code and libraries do not count
    x = images(200, (3, 32, 32))
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew from here
    before = peak_kilobytes()
    ntkbook.cntk(x, depth=20, readout="flatten", dtype=torch.float32)
    ntkbook.cntk(x[:4], depth=20)
    print(
        f"extra memory, 200 images Flatten and 4 GAP, depth 20: {(peak_kilobytes() - before) / 1024:.1f} MB"
    )


def peak_kilobytes() -> int:
    """Return the peak of this process's resident set, as Linux tells it."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--digits", action="store_true", help="add the Gram matrix of the digits")
    parser.add_argument("--memory", action="store_true", help="measure the memory in this process and stop")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.memory:
        memory()
        return
    start_up()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    peak = peak_flops()
    print(f"this core's measured peak: {peak / 1e9:.0f} GFLOP/s in single precision")
    pooling(peak)
    flattening()
    subprocess.run([sys.executable, __file__, "--memory"], check=True)
    threads()
    if options.digits:
        digits()


if __name__ == "__main__":
    main()
