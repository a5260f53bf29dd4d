"""The network that ``convention="ntk"`` names, drawn many times: its kernels average to ours."""

import pytest
import torch
import torch.nn.functional as F
from cntk_engines import pictures

import ntkbook
from ntkbook import nn

WIDTH, DRAWS, W_STD, B_STD = 192, 120, 1.3, 0.4


def draw(generator, channels, positions, readout):
    """Standard normal parameters of Conv -> ReLU -> Conv -> ReLU -> readout -> Linear."""
    fan_out = WIDTH if readout == "gap" else WIDTH * positions
    shapes = [(WIDTH, channels, 3, 3), (WIDTH,), (WIDTH, WIDTH, 3, 3), (WIDTH,), (1, fan_out), (1,)]
    return [torch.randn(shape, generator=generator).requires_grad_() for shape in shapes]


def network(parameters, x, readout):
    w1, b1, w2, b2, w3, b3 = parameters

    def scaled(weight):
        return weight * (W_STD / weight[0].numel() ** 0.5)

    x = torch.relu(F.conv2d(x, scaled(w1), B_STD * b1, padding=1))
    x = torch.relu(F.conv2d(x, scaled(w2), B_STD * b2, padding=1))
    x = x.mean((2, 3)) if readout == "gap" else x.flatten(1)
    return F.linear(x, scaled(w3), B_STD * b3)[:, 0]


@pytest.mark.parametrize("readout", ["gap", "flatten"])
def test_monte_carlo(readout):
    x = pictures(2, 2, 4, 5, dtype=torch.float32)
    generator = torch.Generator().manual_seed(5)
    draws = {"ntk": [], "hidden": [], "nngp": []}
    for _ in range(DRAWS):
        parameters = draw(generator, 2, 20, readout)
        outputs = network(parameters, x, readout)
        first = torch.autograd.grad(outputs[0], parameters, retain_graph=True)
        second = torch.autograd.grad(outputs[1], parameters)
        by_parameter = torch.stack([(a * b).sum() for a, b in zip(first, second, strict=True)])
        draws["ntk"].append(by_parameter.sum())
        draws["hidden"].append(by_parameter[2:4].sum())
        draws["nngp"].append(outputs[0].detach() * outputs[1].detach())
    options = {"depth": 2, "readout": readout, "convention": "ntk", "w_std": W_STD, "b_std": B_STD}
    exact = ntkbook.cntk(x, **options, return_nngp=True)
    expected = {
        "ntk": exact.ntk[0, 1],
        "hidden": ntkbook.cntk(x, **options, trained="hidden")[0, 1],
        "nngp": exact.nngp[0, 1],
    }
    for name, values in draws.items():
        values = torch.stack(values)
        error = values.std() / DRAWS**0.5
        # Five standard errors, and the finite width's own bias, of order 1 / width.
        bound = 5 * error + 3 / WIDTH * expected[name]
        assert (values.mean() - expected[name]).abs() < bound, (name, values.mean(), expected[name], error)
        if name != "nngp":  # sharp enough to tell a wrong normalization from a right one
            assert bound < 0.1 * expected[name]


@pytest.mark.parametrize("readout", ["gap", "flatten"])
def test_agrees_with_the_module_at_infinite_width(readout):
    constants = {"w_std": W_STD, "b_std": B_STD}
    pool = [nn.GlobalAvgPool2d()] if readout == "gap" else [torch.nn.Flatten()]
    net = torch.nn.Sequential(
        nn.Conv2d(2, 3, 3, padding="same", **constants),
        torch.nn.ReLU(),
        nn.Conv2d(3, 3, 3, padding="same", **constants),
        torch.nn.ReLU(),
        *pool,
        nn.Linear(3 if readout == "gap" else 60, 1, **constants),
    )
    x, z = pictures(3, 2, 4, 5), pictures(2, 2, 4, 5, seed=1)
    kernel = ntkbook.infinite_width(net)(x, z)
    ours = ntkbook.cntk(x, z, depth=2, readout=readout, convention="ntk", **constants, return_nngp=True)
    torch.testing.assert_close(ours.ntk, kernel.ntk, rtol=1e-10, atol=0)
    torch.testing.assert_close(ours.nngp, kernel.nngp, rtol=1e-10, atol=0)
