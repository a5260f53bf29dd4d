"""Arguments of torch's functions are honoured or refused, never ignored."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
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


OUT = torch.ones(2, 5, 4, dtype=torch.float64)


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (lambda h: torch.div(h, 2.0, rounding_mode="floor"), "rounding_mode rounds features"),
        (lambda h: h / 0, "divide by another number"),
        (lambda h: torch.mean(h, 1, dtype=torch.float64), r"argument dtype=torch.float64 has no rule; leave"),
        (
            lambda h: torch.mul(h, 2.0, out=OUT),
            r"argument out=a tensor of shape .2, 5, 4. has no rule",
        ),
        (lambda h: h.add(0, h), r"argument 3, features of shape \(2, 5, 4\), has no rule; leave it out"),
        (lambda h: F.dropout(h, p=-0.5), "p=-0.5 is no probability; use a number from 0"),
        (lambda h: F.dropout(h, p=1.5), "p=1.5 is no probability"),
        (lambda h: torch.dropout(h, 2.0, train=False), "p=2.0 is no probability"),
        (lambda h: F.dropout(h, p=1.0), "p=1 drops every feature; use p < 1"),
        (
            lambda h: h.transpose(1, 5),
            "dimension 5 is none of the 3 .*; use an integer from -3 to 2",
        ),
        (lambda h: h.transpose(1, -4), "dimension -4 is none of the 3"),
        (lambda h: h.permute(0, 1, 1), r"dims \(0, 1, 1\) must name each of the 3 dimensions"),
        (lambda h: h.permute(0, 2), r"dims \(0, 2\) must name each of the 3 dimensions"),
        (lambda h: h.mean(4), "dimension 4 is none of the 3"),
        (lambda h: h.mean(1, 1), "keepdim must be True or False, got 1; give dimensions as one tuple"),
        (lambda h: h.flatten(1, 3), "dimension 3 is none of the 3"),
        (lambda h: torch.cat([h, h], dim=3), "dimension 3 is none of the 3"),
        (lambda h: torch.cat([h, h], axis=1), "correlated"),
        (lambda h: h.reshape(-1, -1), "only x.reshape"),
        (lambda h: h.mean((1, 1)), r"dim=\(1, 1\) names a dimension twice; name each once"),
        (lambda h: h**True, "only powers 1, 2, 3, ... have a rule, got True"),
        (lambda h: 2**h, r"only powers 1, 2, 3, ... have a rule, got features of shape \(2, 5, 4\)"),
        (lambda h: torch.stack([h, h], 1), "it adds a dimension, .* use torch.cat"),
        (lambda h: F.layer_norm(h, 4), "normalized_shape must be a tuple, got 4"),
        (lambda h: F.layer_norm(h, (4,), eps=-1.0), "eps must be finite and not negative, got -1.0; use"),
        (lambda h: F.layer_norm(h, (4,), eps=float("nan")), "eps must be finite and not negative, got nan"),
    ],
)
def test_what_a_rule_cannot_do_is_refused(step: Callable[[Tensor], Tensor], message: str) -> None:
    x = torch.randn(2, 5, 3, dtype=torch.float64)
    with pytest.raises(InfiniteWidthError, match=message):
        infinite_width(Between(step))(x)


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (
            lambda h: h * 1e200,
            "mul .'mul'.: its factor must be 0 or between .* got 1e.200; use a value nearer",
        ),
        (lambda h: h * 1e-200, "its factor must be 0 or between .* got 1e-200"),
        (lambda h: h / 1e-200, "truediv .* its factor must be 0 or between .* got 1e.200"),
        (lambda h: h * 10**400, "its factor must be a real number, got 1000"),
        (lambda h: h * float("nan"), "its factor must be finite, got nan"),
        (lambda h: h * torch.tensor(1e200), "its factor must be finite, got inf"),
        (lambda h: h * torch.tensor(1j), "its factor must be a real number"),
        (lambda h: h.add(h, alpha=torch.ones(4)), "alpha must be a number, got Tensor"),
    ],
)
def test_factors_without_a_square_are_refused(step: Callable[[Tensor], Tensor], message: str) -> None:
    with pytest.raises(InfiniteWidthError, match=message):
        infinite_width(Between(step))(torch.randn(2, 3, dtype=torch.float64))


def test_numpys_numbers_are_numbers() -> None:
    x = torch.randn(3, 5, 3, dtype=torch.float64)
    for of_numpy, plain in (
        (lambda h: h * np.int64(2), lambda h: h * 2),
        (lambda h: np.int64(2) * h, lambda h: 2 * h),
        (lambda h: np.float64(2.5) * h, lambda h: 2.5 * h),
        (lambda h: h / np.float32(0.5), lambda h: h / 0.5),
        (lambda h: h.mean(np.int64(1)), lambda h: h.mean(1)),
    ):
        found, expected = (infinite_width(Between(step))(x).ntk for step in (of_numpy, plain))
        assert torch.equal(found, expected)


def test_numbers_are_numbers_whatever_their_type() -> None:
    x = torch.randn(3, 3, dtype=torch.float64)
    plain = infinite_width(Between(lambda h: h * 1e10))(x)
    for factor in (10**10, torch.tensor(10**10), torch.tensor(1e10, dtype=torch.float64)):  # 10^20 > 2^63
        assert torch.equal(infinite_width(Between(lambda h, f=factor: h * f))(x).ntk, plain.ntk)
    wide = [
        infinite_width(nn.Linear(3, 4, w_std=w))(x) for w in (1e10, torch.tensor(10**10), torch.tensor(1e10))
    ]
    torch.testing.assert_close(wide[1].ntk, wide[0].ntk, rtol=1e-15, atol=0)
    torch.testing.assert_close(wide[2].ntk, wide[0].ntk, rtol=1e-6, atol=0)
    assert torch.equal(infinite_width(Between(lambda h: h * 0))(x).nngp, torch.zeros_like(x))


@pytest.mark.parametrize("p", [-0.5, 1.5])
def test_what_torch_refuses_too_is_no_kernel(p: float) -> None:
    with pytest.raises(ValueError, match="dropout probability"):
        F.dropout(torch.ones(2), p=p)


def test_swapped_axes_by_numpys_names_are_swapped() -> None:
    x = torch.randn(2, 5, 3, 4, dtype=torch.float64)
    plain = infinite_width(torch.nn.Sequential(nn.Conv2d(5, 4, 3), Swapped(1)))(x)
    for how in (2, 3):
        named = infinite_width(torch.nn.Sequential(nn.Conv2d(5, 4, 3), Swapped(how)))(x)
        assert torch.equal(named.ntk, plain.ntk)
        assert named.shape1 == plain.shape1


class Swapped(torch.nn.Module):
    def __init__(self, how: int) -> None:
        super().__init__()
        self.how = how

    def forward(self, h: Tensor) -> Tensor:
        if self.how == 1:
            return torch.transpose(h, 1, 3)
        return h.swapaxes(axis0=1, axis1=3) if self.how == 2 else torch.swapaxes(h, axis0=1, axis1=3)


def test_output_size_of_a_transposed_convolution_is_refused() -> None:
    class Enlarged(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.up = torch.nn.ConvTranspose2d(2, 4, 3, stride=2)

        def forward(self, x: Tensor) -> Tensor:
            return self.up(x, output_size=[10, 10])

    x = torch.randn(2, 2, 4, 4)
    assert Enlarged()(x).shape[-1] == 10 != torch.nn.ConvTranspose2d(2, 4, 3, stride=2)(x).shape[-1]
    with pytest.raises(InfiniteWidthError, match=r"output_size=\[10, 10\] has no rule; leave it out"):
        infinite_width(Enlarged(), w_std=1.0)(x)


def test_a_pool_that_divides_by_zero_is_refused() -> None:
    net = torch.nn.Sequential(nn.Conv2d(2, 4, 3), torch.nn.AvgPool2d(2, divisor_override=0))
    with pytest.raises(InfiniteWidthError, match="divisor_override=0 divides by zero; use another number"):
        infinite_width(net)(torch.randn(2, 2, 6, 6))


def test_an_unknown_approximation_is_refused() -> None:
    net = torch.nn.Sequential(nn.Linear(2, 4), torch.nn.GELU(approximate="erf"))
    with pytest.raises(ValueError, match="approximate must be one of 'none', 'tanh'; got 'erf'"):
        infinite_width(net)(torch.randn(2, 2))


class OnGraph(torch.nn.Module):
    """Sums over edges, behind something done with the adjacency."""

    def __init__(self, step: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]) -> None:
        super().__init__()
        self.first, self.edges, self.step = nn.Linear(3, 4), nn.Aggregate(), step

    def forward(self, x: Tensor, a: Tensor) -> Tensor:
        return self.edges(*self.step(self.first(x), a))


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (lambda h, a: (h, a * 2), "mul ('mul') computes with 'a'"),
        (lambda h, a: (h, 2 * a), "mul ('mul') computes with 'a'"),
        (lambda h, a: (h, a + a), "add ('add') computes with 'a'"),
        (lambda h, a: (h, a.transpose(1, 2)), "transpose ('transpose') computes with 'a'"),
        (lambda h, a: (h, torch.relu(a)), "relu ('relu') computes with 'a'"),
    ],
)
def test_arithmetic_on_a_second_input_is_refused(step: Callable[..., object], message: str) -> None:
    x, a = torch.randn(2, 5, 3, dtype=torch.float64), torch.ones(2, 5, 5, dtype=torch.float64)
    with pytest.raises(InfiniteWidthError) as caught:
        infinite_width(OnGraph(step))((x, a))
    assert message in str(caught.value)
    assert "shape (2, 5, 5)" in str(caught.value)
    assert "compute it before the call and pass the result" in str(caught.value)


def test_sizes_of_a_second_input_may_be_read() -> None:
    x, a = torch.randn(2, 5, 3, dtype=torch.float64), torch.ones(2, 5, 5, dtype=torch.float64)
    plain = infinite_width(OnGraph(lambda h, a: (h / 5, a)))((x, a))
    for step in (
        lambda h, a: (h / a.size(1), a),
        lambda h, a: (h / a.size(dim=1), a),
        lambda h, a: (h / a.shape[-1], a),
        lambda h, a: (h / (a.dim() + 2), a),
    ):
        assert torch.equal(infinite_width(OnGraph(step))((x, a)).ntk, plain.ntk)


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
