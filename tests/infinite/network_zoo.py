"""Small networks of every kind, from a width; float64 unless asked otherwise."""

from __future__ import annotations

from collections.abc import Callable

import torch

from ntkbook import nn

STD = {"w_std": 1.3, "b_std": 0.3, "dtype": torch.float64}


def dense(n_in: int, n_out: int, **changes: object) -> nn.Linear:
    return nn.Linear(n_in, n_out, **(STD | changes))


def conv(n_in: int, n_out: int, size: int = 3, **changes: object) -> nn.Conv2d:
    return nn.Conv2d(n_in, n_out, size, **(STD | {"padding": "same"} | changes))


class Apply(torch.nn.Module):
    """A function of a value and of named parts, traced through."""

    def __init__(self, fn: Callable[..., torch.Tensor], **parts: torch.nn.Module) -> None:
        super().__init__()
        self.fn = fn
        self.names = list(parts)
        for name, part in parts.items():
            self.add_module(name, part)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fn(x, *(getattr(self, name) for name in self.names))


def relu() -> torch.nn.ReLU:
    return torch.nn.ReLU()


def seq(*layers: torch.nn.Module) -> torch.nn.Sequential:
    return torch.nn.Sequential(*layers)


def norm(*shape: int) -> torch.nn.LayerNorm:
    return torch.nn.LayerNorm(shape, elementwise_affine=False)


def _images(n: int) -> torch.Tensor:
    return torch.randn(n, 2, 4, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def _tokens(n: int) -> torch.Tensor:
    return torch.randn(n, 3, 4, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def _signals(n: int) -> torch.Tensor:
    return torch.randn(n, 2, 5, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


def _vectors(n: int) -> torch.Tensor:
    return torch.randn(n, 4, generator=torch.Generator().manual_seed(4), dtype=torch.float64)


def _attention(n: int, **changes: object) -> nn.SelfAttention:
    settings = {
        "n_heads": n // 2,
        "key_features": n // 2,
        "value_features": 8,
        "w_out_std": 1.2,
        "b_std": 0.3,
    }
    return nn.SelfAttention(4, n, **(settings | {"dtype": torch.float64} | changes))


_GRAPH = torch.tensor([[0.0, 1.0, 0.5], [1.0, 0.0, 0.0], [0.0, 2.0, 1.0]], dtype=torch.float64)

Case = tuple[Callable[[int], torch.nn.Module], Callable[[int], torch.Tensor]]

ZOO: dict[str, Case] = {
    "mlp": (lambda n: nn.mlp([4, n, n, 6], w_std=1.3, b_std=0.3, dtype=torch.float64), _vectors),
    "standard": (
        lambda n: nn.mlp(
            [4, n, n, 3], w_std=1.3, b_std=0.3, parameterization="standard", dtype=torch.float64
        ),
        _vectors,
    ),
    "standard_s": (
        lambda n: nn.mlp(
            [4, n, n, 3], w_std=1.3, b_std=0.3, parameterization="standard", s=n / 4, dtype=torch.float64
        ),
        _vectors,
    ),
    "mup": (
        lambda n: nn.mlp([4, n, n, 3], w_std=1.3, b_std=0.3, parameterization="mup", dtype=torch.float64),
        _vectors,
    ),
    "mup_flatten": (
        lambda n: nn.cnn(
            [2, n, n],
            3,
            readout="flatten",
            image_size=(4, 3),
            w_std=1.5,
            b_std=0.3,
            parameterization="mup",
            dtype=torch.float64,
        ),
        _images,
    ),
    "mean_field": (
        lambda n: nn.mlp([4, n, 3], w_std=1.3, b_std=0.3, parameterization="mean_field", dtype=torch.float64),
        _vectors,
    ),
    "residual": (
        lambda n: seq(
            dense(4, n),
            Apply(lambda x, a, b: x + b(torch.sin(a(torch.erf(x)))), a=dense(n, n), b=dense(n, n)),
            relu(),
            dense(n, 6),
        ),
        _vectors,
    ),
    "product": (
        lambda n: Apply(
            lambda x, a, b, c: c(torch.relu(a(x)) * torch.erf(b(x))),
            a=dense(4, n),
            b=dense(4, n),
            c=dense(n, 6),
        ),
        _vectors,
    ),
    "concatenation": (
        lambda n: Apply(
            lambda x, a, b, c: c(torch.cat([torch.relu(a(x)), torch.erf(b(x))], dim=-1)),
            a=dense(4, n),
            b=dense(4, 2 * n),
            c=dense(3 * n, 6),
        ),
        _vectors,
    ),
    "difference": (
        lambda n: seq(
            Apply(lambda x, a, b: a(x) / 2 - 0.7 * b(x), a=dense(4, n), b=dense(4, n)), relu(), dense(n, 6)
        ),
        _vectors,
    ),
    "layer_norm": (lambda n: seq(dense(4, n), norm(n), relu(), dense(n, n), norm(n), dense(n, 6)), _vectors),
    "conv_flatten": (
        lambda n: seq(
            conv(2, n), relu(), conv(n, n, 2, stride=2), relu(), torch.nn.Flatten(), dense(4 * n, 6)
        ),
        _images,
    ),
    "conv_gap": (
        lambda n: seq(conv(2, n, padding_mode="circular"), relu(), nn.GlobalAvgPool2d(), dense(n, 6)),
        _images,
    ),
    "conv_norm": (
        lambda n: seq(conv(2, n), norm(n, 4, 3), relu(), nn.GlobalSumPool2d(), dense(n, 6)),
        _images,
    ),
    "channel_norm": (
        lambda n: seq(
            conv(2, n),
            Apply(lambda x, norm: norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2), norm=norm(n)),
            relu(),
            nn.GlobalAvgPool2d(),
            dense(n, 6),
        ),
        _images,
    ),
    "conv_pool": (
        lambda n: seq(
            conv(2, n),
            relu(),
            nn.AvgPool2d(2, 1, "same", count_include_pad=False),
            conv(n, n, 2, padding="valid"),
            relu(),
            nn.SumPool2d(2),
            torch.nn.Flatten(),
            dense(n, 6),
        ),
        _images,
    ),
    "conv_transpose": (
        lambda n: seq(
            nn.ConvTranspose2d(2, n, 3, 2, "same", **STD),
            relu(),
            torch.nn.AdaptiveAvgPool2d(1),
            torch.nn.Flatten(),
            dense(n, 6),
        ),
        _images,
    ),
    "locally_connected": (
        lambda n: seq(
            nn.LocallyConnected2d(2, n, (4, 3), 2, **STD), relu(), nn.GlobalAvgPool2d(), dense(n, 6)
        ),
        _images,
    ),
    "spatial_concatenation": (
        lambda n: seq(
            Apply(lambda x, a, b: torch.cat([a(x), b(x)], dim=2), a=conv(2, n), b=conv(2, n)),
            relu(),
            conv(n, n),
            relu(),
            nn.GlobalAvgPool2d(),
            dense(n, 6),
        ),
        _images,
    ),
    "conv1d": (
        lambda n: seq(
            nn.Conv1d(2, n, 3, 2, "same", **STD),
            relu(),
            torch.nn.AvgPool1d(2, 1, padding=1),
            torch.nn.Flatten(),
            dense(4 * n, 6),
        ),
        _signals,
    ),
    "tokens": (lambda n: seq(dense(4, n), relu(), Apply(lambda x: x.mean(1)), dense(n, 6)), _tokens),
    "graph": (
        lambda n: seq(
            nn.Aggregate(_GRAPH),
            dense(4, n),
            relu(),
            nn.Aggregate(_GRAPH),
            torch.nn.Flatten(),
            dense(3 * n, 6),
        ),
        _tokens,
    ),
    "attention": (lambda n: seq(_attention(n), relu(), Apply(lambda x: x.mean(1)), dense(n, 6)), _tokens),
    "attention_positions": (
        lambda n: seq(
            _attention(
                n,
                weighting="relu",
                positions="concat",
                n_tokens=3,
                position_features=3,
                positions_in_values=True,
                position_decay=lambda d: torch.exp(-d),
            ),
            relu(),
            Apply(lambda x: x.mean(1)),
            dense(n, 6),
        ),
        _tokens,
    ),
    "attention_sqrt": (
        lambda n: seq(
            _attention(n, weighting="identity", scaling="sqrt", positions="sum", n_tokens=3),
            Apply(lambda x: x.sum(1)),
            dense(n, 6),
        ),
        _tokens,
    ),
}
