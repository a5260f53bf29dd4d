"""Spatial rules against the finite layers themselves.

A layer with one-hot weights is a matrix M over positions. Averaging M K M' over all one-hot filters is the
definition of the covariance after a layer with independent weights; a pool or an aggregation is one such
matrix.
"""

from __future__ import annotations

import math

import pytest
import torch
from network_zoo import Apply, seq

from ntkbook import infinite_width, nn

F64 = torch.float64
N, H, W = 3, 5, 4


def covariance():
    """A random covariance of N images, and features whose product it is."""
    x = torch.randn(N, 7, H, W, generator=torch.Generator().manual_seed(0), dtype=F64)
    return x, torch.einsum("ncij,mckl->nmijkl", x, x) / 7


def matrix(fn):
    """The matrix over positions of a linear map of one-channel images."""
    basis = torch.eye(H * W, dtype=F64).reshape(H * W, 1, H, W)
    return fn(basis).flatten(1).mT  # (out, in)


def transform(m, k):
    return torch.einsum("pa,nmab,qb->nmpq", m, k.flatten(4).flatten(2, 3), m)


PADDINGS = [("same", "zeros"), ("valid", "zeros"), (1, "zeros"), ("same", "circular"), ((2, 1), "circular")]
CASES = [
    (kind, padding, mode)
    for kind in ("conv", "transpose", "local")
    for padding, mode in PADDINGS
    if kind != "transpose" or mode == "zeros" or padding == "same"
]


@pytest.mark.parametrize("stride", [1, 2, (2, 3)])
@pytest.mark.parametrize("size", [1, 2, (3, 2)])
@pytest.mark.parametrize(("kind", "padding", "mode"), CASES)
def test_convolutions(kind, padding, mode, size, stride):
    x, k = covariance()
    arguments = {"kernel_size": size, "stride": stride, "padding": padding, "padding_mode": mode}
    std = {"w_std": 1.3, "b_std": 0.7, "dtype": F64}
    make = {
        "conv": lambda c, **s: nn.Conv2d(c, 1, **arguments, **s),
        "transpose": lambda c, **s: nn.ConvTranspose2d(c, 1, **arguments, **s),
        "local": lambda c, **s: nn.LocallyConnected2d(c, 1, (H, W), **arguments, **s),
    }[kind]
    layer = make(1, dtype=F64)
    with torch.no_grad():
        expected = 0
        weight = layer.weight.view(-1)
        # Filters of different positions are independent, so that a tap is one position's there.
        for tap in range(weight.numel()):
            weight.zero_()[tap] = 1.0 / layer.weight_scale
            expected = expected + transform(matrix(layer), k)
    area = math.prod(layer.windows.kernel)
    expected = 1.3**2 / area * expected
    bias = torch.eye(expected.shape[-1], dtype=F64) if kind == "local" else torch.ones((), dtype=F64)
    expected = expected + 0.7**2 * bias
    kernel = infinite_width(make(7, **std))(x)
    nngp = kernel.nngp.flatten(4).flatten(2, 3)
    torch.testing.assert_close(nngp, expected, rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(kernel.ntk, kernel.nngp, rtol=0, atol=0)
    flat = infinite_width(seq(make(7, **std), torch.nn.Flatten()))(x, x.clone()).nngp
    torch.testing.assert_close(flat, expected.diagonal(dim1=-2, dim2=-1).mean(-1), rtol=1e-12, atol=1e-13)


POOLS = {
    "average": lambda: nn.AvgPool2d(2),
    "average same": lambda: nn.AvgPool2d(3, 2, "same"),
    "average inside": lambda: nn.AvgPool2d((3, 2), 2, "same", count_include_pad=False),
    "average circular": lambda: nn.AvgPool2d(3, 2, "same", padding_mode="circular", count_include_pad=False),
    "sum": lambda: nn.SumPool2d(2, 1, 1),
    "global average": lambda: nn.GlobalAvgPool2d(),
    "global sum": lambda: nn.GlobalSumPool2d(),
    "torch average": lambda: torch.nn.AvgPool2d(2, padding=1),
    "torch average inside": lambda: torch.nn.AvgPool2d(3, stride=2, padding=1, count_include_pad=False),
    "torch divisor": lambda: torch.nn.AvgPool2d(2, divisor_override=3),
    "torch global": lambda: torch.nn.AdaptiveAvgPool2d(1),
}


@pytest.mark.parametrize("make", POOLS.values(), ids=POOLS)
def test_pools(make):
    x, k = covariance()
    result = infinite_width(make())(x).nngp
    expected = transform(matrix(make()), k)
    torch.testing.assert_close(result.reshape(expected.shape), expected, rtol=1e-12, atol=1e-13)


SHAPES = {
    "permute": lambda x: x.permute(0, 1, 3, 2),
    "transpose": lambda x: x.transpose(2, 3),
    "merge": lambda x: x.flatten(2),
    "mean of rows": lambda x: x.mean(2),
    "mean kept": lambda x: torch.mean(x, dim=-1, keepdim=True),
    "sum of columns": lambda x: x.sum(3),
    "channels last": lambda x: x.permute(0, 2, 3, 1).contiguous(),
    "tokens": lambda x: x.flatten(2).transpose(1, 2).mean(1),
}


@pytest.mark.parametrize("fn", SHAPES.values(), ids=SHAPES)
def test_shapes(fn):
    x, k = covariance()
    net = Apply(fn)
    kernel = infinite_width(net)(x)
    expected = transform(matrix(fn), k)
    torch.testing.assert_close(kernel.nngp.reshape(expected.shape), expected, rtol=1e-12, atol=1e-13)
    assert kernel.shape1 == tuple(net(x).shape)


LAST = {
    "merge": lambda h: h.flatten(1, 2),
    "mean of merged": lambda h: h.flatten(1, 2).mean(1),
    "mean of merged, from behind": lambda h: torch.flatten(h, -3, -2).mean(1),
    "sum of merged": lambda h: torch.flatten(h, 1, 2).sum(1, keepdim=True),
    "mean of rows": lambda h: h.mean(1),
    "everything": lambda h: h.flatten(1, 3),
}


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("name", LAST)
def test_shapes_with_channels_last(name, symmetric):
    """A dense layer says that channels are last; its covariance is that of its input, times w_std^2."""
    x, k = covariance()
    x = x.permute(0, 2, 3, 1)
    net = seq(nn.Linear(7, 7, w_std=1.3), Apply(LAST[name]))
    kernel = infinite_width(net)(x) if symmetric else infinite_width(net)(x, x[:2].clone())
    if name == "everything":
        expected = torch.einsum("nmijij->nm", k) / (H * W)
    else:
        expected = transform(matrix(lambda basis: LAST[name](basis.permute(0, 2, 3, 1))), k)
    expected = 1.3**2 * expected[:, : kernel.nngp.shape[1]]
    torch.testing.assert_close(kernel.nngp.reshape(expected.shape), expected, rtol=1e-12, atol=1e-13)
    assert kernel.shape1 == tuple(LAST[name](x).shape)


def test_attention_over_merged_positions():
    """Attention sees all pairs of merged positions, as it does where the input comes merged."""
    x, _ = covariance()
    x = x.permute(0, 2, 3, 1)
    layers = nn.Linear(7, 6), nn.SelfAttention(6, 4, n_heads=2, key_features=3, value_features=8)
    merged = infinite_width(seq(layers[0], torch.nn.Flatten(1, 2), layers[1]))(x)
    tokens = infinite_width(seq(*layers))(x.flatten(1, 2))
    torch.testing.assert_close(merged.ntk, tokens.ntk, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("fn", [lambda x: x.flatten(1), lambda x: x.view(x.size(0), -1), torch.nn.Flatten()])
def test_flattening_averages_positions(fn):
    x, k = covariance()
    kernel = infinite_width(Apply(fn) if not isinstance(fn, torch.nn.Module) else fn)(x)
    torch.testing.assert_close(kernel.nngp, torch.einsum("nmijij->nm", k) / (H * W), rtol=1e-12, atol=1e-13)
    assert kernel.shape1 == (N, 7 * H * W)


def test_per_input_graphs():
    x = torch.randn(3, 4, 2, generator=torch.Generator().manual_seed(0), dtype=F64)
    graphs = torch.rand(3, 4, 4, generator=torch.Generator().manual_seed(1), dtype=F64)

    class Graph(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.aggregate = nn.Aggregate()

        def forward(self, x, adjacency):
            return self.aggregate(x, adjacency)

    y = Graph()(x, graphs)
    kernel = infinite_width(Graph())((x[:2], graphs[:2]), (x, graphs))
    torch.testing.assert_close(kernel.nngp, torch.einsum("nic,mjc->nmij", y[:2], y) / 2)
    symmetric = infinite_width(Graph())((x, graphs))
    torch.testing.assert_close(symmetric.nngp[:2], kernel.nngp)
