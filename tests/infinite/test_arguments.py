"""Arguments of torch's functions are honoured or refused, never ignored."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from ntkbook import infinite_width, nn
from ntkbook.infinite import InfiniteWidthError, fused


class Between(torch.nn.Module):
    """Applies a function between two layers."""

    def __init__(self, step: Callable[[Tensor], Tensor], n: int = 4) -> None:
        super().__init__()
        self.first, self.last, self.step = nn.Linear(3, n), nn.Linear(n, 2), step

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.step(torch.relu(self.first(x))))


def test_dropout_that_is_off_is_the_identity() -> None:
    x = torch.randn(3, 3, dtype=torch.float64)
    plain = infinite_width(Between(lambda h: h))(x)
    off = infinite_width(Between(lambda h: torch.dropout(h, 0.5, train=False)))(x)
    on = infinite_width(Between(lambda h: torch.dropout(h, 0.5, train=True)))(x)
    assert torch.equal(off.ntk, plain.ntk)
    assert not torch.allclose(on.ntk, plain.ntk)


@pytest.mark.parametrize(
    "step",
    [
        lambda h: torch.div(h, 2.0, rounding_mode="floor"),
        lambda h: h / 0,
        lambda h: torch.mean(h, 1, dtype=torch.float64),
    ],
)
def test_what_a_rule_cannot_do_is_refused(step: Callable[[Tensor], Tensor]) -> None:
    x = torch.randn(2, 5, 3, dtype=torch.float64)
    with pytest.raises(InfiniteWidthError):
        infinite_width(Between(step))(x)


def test_half_adaptive_pool_is_refused() -> None:
    net = torch.nn.Sequential(nn.Conv2d(2, 4, 3), torch.nn.AdaptiveAvgPool2d((1, None)))
    with pytest.raises(InfiniteWidthError, match="AdaptiveAvgPool2d"):
        infinite_width(net)(torch.randn(2, 2, 6, 6))


def _images_net(readout: str, *stds: tuple[float, float]) -> torch.nn.Sequential:
    layers: list[torch.nn.Module] = []
    for w_std, b_std in stds:
        layers += [nn.Conv2d(4 if layers else 2, 4, 3, padding="same", w_std=w_std, b_std=b_std)]
        layers += [torch.nn.ReLU()]
    if readout == "gap":
        layers += [nn.GlobalAvgPool2d(), nn.Linear(4, 1, w_std=1.1, b_std=0.4)]
    else:
        layers += [torch.nn.Flatten(), nn.Linear(4 * 5 * 6, 1, w_std=1.1, b_std=0.4)]
    return torch.nn.Sequential(*layers)


@pytest.mark.parametrize("readout", ["gap", "flatten"])
def test_fused_chain_without_weights_is_that_of_the_rules(
    readout: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = torch.randn(3, 2, 5, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for stds in itertools.product([(0.0, 1.0), (0.0, 0.0), (1.3, 0.2)], repeat=2):
        kernel = infinite_width(_images_net(readout, *stds))
        monkeypatch.setattr(fused, "_WORTHWHILE", 1e9)
        by_rules = kernel(x)
        monkeypatch.setattr(fused, "_WORTHWHILE", 0)
        by_engine = kernel(x)
        for name in ("nngp", "ntk"):
            # kappa_0 at nearly parallel patches carries sqrt(eps)
            torch.testing.assert_close(
                getattr(by_engine, name), getattr(by_rules, name), rtol=1e-7, atol=1e-12
            )


def test_chain_reads_the_layers_when_called(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(3, 2, 5, 6, dtype=torch.float64)
    net = _images_net("gap", (1.3, 0.2), (1.3, 0.2))
    kernel = infinite_width(net)
    net[0].w_std = 0.5
    monkeypatch.setattr(fused, "_WORTHWHILE", 0)
    torch.testing.assert_close(kernel(x).ntk, infinite_width(net)(x).ntk, rtol=1e-12, atol=0)
