"""Bad input gets an error that says what is wrong, where, and what to do."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ntkbook import nn, training

X, Y = torch.randn(5, 3, generator=torch.Generator().manual_seed(0)), torch.ones(5, 1)


def make_net() -> torch.nn.Module:
    return nn.mlp([3, 8, 1], b_std=0.1)


def two_outputs() -> torch.nn.Module:
    return nn.mlp([3, 8, 2])


GOOD: dict[str, Any] = {
    "make_net": make_net,
    "x_train": X,
    "y_train": Y,
    "learning_rate": 0.1,
    "steps": 4,
    "n_networks": 2,
}


def train(**changes: Any) -> training.TrainingRun:
    arguments = GOOD | changes
    return training.train(**arguments)


def seeding_itself() -> torch.nn.Module:
    torch.manual_seed(0)
    return make_net()


KEPT = make_net()


def drawn_by_numpy() -> torch.nn.Module:
    net = make_net()
    net[0].weight.data = torch.from_numpy(np.random.standard_normal((8, 3)).astype(np.float32))  # noqa: NPY002
    return net


def of_random_width() -> torch.nn.Module:
    return nn.mlp([3, int(torch.randint(4, 1000, ())), 1])


def of_random_activation() -> torch.nn.Module:
    activation = torch.nn.ReLU() if torch.rand(()) < 0.5 else torch.nn.Tanh()
    return nn.mlp([3, 8, 1], activation=activation)


class ReadoutFirst(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.readout = torch.nn.Linear(8, 1)
        self.first = torch.nn.Linear(3, 8)

    def forward(self, x: Tensor) -> Tensor:
        return self.readout(torch.tanh(self.first(x)))


class Branching(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.randn(3, 1))

    def forward(self, x: Tensor) -> Tensor:
        y = x @ self.weight
        return y if float(self.weight.sum()) > 0 else 2 * y


class Detached(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x).detach()


def with_dropout() -> torch.nn.Module:
    return torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Dropout(0.5), torch.nn.Linear(8, 1))


def with_batch_norm() -> torch.nn.Module:
    return torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.BatchNorm1d(8), torch.nn.Linear(8, 1))


CASES: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"make_net": make_net()}, TypeError, "copy.deepcopy"),
    ({"make_net": lambda: 3}, TypeError, "make_net must return a torch.nn.Module, got int"),
    ({"make_net": seeding_itself}, ValueError, "same weights twice.*torch.manual_seed out of it"),
    ({"make_net": lambda: KEPT}, ValueError, "same weights twice.*build the network inside"),
    ({"make_net": drawn_by_numpy}, ValueError, "different weights for the same torch.manual_seed"),
    ({"make_net": of_random_width}, ValueError, "one architecture, but '0.weight' is"),
    ({"make_net": of_random_activation, "n_networks": 20}, ValueError, "computes another function"),
    ({"make_net": with_dropout}, ValueError, r"layer '1' \(Dropout\).*net.eval\(\)"),
    ({"make_net": with_batch_norm}, ValueError, r"layer '1' \(BatchNorm1d\).*net.eval\(\)"),
    ({"make_net": Branching}, ValueError, "Branching cannot be computed.*chunk_size=1"),
    ({"make_net": Detached}, ValueError, "does not depend on the trained parameters layer.weight"),
    ({"make_net": lambda: make_net().requires_grad_(False)}, ValueError, "requires grad"),
    ({"x_train": X.numpy()}, TypeError, "x_train must be a torch.Tensor"),
    ({"x_train": X[:0]}, ValueError, r"x_train has shape \(0, 3\)"),
    ({"x_train": X.double()}, ValueError, "x_train is torch.float64 but the network is torch.float32"),
    ({"x_train": X * math.nan}, ValueError, "x_train holds 15 entries that are NaN"),
    ({"x_train": X[:, :2]}, ValueError, r"cannot be called on 2 samples, a batch of shape \(2, 2\)"),
    ({"x_test": X[:, :2]}, ValueError, "x_test holds samples of shape .2,.*x_train have shape .3,"),
    ({"kernel_inputs": X.double()}, ValueError, "kernel_inputs holds samples"),
    ({"y_train": Y[:4]}, ValueError, "y_train has shape .4, 1. but x_train has 5 samples"),
    ({"y_train": Y[:, 0]}, ValueError, r"y_train.unsqueeze\(1\)"),
    ({"y_train": torch.ones(5, 2)}, ValueError, r"but the outputs have shape \(5, 1\)"),
    ({"y_train": Y.double()}, ValueError, r"use y_train.to\(torch.float32\)"),
    ({"y_train": Y.long()}, TypeError, "y_train must be real floating point"),
    ({"y_train": Y * math.inf}, ValueError, "y_train holds 5 entries"),
    ({"y_train": [1.0] * 5}, TypeError, "y_train must be a torch.Tensor"),
    ({"loss": "hinge"}, ValueError, "loss must be one of"),
    ({"loss": lambda f, y: (f - y).square()}, ValueError, r"one entry, got \(5, 1\)"),
    ({"loss": "cross_entropy", "y_train": torch.zeros(5).long()}, ValueError, "between 0 and 0|two columns"),
    (
        {"loss": "cross_entropy", "make_net": two_outputs, "y_train": torch.tensor([0, 1, 2, 0, 1])},
        ValueError,
        "labels from 0 to 2, but the network has 2 outputs",
    ),
    (
        {"loss": "cross_entropy", "make_net": two_outputs, "y_train": torch.ones(5, 1).long()},
        ValueError,
        "class labels, whole numbers",
    ),
    (
        {"loss": "cross_entropy", "make_net": two_outputs, "y_train": torch.tensor([[0.5, -0.5]] * 5)},
        ValueError,
        "probabilities",
    ),
    ({"reduction": "none"}, ValueError, "reduction must be one of"),
    ({"learning_rate": 0.0}, ValueError, "learning_rate must be finite and positive"),
    ({"learning_rate": math.nan}, ValueError, "learning_rate"),
    ({"steps": 0}, ValueError, "steps must be at least 1, got 0"),
    ({"steps": None}, TypeError, "steps"),
    ({"n_networks": 0}, ValueError, "n_networks"),
    ({"chunk_size": 0}, ValueError, "chunk_size"),
    ({"momentum": 1.0}, ValueError, r"momentum must be at least 0 and less than 1, got 1\.0"),
    ({"momentum": 0.5, "integrator": "midpoint"}, ValueError, "no momentum"),
    ({"integrator": "rk4"}, ValueError, "integrator must be one of"),
    ({"output_scale": 0}, ValueError, "output_scale"),
    ({"diverged": "ignore"}, ValueError, "diverged must be one of"),
    ({"kernel_outputs": "trace"}, ValueError, "kernel_outputs must be one of"),
    ({"keep": "kernel"}, TypeError, r"write keep=\('kernel',\)"),
    ({"keep": ("kernel", "weights")}, ValueError, "keep does not know 'weights'.*0.weight, 0.bias"),
    ({"record": [0, 5]}, ValueError, "record runs from 0 to 5, but the run from 0 to steps=4"),
    ({"record": [-1, 2]}, ValueError, "record runs from -1"),
    ({"record": [2, 1]}, ValueError, "ascending order"),
    ({"record": [1, 1]}, ValueError, "each step once"),
    ({"record": [0.5]}, ValueError, "whole numbers of steps"),
    ({"record": []}, ValueError, "whole numbers of steps"),
    ({"record": 1}, ValueError, "record must be at least 2"),
    ({"record": 2.0}, ValueError, "whole numbers of steps"),
    ({"trained": "first"}, ValueError, "trained must be 'all', 'last_layer' or a function"),
    ({"trained": lambda name: False}, ValueError, "no parameter to train; the names are 0.weight, 0.bias"),
    ({"trained": lambda name: -1.0}, ValueError, r"trained\('0.weight'\) must be finite and not negative"),
    ({"trained": lambda name: "yes"}, TypeError, "a number or a bool, got str"),
    ({"trained": "last_layer", "make_net": ReadoutFirst}, ValueError, "registered last, here 'first'"),
]


@pytest.mark.parametrize(("changes", "error", "message"), CASES)
def test_is_refused(changes: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        train(**changes)


def test_the_good_case_runs() -> None:
    assert train().loss.shape == (2, 5)


def test_modules_that_cannot_be_vectorized_train_one_at_a_time() -> None:
    together = train(make_net=Branching, n_networks=3, chunk_size=1)
    assert bool((together.loss[:, -1] < together.loss[:, 0]).all())


def test_readout_selected_by_name() -> None:
    run = train(
        make_net=ReadoutFirst, trained=lambda name: name.startswith("readout"), keep=("linearization",)
    )
    assert float(run.linear.error_train.max()) < 1e-6


def limit(reduction: str, momentum: float) -> float:
    """Return the stable limit of the drawn networks' linearizations, by the Hessian of their loss."""
    import ntkbook

    largest = 0.0
    for s in range(2):
        with torch.random.fork_rng():
            torch.manual_seed(s)
            linear = ntkbook.linearize(make_net().double())
        names = [name for name, _ in linear.named_parameters()]

        def loss(*values: Tensor, linear: Any = linear, names: Any = names) -> Tensor:
            f = torch.func.functional_call(linear, dict(zip(names, values, strict=True)), (X.double(),))
            squares = 0.5 * (f - Y).square()
            return squares.mean() if reduction == "mean" else squares.sum()

        blocks: Any = torch.autograd.functional.hessian(loss, tuple(p.detach() for p in linear.parameters()))
        sizes = [p.numel() for p in linear.parameters()]
        rows = [
            torch.cat([b.reshape(n, m) for b, m in zip(row, sizes, strict=True)], 1)
            for row, n in zip(blocks, sizes, strict=True)
        ]
        largest = max(largest, float(torch.linalg.eigvalsh(torch.cat(rows)).max()))
    return 2 * (1 + momentum) / largest


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("momentum", [0.0, 0.5])
def test_divergence_names_step_and_stable_limit(reduction: str, momentum: float) -> None:
    changes = {"reduction": reduction, "momentum": momentum, "steps": 2000, "learning_rate": 1e4}
    with pytest.raises(
        FloatingPointError, match=r"loss of network [01] is (inf|nan) after \d+ of 2000"
    ) as caught:
        train(**changes)
    stated = float(str(caught.value).split("stable below ")[1].split(",")[0])
    assert stated == pytest.approx(limit(reduction, momentum), rel=0.01)


def test_divergence_of_one_network_leaves_the_others_alone() -> None:
    def sometimes_huge() -> torch.nn.Module:
        net = make_net()
        if float(net[0].weight[0, 0].detach()) > 0:
            net[0].weight.data *= 1e4
        return net

    changes = {"make_net": sometimes_huge, "n_networks": 6, "steps": 50, "keep": ("kernel", "linearization")}
    with pytest.warns(UserWarning, match="stable limit of the linearized networks"):
        run = train(diverged="nan", **changes)
    lost = ~torch.isfinite(run.loss[:, -1])
    assert 0 < int(lost.sum()) < 6
    assert bool(torch.isnan(run.kernel.drift[lost, -1]).all())
    assert bool(torch.isfinite(run.kernel.drift[~lost]).all())
    for s in (~lost).nonzero().flatten().tolist():
        alone = train(make_net=sometimes_huge, n_networks=1, steps=50, seed=s)
        torch.testing.assert_close(alone.loss[0], run.loss[s])


def test_divergence_names_the_network() -> None:
    def third_is_huge() -> torch.nn.Module:
        net = make_net()
        net[0].weight.data *= 1e6 if torch.initial_seed() == 12 else 1.0
        return net

    with pytest.raises(FloatingPointError, match="the loss of network 2 is"):
        train(make_net=third_is_huge, n_networks=4, seed=10, steps=50, chunk_size=2)


@pytest.mark.parametrize("loss", ["cross_entropy", torch.nn.functional.mse_loss])
def test_divergence_on_other_losses(loss: str | Callable[..., Tensor]) -> None:
    targets = torch.zeros(5).long() if loss == "cross_entropy" else torch.ones(5, 2)
    with pytest.raises(FloatingPointError, match="lower it"):
        train(make_net=two_outputs, y_train=targets, loss=loss, learning_rate=1e30, steps=20)


@pytest.mark.parametrize("factor", [0.99, 1.01])
def test_unstable_linearization_is_warned_of(factor: float, recwarn: pytest.WarningsRecorder) -> None:
    train(learning_rate=factor * limit("mean", 0.0), keep=("linearization",), steps=1)
    assert bool([w for w in recwarn if "stable limit" in str(w.message)]) == (factor > 1)
    if factor > 1:
        assert recwarn[0].filename == __file__, "the warning points at the call that the reader wrote"


def test_progress_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    train(progress=True)
    assert "training: 100%" in capsys.readouterr().err
