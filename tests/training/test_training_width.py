"""Finite networks approach their linearization at the rates of the theory, as the hidden layer widens.

One hidden layer. With a smooth activation the kernel moves, and the outputs leave the linearized ones, like
1/n: each of n neurons moves by n^(-1/2), and moves of both signs average out to the second order. With ReLU
the neurons whose sign changes on a data point, a fraction n^(-1/2), move the part of the kernel that carries
derivatives of the activation by n^(-1/2); the part that carries only features still moves like 1/n.
"""

from __future__ import annotations

from functools import cache

import pytest
import torch

from ntkbook import nn, training
from ntkbook.verify import fit_exponent
from ntkbook.verify.statistical import Fit

WIDTHS = (128, 512, 2048, 8192)
N_NETWORKS = 24


@cache
def exponents(activation: str) -> dict[str, Fit]:
    """Return fitted exponents in the width; the intervals fail to cover once in a million."""
    rng = torch.Generator().manual_seed(0)
    x, x_test = torch.nn.functional.normalize(torch.randn(2, 6, 3, generator=rng, dtype=torch.float64), dim=2)
    phi = {"erf": nn.Erf(), "relu": torch.nn.ReLU()}[activation]
    found: dict[str, list[torch.Tensor]] = {}
    for width in WIDTHS:
        run = training.train(
            lambda n=width: nn.mlp([3, n, 1], activation=phi, w_std=2.0, dtype=torch.float64),
            x,
            x.prod(1, keepdim=True) + x[:, :1],
            learning_rate=0.5,
            steps=60,
            n_networks=N_NETWORKS,
            centre=True,
            x_test=x_test,
            record=5,
            keep=("kernel", "linearization"),
        )
        for name, values in {
            "outputs": run.linear.error_train,
            "test outputs": run.linear.error_test,
            "kernel": run.kernel.drift,
            "features": run.kernel.drift_by_layer["2"],
            "derivatives": run.kernel.drift_by_layer["0"],
            "movement": run.movement.norm,
            "relative movement": run.movement.relative,
        }.items():
            found.setdefault(name, []).append(values.amax(1))
    return {name: fit_exponent(WIDTHS, torch.stack(values)) for name, values in found.items()}


# The last column allows for what is left of higher orders at these widths.
RATES = [
    ("erf", "outputs", -1.0, 0.1),
    ("erf", "test outputs", -1.0, 0.1),
    ("erf", "kernel", -1.0, 0.1),
    ("erf", "features", -1.0, 0.1),
    ("erf", "derivatives", -1.0, 0.1),
    ("erf", "movement", 0.0, 0.02),
    ("erf", "relative movement", -0.5, 0.02),
    ("relu", "outputs", -0.5, 0.15),
    ("relu", "test outputs", -0.5, 0.15),
    ("relu", "kernel", -0.5, 0.15),
    ("relu", "features", -1.0, 0.1),
    ("relu", "derivatives", -0.5, 0.15),
    ("relu", "movement", 0.0, 0.02),
    ("relu", "relative movement", -0.5, 0.02),
]


@pytest.mark.parametrize(("activation", "quantity", "expected", "allowance"), RATES)
def test_rate(activation: str, quantity: str, expected: float, allowance: float) -> None:
    fit = exponents(activation)[quantity]
    assert abs(fit.exponent - expected) < fit.half_width + allowance, fit
    # The other exponents of the table, half a unit away, would be rejected.
    assert fit.half_width + allowance < 0.5, fit
