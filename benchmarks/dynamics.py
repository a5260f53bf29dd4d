"""Training dynamics: closed form and differential equations against naive twins, on digits.

Run ``python benchmarks/dynamics.py`` (two minutes). The kernel is the tangent kernel of three hidden ReLU
layers. Seconds are processor time of one call, its eigendecomposition included, so that other work on the
machine does not count; errors are the largest difference from the same quantity computed more carefully.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.integrate import RK45
from torch import Tensor

from ntkbook import data, infinite_width, nn
from ntkbook.dynamics import LossFlow, MSEFlow

PATIENCE = 30.0  # seconds for a twin
TOLERANCE = 1e-9
Result = TypeVar("Result")
Array = NDArray[np.float64]


def timed(call: Callable[[], Result]) -> tuple[float, Result]:
    start = time.process_time()
    result = call()
    return time.process_time() - start, result


def row(name: str, ours: float, error: float, naive: float, twin: str) -> None:
    print(f"{name:<42} {ours:>7.2f} {error:>9.1e} {naive:>7.1f} {naive / ours:>5.1f}x  {twin}", flush=True)


def digits(n_train: int, n_test: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return kernels (N, N) and (M, N) and one-hot targets; inputs repeat, with noise of their own."""
    split = data.digits(n_train=1000, n_test=500)
    repeats = -(-n_train // len(split.x_train))
    x, y = (one.repeat(repeats, 1)[:n_train] for one in (split.x_train, split.y_train))
    rng = torch.Generator().manual_seed(0)
    x = x + 0.1 * torch.randn(*x.shape, generator=rng, dtype=x.dtype)
    kernel = infinite_width(nn.mlp([x.shape[1], 8, 8, 8, 1], b_std=0.1))
    return kernel(x).ntk, kernel(split.x_test[:n_test], x).ntk, (y > 0).to(x.dtype)


def closed_form(n: int, n_times: int) -> None:
    """Compare `MSEFlow` with a matrix exponential for each time."""
    k, k_test, y = digits(n, 500)
    times = torch.logspace(0, 6, n_times, dtype=torch.float64)
    zero, zero_test = torch.zeros_like(y), torch.zeros(len(k_test), y.shape[1], dtype=y.dtype)

    def ours() -> Tensor:
        flow = MSEFlow(k, y)
        return torch.cat([flow.train(times, zero), flow.test(times, k_test, zero_test, zero)], 1)

    def naive(t: Tensor) -> Tensor:
        moved = y - torch.linalg.matrix_exp(-k * t / y.numel()) @ y
        return torch.cat([moved, k_test @ torch.linalg.solve(k, moved)])

    seconds, outputs = timed(ours)
    one = n_times // 3
    slow, expected = timed(lambda: naive(times[one]))
    error = float((outputs[one] - expected).abs().max())
    name = f"squared loss, N = {n}, {n_times} times"
    row(name, seconds, error, n_times * slow, f"matrix_exp and solve, one time measured, times {n_times}")


def explicit(k: Tensor, y: Tensor, end: float, scale: float, momentum: float | None) -> float:
    """Let RK45 solve for the outputs as long as patience lasts; return the time it reaches."""

    def velocity(_: float, state: Array) -> Array:
        f = torch.from_numpy(state[: y.numel()]).reshape(y.shape)
        force = -scale * (k @ (torch.softmax(f, 1) - y)).flatten().numpy()
        if momentum is None:
            return force
        speed = state[y.numel() :]
        return np.concatenate([speed, force - (1 - momentum) * speed])

    start = np.zeros(y.numel() * (1 if momentum is None else 2))
    solver = RK45(velocity, 0.0, start, end, rtol=TOLERANCE, atol=TOLERANCE)
    begin = time.process_time()
    while solver.status == "running" and time.process_time() - begin < PATIENCE:
        solver.step()
    return float(solver.t)


def equation(
    name: str, *, softness: float = 0.0, reduction: str = "mean", momentum: float | None = None
) -> None:
    """Compare `LossFlow` on the cross-entropy to t = 1e4 with an explicit solver."""
    k, _, y = digits(500, 1)
    y, end = (1 - softness) * y + softness / y.shape[1], 1e4

    def ours(tolerance: float) -> Tensor:
        flow = LossFlow(k, y, momentum=momentum, reduction=reduction, tolerance=tolerance)
        return flow.train(end, torch.zeros_like(y))

    seconds, outputs = timed(lambda: ours(TOLERANCE))
    error = float((outputs - ours(TOLERANCE / 100)).abs().max())
    scale = 1 / len(y) if reduction == "mean" else 1.0
    slow, reached = timed(lambda: explicit(k, y, end, scale, momentum))
    row(name, seconds, error, slow, "RK45" if reached == end else f"RK45, given up at t = {reached:.3g}")


def main() -> None:
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    print(f"{'':<42} {'seconds':>7} {'error':>9} {'naive':>7} {'ratio':>6}  naive twin")
    closed_form(2000, 100)
    equation("cross-entropy, N = 500, K = 10, t = 1e4")
    equation("  momentum 0.9", momentum=0.9)
    equation("  sum over samples", reduction="sum")
    equation("  soft labels, sum over samples: stiff", softness=0.3, reduction="sum")


if __name__ == "__main__":
    main()
