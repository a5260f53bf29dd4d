"""Empirical NTK: time and peak memory against the usual torch.func contraction, and scaling.

Run ``python benchmarks/empirical_ntk.py``. Each row is measured in a process of its own, in CPU seconds of
one thread; memory is the peak of the resident set beyond what the process held before the call. ``--scaling``
prints the scaling table.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev, vmap

import ntkbook


def mlp(width: int = 512, outputs: int = 10) -> nn.Module:
    layers: list[nn.Module] = []
    for n_in in (784, width, width):
        layers += [nn.Linear(n_in, width), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(width, outputs))


def cnn() -> nn.Module:
    layers: list[nn.Module] = []
    for c in (3, 64, 64):
        layers += [nn.Conv2d(c, 64, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


CASES: dict[str, Callable[[], tuple[nn.Module, Tensor]]] = {
    "MLP 784-512x3-10, N=64": lambda: (mlp(), torch.randn(64, 784)),
    "MLP 784-512x3-10, N=512": lambda: (mlp(), torch.randn(512, 784)),
    "CNN 3x64, 16x16, GAP, N=16": lambda: (cnn(), torch.randn(16, 3, 16, 16)),
}


def contraction(net: nn.Module, x1: Tensor, x2: Tensor) -> Tensor:
    """Contract the Jacobians of two batches by einsum, as tutorials do, also where both are the same."""
    parameters = {name: p.detach() for name, p in net.named_parameters()}

    def output(p: dict[str, Tensor], sample: Tensor) -> Tensor:
        return functional_call(net, p, (sample.unsqueeze(0),)).squeeze(0)

    first, second = (vmap(jacrev(output), (None, 0))(parameters, x) for x in (x1, x2))
    pairs = [(first[name].flatten(2), second[name].flatten(2)) for name in parameters]
    return torch.stack([torch.einsum("naf,mbf->nmab", j1, j2) for j1, j2 in pairs]).sum(0)


METHODS: dict[str, Callable[[nn.Module, Tensor], Tensor]] = {
    "contraction": lambda net, x: contraction(net, x, x),
    "jacobian": lambda net, x: ntkbook.empirical_ntk(net, x, method="jacobian"),
    "auto": lambda net, x: ntkbook.empirical_ntk(net, x),
    "auto, mean": lambda net, x: ntkbook.empirical_ntk(net, x, outputs="mean"),
}
# The plain contraction of 512 samples would take 19 GB.
SKIPPED = {("MLP 784-512x3-10, N=512", "contraction"), ("MLP 784-512x3-10, N=512", "jacobian")}


class PeakMemory:
    """The highest resident set while the block runs, in MB beyond that at its start."""

    def __enter__(self) -> PeakMemory:
        self.start = self.peak = _resident()
        self.running = True
        self.thread = threading.Thread(target=self._watch, daemon=True)
        self.thread.start()
        return self

    def _watch(self) -> None:
        while self.running:
            self.peak = max(self.peak, _resident())
            time.sleep(0.002)

    def __exit__(self, *error: object) -> None:
        self.running = False
        self.thread.join()
        self.megabytes = (max(self.peak, _resident()) - self.start) / 2**20


def _resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def measure(case: str, method: str, repeats: int) -> dict[str, float]:
    """Return the shortest of several times, and the peak memory of the first call."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    net, x = CASES[case]()
    ntkbook.empirical_ntk(net, x[:2])  # imports and first-use costs are no part of any row
    with PeakMemory() as memory:
        start = time.process_time()
        METHODS[method](net, x)
        times = [time.process_time() - start]
    for _ in range(repeats - 1 if times[0] < 5 else 0):
        start = time.process_time()
        METHODS[method](net, x)
        times.append(time.process_time() - start)
    return {"seconds": min(times), "megabytes": memory.megabytes}


def in_a_process(*arguments: str) -> dict[str, float]:
    command = [sys.executable, __file__, "--one", *arguments]
    result: dict[str, float] = json.loads(
        subprocess.run(command, check=True, capture_output=True, text=True).stdout
    )
    return result


def comparison(repeats: int) -> None:
    print(f"{'case':30s}{'method':16s}{'seconds':>10s}{'ratio':>9s}{'peak MB':>10s}")
    for case in CASES:
        base = math.nan
        for method in METHODS:
            if (case, method) in SKIPPED:
                continue
            row = in_a_process(case, method, str(repeats))
            base = row["seconds"] if method == "contraction" else base
            ratio = base / row["seconds"]
            print(
                f"{case:30s}{method:16s}{row['seconds']:10.4f}{ratio:9.1f}{row['megabytes']:10.0f}",
                flush=True,
            )


def scaling(repeats: int) -> None:
    """Fit exponents of time to N, width and outputs; predicted are those of the dominant term of the cost."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    cases: dict[str, tuple[list[int], Callable[[int], tuple[nn.Module, Tensor]], str]] = {
        "samples N": ([128, 192, 256, 384], lambda n: (mlp(), torch.randn(n, 784)), "2"),
        "width": (
            [512, 1024, 2048],
            lambda w: (mlp(w), torch.randn(128, 784)),
            "1 (N^2 K^2 w) to 2 (N K w^2)",
        ),
        "outputs K": ([8, 16, 24, 32], lambda k: (mlp(256, k), torch.randn(128, 784)), "2"),
    }
    print(f"{'varied':12s}{'exponent':>10s}  predicted")
    for name, (sizes, build, predicted) in cases.items():
        times = []
        for size in sizes:
            net, x = build(size)
            best = math.inf
            for _ in range(repeats):
                start = time.process_time()
                ntkbook.empirical_ntk(net, x)
                best = min(best, time.process_time() - start)
            times.append(best)
        logs = torch.tensor([[math.log(s), 1.0] for s in sizes], dtype=torch.float64)
        target = torch.tensor([math.log(t) for t in times], dtype=torch.float64).unsqueeze(1)
        slope = torch.linalg.lstsq(logs, target).solution[0]
        print(f"{name:12s}{float(slope):10.2f}  {predicted}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--one", nargs=3, metavar=("CASE", "METHOD", "REPEATS"), help="measure one row, print JSON"
    )
    parser.add_argument("--scaling", action="store_true", help="print the scaling table instead")
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    if arguments.one:
        case, method, repeats = arguments.one
        print(json.dumps(measure(case, method, int(repeats))))
    elif arguments.scaling:
        scaling(arguments.repeats)
    else:
        comparison(arguments.repeats)


if __name__ == "__main__":
    main()
