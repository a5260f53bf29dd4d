"""Errors of the dual activations by regime, and their time per pair.

Closed forms: float32 against float64, and float64 against itself where a moment is known (coincident pairs of
a rectified power). Quadrature: against the closed forms of the same functions. Errors are relative to the
moment at coincident inputs. Run ``python benchmarks/dual_accuracy.py``; add ``--pairs 200`` for more pairs in
the timing.
"""

from __future__ import annotations

import argparse
import time

import torch
import torch.nn.functional as F
from torch import Tensor

from ntkbook import nn
from ntkbook.infinite import dual

ANGLES = torch.tensor([0.0, 1e-5, 1e-2, 0.5, 1.5, 2.8, torch.pi], dtype=torch.float64)
REGIMES = {
    "tiny 1e-30": [1e-15],
    "1e-6 .. 1": [1e-3, 0.1, 1.0],
    "1 .. 100": [1.0, 3.0, 10.0],
    "1e4": [100.0],
    "1e12": [1e6],
    "1 with 1e6": [1.0, 1e3],
}
CLOSED = {
    "ReLU": torch.nn.ReLU(),
    "Sign": nn.Sign(),
    "RectifiedMonomial(3)": nn.RectifiedMonomial(3),
    "Erf": nn.Erf(),
    "GELU": torch.nn.GELU(),
    "Sin": nn.Sin(),
    "Gaussian": nn.Gaussian(),
    "Gabor": nn.Gabor(),
}
PEERS = {
    "erf": (nn.Erf(), torch.erf),
    "gelu": (torch.nn.GELU(), F.gelu),
    "relu": (torch.nn.ReLU(), F.relu),
    "gaussian": (nn.Gaussian(), lambda x: torch.exp(-x.square())),
}
TIMED = {"ReLU": torch.nn.ReLU(), "Erf": nn.Erf(), "GELU": torch.nn.GELU(), "Tanh": torch.nn.Tanh()}


def pairs_of(deviations: list[float]) -> list[Tensor]:
    s = torch.tensor(deviations, dtype=torch.float64)
    s1, s2, angle = torch.meshgrid(s, s, ANGLES, indexing="ij")
    return [s1**2, s1 * s2 * angle.cos(), s2**2]


def errors(low: torch.nn.Module, high: torch.nn.Module, dtype: torch.dtype, regime: str) -> str:
    q = [x.to(dtype) for x in pairs_of(REGIMES[regime])]
    q11, q12, q22 = (x.double() for x in q)
    ends = [dual(high, x, x, x) for x in (q11, q22)]
    worst = []
    for got, exact, a, b in zip(dual(low, *q), dual(high, q11, q12, q22), *ends, strict=True):
        scale = (a * b).sqrt()
        worst.append(float(((got - exact).abs() / torch.where(scale > 0, scale, 1.0)).max()))
    return f"{worst[0]:.0e} / {worst[1]:.0e}"


def table(title: str, rows: dict[str, list[str]]) -> None:
    print(f"\n{title}\n{'':22s}" + "".join(f"{r:>18s}" for r in REGIMES))
    for name, cells in rows.items():
        print(f"{name:22s}" + "".join(f"{c:>18s}" for c in cells))


def timings(n: int) -> None:
    print(f"\nnanoseconds per pair, {n} x {n} pairs, both moments\n{'':22s}{'float32':>12s}{'float64':>12s}")
    for name, module in TIMED.items():
        cells = []
        for dtype in (torch.float32, torch.float64):
            x = torch.randn(n, 20, generator=torch.Generator().manual_seed(0), dtype=dtype)
            q12, q = x @ x.T / 20, x.square().mean(1)
            best = float("inf")
            for _ in range(3):
                start = time.perf_counter()
                dual(module, q[:, None], q12, q[None])
                best = min(best, time.perf_counter() - start)
            cells.append(f"{best / n**2 * 1e9:12.0f}")
        print(f"{name:22s}" + "".join(cells))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--pairs", type=int, default=100, help="side of the square of pairs that is timed")
    arguments = parser.parse_args()
    table(
        "closed forms, float32 against float64: E[phi phi] / E[phi' phi']",
        {n: [errors(m, m, torch.float32, r) for r in REGIMES] for n, m in CLOSED.items()},
    )
    for dtype in (torch.float64, torch.float32):
        table(
            f"quadrature in {dtype} against closed forms: E[phi phi] / E[phi' phi']",
            {n: [errors(nn.Elementwise(f), m, dtype, r) for r in REGIMES] for n, (m, f) in PEERS.items()},
        )
    timings(arguments.pairs)


if __name__ == "__main__":
    main()
