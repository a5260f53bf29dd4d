"""Unusual inputs that are right: views, gradients, zeros, one row, huge numbers, outputs that cancel."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

import ntkbook
from ntkbook import dynamics, nn

X = torch.linspace(-1, 1, 15, dtype=torch.float64).reshape(5, 3)
IMAGES = torch.linspace(-1, 1, 3 * 2 * 16, dtype=torch.float64).reshape(3, 2, 4, 4)
NET = nn.mlp([3, 8, 1], b_std=0.1)
TORCH_NET = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2)).double()


def flow(k: Tensor) -> Tensor:
    y = torch.ones(len(k), 1, dtype=k.dtype)
    return dynamics.MSEFlow(k, y).train(2.0, torch.zeros_like(y))


def loss_flow(k: Tensor) -> Tensor:
    y = torch.ones(len(k), 1, dtype=k.dtype)
    return dynamics.LossFlow(k, y, "logistic").train(2.0, torch.zeros_like(y))


def gram_of(x: Tensor) -> Tensor:
    return x @ x.mT + torch.eye(len(x), dtype=x.dtype)


# Each takes one tensor; the example has the shape that it takes.
CALLS: dict[str, tuple[Callable[[Tensor], Tensor], Tensor]] = {
    "infinite_width": (lambda x: ntkbook.infinite_width(NET)(x).ntk, X),
    "empirical_ntk": (lambda x: ntkbook.empirical_ntk(TORCH_NET, x), X),
    "cntk": (lambda x: ntkbook.cntk(x, depth=2), IMAGES),
    "gram": (lambda x: ntkbook.gram(lambda a, b: a @ b.mT, x, tile_size=2, progress=False), X),
    "solve": (lambda k: ntkbook.solve(k, torch.ones(5, dtype=k.dtype), 0.1), gram_of(X)),
    "MSEFlow": (flow, gram_of(X)),
    "LossFlow": (loss_flow, gram_of(X)),
}


def transposed_storage(x: Tensor) -> Tensor:
    """The same numbers, not contiguous."""
    return x.movedim(0, -1).contiguous().movedim(-1, 0)


def every_second(x: Tensor) -> Tensor:
    """A view with steps into a larger tensor."""
    large = torch.full((2 * len(x), *x.shape[1:]), torch.nan, dtype=x.dtype)
    large[::2] = x
    return large[::2]


VIEWS = {
    "transposed storage": transposed_storage,
    "every second row": every_second,
    "requires grad": lambda x: x.clone().requires_grad_(),
    "a graph's inner node": lambda x: x.clone().requires_grad_() * 1.0,
    "a parameter": lambda x: torch.nn.Parameter(x.clone()),
}


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("name", CALLS)
def test_views_and_gradients_change_nothing(name: str, view: str) -> None:
    call, example = CALLS[name]
    torch.testing.assert_close(call(VIEWS[view](example)).detach(), call(example), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["infinite_width", "empirical_ntk", "cntk", "gram"])
def test_repeated_rows_may_be_one_row_expanded(name: str) -> None:
    call, example = CALLS[name]
    expanded = example[:1].expand(4, *example.shape[1:])
    torch.testing.assert_close(call(expanded), call(expanded.clone()))


@pytest.mark.parametrize("name", CALLS)
def test_one_row_and_zeros(name: str) -> None:
    call, example = CALLS[name]
    one = example[:1, :1] if name in ("solve", "MSEFlow", "LossFlow") else example[:1]
    if name == "solve":
        one = one.repeat_interleave(5, 0).repeat_interleave(5, 1).diagonal().diag()
    assert call(one).isfinite().all()
    if name != "solve":  # a kernel of zeros has no solution
        assert call(torch.zeros_like(example)).isfinite().all()


@pytest.mark.parametrize("scale", [1e-300, 1e-200, 1e-100, 1e100, 1e200, 1e300])
def test_dynamics_do_not_depend_on_the_unit_of_the_kernel(scale: float) -> None:
    k, y = gram_of(X), torch.linspace(-1, 1, 5, dtype=torch.float64)[:, None]
    times = torch.tensor([0.0, 1.0, 30.0], dtype=torch.float64)
    right = dynamics.MSEFlow(k, y).train(times, 0 * y)
    torch.testing.assert_close(dynamics.MSEFlow(scale * k, y).train(times / scale, 0 * y), right)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [1e-3, 1.0, 1e4])
def test_a_network_whose_outputs_cancel_has_a_kernel(dtype: torch.dtype, size: float) -> None:
    class Difference(torch.nn.Module):
        """Two layers that are equal up to rounding: outputs are noise, gradients are not."""

        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.first, self.second = torch.nn.Linear(50, 40), torch.nn.Linear(50, 40)
            self.second.load_state_dict(self.first.state_dict())
            self.readout = torch.nn.Parameter(torch.randn(40))

        def forward(self, x: Tensor) -> Tensor:
            # The order of a product's sums depends on the size of the batch, so the rounding does too.
            a, b = self.first(x) @ self.readout, (self.second(x) * self.readout).sum(1)
            return a - b

    x = size * torch.randn(6, 50, generator=torch.Generator().manual_seed(1)).to(dtype)
    assert ntkbook.empirical_ntk(Difference().to(dtype), x).isfinite().all()


def test_sizes_that_come_out_of_an_array() -> None:
    size = np.int64(3)
    layer = nn.Conv2d(2, 4, size, padding=np.int64(1))
    assert layer(torch.zeros(1, 2, 5, 5)).shape == (1, 4, 5, 5)
