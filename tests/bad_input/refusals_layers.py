"""What the layers and networks of ``ntkbook.nn`` refuse, at construction and when they are called."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from refusal import INF, NAN, Refusal

from ntkbook import nn

ONE = torch.ones


def layers() -> dict[str, Callable[..., torch.nn.Module]]:
    """Every layer and network that takes standard deviations, with good sizes."""
    return {
        "nn.Linear": lambda **kw: nn.Linear(3, 2, **kw),
        "nn.Conv1d": lambda **kw: nn.Conv1d(3, 2, 3, **kw),
        "nn.Conv2d": lambda **kw: nn.Conv2d(3, 2, 3, **kw),
        "nn.ConvTranspose2d": lambda **kw: nn.ConvTranspose2d(3, 2, 3, **kw),
        "nn.LocallyConnected2d": lambda **kw: nn.LocallyConnected2d(3, 2, 5, 3, **kw),
        "nn.mlp": lambda **kw: nn.mlp([3, 4, 1], **kw),
        "nn.cnn": lambda **kw: nn.cnn([3, 4], 2, **kw),
    }


def of_every_layer() -> Iterator[Refusal]:
    bad: list[tuple[str, Any, type[Exception], str, str]] = [
        ("w_std", -1.0, ValueError, "got -1.0", "finite and not negative"),
        ("w_std", NAN, ValueError, "got nan", "finite and not negative"),
        ("w_std", "large", TypeError, "got 'large'", "pass a float"),
        ("w_std", True, TypeError, "got True", "pass a float"),
        ("w_std", ONE(2), ValueError, "(2,)", "a tensor of no dimensions"),
        ("w_std", torch.tensor(-2.0), ValueError, "got -2", "finite and not negative"),
        ("w_std", 1e200, ValueError, "got 1e+200", "use a value nearer to 1"),
        ("w_std", 1e-160, ValueError, "got 1e-160", "use a value nearer to 1"),
        ("w_std", torch.tensor(1e30), ValueError, "torch.float32", "use a value nearer to 1"),
        ("b_std", 1e200, ValueError, "got 1e+200", "use a value nearer to 1"),
        ("b_std", INF, ValueError, "got inf", "finite and not negative"),
        ("b_std", torch.tensor(NAN), ValueError, "got nan", "finite and not negative"),
        ("parameterization", "muP", ValueError, "'muP'", "'ntk', 'standard', 'mean_field', 'mup'"),
        ("s", 0.0, ValueError, "got 0.0", "finite and positive"),
        ("dtype", torch.int64, TypeError, "torch.int64", "such as torch.float64"),
        ("dtype", "float64", TypeError, "'float64'", "such as torch.float64"),
    ]
    for of, make in layers().items():
        for name, value, error, shown, remedy in bad:
            yield Refusal(of, name, lambda make=make, kw={name: value}: make(**kw), error, shown, remedy)
        if of.rpartition(".")[2][0].isupper():
            call = lambda make=make: make(role="readout")  # noqa: E731
            yield Refusal(of, "role", call, ValueError, "'readout'", "'input', 'hidden', 'output'")


def of_sizes() -> Iterator[Refusal]:
    for value, error, remedy in (
        (0, ValueError, "at least 1"),
        (-3, ValueError, "at least 1"),
        (2.0, TypeError, "must be an integer"),
        (True, TypeError, "pass a whole number"),
        ("3", TypeError, "must be an integer"),
    ):
        shown = f"got {value!r}"
        for name, make in {
            "in_features": lambda v: nn.Linear(v, 2),
            "out_features": lambda v: nn.Linear(3, v),
        }.items():
            call = lambda make=make, value=value: make(value)  # noqa: E731
            yield Refusal("nn.Linear", name, call, error, shown, remedy)
        for kind in ("Conv1d", "Conv2d", "ConvTranspose2d"):
            layer = getattr(nn, kind)
            call = lambda layer=layer, value=value: layer(value, 2, 3)  # noqa: E731
            yield Refusal(f"nn.{kind}", "in_channels", call, error, shown, remedy)
            call = lambda layer=layer, value=value: layer(2, value, 3)  # noqa: E731
            yield Refusal(f"nn.{kind}", "out_channels", call, error, shown, remedy)
    for kind, arguments in {
        "Conv1d": (3, 2),
        "Conv2d": (3, 2),
        "ConvTranspose2d": (3, 2),
        "LocallyConnected2d": (3, 2, 6),
        "AvgPool2d": (),
        "SumPool2d": (),
    }.items():
        layer = getattr(nn, kind)
        wrong: list[tuple[str, Any, str, str]] = [
            ("kernel_size", 0, "got 0", "an integer >= 1"),
            ("kernel_size", (3, 3, 3), "(3, 3, 3)", "of them"),
            ("kernel_size", 1.5, "1.5", "an integer >= 1"),
            ("kernel_size", True, "True", "an integer >= 1"),
            ("stride", 0, "got 0", "an integer >= 1"),
            ("padding", "full", "'full'", "'same', 'valid'"),
            ("padding", -1, "got -1", "an integer >= 0"),
            ("padding_mode", "reflect", "'reflect'", "'zeros', 'circular'"),
        ]
        if kind in ("Conv1d", "Conv2d"):
            wrong.append(("dilation", 0, "got 0", "an integer >= 1"))
        for name, value, shown, remedy in wrong:
            options = {"kernel_size": 3} | {name: value}
            call = lambda layer=layer, a=arguments, kw=options: layer(*a, **kw)  # noqa: E731
            yield Refusal(f"nn.{kind}", name, call, ValueError, shown, remedy)


def attention(**options: Any) -> nn.SelfAttention:
    return nn.SelfAttention(**({"in_features": 4, "out_features": 4} | options))


def of_attention() -> Iterator[Refusal]:
    of = "nn.SelfAttention"
    for name in ("in_features", "out_features", "n_heads", "key_features", "value_features"):
        call = lambda kw={name: 0}: attention(**kw)  # noqa: E731
        yield Refusal(of, name, call, ValueError, "got 0", "at least 1")
    for name in ("w_query_std", "w_key_std", "w_value_std", "w_out_std", "position_std", "b_std"):
        call = lambda kw={name: -1.0}: attention(**kw)  # noqa: E731
        yield Refusal(of, name, call, ValueError, "got -1.0", "not negative")
    sums = {"positions": "sum", "n_tokens": 3}
    rest: list[tuple[str, dict[str, Any], type[Exception], str, str]] = [
        ("weighting", {"weighting": "hardmax"}, ValueError, "'hardmax'", "'softmax', 'relu'"),
        ("scaling", {"scaling": "cubic"}, ValueError, "'cubic'", "'linear', 'sqrt'"),
        ("positions", {"positions": "learned"}, ValueError, "'learned'", "'sum', 'concat'"),
        ("n_tokens", {"positions": "sum"}, ValueError, "length", "need n_tokens"),
        ("n_tokens", {"positions": "sum", "n_tokens": 0}, ValueError, "got 0", "at least 1"),
        ("position_features", sums | {"position_features": 5}, ValueError, "=5", "in_features=4"),
        ("position_features", {"position_features": -1}, ValueError, "-1", "at least 1"),
        ("position_norm", sums | {"position_norm": NAN}, ValueError, "nan", "must be finite"),
        ("position_decay", sums | {"position_decay": torch.sum}, ValueError, "()", "same shape"),
        ("position_decay", sums | {"position_decay": lambda d: -d}, ValueError, "-4.45", "torch.exp(-d)"),
        ("parameterization", {"parameterization": "mup"}, ValueError, "'mup'", "parameterization='ntk' only"),
        ("dtype", {"dtype": torch.complex64}, TypeError, "torch.complex64", "such as torch.float64"),
    ]
    for name, options, error, shown, remedy in rest:
        yield Refusal(of, name, lambda kw=options: attention(**kw), error, shown, remedy)


def of_calls() -> Iterator[Refusal]:
    """Layers called on tensors of other axes or sizes: torch would go on, or speak of ``mat1``."""
    images, rows = ONE(2, 3, 6, 6), ONE(2, 4)
    fits = "build the layer for its sizes"
    for of, layer, x, shown, remedy in (
        ("nn.Linear", nn.Linear(3, 2), rows, "(2, 4)", fits),
        ("nn.Linear", nn.Linear(3, 2), torch.tensor(1.0), "()", fits),
        ("nn.Conv1d", nn.Conv1d(3, 2, 3), ONE(2, 4, 6), "(2, 4, 6)", fits),
        ("nn.Conv1d", nn.Conv1d(3, 2, 3), ONE(3, 6), "(3, 6)", "x.unsqueeze(0)"),
        ("nn.Conv2d", nn.Conv2d(3, 2, 3), ONE(2, 4, 6, 6), "(2, 4, 6, 6)", fits),
        ("nn.Conv2d", nn.Conv2d(3, 2, 3), ONE(3, 6, 6), "(3, 6, 6)", "x.unsqueeze(0)"),
        ("nn.ConvTranspose2d", nn.ConvTranspose2d(3, 2, 3), ONE(3, 6, 6), "(3, 6, 6)", "x.unsqueeze(0)"),
        ("nn.ConvTranspose2d", nn.ConvTranspose2d(3, 2, 3), ONE(2, 1, 6, 6), "(2, 1, 6, 6)", fits),
        ("nn.LocallyConnected2d", nn.LocallyConnected2d(3, 2, 5, 3), images, "(2, 3, 6, 6)", "(N, 3, 5, 5)"),
        ("nn.AvgPool2d", nn.AvgPool2d(2), ONE(3, 6, 6), "(3, 6, 6)", "x.unsqueeze(0)"),
        ("nn.SumPool2d", nn.SumPool2d(2), rows, "(2, 4)", "(N, C, H, W)"),
        ("nn.GlobalAvgPool2d", nn.GlobalAvgPool2d(), rows, "(2, 4)", "(N, C, H, W)"),
        ("nn.GlobalSumPool2d", nn.GlobalSumPool2d(), ONE(2, 3, 4), "(2, 3, 4)", "x.unsqueeze(0)"),
        ("nn.SelfAttention", attention(), rows, "(2, 4)", "(N, T, 4)"),
        ("nn.SelfAttention", attention(), ONE(2, 3, 5), "(2, 3, 5)", fits),
        ("nn.ResidualBlock", nn.ResidualBlock(4), images, "(2, 3, 6, 6)", "(N, 4, H, W)"),
        ("nn.Aggregate", nn.Aggregate(ONE(5, 5)), ONE(2, 4, 3), "(2, 4, 3)", "(N, 5, C)"),
    ):
        method = f"{of}.forward"
        yield Refusal(method, "x", lambda layer=layer, x=x: layer(x), ValueError, shown, remedy)
    array = np.ones((2, 3))
    yield Refusal(
        "nn.Linear.forward", "x", lambda: nn.Linear(3, 2)(array), TypeError, "ndarray", "torch.as_tensor(x)"
    )
    tokens = attention(positions="sum", n_tokens=3)
    yield Refusal(
        "nn.SelfAttention.forward", "x", lambda: tokens(ONE(1, 5, 4)), ValueError, "(1, 5, 4)", "3 tokens"
    )
    one_graph = ONE(1, 4, 4)  # torch would use it for both inputs
    yield Refusal(
        "nn.Aggregate.forward",
        "adjacency",
        lambda: nn.Aggregate()(ONE(2, 4, 3), one_graph),
        ValueError,
        "(1, 4, 4)",
        "a graph for each input, (2, 4, 4)",
    )


NUMBERS: dict[str, tuple[str, ...]] = {
    "Erf": ("a", "b", "c"),
    "Sin": ("a", "b", "c"),
    "Cos": ("a", "b", "c"),
    "ABReLU": ("a", "b"),
    "Exp": ("a", "b"),
    "Gaussian": ("a", "b"),
}


def of_activations() -> Iterator[Refusal]:
    for kind, names in NUMBERS.items():
        for name in names:
            for value, error, remedy in (
                (NAN, ValueError, "must be finite"),
                ("1", TypeError, "pass a float"),
            ):
                options = ({"a": 1.0, "b": -1.0} if kind in ("ABReLU", "Gaussian") else {}) | {name: value}
                call = lambda kind=kind, kw=options: getattr(nn, kind)(**kw)  # noqa: E731
                yield Refusal(f"nn.{kind}", name, call, error, f"got {value!r}", remedy)
    for kind in ("Monomial", "RectifiedMonomial", "Hermite"):
        call = lambda kind=kind: getattr(nn, kind)(-1)  # noqa: E731
        yield Refusal(f"nn.{kind}", "degree", call, ValueError, "got -1", "at least 0")
        for value in (1.5, True, "2"):
            call = lambda kind=kind, value=value: getattr(nn, kind)(value)  # noqa: E731
            yield Refusal(f"nn.{kind}", "degree", call, TypeError, f"got {value!r}", "a whole number")


ROWS: list[tuple[str, str, Callable[[], object], type[Exception], str, str]] = [
    ("nn.LocallyConnected2d", "in_channels", lambda: nn.LocallyConnected2d(0, 2, 5, 3), ValueError, "0", "1"),
    (
        "nn.LocallyConnected2d",
        "out_channels",
        lambda: nn.LocallyConnected2d(3, 0, 5, 3),
        ValueError,
        "0",
        "1",
    ),
    (
        "nn.LocallyConnected2d",
        "input_size",
        lambda: nn.LocallyConnected2d(3, 2, 0, 3),
        ValueError,
        "0",
        ">= 1",
    ),
    (
        "nn.LocallyConnected2d",
        "kernel_size",
        lambda: nn.LocallyConnected2d(3, 2, 5, 9),
        ValueError,
        "9",
        "a smaller kernel_size",
    ),
    (
        "nn.ConvTranspose2d",
        "padding_mode",
        lambda: nn.ConvTranspose2d(3, 2, 3, padding_mode="circular"),
        ValueError,
        "'valid'",
        "padding='same'",
    ),
    ("nn.Gaussian", "b", lambda: nn.Gaussian(b=0.5), ValueError, "0.5", "pass b=-0.5"),
    ("nn.Rbf", "gamma", lambda: nn.Rbf(-1.0), ValueError, "-1.0", "finite and positive"),
    ("nn.Rbf", "gamma", lambda: nn.Rbf(torch.ones(2)), TypeError, "(2,)", "pass a float"),
    (
        "nn.Polynomial",
        "coefficients",
        lambda: nn.Polynomial([]),
        ValueError,
        "empty",
        "at least the constant",
    ),
    ("nn.Polynomial", "coefficients", lambda: nn.Polynomial(3.0), TypeError, "float", "pass a list"),
    ("nn.Polynomial", "coefficients", lambda: nn.Polynomial([1.0, NAN]), ValueError, "nan", "finite"),
    ("nn.Elementwise", "fn", lambda: nn.Elementwise("tanh"), TypeError, "str", "torch.atan"),
    ("nn.Aggregate", "adjacency", lambda: nn.Aggregate(np.eye(3)), TypeError, "ndarray", "torch.as_tensor"),
    ("nn.Aggregate", "adjacency", lambda: nn.Aggregate(ONE(2, 3)), ValueError, "(2, 3)", "(T, T)"),
    (
        "nn.Aggregate.forward",
        "adjacency",
        lambda: nn.Aggregate()(ONE(1, 2, 3)),
        ValueError,
        "one adjacency",
        "pass it to",
    ),
    ("nn.mlp", "sizes", lambda: nn.mlp([3]), ValueError, "[3]", "at least the input and the output"),
    ("nn.mlp", "sizes", lambda: nn.mlp(3), TypeError, "int", "pass [inputs, widths, outputs]"),
    ("nn.mlp", "sizes", lambda: nn.mlp([3, 0, 1]), ValueError, "got 0", "at least 1"),
    ("nn.mlp", "sizes", lambda: nn.mlp([3, 2.5, 1]), TypeError, "2.5", "a whole number"),
    (
        "nn.mlp",
        "activation",
        lambda: nn.mlp([3, 1], activation="relu"),
        TypeError,
        "'relu'",
        "torch.nn.ReLU()",
    ),
    ("nn.cnn", "channels", lambda: nn.cnn([3], 1), ValueError, "[3]", "at least one hidden layer"),
    ("nn.cnn", "channels", lambda: nn.cnn(3, 1), ValueError, "got 3", "at least one hidden layer"),
    ("nn.cnn", "channels", lambda: nn.cnn([3, -1], 1), ValueError, "-1", "at least 1"),
    ("nn.cnn", "n_outputs", lambda: nn.cnn([3, 4], 0), ValueError, "got 0", "at least 1"),
    ("nn.cnn", "kernel_size", lambda: nn.cnn([3, 4], 1, kernel_size=0), ValueError, "got 0", ">= 1"),
    ("nn.cnn", "stride", lambda: nn.cnn([3, 4], 1, stride=-1), ValueError, "got -1", ">= 1"),
    ("nn.cnn", "padding", lambda: nn.cnn([3, 4], 1, padding="half"), ValueError, "'half'", "'same', 'valid'"),
    ("nn.cnn", "padding_mode", lambda: nn.cnn([3, 4], 1, padding_mode="x"), ValueError, "'x'", "'circular'"),
    ("nn.cnn", "readout", lambda: nn.cnn([3, 4], 1, readout="max"), ValueError, "'max'", "'gap', 'flatten'"),
    (
        "nn.cnn",
        "image_size",
        lambda: nn.cnn([3, 4], 1, readout="flatten"),
        ValueError,
        "readout='flatten'",
        "image_size=(height, width)",
    ),
    (
        "nn.cnn",
        "image_size",
        lambda: nn.cnn([3, 4], 1, readout="flatten", image_size=(8,)),
        ValueError,
        "(8,)",
        "2 of them",
    ),
    (
        "nn.cnn",
        "activation",
        lambda: nn.cnn([3, 4], 1, activation=torch.relu),
        TypeError,
        "relu",
        "torch.nn.ReLU()",
    ),
    ("nn.resnet", "in_channels", lambda: nn.resnet(0, 4, 1, 1), ValueError, "got 0", "at least 1"),
    ("nn.resnet", "channels", lambda: nn.resnet(3, 0, 1, 1), ValueError, "got 0", "at least 1"),
    ("nn.resnet", "n_blocks", lambda: nn.resnet(3, 4, -1, 1), ValueError, "got -1", "at least 0"),
    ("nn.resnet", "n_outputs", lambda: nn.resnet(3, 4, 1, 1.0), TypeError, "1.0", "a whole number"),
    ("nn.resnet", "w_std", lambda: nn.resnet(3, 4, 1, 1, w_std=-1), ValueError, "-1", "not negative"),
    ("nn.resnet", "b_std", lambda: nn.resnet(3, 4, 1, 1, b_std=NAN), ValueError, "nan", "not negative"),
    ("nn.ResidualBlock", "channels", lambda: nn.ResidualBlock(0), ValueError, "got 0", "at least 1"),
    ("nn.ResidualBlock", "w_std", lambda: nn.ResidualBlock(2, w_std=-1), ValueError, "-1", "not negative"),
    ("nn.ResidualBlock", "b_std", lambda: nn.ResidualBlock(2, b_std=-1), ValueError, "-1", "not negative"),
    ("nn.AttentionBlock", "width", lambda: nn.AttentionBlock(0, 2), ValueError, "got 0", "at least 1"),
    ("nn.AttentionBlock", "n_heads", lambda: nn.AttentionBlock(4, 0), ValueError, "got 0", "at least 1"),
    ("nn.AttentionBlock", "w_std", lambda: nn.AttentionBlock(4, 2, w_std=-1), ValueError, "-1", "negative"),
    ("nn.AttentionBlock", "b_std", lambda: nn.AttentionBlock(4, 2, b_std=-1), ValueError, "-1", "negative"),
    ("nn.AttentionNetwork", "in_features", lambda: nn.AttentionNetwork(0, 4, 1, 1), ValueError, "0", "1"),
    ("nn.AttentionNetwork", "width", lambda: nn.AttentionNetwork(3, 4.0, 1, 1), TypeError, "4.0", "whole"),
    (
        "nn.AttentionNetwork",
        "n_blocks",
        lambda: nn.AttentionNetwork(3, 4, -1, 1),
        ValueError,
        "-1",
        "at least 0",
    ),
    (
        "nn.AttentionNetwork",
        "n_outputs",
        lambda: nn.AttentionNetwork(3, 4, 1, 0),
        ValueError,
        "0",
        "at least 1",
    ),
    (
        "nn.AttentionNetwork",
        "n_heads",
        lambda: nn.AttentionNetwork(3, 4, 1, 1, 0),
        ValueError,
        "0",
        "at least 1",
    ),
    (
        "nn.AttentionNetwork",
        "w_std",
        lambda: nn.AttentionNetwork(3, 4, 1, 1, w_std=-1),
        ValueError,
        "-1",
        "negative",
    ),
    (
        "nn.AttentionNetwork",
        "b_std",
        lambda: nn.AttentionNetwork(3, 4, 1, 1, b_std=-1),
        ValueError,
        "-1",
        "negative",
    ),
]

REFUSALS = [
    *of_every_layer(),
    *of_sizes(),
    *of_attention(),
    *of_calls(),
    *of_activations(),
    *(Refusal(*row) for row in ROWS),
]
