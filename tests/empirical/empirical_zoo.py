"""Modules of every kind that an empirical kernel must serve."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import ntkbook.nn as width

Case = Callable[[], tuple[nn.Module, Tensor, Tensor]]
ZOO: dict[str, Case] = {}


def case(build: Callable[[], tuple[nn.Module, Tensor]]) -> None:
    """Add a module with a batch of five samples, split into three and two."""

    def make() -> tuple[nn.Module, Tensor, Tensor]:
        torch.manual_seed(5)
        net, x = build()
        net = net.double().eval()
        x = x.double() if x.is_floating_point() else x
        return net, x[:3], x[3:]

    ZOO[build.__name__.strip("_")] = make


class Lambda(nn.Module):
    def __init__(self, function: Callable[..., Tensor], **parts: nn.Module | nn.Parameter):
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, part)
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, x)


def flat(n: int = 6) -> Tensor:
    return torch.randn(5, n)


def image(c: int = 2, h: int = 6, w: int = 5) -> Tensor:
    return torch.randn(5, c, h, w)


def tokens(t: int = 4, vocabulary: int = 7) -> Tensor:
    return torch.randint(0, vocabulary, (5, t))


def sequence(t: int = 4, d: int = 6) -> Tensor:
    return torch.randn(5, t, d)


def pooled(*layers: nn.Module) -> nn.Module:
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LazyLinear(2))


def warm(net: nn.Module, x: Tensor) -> tuple[nn.Module, Tensor]:
    """Give lazy layers their shapes, and batch normalization statistics that are not 0 and 1."""
    net.train()
    net(x)
    net(2 * x + 0.3)
    return net, x


@case
def mlp():
    return nn.Sequential(nn.Linear(6, 9), nn.ReLU(), nn.Linear(9, 8), nn.ReLU(), nn.Linear(8, 3)), flat()


@case
def mlp_without_bias():
    return nn.Sequential(nn.Linear(6, 9, bias=False), nn.Tanh(), nn.Linear(9, 3, bias=False)), flat()


@case
def activation_after_the_last_layer():
    return nn.Sequential(nn.Linear(6, 7), nn.GELU(), nn.Linear(7, 3), nn.Softmax(-1)), flat()


@case
def layer_norm_last():
    return nn.Sequential(nn.Linear(6, 7), nn.ReLU(), nn.LayerNorm(7)), flat()


@case
def in_place_activation():
    return nn.Sequential(nn.Linear(6, 9), nn.ReLU(inplace=True), nn.Linear(9, 3)), flat()


@case
def linear_over_positions():
    parts = {"first": nn.Linear(6, 8), "second": nn.Linear(8, 2)}
    return Lambda(lambda m, x: m.second(torch.relu(m.first(x))).mean(1), **parts), sequence()


@case
def linear_over_two_axes_of_positions():
    parts = {"first": nn.Linear(6, 5), "second": nn.Linear(5, 2)}
    return Lambda(lambda m, x: m.second(torch.tanh(m.first(x))).sum((1, 2)), **parts), torch.randn(5, 2, 3, 6)


@case
def batch_merged_with_positions():
    parts = {"first": nn.Linear(6, 8), "second": nn.Linear(8, 2)}

    def forward(m, x):
        hidden = torch.relu(m.first(x.reshape(-1, 6)))
        return m.second(hidden).reshape(len(x), -1, 2).mean(1)

    return Lambda(forward, **parts), sequence()


@case
def positions_before_the_batch():
    parts = {"first": nn.Linear(6, 8), "second": nn.Linear(8, 2)}
    return Lambda(lambda m, x: m.second(torch.relu(m.first(x.transpose(0, 1)))).mean(0), **parts), sequence(2)


@case
def convolution_1d():
    net = nn.Sequential(nn.Conv1d(3, 4, 3, stride=2, padding=1), nn.ReLU(), nn.Conv1d(4, 3, 2), nn.Flatten())
    return warm(nn.Sequential(net, nn.LazyLinear(2)), torch.randn(5, 3, 9))


@case
def convolution_2d():
    return warm(pooled(nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 3, 3)), image())


@case
def even_kernel_same_padding():
    return warm(pooled(nn.Conv2d(2, 4, (2, 4), padding="same"), nn.ReLU(), nn.Conv2d(4, 3, 1)), image())


@case
def circular_and_reflected_padding():
    first = nn.Conv2d(2, 4, 3, padding=1, padding_mode="circular")
    return warm(pooled(first, nn.ReLU(), nn.Conv2d(4, 3, 3, padding=(1, 0), padding_mode="reflect")), image())


@case
def grouped_convolution():
    return warm(pooled(nn.Conv2d(2, 4, 3, groups=2), nn.ReLU(), nn.Conv2d(4, 6, 2, groups=2)), image())


@case
def depthwise_separable_convolution():
    return warm(pooled(nn.Conv2d(2, 4, 3, groups=2, bias=False), nn.Conv2d(4, 3, 1), nn.ReLU()), image())


@case
def strided_dilated_convolution():
    return warm(
        pooled(nn.Conv2d(2, 4, 2, stride=(2, 1), dilation=(1, 2), padding=(1, 2)), nn.ReLU()), image()
    )


@case
def max_pooling():
    return warm(pooled(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 3, 1)), image())


class BasicBlock(nn.Module):
    def __init__(self, c: int):
        super().__init__()
        self.conv1, self.conv2 = (
            nn.Conv2d(c, c, 3, padding=1, bias=False),
            nn.Conv2d(c, c, 3, padding=1, bias=False),
        )
        self.norm1, self.norm2 = nn.BatchNorm2d(c), nn.BatchNorm2d(c)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        out = self.norm2(self.conv2(self.relu(self.norm1(self.conv1(x)))))
        out += x
        return self.relu(out)


@case
def residual_block_with_batch_norm():
    return warm(pooled(nn.Conv2d(2, 3, 3), BasicBlock(3), BasicBlock(3)), image())


@case
def batch_norm_1d():
    return warm(nn.Sequential(nn.Linear(6, 7), nn.BatchNorm1d(7), nn.ReLU(), nn.Linear(7, 2)), flat())


@case
def layer_norm_over_two_axes():
    net = nn.Sequential(nn.LayerNorm((4, 6)), nn.Linear(6, 3), nn.LayerNorm(3), nn.ReLU(), nn.Flatten())
    return nn.Sequential(net, nn.Linear(12, 2)), sequence()


@case
def group_and_instance_norm():
    net = pooled(
        nn.Conv2d(2, 4, 3), nn.GroupNorm(2, 4), nn.ReLU(), nn.InstanceNorm2d(4, affine=True), nn.Tanh()
    )
    return warm(net, image())


@case
def embedding():
    return Lambda(
        lambda m, x: m.out(torch.tanh(m.table(x)).mean(1)), table=nn.Embedding(7, 5), out=nn.Linear(5, 2)
    ), (tokens())


@case
def embedding_of_long_sequences():
    parts = {"table": nn.Embedding(3, 2), "out": nn.Linear(2, 2)}
    return Lambda(lambda m, x: m.out(torch.tanh(m.table(x)).mean(1)), **parts), tokens(14, 3)


@case
def embedding_with_padding():
    parts = {"table": nn.Embedding(7, 5, padding_idx=2), "out": nn.Linear(5, 2)}
    return Lambda(lambda m, x: m.out(torch.sin(m.table(x)).sum(1)), **parts), tokens(9)


@case
def embedding_bag():
    return nn.Sequential(nn.EmbeddingBag(7, 5, mode="sum"), nn.Tanh(), nn.Linear(5, 2)), tokens()


@case
def sparse_embedding():
    return nn.Sequential(nn.Embedding(7, 5, sparse=True), nn.Flatten(), nn.Tanh(), nn.Linear(20, 2)), tokens()


@case
def one_token_per_sample():
    return nn.Sequential(nn.Embedding(7, 5), nn.Tanh(), nn.Linear(5, 2)), torch.randint(0, 7, (5,))


@case
def tied_embedding_and_readout():
    table, readout = nn.Embedding(7, 5), nn.Linear(5, 7)
    readout.weight = table.weight
    return Lambda(lambda m, x: m.readout(m.table(x).mean(1).tanh()), table=table, readout=readout), tokens()


@case
def tied_linear_layers():
    first, second = nn.Linear(6, 6), nn.Linear(6, 6)
    second.weight = first.weight
    return nn.Sequential(first, nn.Tanh(), second, nn.Tanh(), nn.Linear(6, 2)), flat()


@case
def shared_submodule():
    parts = {"shared": nn.Linear(6, 6), "out": nn.Linear(6, 2)}
    return Lambda(lambda m, x: m.out(torch.tanh(m.shared(torch.tanh(m.shared(x))))), **parts), flat()


@case
def frozen_first_layer():
    net = nn.Sequential(nn.Linear(6, 9), nn.ReLU(), nn.Linear(9, 8), nn.ReLU(), nn.Linear(8, 3))
    net[0].requires_grad_(False)
    return net, flat()


@case
def only_biases_trainable():
    net = nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 8), nn.ReLU(), nn.Linear(8, 3)
    )
    for name, p in net.named_parameters():
        p.requires_grad_(name.endswith("bias"))
    return net, image()


@case
def frozen_bias():
    net = nn.Sequential(nn.Linear(6, 9), nn.LayerNorm(9), nn.ReLU(), nn.Linear(9, 3))
    net[0].bias.requires_grad_(False)
    net[1].bias.requires_grad_(False)
    return net, flat()


@case
def functional_use_of_a_weight():
    def forward(m, x):
        return m.out(torch.tanh(m.first(x)) + F.linear(x, m.first.weight))

    return Lambda(forward, first=nn.Linear(6, 5), out=nn.Linear(5, 2)), flat()


@case
def functional_use_only():
    def forward(m, x):
        return m.out(torch.tanh(F.linear(x, m.first.weight, m.first.bias)))

    return Lambda(forward, first=nn.Linear(6, 5), out=nn.Linear(5, 2)), flat()


@case
def parameters_of_the_network_itself():
    parts = {
        "scale": nn.Parameter(torch.randn(5)),
        "shift": nn.Parameter(torch.randn(())),
        "first": nn.Linear(6, 5),
    }
    return Lambda(lambda m, x: m.shift + m.scale * torch.tanh(m.first(x)), **parts), flat()


@case
def detached_branch_and_unused_layer():
    parts = {"first": nn.Linear(6, 5), "second": nn.Linear(6, 5), "unused": nn.Linear(3, 3)}
    return Lambda(lambda m, x: torch.tanh(m.first(x)) * m.second(x).detach(), **parts), flat()


@case
def call_without_graph_beside_functional_use():
    def forward(m, x):
        with torch.no_grad():
            size = m.first(x)
        return F.linear(x, m.first.weight, m.first.bias) + size

    return Lambda(forward, first=nn.Linear(6, 3)), flat()


@case
def multi_head_attention():
    parts = {"attend": nn.MultiheadAttention(6, 2, batch_first=True), "out": nn.Linear(6, 2)}
    return Lambda(lambda m, x: m.out(m.attend(x, x, x, need_weights=False)[0]).mean(1), **parts), sequence()


@case
def transformer_encoder_layer():
    layer = nn.TransformerEncoderLayer(6, 2, 8, batch_first=True, activation="gelu")
    return Lambda(lambda m, x: m.out(m.layer(x)).mean(1), layer=layer, out=nn.Linear(6, 2)), sequence()


@case
def lstm():
    parts = {"lstm": nn.LSTM(6, 4, batch_first=True), "out": nn.Linear(4, 2)}
    return Lambda(lambda m, x: m.out(m.lstm(x)[0][:, -1]), **parts), sequence(3)


@case
def image_output():
    return nn.Sequential(nn.Conv2d(2, 3, 3), nn.Tanh(), nn.Conv2d(3, 2, 2, padding=1)), image(h=4, w=4)


@case
def scalar_output():
    return Lambda(
        lambda m, x: m.out(torch.tanh(m.first(x))).squeeze(-1), first=nn.Linear(6, 5), out=nn.Linear(5, 1)
    ), (flat())


@case
def transposed_convolution():
    return warm(
        pooled(nn.Conv2d(2, 3, 3), nn.Tanh(), nn.ConvTranspose2d(3, 2, 3, stride=2), nn.Tanh()), image()
    )


@case
def convolution_3d():
    net = nn.Sequential(nn.Conv3d(2, 3, 2), nn.Tanh(), nn.Flatten())
    return warm(nn.Sequential(net, nn.LazyLinear(2)), torch.randn(5, 2, 3, 3, 3))


@case
def parametrized_weight():
    first = nn.utils.parametrizations.weight_norm(nn.Linear(6, 5))
    return nn.Sequential(first, nn.Tanh(), nn.Linear(5, 2)), flat()


@case
def prelu_and_bilinear():
    parts = {"first": nn.Linear(6, 5), "slope": nn.PReLU(5), "pair": nn.Bilinear(5, 6, 2)}
    return Lambda(lambda m, x: m.pair(m.slope(m.first(x)), x), **parts), flat()


class Doubled(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


@case
def subclass_with_another_forward():
    return nn.Sequential(Doubled(6, 5), nn.Tanh(), nn.Linear(5, 2)), flat()


@case
def hook_that_changes_the_output():
    first = nn.Linear(6, 5)
    first.register_forward_hook(lambda layer, args, output: 3 * output)
    return nn.Sequential(first, nn.Tanh(), nn.Linear(5, 2)), flat()


@case
def hook_that_changes_the_input():
    first = nn.Linear(6, 5)
    first.register_forward_pre_hook(lambda layer, args: (args[0] ** 2,))
    return nn.Sequential(first, nn.Tanh(), nn.Linear(5, 2)), flat()


@case
def control_flow_on_the_data():
    def forward(m, x):
        return torch.cat([m.left(row) if bool(row.sum() > 0) else m.right(row) for row in x.split(1)])

    return Lambda(forward, left=nn.Linear(6, 2), right=nn.Linear(6, 2)), flat()


@case
def parameter_beside_tokens():
    parts = {"table": nn.Embedding(7, 6), "place": nn.Parameter(torch.randn(4, 6)), "out": nn.Linear(6, 3)}
    parts["norm"] = nn.LayerNorm(6)
    return Lambda(lambda m, x: m.out(m.norm(torch.tanh(m.table(x) + m.place))[:, 0]), **parts), tokens()


@case
def width_mlp():
    return width.mlp([6, 9, 8, 3], b_std=0.3), flat()


@case
def width_convolutions():
    net = nn.Sequential(
        width.Conv2d(2, 4, 3, stride=2, padding="same", w_std=1.5, b_std=0.4),
        nn.ReLU(),
        width.Conv2d(4, 3, 3, padding="same", padding_mode="circular", b_std=0.2),
        nn.Flatten(2),
        width.Conv1d(3, 3, 3, dilation=2, w_std=1.5, b_std=0.4),
        nn.Flatten(),
        width.Linear(15, 2, parameterization="standard", b_std=0.1),
    )
    return net, image()


@case
def width_local():
    net = nn.Sequential(width.LocallyConnected2d(2, 3, (6, 5), 3, b_std=0.5), nn.ReLU(), nn.Flatten())
    return warm(nn.Sequential(net, nn.LazyLinear(2)), image())


@case
def width_attention():
    return nn.Sequential(
        width.SelfAttention(6, 4, n_heads=2, b_std=0.1), nn.Flatten(), width.Linear(16, 2)
    ), sequence()
