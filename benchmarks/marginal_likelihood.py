"""Learning w_std, b_std and the noise of an NNGP by its marginal likelihood, on digits.

Run ``python benchmarks/marginal_likelihood.py``; it prints the log marginal likelihood, the test negative log
likelihood per entry of y and the accuracy, before and after, from a poor start.
"""

from __future__ import annotations

import math
import time

import torch
from torch import Tensor

from ntkbook import data, infinite_width, nn


def nngp(log_scales: Tensor, x1: Tensor, x2: Tensor) -> Tensor:
    """Return the NNGP kernel of three weight layers, given the logarithms of w_std and b_std."""
    w_std, b_std = log_scales[0].exp(), log_scales[1].exp()
    return infinite_width(nn.mlp([x1.shape[1], 8, 8, 1], w_std=w_std, b_std=b_std))(x1, x2).nngp


def log_likelihood(log_scales: Tensor, x: Tensor, y: Tensor) -> Tensor:
    r"""Return :math:`\log p(Y)`, columns independent under N(0, K + noise I); log noise is the last scale."""
    factor = _factor(log_scales, x)
    white = torch.linalg.solve_triangular(factor, y, upper=False)
    log_determinant = factor.diagonal().log().sum()  # half of it
    return (
        -0.5 * white.square().sum() - y.shape[1] * log_determinant - 0.5 * y.numel() * math.log(2 * math.pi)
    )


def predict(log_scales: Tensor, x: Tensor, y: Tensor, x_test: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean (M, K) and the variance (M,) of noisy targets at test points."""
    factor = _factor(log_scales, x)
    across = torch.linalg.solve_triangular(factor, nngp(log_scales, x, x_test), upper=False)
    mean = across.mT @ torch.linalg.solve_triangular(factor, y, upper=False)
    prior = nngp(log_scales, x_test, x_test).diagonal() + log_scales[2].exp()
    return mean, prior - across.square().sum(0)


def _factor(log_scales: Tensor, x: Tensor) -> Tensor:
    eye = torch.eye(len(x), dtype=x.dtype, device=x.device)
    factor: Tensor = torch.linalg.cholesky(nngp(log_scales, x, x) + log_scales[2].exp() * eye)
    return factor


def learn(start: Tensor, x: Tensor, y: Tensor, steps: int) -> Tensor:
    """Maximize the likelihood by L-BFGS with a line search."""
    log_scales = start.clone().requires_grad_()
    optimizer = torch.optim.LBFGS([log_scales], max_iter=steps, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = -log_likelihood(log_scales, x, y) / y.numel()
        value.backward()
        return value

    optimizer.step(loss)
    return log_scales.detach()


def scores(log_scales: Tensor, split: data.Split) -> tuple[float, float, float]:
    """Return log marginal likelihood, test negative log likelihood per entry of y, accuracy."""
    with torch.no_grad():
        mean, variance = predict(log_scales, split.x_train, split.y_train, split.x_test)
        errors = (split.y_test - mean).square() / variance[:, None]
        surprise = 0.5 * (errors + (2 * math.pi * variance[:, None]).log()).mean()
        accuracy = (mean.argmax(1) == split.y_test.argmax(1)).double().mean()
        likelihood = log_likelihood(log_scales, split.x_train, split.y_train)
        return float(likelihood), float(surprise), float(accuracy)


def main() -> None:
    split = data.digits(300, 500)
    start = torch.tensor([0.3, 3.0, 1.0], dtype=torch.float64).log()
    began = time.perf_counter()
    end = learn(start, split.x_train, split.y_train, steps=60)
    seconds = time.perf_counter() - began
    print("           w_std   b_std    noise   log likelihood   test NLL   accuracy")
    for name, log_scales in (("before", start), ("after", end)):
        w_std, b_std, noise = log_scales.exp().tolist()
        likelihood, surprise, accuracy = scores(log_scales, split)
        print(
            f"{name:8} {w_std:7.3f} {b_std:7.3f} {noise:8.1e} {likelihood:16.1f} {surprise:10.4f} "
            f"{accuracy:10.3f}"
        )
    print(f"L-BFGS took {seconds:.1f} s")


if __name__ == "__main__":
    main()
