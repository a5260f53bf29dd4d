"""Layers as finite networks: shapes, scales, agreement with torch's own operations."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from ntkbook import nn
from ntkbook.nn.windows import Windows


def rand(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_linear_is_a_scaled_torch_linear():
    layer = nn.Linear(5, 3, w_std=1.5, b_std=0.2)
    x = rand(2, 4, 5)
    torch.testing.assert_close(layer(x), F.linear(x, 1.5 / 5**0.5 * layer.weight, 0.2 * layer.bias))


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("mode", ["zeros", "circular"])
def test_convolution_is_torch_s_with_integer_padding(stride, mode):
    ours = nn.Conv2d(3, 4, 3, stride, 1, padding_mode=mode, w_std=1.3, b_std=0.2)
    theirs = torch.nn.Conv2d(3, 4, 3, stride, 1, padding_mode=mode)
    theirs.load_state_dict({"weight": 1.3 / 27**0.5 * ours.weight, "bias": 0.2 * ours.bias})
    x = rand(2, 3, 6, 5)
    torch.testing.assert_close(ours(x), theirs(x))


def test_parameters_are_named_and_shaped_as_in_torch():
    pairs = [
        (nn.Linear(3, 4, b_std=1.0), torch.nn.Linear(3, 4)),
        (nn.Conv1d(3, 4, 5, b_std=1.0), torch.nn.Conv1d(3, 4, 5)),
        (nn.Conv2d(3, 4, (5, 2), b_std=1.0), torch.nn.Conv2d(3, 4, (5, 2))),
        (nn.ConvTranspose2d(3, 4, 5, b_std=1.0), torch.nn.ConvTranspose2d(3, 4, 5)),
    ]
    for ours, theirs in pairs:
        shapes = [{name: p.shape for name, p in layer.named_parameters()} for layer in (ours, theirs)]
        assert shapes[0] == shapes[1]
    assert nn.Linear(3, 4).bias is None


@pytest.mark.parametrize("n", [4, 5, 7])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_same_padding_gives_ceil_positions_with_the_odd_pad_last(n, stride, size):
    windows = Windows.make(1, size, stride, "same")
    before, after = windows.pads(0, n)
    assert windows.out_size(0, n) == math.ceil(n / stride)
    assert after - before in (0, 1)
    if stride == 1:
        torch.testing.assert_close(
            nn.Conv1d(1, 1, size, padding="same")(torch.ones(1, 1, n)).shape[-1], n, rtol=0, atol=0
        )


@pytest.mark.parametrize("padding", [0, 1])
def test_transposed_convolution_is_torch_s_with_integer_padding(padding):
    ours = nn.ConvTranspose2d(3, 4, 3, 2, padding, w_std=1.3, b_std=0.2)
    theirs = torch.nn.ConvTranspose2d(3, 4, 3, 2, padding)
    theirs.load_state_dict({"weight": 1.3 / 27**0.5 * ours.weight, "bias": 0.2 * ours.bias})
    x = rand(2, 3, 4, 5)
    torch.testing.assert_close(ours(x), theirs(x))


@pytest.mark.parametrize("size", [1, 2, 3, 5])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("mode", ["zeros", "circular"])
def test_transposed_convolution_has_n_stride_positions(size, stride, mode):
    layer = nn.ConvTranspose2d(1, 1, size, stride, "same", padding_mode=mode)
    with torch.no_grad():
        layer.weight.fill_(size)
    y = layer(torch.ones(1, 1, 4, 4))
    assert y.shape == (1, 1, 4 * stride, 4 * stride)
    if mode == "circular":  # nothing is lost: every input writes its whole window
        torch.testing.assert_close(y.sum(), torch.tensor(16.0 * size**2))


def test_transposed_same_padding_crops_the_odd_output_last():
    layer = nn.ConvTranspose2d(1, 1, (2, 1), padding="same", w_std=2**0.5)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([1.0, 10.0]).reshape(1, 1, 2, 1))
    x = torch.tensor([1.0, 2.0, 3.0]).reshape(1, 1, 3, 1)
    torch.testing.assert_close(layer(x).flatten(), torch.tensor([1.0, 12.0, 23.0]))


def test_locally_connected_with_equal_filters_is_a_convolution():
    local = nn.LocallyConnected2d(2, 3, (5, 4), 3, 2, "same", w_std=1.3, b_std=0.2)
    shared = nn.Conv2d(2, 3, 3, 2, "same", w_std=1.3, b_std=0.2)
    with torch.no_grad():
        local.weight.copy_(shared.weight.flatten(1)[:, :, None, None].expand_as(local.weight))
        local.bias.copy_(shared.bias[:, None, None].expand_as(local.bias))
    x = rand(2, 2, 5, 4)
    torch.testing.assert_close(local(x), shared(x))
    with pytest.raises(ValueError, match=r"takes x of shape \(N, 2, 5, 4\)"):
        local(rand(2, 2, 4, 4))


@pytest.mark.parametrize("count", [True, False])
def test_average_pool_is_torch_s_with_integer_padding(count):
    x = rand(2, 3, 7, 6)
    ours = nn.AvgPool2d(3, 2, 1, count_include_pad=count)(x)
    torch.testing.assert_close(ours, F.avg_pool2d(x, 3, 2, 1, count_include_pad=count))
    torch.testing.assert_close(nn.SumPool2d(3, 2, 1)(x), 9 * F.avg_pool2d(x, 3, 2, 1))
    assert "padding=1" in repr(nn.AvgPool2d(3, 2, 1)) or "padding=(1, 1)" in repr(nn.AvgPool2d(3, 2, 1))


TABLE = [  # parameterization, role, s, variance of weight_scale * weight times fan-in, of bias_scale * bias
    ("ntk", "hidden", 1.0, 4.0, 0.25),
    ("standard", "hidden", 1.0, 4.0, 0.25),
    ("standard", "hidden", 8.0, 4.0, 0.25),
    ("mup", "input", 1.0, 4.0, 0.25),
    ("mup", "hidden", 1.0, 4.0, 0.25),
    ("mup", "output", 1.0, 4.0 / 64, 0.25),
    ("mean_field", "input", 1.0, 4.0, 0.25),
    ("mean_field", "hidden", 1.0, 4.0 / 64, 0.25),
    ("mean_field", "output", 1.0, 4.0 / 64, 0.25),
]


@pytest.mark.parametrize(("parameterization", "role", "s", "weight", "bias"), TABLE)
def test_variances_at_initialization(parameterization, role, s, weight, bias):
    torch.manual_seed(0)
    layer = nn.Conv2d(
        64, 32, 3, w_std=2.0, b_std=0.5, parameterization=parameterization, role=role, s=s
    )  # 18432 weights: relative error of the variance 1%, and 32 biases drawn 100 times
    w, _ = layer.scaled_parameters()
    assert float(w.detach().square().mean() * layer.fan_in) == pytest.approx(weight, rel=0.06)
    squares = []
    for _ in range(100):
        layer.reset_parameters()
        squares.append(layer.scaled_parameters()[1].detach().square().mean())
    assert float(torch.stack(squares).mean()) == pytest.approx(bias, rel=0.13)


@pytest.mark.parametrize("weighting", ["softmax", "relu", "abs", "identity"])
@pytest.mark.parametrize("scaling", ["linear", "sqrt"])
@pytest.mark.parametrize("positions", [None, "sum", "concat"])
def test_attention_against_loops(weighting, scaling, positions):
    torch.manual_seed(0)
    layer = nn.SelfAttention(
        4, 5, 2, 3, 6, weighting=weighting, scaling=scaling, w_query_std=1.1, w_key_std=0.9, w_value_std=1.2,
        w_out_std=0.8, b_std=0.3, positions=positions, n_tokens=3, positions_in_values=True, position_std=0.7,
        position_decay=None if positions is None else lambda d: torch.exp(-d),
    )  # fmt: skip
    x = rand(2, 3, 4)
    z = x
    if positions is not None:
        steps = torch.arange(3.0)
        root = torch.linalg.cholesky(torch.exp(-((steps[:, None] - steps) ** 2)))
        p = 0.7 * root @ layer.positions
        z = x + p if positions == "sum" else torch.cat([x, p.expand(2, -1, -1)], -1)
    heads = []
    for h in range(2):
        n = z.shape[-1]
        k = 0.9 / n**0.5 * z @ layer.key_weight[h].mT
        q = (1.1 / n**0.5 * z @ layer.query_weight[h].mT) if scaling == "sqrt" else k * 1.1 / 0.9
        scores = q @ k.mT / (3**0.5 if scaling == "sqrt" else 3)
        weights = {
            "softmax": lambda s: s.softmax(-1),
            "relu": F.relu,
            "abs": torch.abs,
            "identity": lambda s: s,
        }
        heads.append(weights[weighting](scores) @ (1.2 / n**0.5 * z @ layer.value_weight[h].mT))
    expected = 0.8 / 12**0.5 * torch.cat(heads, -1) @ layer.out_weight.mT + 0.3 * layer.bias
    torch.testing.assert_close(layer(x), expected, rtol=1e-5, atol=1e-6)


def test_attention_checks_its_arguments():
    with pytest.raises(ValueError, match="n_tokens"):
        nn.SelfAttention(4, 4, positions="sum")
    with pytest.raises(ValueError, match="in_features=4"):
        nn.SelfAttention(4, 4, positions="sum", n_tokens=3, position_features=5)
    with pytest.raises(ValueError, match="3 tokens"):
        nn.SelfAttention(4, 4, positions="sum", n_tokens=3)(rand(1, 5, 4))


def test_aggregate_follows_edges():
    graph = torch.zeros(2, 3, 3)
    graph[0, 0, 2] = 5.0
    x = rand(2, 3, 4)
    y = nn.Aggregate()(x, graph)
    torch.testing.assert_close(y[0, 2], 5 * x[0, 0])
    assert not y[1].any()
    for arguments in [(x,), (x, graph)]:
        layer = nn.Aggregate() if len(arguments) == 1 else nn.Aggregate(graph[0])
        with pytest.raises(ValueError, match="one adjacency"):
            layer(*arguments)
    with pytest.raises(ValueError, match="must be \\(T, T\\)"):
        nn.Aggregate(graph)


def test_constructors():
    assert nn.mlp([3, 4, 5])(rand(2, 3)).shape == (2, 5)
    mup = nn.mlp([3, 4, 4, 5], parameterization="mup")
    assert [layer.role for layer in mup if isinstance(layer, nn.Linear)] == ["input", "hidden", "output"]
    net = nn.cnn([3, 4, 4], 2, stride=2, readout="flatten", image_size=(5, 7), parameterization="mup")
    assert net(rand(2, 3, 5, 7)).shape == (2, 2)
    assert nn.resnet(3, 4, 2, 2)(rand(2, 3, 5, 5)).shape == (2, 2)
    assert nn.AttentionNetwork(3, 4, 2, 2)(rand(2, 5, 3)).shape == (2, 2)
    with pytest.raises(ValueError, match="image_size"):
        nn.cnn([3, 4], 1, readout="flatten")
    with pytest.raises(ValueError, match="sizes"):
        nn.mlp([3])


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: nn.Linear(3, 4, w_std=-1.0), "w_std"),
        (lambda: nn.Linear(3, 4, b_std=math.nan), "b_std"),
        (lambda: nn.Linear(3, 4, w_std=torch.ones(2)), "w_std"),
        (lambda: nn.Linear(3, 4, parameterization="he"), "parameterization"),
        (lambda: nn.Linear(3, 4, role="middle"), "role"),
        (lambda: nn.Linear(3, 4, s=0.0), "s must"),
        (lambda: nn.Conv2d(3, 4, 0), "kernel_size"),
        (lambda: nn.Conv2d(3, 4, 3, padding="full"), "padding"),
        (lambda: nn.Conv2d(3, 4, 3, padding_mode="reflect"), "padding_mode"),
        (lambda: nn.Conv2d(3, 4, 3, stride=(1, 2, 3)), "stride"),
        (lambda: nn.ConvTranspose2d(3, 4, 3, padding_mode="circular"), "padding='same'"),
        (lambda: nn.SelfAttention(3, 4, weighting="max"), "weighting"),
    ],
)
def test_bad_arguments_are_named(make, match):
    with pytest.raises(ValueError, match=match):
        make()


def test_standard_deviations_are_never_parameters():
    w_std = torch.nn.Parameter(torch.tensor(1.5))
    layer = nn.Linear(3, 4, w_std=w_std)
    assert [name for name, _ in layer.named_parameters()] == ["weight"]
    layer(rand(2, 3)).sum().backward()
    assert w_std.grad is not None
    assert "w_std=1.5" in repr(layer)
