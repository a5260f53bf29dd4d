"""What changes a layer or a value behind the back of its rule is refused, not ignored."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from ntkbook import infinite_width, nn
from ntkbook.infinite import DualMoments, InfiniteWidthError, dual_activations, fused, registry
from ntkbook.infinite.engine import InfiniteWidthKernel


class Renamed(torch.nn.Linear):
    """A subclass that computes what its parent does."""


class Doubled(nn.Linear):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * super().forward(x)


class Forgetful(torch.nn.Module):
    """Writes over a value and goes on with it."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.first, self.second, self.how = nn.Linear(3, 8), nn.Linear(8, 8), how
        self.relu = torch.nn.ReLU(inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.first(x)
        if self.how == "method":
            h.mul_(2.0)
            return h
        if self.how == "function":
            return self.second(F.relu(h, inplace=True)) + h
        if self.how == "module":
            return self.second(self.relu(h)) + h
        return self.second(self.relu(h))  # used once: nothing is lost


def test_subclass_with_the_same_forward_is_its_parent() -> None:
    x = torch.randn(4, 3, dtype=torch.float64)
    own = infinite_width(torch.nn.Sequential(Renamed(3, 5), torch.nn.ReLU(), Renamed(5, 1)), w_std=1.2)(x)
    plain = infinite_width(
        torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.ReLU(), torch.nn.Linear(5, 1)), w_std=1.2
    )(x)
    assert torch.equal(own.ntk, plain.ntk)


def test_subclass_with_another_forward_has_not_its_parents_rule() -> None:
    with pytest.raises(InfiniteWidthError, match="forward"):
        infinite_width(torch.nn.Sequential(Doubled(3, 5), torch.nn.ReLU(), nn.Linear(5, 1)))


def test_hooks_are_refused() -> None:
    net = torch.nn.Sequential(nn.Linear(3, 5), torch.nn.ReLU(), nn.Linear(5, 1))
    infinite_width(net)
    handle = net[0].register_forward_hook(lambda module, args, out: 3 * out)
    with pytest.raises(InfiniteWidthError, match="forward hooks"):
        infinite_width(net)
    handle.remove()
    net.register_forward_pre_hook(lambda module, args: (2 * args[0],))
    with pytest.raises(InfiniteWidthError, match="forward hooks"):
        infinite_width(net)


def test_parametrizations_and_replaced_forwards_are_refused() -> None:
    net = torch.nn.Sequential(nn.Linear(3, 5), torch.nn.ReLU(), nn.Linear(5, 1))
    torch.nn.utils.parametrizations.spectral_norm(net[2])
    with pytest.raises(InfiniteWidthError, match="parametrization"):
        infinite_width(net)
    net = torch.nn.Sequential(nn.Linear(3, 5), torch.nn.ReLU(), nn.Linear(5, 1))
    net[1].forward = lambda x: x**2
    with pytest.raises(InfiniteWidthError, match="a forward"):
        infinite_width(net)


@pytest.mark.parametrize("how", ["method", "function", "module"])
def test_values_written_over_and_used_again_are_refused(how: str) -> None:
    with pytest.raises(InfiniteWidthError, match="in place"):
        infinite_width(Forgetful(how))


def test_in_place_relu_whose_input_is_not_used_again_is_taken() -> None:
    x = torch.randn(3, 3, dtype=torch.float64)
    plain = torch.nn.Sequential(nn.Linear(3, 8), torch.nn.ReLU(), nn.Linear(8, 8))
    assert torch.equal(infinite_width(Forgetful("once"))(x).ntk, infinite_width(plain)(x).ntk)


def _doubled(module, q11, q12, q22):
    return DualMoments(2 * q12, torch.full_like(q12, 2.0))


def _on_all_routes(kernel: InfiniteWidthKernel, x: torch.Tensor, monkeypatch) -> list[torch.Tensor]:
    """Return the NTK with gradients, without, and by the fused engine where it applies."""
    with torch.no_grad():
        plain = kernel(x).ntk
        monkeypatch.setattr(fused, "_WORTHWHILE", 0)
        by_engine = kernel(x).ntk
    return [kernel(x.clone().requires_grad_()).ntk.detach(), plain, by_engine]


@pytest.mark.parametrize("kind", ["dual", "rule", "family"])
def test_what_a_user_registers_in_place_of_ours_is_used_on_every_route(kind, monkeypatch):
    net = torch.nn.Sequential(
        nn.Conv2d(2, 4, 3, padding="same"),
        torch.nn.ReLU(),
        nn.GlobalAvgPool2d(),
        nn.Linear(4, 1, dtype=torch.float64),
    )
    x = torch.randn(3, 2, 4, 4, dtype=torch.float64)
    ours = _on_all_routes(infinite_width(net), x, monkeypatch)
    monkeypatch.undo()
    if kind == "dual":
        monkeypatch.setitem(dual_activations._RULES, torch.nn.ReLU, _doubled)
    else:
        replaced = {"rule": nn.Conv2d, "family": torch.nn.ReLU}[kind]
        before = registry.find_rule(net[0] if kind == "rule" else net[1])
        twice = lambda call: before.rule(call).map(lambda t: 2 * t)  # noqa: E731
        monkeypatch.setitem(registry._entries, replaced, registry.Entry(twice, "keep", before.channels, True))
    theirs = _on_all_routes(infinite_width(net), x, monkeypatch)
    for route in theirs[1:]:
        torch.testing.assert_close(route, theirs[0], rtol=1e-12, atol=0)
    assert not torch.allclose(theirs[0], ours[0], rtol=0.1)
