"""Infinite-width kernels: time and peak memory beside a naive twin.

Run ``python benchmarks/infinite_width.py``; one core unless OMP_NUM_THREADS says otherwise. Peak memory is
that of a process of its own, above what importing costs.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import resource
import time
from collections.abc import Callable

import torch

from ntkbook import infinite_width, nn

Compute = Callable[[], torch.Tensor]


def dense() -> tuple[Compute, Compute]:
    """Five ReLU layers on 2000 inputs of 784 dimensions, float32."""
    x = torch.randn(2000, 784, generator=torch.Generator().manual_seed(0))
    kernel = infinite_width(nn.mlp([784, 8, 8, 8, 8, 8, 1], w_std=2**0.5, b_std=0.1))

    def naive() -> torch.Tensor:
        nngp = 2 * x @ x.mT / 784 + 0.01
        ntk = nngp
        for _ in range(5):
            nngp, ntk = _relu_layer(nngp, ntk, nngp.diagonal(), lambda t: t, 0.01)
        return ntk

    return lambda: kernel(x).ntk, naive


def flattened_convolutions() -> tuple[Compute, Compute]:
    """Three 3 x 3 convolutions with ReLU, flattened, on 100 images of 32 x 32 x 3, float32."""
    x = torch.randn(100, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    kernel = infinite_width(nn.cnn([3, 8, 8, 8], 1, readout="flatten", image_size=(32, 32)))

    def average(t: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.avg_pool2d(t.flatten(0, 1), 3, 1, 1).unflatten(0, t.shape[:2])

    def naive() -> torch.Tensor:
        nngp = 2 * average(torch.einsum("nchw,mchw->nmhw", x, x) / 3)
        ntk = nngp
        for layer in range(3):
            variances = nngp.diagonal(dim1=0, dim2=1).movedim(-1, 0)
            last = layer == 2
            nngp, ntk = _relu_layer(
                nngp, ntk, variances, (lambda t: t.mean((-2, -1))) if last else average, 0.0
            )
        return ntk

    return lambda: kernel(x).ntk, naive


def pooled_convolutions() -> tuple[Compute, Compute]:
    """Two 3 x 3 convolutions with ReLU and global average pooling, on 12 images of 16 x 16 x 3, float32."""
    x = torch.randn(12, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    kernel = infinite_width(nn.cnn([3, 8, 8], 1))

    def average(t: torch.Tensor) -> torch.Tensor:
        total = torch.zeros_like(t)
        padded = torch.nn.functional.pad(t, (1,) * 8)
        for a in range(3):
            for b in range(3):
                total += padded[:, :, a : a + 16, b : b + 16, a : a + 16, b : b + 16]
        return total / 9

    def naive() -> torch.Tensor:
        nngp = 2 * average(torch.einsum("nchw,mckl->nmhwkl", x, x) / 3)
        ntk = nngp
        for layer in range(2):
            own = torch.einsum("nnhwhw->nhw", nngp)
            q = own[:, None, :, :, None, None], own[None, :, None, None]
            nngp, ntk = _relu_layer(
                nngp, ntk, q, (lambda t: t.mean((-4, -3, -2, -1))) if layer else average, 0.0
            )
        return ntk

    return lambda: kernel(x).ntk, naive


def _relu_layer(nngp, ntk, variances, average, bias):  # type: ignore[no-untyped-def]
    """Apply the arc-cosine recursion as it is printed, then a weight layer with w_std^2 = 2."""
    first, second = variances if isinstance(variances, tuple) else (variances[:, None], variances[None])
    scale = (first * second).sqrt()
    cosine = (nngp / scale).clamp(-1, 1)
    angle = torch.arccos(cosine)
    after = scale * (torch.sin(angle) + (math.pi - angle) * cosine) / (2 * math.pi)
    slope = (math.pi - angle) / (2 * math.pi)
    nngp = 2 * average(after) + bias
    return nngp, nngp + 2 * average(slope * ntk)


PROBLEMS = {
    "dense, depth 5, N = 2000, D = 784": dense,
    "conv x 3 + flatten, N = 100, 32 x 32": flattened_convolutions,
    "conv x 2 + global average, N = 12, 16 x 16": pooled_convolutions,
}


def _measure(problem: str, which: int, queue: multiprocessing.Queue[tuple[float, float]]) -> None:
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    compute = PROBLEMS[problem]()[which]
    with torch.no_grad():
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        compute()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        times = []
        for _ in range(5):
            start = time.perf_counter()
            compute()
            times.append(time.perf_counter() - start)
    queue.put((min(times), (peak - before) / 1024))


def main() -> None:
    """Print the table."""
    context = multiprocessing.get_context("spawn")
    print(f"{'':44}{'ntkbook':>10}{'naive':>10}{'ratio':>8}{'ntkbook':>12}{'naive':>10}")
    for problem in PROBLEMS:
        results = []
        for which in range(2):
            queue = context.Queue()
            process = context.Process(target=_measure, args=(problem, which, queue))
            process.start()
            results.append(queue.get())
            process.join()
        (seconds, memory), (naive_seconds, naive_memory) = results
        print(
            f"{problem:44}{seconds:>8.3f} s{naive_seconds:>8.3f} s{naive_seconds / seconds:>8.1f}"
            f"{memory:>9.0f} MB{naive_memory:>7.0f} MB"
        )


if __name__ == "__main__":
    main()
