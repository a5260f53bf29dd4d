"""What a run records of parameters and kernels, against the networks it hands back and their kernels."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

import ntkbook
from ntkbook import nn, training
from ntkbook.training import tangent

F64 = torch.float64
RNG = torch.Generator().manual_seed(0)
X, X_TEST = torch.randn(5, 3, generator=RNG, dtype=F64), torch.randn(4, 3, generator=RNG, dtype=F64)
Y = torch.randn(5, 2, generator=RNG, dtype=F64)


def make_net() -> torch.nn.Module:
    return nn.mlp([3, 9, 6, 2], activation=torch.nn.Tanh(), w_std=1.4, b_std=0.3, dtype=F64)


def drawn(seed: int, make: Callable[[], torch.nn.Module] = make_net) -> torch.nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return make()


def with_weights(net: torch.nn.Module, weights: dict[str, Tensor]) -> torch.nn.Module:
    net = copy.deepcopy(net)
    net.load_state_dict(weights)
    return net


@pytest.fixture(scope="module")
def run() -> training.TrainingRun:
    return training.train(
        make_net,
        X,
        Y,
        learning_rate=0.8,
        steps=30,
        n_networks=3,
        seed=7,
        x_test=X_TEST,
        record=[0, 3, 10, 30],
        keep=("kernels", "parameters", "networks"),
        chunk_size=2,
    )


def weights(run: training.TrainingRun, s: int, t: int) -> dict[str, Tensor]:
    return {name: value[s, t] for name, value in run.parameters.items()}


def test_moments(run: training.TrainingRun) -> None:
    assert run.steps.tolist() == [0, 3, 10, 30]
    torch.testing.assert_close(run.times, 0.8 * run.steps.double())


def test_parameters_give_the_outputs_and_end_in_the_networks(run: training.TrainingRun) -> None:
    for s in range(3):
        start = drawn(7 + s)
        for name, p in start.named_parameters():
            assert torch.equal(run.parameters[name][s, 0], p)
        for t in range(4):
            net = with_weights(start, weights(run, s, t))
            torch.testing.assert_close(run.outputs_train[s, t], net(X).detach(), rtol=0, atol=1e-13)
            torch.testing.assert_close(run.outputs_test[s, t], net(X_TEST).detach(), rtol=0, atol=1e-13)
        for name, p in run.networks[s].named_parameters():
            assert torch.equal(run.parameters[name][s, -1], p)


def test_movement(run: training.TrainingRun) -> None:
    for s in range(3):
        for t in range(4):
            steps = {name: value[s, t] - value[s, 0] for name, value in run.parameters.items()}
            for layer in ("0", "2", "4", None):
                names = [n for n in steps if layer is None or n.startswith(f"{layer}.")]
                moved = torch.cat([steps[name].flatten() for name in names])
                start = torch.cat([run.parameters[name][s, 0].flatten() for name in names])
                found = run.movement if layer is None else run.movement.by_layer[layer]
                assert found.n_parameters == len(moved)
                for value, expected in (
                    (found.norm, moved.norm()),
                    (found.relative, moved.norm() / start.norm()),
                    (found.largest, moved.abs().max()),
                ):
                    torch.testing.assert_close(value[s, t], expected, rtol=1e-13, atol=0)
    assert bool((run.movement.norm[:, 1:] > 0.01).all())


def test_kernels_and_drift(run: training.TrainingRun) -> None:
    kernel = run.kernel
    for s in range(3):
        start = drawn(7 + s)
        first = ntkbook.empirical_ntk(start, X, by_layer=True)
        for t in range(4):
            now = ntkbook.empirical_ntk(with_weights(start, weights(run, s, t)), X, by_layer=True)
            torch.testing.assert_close(kernel.all[s, t], sum(now.values()), rtol=0, atol=1e-12)
            drift = (sum(now.values()) - sum(first.values())).norm() / sum(first.values()).norm()
            torch.testing.assert_close(kernel.drift[s, t], drift, rtol=0, atol=1e-12)
            for layer in ("0", "2", "4"):
                drift = (now[layer] - first[layer]).norm() / first[layer].norm()
                torch.testing.assert_close(kernel.drift_by_layer[layer][s, t], drift, rtol=0, atol=1e-12)
            before, after = first["0"] + first["2"], now["0"] + now["2"]
            drift = (after - before).norm() / before.norm()
            torch.testing.assert_close(kernel.drift_of_rest[s, t], drift, rtol=0, atol=1e-12)
    assert torch.equal(kernel.first, kernel.all[:, 0])
    assert torch.equal(kernel.last, kernel.all[:, -1])
    assert bool((kernel.drift[:, 1:] > 0.01).all())


def test_mean_kernel_at_other_points_weighted_with_the_factors() -> None:
    factors = {"0.weight": 0.5, "2.weight": 3.0, "4.bias": 0.5}
    run = training.train(
        make_net,
        X,
        Y,
        learning_rate=0.1,
        steps=5,
        trained=lambda name: factors.get(name, 0.0),
        kernel_inputs=X_TEST,
        kernel_outputs="mean",
        keep=("kernel", "networks"),
        record=[5],
    )

    def part(net: torch.nn.Module, chosen: str) -> Tensor:
        net = copy.deepcopy(net)
        for name, p in net.named_parameters():
            p.requires_grad_(name == chosen)
        return factors[chosen] * ntkbook.empirical_ntk(net, X_TEST, outputs="mean")

    def drift(names: list[str]) -> Tensor:
        first, last = (sum(part(net, name) for name in names) for net in (drawn(0), run.networks[0]))
        return (last - first).norm() / first.norm()

    for net, found in ((drawn(0), run.kernel.first[0]), (run.networks[0], run.kernel.last[0])):
        torch.testing.assert_close(found, sum(part(net, name) for name in factors), rtol=0, atol=1e-12)
    for found, names in (
        (run.kernel.drift, list(factors)),
        (run.kernel.drift_by_layer["2"], ["2.weight"]),
        (run.kernel.drift_of_rest, ["0.weight", "2.weight"]),
    ):
        torch.testing.assert_close(found[0, 0], drift(names), rtol=0, atol=1e-12)
    assert list(run.kernel.drift_by_layer) == ["0", "2", "4"]


def test_kernels_that_are_made_of_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = training.train(make_net, X, Y, learning_rate=0.1, steps=1, keep=("kernel", "linearization"))
    monkeypatch.setattr(tangent, "make_plan", functools.partial(_in_tiles, tangent.make_plan))
    tiled = training.train(make_net, X, Y, learning_rate=0.1, steps=1, keep=("kernel", "linearization"))
    torch.testing.assert_close(tiled.kernel.first, whole.kernel.first, rtol=0, atol=1e-13)
    torch.testing.assert_close(tiled.linear.outputs_train, whole.linear.outputs_train, rtol=0, atol=1e-13)


def _in_tiles(make_plan: Callable[..., object], *arguments: object, **options: object) -> object:
    return make_plan(*arguments, **(options | {"chunk_size": 2}))


def test_what_is_not_kept_is_absent() -> None:
    run = training.train(make_net, X, Y, learning_rate=0.1, steps=3, keep=("2.weight",))
    assert run.kernel is None
    assert run.linear is None
    assert run.outputs_test is None
    assert run.networks == ()
    assert list(run.parameters) == ["2.weight"]


def test_a_network_that_is_at_hand_is_left_alone() -> None:
    net = drawn(3)
    before = copy.deepcopy(net.state_dict())
    run = training.train(lambda: net, X, Y, learning_rate=0.5, steps=3, keep=("networks", "kernel"))
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    assert all(p.requires_grad for p in net.parameters())
    torch.testing.assert_close(run.outputs_train[0, 0], net(X).detach(), rtol=0, atol=1e-13)
    assert float((run.networks[0](X) - net(X)).abs().max()) > 0.01


def test_chunks_make_no_difference() -> None:
    runs = [
        training.train(
            make_net,
            X,
            Y,
            learning_rate=0.3,
            steps=6,
            n_networks=5,
            x_test=X_TEST,
            keep=("kernel", "linearization"),
            chunk_size=size,
        )
        for size in (1, 2, 5, None)
    ]
    for other in runs[1:]:
        torch.testing.assert_close(other.outputs_test, runs[0].outputs_test, rtol=0, atol=1e-13)
        torch.testing.assert_close(other.kernel.drift, runs[0].kernel.drift, rtol=0, atol=1e-13)
        torch.testing.assert_close(other.linear.error_test, runs[0].linear.error_test, rtol=0, atol=1e-13)


KEEP = ("kernel", "networks", "linearization")


class Tied(torch.nn.Module):
    """A weight used twice, a frozen layer, a random buffer and a parameter of the module itself."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.randn(1, dtype=F64))
        self.first = torch.nn.Linear(3, 3, dtype=F64)
        self.second = torch.nn.Linear(3, 3, dtype=F64)
        self.second.weight = self.first.weight
        self.frozen = torch.nn.Linear(3, 2, dtype=F64).requires_grad_(False)
        self.register_buffer("shift", torch.randn(3, dtype=F64))

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * self.frozen(torch.tanh(self.second(torch.tanh(self.first(x) + self.shift))))


def test_tied_frozen_and_buffered_networks() -> None:
    run = training.train(
        Tied,
        X,
        Y,
        learning_rate=0.3,
        steps=8,
        n_networks=2,
        seed=1,
        keep=KEEP,
    )
    for s in range(2):
        net = drawn(1 + s, Tied)
        linear = ntkbook.linearize(net)
        for module, outputs in ((net, run.outputs_train), (linear, run.linear.outputs_train)):
            optimizer = torch.optim.SGD([p for p in module.parameters() if p.requires_grad], lr=0.3)
            for _ in range(8):
                optimizer.zero_grad()
                (0.5 * (module(X) - Y).square().mean()).backward()
                optimizer.step()
            torch.testing.assert_close(outputs[s, -1], module(X).detach(), rtol=0, atol=1e-12)
        torch.testing.assert_close(run.networks[s](X), net(X), rtol=0, atol=1e-12)
        torch.testing.assert_close(run.kernel.last[s], ntkbook.empirical_ntk(net, X), rtol=0, atol=1e-11)
    assert sorted(run.movement.by_layer) == ["", "first", "second"]


def test_float32_images_and_integer_inputs() -> None:
    images, labels = (
        torch.rand(4, 1, 6, 6, generator=torch.Generator().manual_seed(0)),
        torch.tensor([0, 1, 2, 1]),
    )
    run = training.train(
        lambda: nn.cnn([1, 4, 4], 3),
        images,
        labels,
        loss="cross_entropy",
        learning_rate=0.2,
        steps=5,
        n_networks=2,
        keep=("kernel", "linearization"),
    )
    assert run.outputs_train.dtype == torch.float32
    assert run.kernel.first.shape == (2, 4, 4, 3, 3)
    assert run.movement.norm.dtype == F64
    tokens = torch.tensor([[0, 1], [2, 1], [1, 1]])
    embed = lambda: torch.nn.Sequential(torch.nn.Embedding(3, 4), torch.nn.Flatten(), torch.nn.Linear(8, 1))  # noqa: E731
    run = training.train(embed, tokens, torch.ones(3, 1), learning_rate=0.1, steps=5, n_networks=2)
    assert bool((run.loss[:, -1] < run.loss[:, 0]).all())


def test_moments_of_a_run() -> None:
    from ntkbook.training.moments import moments

    assert moments(3, 10) == [0, 5, 10]
    assert moments(np.int64(50), 4) == [0, 1, 2, 3, 4]
    assert moments(range(0, 11, 5), 10) == moments(torch.tensor([0, 5, 10]), 10) == [0, 5, 10]
    assert moments(np.array([7]), 10) == [7]
    assert training.log_steps(1, 5) == [0, 1]
    assert training.log_steps(20, 100) == list(range(21))
