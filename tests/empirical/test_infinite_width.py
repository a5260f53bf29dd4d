"""Empirical kernels approach the exact limit like one over the square root of the width."""

import math

import pytest
import torch

from ntkbook import empirical_nngp, empirical_ntk, infinite_width, monte_carlo_kernel, nn

D = torch.float64
WIDTHS = [48, 96, 192, 384]


def flat():
    torch.manual_seed(11)
    return torch.randn(4, 5, dtype=D)


def images():
    torch.manual_seed(12)
    return torch.randn(3, 2, 4, 4, dtype=D)


# A builder for a width, the inputs, and the number of draws for each width.
ARCHITECTURES = {
    "relu mlp": (lambda n: nn.mlp([5, n, n, 1], b_std=0.3), flat, 60),
    "erf mlp": (lambda n: nn.mlp([5, n, n, 1], activation=nn.Erf(), w_std=1.4, b_std=0.2), flat, 60),
    "gelu mlp, standard": (
        lambda n: nn.mlp(
            [5, n, n, 1], activation=torch.nn.GELU(), b_std=0.1, parameterization="standard", s=n
        ),
        flat,
        60,
    ),
    "residual mlp": (lambda n: ResidualMLP(n), flat, 60),
    "cnn, global pooling": (lambda n: nn.cnn([2, n, n], 1, b_std=0.1), images, 40),
    "cnn, flattened": (lambda n: nn.cnn([2, n, n], 1, readout="flatten", image_size=(4, 4)), images, 40),
    "strided circular cnn": (
        lambda n: nn.cnn([2, n, n], 1, stride=2, padding_mode="circular", activation=torch.nn.LeakyReLU(0.2)),
        images,
        40,
    ),
}


class ResidualMLP(torch.nn.Module):
    def __init__(self, n):
        super().__init__()
        self.first, self.inner = nn.Linear(5, n, b_std=0.2), nn.Linear(n, n, w_std=2**0.5)
        self.last = nn.Linear(n, 1)

    def forward(self, x):
        hidden = self.first(x)
        return self.last(torch.relu(hidden + self.inner(torch.relu(hidden))))


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_distance_to_the_limit_falls_with_exponent_minus_one_half(name):
    build, inputs, draws = ARCHITECTURES[name]
    x = inputs()
    logs, errors = [], []
    for i, n in enumerate(WIDTHS):
        limit = infinite_width(build(n).double())(x).ntk
        squares = []
        for s in range(draws):
            torch.manual_seed(1000 * i + s)
            kernel = empirical_ntk(build(n).double(), x, outputs="mean")
            squares.append(float((kernel - limit).square().mean() / limit.square().mean()))
        squares = torch.tensor(squares, dtype=D)
        mean = squares.mean()
        logs.append(0.5 * float(mean.log()))
        errors.append(
            0.5 * float(squares.std() / mean) / math.sqrt(draws)
        )  # of the log of a root mean square
    t = torch.tensor(WIDTHS, dtype=D).log()
    t = t - t.mean()
    slope = float((t * torch.tensor(logs, dtype=D)).sum() / t.square().sum())
    error = float(((t * torch.tensor(errors, dtype=D)) ** 2).sum().sqrt() / t.square().sum())
    assert error < 0.08, "too few draws to tell exponents apart"
    assert abs(slope + 0.5) < 5 * error, (slope, error)


def test_mean_kernels_agree_with_the_limit():
    # One hidden layer has no correction in 1 / width, so the mean over draws is exact at every width.
    x = flat()
    limit = infinite_width(nn.mlp([5, 64, 1], b_std=0.3).double())(x)
    kernel = monte_carlo_kernel(lambda: nn.mlp([5, 64, 3], b_std=0.3).double(), x, n_samples=300)
    for estimate, exact in ((kernel.nngp, limit.nngp), (kernel.ntk, limit.ntk)):
        assert float(((estimate.mean - exact).abs() / estimate.standard_error).max()) < 5.5
        assert float((estimate.standard_error / exact.abs().mean()).max()) < 0.2


def test_wide_network_is_near_its_limit():
    x = images()
    torch.manual_seed(0)
    net = nn.cnn([2, 512, 512], 64, b_std=0.1).double()
    limit = infinite_width(net)(x)
    assert torch.allclose(empirical_ntk(net, x, outputs="mean"), limit.ntk, rtol=0.25)
    assert float((empirical_nngp(net, x) - limit.nngp).norm() / limit.nngp.norm()) < 0.6
