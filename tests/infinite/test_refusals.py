"""What has no exact kernel is refused by name, with the remedy."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from network_zoo import Apply, conv, dense, seq

from ntkbook import infinite_width, nn
from ntkbook.infinite import InfiniteWidthError

VECTORS = torch.ones(3, 4, dtype=torch.float64)
IMAGES = torch.ones(3, 2, 4, 4, dtype=torch.float64)
TOKENS = torch.ones(3, 5, 4, dtype=torch.float64)


def after_conv(*layers):
    return lambda: (seq(conv(2, 4), *layers), IMAGES)


def after_dense(*layers):
    return lambda: (seq(dense(4, 8), *layers), VECTORS)


def function(fn, **parts):
    return lambda: (seq(dense(4, 8), Apply(fn, **parts)), VECTORS)


def _at_two_places(h):
    return torch.cat([h, h], 2)


def inputs(x1, x2=None):
    return lambda: (dense(4, 8), x1, x2)


class Branches(torch.nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x


class OwnWeight(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(8))

    def forward(self, x):
        return x * self.weight


def _twice():
    layer = dense(4, 4)
    return seq(layer, torch.nn.ReLU(), layer), VECTORS


def _shared_parameter():
    first, second = dense(4, 4), dense(4, 4)
    second.weight = first.weight
    return seq(first, torch.nn.ReLU(), second), VECTORS


def _mup(*roles):
    layers = [dense(4, 4, parameterization="mup", role=role) for role in roles]
    return lambda: (seq(*layers), VECTORS)


REFUSED = {
    # operations
    "max pool": (after_conv(torch.nn.MaxPool2d(2)), "MaxPool2d", "AvgPool2d"),
    "max pool 1d": (after_conv(torch.nn.MaxPool1d(2)), "MaxPool1d", "AvgPool2d"),
    "adaptive max pool": (after_conv(torch.nn.AdaptiveMaxPool2d(1)), "AdaptiveMaxPool2d", "AvgPool2d"),
    "functional max pool": (
        lambda: (seq(conv(2, 4), Apply(lambda x: F.max_pool2d(x, 2))), IMAGES),
        "max_pool2d",
        "AvgPool2d",
    ),
    "maximum of branches": (function(lambda x: torch.maximum(x, x)), "maximum", "AvgPool2d"),
    "batch norm": (after_conv(torch.nn.BatchNorm2d(4)), "BatchNorm2d", "LayerNorm"),
    "batch norm in evaluation": (after_dense(torch.nn.BatchNorm1d(8).eval()), "BatchNorm1d", "LayerNorm"),
    "group norm": (after_conv(torch.nn.GroupNorm(2, 4)), "GroupNorm", "LayerNorm"),
    "trained layer norm": (after_dense(torch.nn.LayerNorm(8)), "LayerNorm", "elementwise_affine=False"),
    "layer norm of an activation": (
        after_dense(torch.nn.ReLU(), torch.nn.LayerNorm(8, elementwise_affine=False)),
        "LayerNorm",
        "behind a weight layer",
    ),
    "layer norm without channels": (
        after_conv(torch.nn.LayerNorm(4, elementwise_affine=False)),
        "LayerNorm",
        "permute channels last",
    ),
    "softmax": (after_dense(torch.nn.Softmax(dim=-1)), "Softmax", "SelfAttention"),
    "functional softmax": (function(lambda x: F.softmax(x, dim=-1)), "softmax", "SelfAttention"),
    "log softmax": (after_dense(torch.nn.LogSoftmax(dim=-1)), "LogSoftmax", "SelfAttention"),
    "PReLU": (after_dense(torch.nn.PReLU()), "PReLU", "fixed"),
    "RReLU": (after_dense(torch.nn.RReLU()), "RReLU", "Dropout"),
    "channel dropout": (after_conv(torch.nn.Dropout2d()), "Dropout2d", "torch.nn.Dropout"),
    "dropout of the input": (
        lambda: (seq(torch.nn.Dropout(), dense(4, 8)), VECTORS),
        "Dropout",
        "hidden features",
    ),
    "recurrence": (lambda: (torch.nn.LSTM(4, 8), TOKENS), "LSTM", "ntkbook.nn.Linear"),
    "torch's attention": (
        lambda: (Apply(lambda x, a: a(x, x, x)[0], a=torch.nn.MultiheadAttention(4, 2)), TOKENS),
        "MultiheadAttention",
        "ntkbook.nn.SelfAttention",
    ),
    "square-root softmax": (
        lambda: (nn.SelfAttention(4, 4, scaling="sqrt"), TOKENS),
        "SelfAttention",
        "scaling='linear'",
    ),
    "embedding": (lambda: (seq(torch.nn.Embedding(4, 8), dense(8, 8)), VECTORS), "Embedding", "one-hot"),
    "three dimensions": (after_dense(torch.nn.Conv3d(2, 2, 2)), "Conv3d", "Conv2d"),
    "upsampling": (after_conv(torch.nn.Upsample(scale_factor=2)), "Upsample", "ConvTranspose2d"),
    "bilinear": (
        lambda: (Apply(lambda x, b: b(x, x), b=torch.nn.Bilinear(4, 4, 2)), VECTORS),
        "Bilinear",
        "SelfAttention",
    ),
    "matrix product": (function(lambda x: x @ x), "matmul", "SelfAttention"),
    "transposed by attribute": (function(lambda x: x.mT), "getattr", "transpose"),
    "functional weights": (
        lambda: (Apply(lambda x, a: F.linear(x, a.weight), a=dense(4, 8)), VECTORS),
        "a.weight",
        "ntkbook.nn",
    ),
    "a parameter in forward": (after_dense(OwnWeight()), "weight", "register_rule"),
    "gated linear unit": (after_dense(torch.nn.GLU()), "GLU", "layers of their own"),
    "splitting": (function(lambda x: x.chunk(2, dim=-1)), "chunk", "layers of their own"),
    "indexing": (function(lambda x: x[:, 0]), "getitem", "pool or flatten"),
    "choice by value": (function(lambda x: torch.where(x > 0, x, 0.0)), "gt", "fixed"),
    "variance": (function(lambda x: x / x.std(-1, keepdim=True)), "std", "LayerNorm"),
    "unknown module": (after_dense(torch.nn.CosineSimilarity()), "CosineSimilarity", "register_rule"),
    "unknown function": (function(lambda x: torch.atan2(x, x)), "atan2", "Elementwise"),
    # structure
    "tied modules": (_twice, "tied weights", "layer of its own"),
    "tied parameters": (_shared_parameter, "tied weights", "its own"),
    "control flow": (lambda: (Branches(), VECTORS), "Branches", "fixed choice"),
    "control flow on length": (
        lambda: (Apply(lambda x: x if len(x) > 2 else -x), VECTORS),
        "Apply",
        "fixed choice",
    ),
    "twice the same branch": (function(lambda x: x + x), "add", "product with a number"),
    "correlated branches": (function(lambda x: x + torch.relu(x)), "add", "weight layer"),
    "two branches with means": (
        lambda: (
            Apply(lambda x, a, b: torch.relu(a(x)) + torch.relu(b(x)), a=dense(4, 8), b=dense(4, 8)),
            VECTORS,
        ),
        "add",
        "weight layer",
    ),
    "product with itself": (function(lambda x: x * x), "mul", "weight layer"),
    "branches of two shapes": (
        lambda: (Apply(lambda x, a, b: a(x) + b(x), a=dense(4, 8), b=dense(4, 1)), VECTORS),
        "add",
        "must agree",
    ),
    "constant added": (function(lambda x: x + 1.0), "add", "bias"),
    "constant tensor multiplied": (function(lambda x: x * torch.ones(8)), "mul", "only numbers"),
    "division by features": (function(lambda x: 1 / x), "truediv", "division by a number"),
    "root": (function(lambda x: x**0.5), "pow", "Elementwise"),
    "activation of the input": (
        lambda: (seq(torch.nn.ReLU(), dense(4, 8)), VECTORS),
        "ReLU",
        "weight layer before",
    ),
    "two activations": (after_dense(torch.nn.ReLU(), torch.nn.Tanh()), "Tanh", "weight layer before"),
    "activation after flattening": (after_conv(torch.nn.Flatten(), torch.nn.ReLU()), "ReLU", "Flatten after"),
    "mean over channels": (function(lambda x: x.mean(-1)), "mean", "only spatial dimensions"),
    "reshaping": (function(lambda x: x.reshape(2, -1, 2)), "reshape", "flatten"),
    "partial flattening": (after_conv(torch.nn.Flatten(1, 2)), "Flatten", "flatten(1)"),
    "dense layer on images": (after_conv(dense(4, 8)), "Linear", "kernel_size=1"),
    "convolution of vectors": (after_dense(conv(8, 8)), "Conv2d", "reshape the input"),
    "wrong channels": (after_dense(dense(7, 8)), "Linear", "mend the layer's size"),
    "wrong window": (lambda: (nn.Conv2d(2, 4, 9), IMAGES), "does not fit", "padding='same'"),
    "groups": (lambda: (torch.nn.Conv2d(2, 4, 3, groups=2), IMAGES, None, 1.0), "groups=2", "groups=1"),
    "reflected padding": (
        lambda: (torch.nn.Conv2d(2, 4, 3, padding=1, padding_mode="reflect"), IMAGES, None, 1.0),
        "reflect",
        "circular",
    ),
    "concatenation of the batch": (
        lambda: (Apply(lambda x, a, b: torch.cat([a(x), b(x)]), a=dense(4, 8), b=dense(4, 8)), VECTORS),
        "cat",
        "dim >= 1",
    ),
    "concatenation of a smaller image": (
        lambda: (
            Apply(lambda x, a, b: torch.cat([a(x), b(x)], 1), a=conv(2, 4), b=conv(2, 4, padding="valid")),
            IMAGES,
        ),
        "cat",
        "must agree outside dimension 1",
    ),
    "concatenation of a larger image": (
        lambda: (
            Apply(lambda x, a, b: torch.cat([a(x), b(x)], 1), a=conv(2, 4, padding="valid"), b=conv(2, 4)),
            IMAGES,
        ),
        "cat",
        "must agree outside dimension 1",
    ),
    "one branch at two places": (
        lambda: (
            Apply(lambda x, a, p: p(_at_two_places(a(x))), a=conv(2, 4), p=nn.GlobalAvgPool2d()),
            IMAGES,
        ),
        "correlated",
        "end all branches but one with a weight layer",
    ),
    "two places with a mean": (
        lambda: (
            Apply(
                lambda x, a, b, p: p(torch.cat([a(x).relu(), b(x).relu()], 2)),
                a=conv(2, 4),
                b=conv(2, 4),
                p=nn.GlobalAvgPool2d(),
            ),
            IMAGES,
        ),
        "correlated",
        "end all branches but one with a weight layer",
    ),
    # parameterizations
    "plain layers without w_std": (lambda: (torch.nn.Linear(4, 8), VECTORS), "'0'", "w_std=..."),
    "w_std without plain layers": (
        lambda: (dense(4, 8), VECTORS, None, 1.0),
        "w_std",
        "set them on its layers",
    ),
    "mup ends hidden": (_mup("input"), "no limit", "role='output'"),
    "mup without an input layer": (_mup("output"), "role='output'", "'input'"),
    "mup input inside": (_mup("input", "input"), "role='input'", "'hidden'"),
    "mixed parameterizations": (
        lambda: (seq(dense(4, 4, parameterization="mup", role="input"), dense(4, 4)), VECTORS),
        "ntk",
        "one parameterization",
    ),
    "deep mean field": (
        lambda: (nn.mlp([4, 4, 4, 1], parameterization="mean_field", dtype=torch.float64), VECTORS),
        "mean-field",
        "'mup'",
    ),
    # inputs
    "no tensor": (inputs([[1.0]]), "x1", "torch.as_tensor"),
    "integers": (inputs(torch.ones(2, 4, dtype=torch.int64)), "x1", "torch.float64"),
    "no batch": (inputs(torch.ones(4, dtype=torch.float64)), "x1", "reshape"),
    "empty": (inputs(VECTORS[:0]), "x1", "empty"),
    "not a number": (inputs(VECTORS * torch.nan), "x1", "remove or replace"),
    "infinite": (inputs(VECTORS, VECTORS * torch.inf), "x2", "remove or replace"),
    "two dtypes": (inputs(VECTORS, VECTORS.float()), "x2", "convert one"),
    "two devices": (inputs(VECTORS, VECTORS.to("meta")), "x2", "move one"),
    "two shapes": (inputs(VECTORS, torch.ones(3, 5, dtype=torch.float64)), "x2", "one shape"),
    "too many tensors": (inputs((VECTORS, VECTORS)), "2 tensors", "as many"),
}


@pytest.mark.parametrize(
    ("make", "name", "remedy"), [pytest.param(*case, id=key) for key, case in REFUSED.items()]
)
def test_refused_by_name_with_the_remedy(make, name, remedy):
    net, x1, x2, w_std = (*make(), None, None)[:4]
    with pytest.raises((ValueError, TypeError)) as caught:
        infinite_width(net, w_std=w_std)(x1, x2)
    message = str(caught.value)
    assert name in message
    assert remedy in message
    assert len(message) < 450


def test_at_least_forty_refusals():
    assert len(REFUSED) >= 40


def test_a_network_must_be_a_module():
    with pytest.raises(TypeError, match=r"torch\.nn\.Module"):
        infinite_width(torch.relu)


def test_attention_has_one_parameterization():
    with pytest.raises(ValueError, match="parameterization='ntk' only"):
        nn.SelfAttention(4, 4, parameterization="mup")


def test_refusals_are_value_errors():
    assert issubclass(InfiniteWidthError, ValueError)


@pytest.mark.parametrize("traced", [False, True])
def test_overflow_is_refused_where_it_would_be_nan(traced):
    net = nn.mlp([2, 4, 1], activation=nn.RectifiedMonomial(5), w_std=0.25)
    x1, x2 = torch.tensor([[1e6, 0.0]], requires_grad=traced), torch.tensor([[-3e5, 1e6]])
    with pytest.raises(InfiniteWidthError, match=r"range of torch\.float32.*float64"):
        infinite_width(net)(x1, x2)
    assert infinite_width(net)(x1.detach(), x2.abs()).ntk.isinf().all()
    assert infinite_width(net.double())(x1.detach().double(), x2.double()).ntk.isfinite().all()
