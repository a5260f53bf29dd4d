"""Chains of convolutions and ReLUs are recognized, and the fused engine gives what the rules give."""

import pytest
import torch
import torch.nn.functional as F
from torch.nn import AdaptiveAvgPool2d, Flatten, LeakyReLU, ReLU, Sequential

import ntkbook
from ntkbook import nn
from ntkbook.infinite import fused

STDS = {"w_std": 1.3, "b_std": 0.2}
GENERATOR = torch.Generator().manual_seed(0)
X1 = torch.randn(3, 2, 5, 6, generator=GENERATOR, dtype=torch.float64)
X2 = torch.cat([X1[1:2], torch.randn(3, 2, 5, 6, generator=GENERATOR, dtype=torch.float64)])


def conv(channels_in=2, size=3, **options):
    return nn.Conv2d(channels_in, 4, size, padding=options.pop("padding", "same"), **{**STDS, **options})


def body(size=3):
    return [conv(size=size), ReLU(), conv(4, size, w_std=0.9, b_std=None), ReLU()]


def dense(features=4):
    return nn.Linear(features, 3, w_std=1.1, b_std=0.4)


class Functional(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.pool, self.last = conv(), nn.GlobalAvgPool2d(), dense()

    def forward(self, x):
        return self.last(self.pool(F.relu(self.first(x))))


CHAINS = {
    "pooled": Sequential(*body(), nn.GlobalAvgPool2d(), dense()),
    "pooled by torch": Sequential(*body(), AdaptiveAvgPool2d(1), Flatten(), dense()),
    "flattened": Sequential(*body(), Flatten(), dense(120)),
    "five by five": Sequential(*body(5), nn.GlobalAvgPool2d(), dense()),
    "padding in numbers": Sequential(conv(padding=1), ReLU(), nn.GlobalAvgPool2d(), dense()),
    "functional": Functional(),
}

OTHERS = {
    "no convolution": Sequential(Flatten(), dense(60)),
    "another activation": Sequential(conv(), LeakyReLU(0.1), nn.GlobalAvgPool2d(), dense()),
    "no activation": Sequential(conv(), nn.GlobalAvgPool2d(), dense()),
    "a stride": Sequential(conv(stride=2), ReLU(), nn.GlobalAvgPool2d(), dense()),
    "no padding": Sequential(conv(padding="valid"), ReLU(), nn.GlobalAvgPool2d(), dense()),
    "circular padding": Sequential(conv(padding_mode="circular"), ReLU(), nn.GlobalAvgPool2d(), dense()),
    "an even kernel": Sequential(conv(size=2), ReLU(), nn.GlobalAvgPool2d(), dense()),
    "an oblong kernel": Sequential(conv(size=(3, 1)), ReLU(), nn.GlobalAvgPool2d(), dense()),
    "two sizes": Sequential(conv(), ReLU(), conv(4, 5), ReLU(), nn.GlobalAvgPool2d(), dense()),
    "another pool": Sequential(*body(), nn.GlobalSumPool2d(), dense()),
    "two dense layers": Sequential(*body(), nn.GlobalAvgPool2d(), dense(), ReLU(), dense(3)),
    "standard parameterization": Sequential(
        conv(parameterization="standard"), ReLU(), nn.GlobalAvgPool2d(), dense()
    ),
    "a learned deviation": Sequential(
        conv(w_std=torch.tensor(1.0, requires_grad=True)), ReLU(), nn.GlobalAvgPool2d(), dense()
    ),
}


@pytest.mark.parametrize("x2", [None, X2], ids=["symmetric", "cross"])
@pytest.mark.parametrize("name", CHAINS)
def test_the_fused_engine_agrees_with_the_rules(name, x2, monkeypatch):
    kernel = ntkbook.infinite_width(CHAINS[name])
    assert kernel.chain is not None
    by_rules = kernel(X1, x2)
    monkeypatch.setattr(fused, "_WORTHWHILE", 0)
    calls = []
    original = fused.chain_kernels
    monkeypatch.setattr(fused, "chain_kernels", lambda *a, **k: calls.append(1) or original(*a, **k))
    by_engine = kernel(X1, x2)
    assert calls
    for field in ("nngp", "ntk", "cov1", "cov2"):
        # Both are float64; the sums over positions are taken in different orders.
        torch.testing.assert_close(
            getattr(by_engine, field), getattr(by_rules, field), rtol=1e-11, atol=1e-13
        )
    assert by_engine.shape1 == by_rules.shape1
    assert by_engine.shape2 == by_rules.shape2
    assert by_engine.symmetric == by_rules.symmetric


@pytest.mark.parametrize("name", OTHERS)
def test_other_networks_are_not_taken_for_chains(name):
    assert ntkbook.infinite_width(OTHERS[name]).chain is None


def test_small_work_and_gradients_stay_with_the_rules(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("the fused engine was called")

    monkeypatch.setattr(fused, "chain_kernels", refuse)
    kernel = ntkbook.infinite_width(CHAINS["pooled"])
    kernel(X1)
    monkeypatch.setattr(fused, "_WORTHWHILE", 0)
    x = X1.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(kernel(x).ntk.sum(), x)
    assert bool(gradient.isfinite().all())
    with pytest.raises(AssertionError, match="was called"):
        kernel(X1)


def test_a_batch_that_does_not_fit_is_named_by_the_rules(monkeypatch):
    monkeypatch.setattr(fused, "_WORTHWHILE", 0)
    with pytest.raises(ValueError, match="channels"):
        ntkbook.infinite_width(CHAINS["pooled"])(torch.cat([X1, X1], dim=1))
