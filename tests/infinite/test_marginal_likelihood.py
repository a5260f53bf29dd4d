"""Learning w_std, b_std and the noise through the kernel: gradients by differences, and what it gains."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from ntkbook import data

START = torch.tensor([0.3, 3.0, 1.0], dtype=torch.float64).log()


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    path = Path(__file__).parents[2] / "benchmarks" / "marginal_likelihood.py"
    spec = importlib.util.spec_from_file_location("marginal_likelihood_benchmark", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_gradient_in_the_scales(benchmark: ModuleType) -> None:
    split = data.digits(40, 10)
    # At the poor start and at a sensible place.
    for place in (START, torch.tensor([1.5, 0.2, 0.02], dtype=torch.float64).log()):
        log_scales = place.clone().requires_grad_()
        value = benchmark.log_likelihood(log_scales, split.x_train, split.y_train)
        (gradient,) = torch.autograd.grad(value, log_scales)
        step = 1e-4  # truncation 1e-8 of the third derivative, rounding 1e-12 of the value
        differences = []
        for e in torch.eye(3, dtype=torch.float64):
            ahead, behind, twice_ahead, twice_behind = (
                benchmark.log_likelihood(place + h * step * e, split.x_train, split.y_train)
                for h in (1.0, -1.0, 2.0, -2.0)
            )
            differences.append((8 * (ahead - behind) - (twice_ahead - twice_behind)) / (12 * step))
        torch.testing.assert_close(gradient, torch.stack(differences), rtol=1e-6, atol=1e-6)


def test_likelihood_equals_that_of_the_multivariate_normal(benchmark: ModuleType) -> None:
    split = data.digits(30, 10)
    covariance = benchmark.nngp(START, split.x_train, split.x_train) + START[2].exp() * torch.eye(30)
    normal = torch.distributions.MultivariateNormal(torch.zeros(30, dtype=torch.float64), covariance)
    torch.testing.assert_close(
        benchmark.log_likelihood(START, split.x_train, split.y_train),
        normal.log_prob(split.y_train.mT).sum(),
        rtol=1e-10,
        atol=0.0,
    )


def test_learning_raises_likelihood_and_keeps_accuracy(benchmark: ModuleType) -> None:
    split = data.digits(80, 200)
    end = benchmark.learn(START, split.x_train, split.y_train, steps=40)
    before, after = benchmark.scores(START, split), benchmark.scores(end, split)
    assert after[0] > before[0] + 500.0  # nats, of 800 targets
    assert after[1] < before[1] - 0.5
    assert after[2] >= before[2]
    assert after[2] > 0.8
