"""Rules of users: they serve, they are checked, and what is no rule is refused."""

import pytest
import torch
from naive_kernel import naive_ntk
from torch import nn

from ntkbook import empirical_ntk
from ntkbook.empirical import rules
from ntkbook.empirical.network import Network
from ntkbook.empirical.rules import LayerRule, find_rule, register_rule
from ntkbook.empirical.structure import find_structure


class Scale(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.s = nn.Parameter(torch.randn(n))

    def forward(self, x):
        return self.s * x


def scale_rule(factor=1.0):
    return LayerRule(
        parameters=("s",),
        features=lambda layer, x, trainable: factor * x[:, :, None, None],
        cotangents=lambda layer, g: g[:, :, None, None],
    )


@pytest.fixture
def registry(monkeypatch):
    monkeypatch.setattr(rules, "_RULES", dict(rules._RULES))


def network():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 5), Scale(5), nn.Tanh(), nn.Linear(5, 2)).double()
    return net, torch.randn(3, 4, dtype=torch.float64)


def unexplained(net, x):
    with torch.no_grad():
        return find_structure(Network(net, x), x).unexplained


@pytest.mark.usefixtures("registry")
def test_a_right_rule_is_used():
    net, x = network()
    assert set(unexplained(net, x)) == {"1.s"}
    register_rule(Scale, scale_rule())
    assert not unexplained(net, x)
    assert torch.allclose(empirical_ntk(net, x), naive_ntk(net, x), rtol=1e-11)


@pytest.mark.usefixtures("registry")
@pytest.mark.parametrize("broken", ["scaled", "shape", "sign", "error"])
def test_a_wrong_rule_is_found_out(broken):
    net, x = network()
    right = scale_rule()
    wrong = {
        "scaled": scale_rule(1.01),
        "shape": LayerRule(("s",), lambda layer, x, t: x[:, None, None, :], right.cotangents),
        "sign": LayerRule(("s",), lambda layer, x, t: x.abs()[:, :, None, None], right.cotangents),
        "error": LayerRule(("s",), lambda layer, x, t: x.reshape(7, 7), right.cotangents),
    }[broken]
    register_rule(Scale, wrong)
    assert set(unexplained(net, x)) == {"1.s"}
    assert torch.allclose(empirical_ntk(net, x), naive_ntk(net, x), rtol=1e-11)


@pytest.mark.usefixtures("registry")
def test_rules_serve_exactly_their_type():
    class Child(Scale):
        pass

    register_rule(Scale, scale_rule())
    assert find_rule(Scale(2)) is not None
    assert find_rule(Child(2)) is None


def test_bad_registrations():
    with pytest.raises(TypeError, match="layer_type must be a subclass"):
        register_rule(Scale(2), scale_rule())
    with pytest.raises(TypeError, match="rule must be a LayerRule"):
        register_rule(Scale, lambda layer, x: x)


def test_layers_that_refuse_their_rule():
    torch.manual_seed(0)
    tokens = torch.randint(0, 6, (4, 3))
    for option, reason in (
        ({"max_norm": 1.0}, "max_norm"),
        ({"scale_grad_by_freq": True}, "mixes the samples"),
    ):
        net = nn.Sequential(nn.Embedding(6, 3, **option), nn.Flatten(), nn.Linear(9, 2))
        assert reason in unexplained(net, tokens)["0.weight"]


def test_a_use_that_sleeps_on_the_samples_probed_is_seen():
    class Sleeper(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.out = nn.Linear(3, 5), nn.Linear(5, 2)

        def forward(self, x):
            return self.out(torch.tanh(self.first(x)) + torch.relu(x @ self.first.weight.T - 50))

    torch.manual_seed(0)
    net, x = Sleeper().double(), torch.randn(4, 3, dtype=torch.float64)
    x[2:] *= 300  # only here is the second use of the weight awake
    assert set(unexplained(net, x)) == {"first.weight", "first.bias"}
    assert torch.allclose(empirical_ntk(net, x), naive_ntk(net, x), rtol=1e-10)


def test_control_flow_that_changes_after_the_probe_is_loud():
    class Branches(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(2, 2)

        def forward(self, x):
            once = self.layer(x)
            return once if bool((x < 5).all()) else self.layer(once)

    x = torch.tensor([[1.0, 2.0], [3.0, 4.0], [6.0, 7.0]])
    with pytest.raises(RuntimeError, match="control flow depends on the data; use method='jacobian'"):
        empirical_ntk(Branches(), x)
