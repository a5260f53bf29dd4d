"""Training against plain loops: torch's optimizer on one network at a time, and on its linearization."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

import ntkbook
from ntkbook import nn, operators, training
from ntkbook.dynamics import LossFlow, MSEFlow

F64 = torch.float64


def points(n: int, d: int = 3, seed: int = 0) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=F64)


X, X_TEST = points(6), points(4, seed=1)
Y = torch.stack([torch.sin(X[:, 0]), X[:, 1] * X[:, 2]], dim=1)
LABELS = torch.tensor([0, 1, 1, 0, 1, 0])
ONE_HOT = torch.nn.functional.one_hot(LABELS).to(F64)


def make_mlp() -> torch.nn.Module:
    return nn.mlp([3, 11, 7, 2], activation=nn.Erf(), w_std=1.3, b_std=0.2, dtype=F64)


def make_plain() -> torch.nn.Module:
    return torch.nn.Sequential(
        torch.nn.Linear(3, 8, dtype=F64), torch.nn.Tanh(), torch.nn.Linear(8, 2, dtype=F64)
    )


def drawn(make_net: Callable[[], torch.nn.Module], seed: int) -> torch.nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return make_net()


def mean_square(f: Tensor, y: Tensor) -> Tensor:
    return 0.5 * ((f - y) ** 2).mean()


def by_optimizer(
    net: torch.nn.Module,
    loss: Callable[[Tensor], Tensor],
    steps: int,
    rate: Callable[[str], float],
    momentum: float = 0.0,
) -> list[tuple[Tensor, Tensor]]:
    """Train with torch.optim.SGD; return outputs on X and X_TEST before each step and after the last."""
    groups = [{"params": [p], "lr": rate(name)} for name, p in net.named_parameters()]
    optimizer = torch.optim.SGD(groups, momentum=momentum)
    seen = [(net(X).detach(), net(X_TEST).detach())]
    for _ in range(steps):
        optimizer.zero_grad()
        loss(net(X)).backward()
        optimizer.step()
        seen.append((net(X).detach(), net(X_TEST).detach()))
    return seen


class Inner(torch.nn.Module):
    """The Laplacian of a network, or the square of its gradient: a residual of physics-informed learning."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.u, self.how = torch.nn.Sequential(*make_plain()[:2], torch.nn.Linear(8, 1, dtype=F64)), how

    def forward(self, x: Tensor) -> Tensor:
        if self.how == "laplacian":
            return operators.laplacian()(self.u)(x)
        if self.how == "vjp":
            output, pull = torch.func.vjp(self.u, x)
            return pull(torch.ones_like(output))[0].square().sum(1, keepdim=True)
        gradient = torch.func.grad(lambda point: self.u(point[None])[0, 0])
        return torch.func.vmap(gradient)(x).square().sum(1, keepdim=True)

    def by_autograd(self, x: Tensor) -> Tensor:
        """The same by nested reverse mode alone."""
        x = x.clone().requires_grad_()
        (first,) = torch.autograd.grad(self.u(x).sum(), x, create_graph=True)
        if self.how != "laplacian":
            return first.square().sum(1, keepdim=True)
        second = [torch.autograd.grad(first[:, i].sum(), x, create_graph=True)[0][:, i] for i in range(3)]
        return sum(second[1:], start=second[0])[:, None]


@pytest.mark.parametrize("chunk_size", [None, 1])
@pytest.mark.parametrize("how", ["laplacian", "vjp", "grad"])
def test_a_network_that_differentiates_inside_is_trained(how: str, chunk_size: int | None) -> None:
    run = training.train(
        lambda: Inner(how),
        X,
        Y[:, :1],
        learning_rate=0.01,
        steps=6,
        n_networks=2,
        record=range(7),
        keep=("kernel",),
        chunk_size=chunk_size,
    )
    for s in range(2):
        net = drawn(lambda: Inner(how), s)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
        for step in range(7):
            residual = net.by_autograd(X)
            torch.testing.assert_close(run.outputs_train[s, step], residual.detach(), rtol=0, atol=1e-12)
            optimizer.zero_grad()
            mean_square(residual, Y[:, :1]).backward()
            optimizer.step()
    assert bool((run.loss[:, -1] < run.loss[:, 0]).all())


def test_the_kernel_of_a_laplacian_is_that_of_its_operator() -> None:
    net = drawn(lambda: Inner("laplacian"), 0)
    operator = operators.laplacian()
    expected = operators.empirical(net.u, X, None, operator, operator, outputs="full")
    torch.testing.assert_close(ntkbook.empirical_ntk(net, X), expected, rtol=0, atol=1e-11)


def test_what_is_computed_anew_on_the_way_back_is_trained_alone() -> None:
    class Checkpointed(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = make_plain()

        def forward(self, x: Tensor) -> Tensor:
            return checkpoint(self.inner, x, use_reentrant=False)

    options: dict[str, Any] = {"learning_rate": 0.1, "steps": 3, "n_networks": 2}
    # An older torch refuses the way forward, a newer one the way back.
    refused = r"^(the gradient of )?Checkpointed cannot be computed for several networks.* with chunk_size=1"
    with pytest.raises(ValueError, match=refused):
        training.train(Checkpointed, X, Y, **options)
    alone = training.train(Checkpointed, X, Y, chunk_size=1, **options)
    together = training.train(make_plain, X, Y, **options)  # whose gradients need no second pass forward
    torch.testing.assert_close(alone.outputs_train, together.outputs_train, rtol=0, atol=1e-12)


LOSSES: list[tuple[Any, str, Tensor, Callable[[Tensor], Tensor]]] = [
    ("mse", "mean", Y, lambda f: 0.5 * ((f - Y) ** 2).mean()),
    ("mse", "sum", Y, lambda f: 0.5 * ((f - Y) ** 2).sum()),
    ("cross_entropy", "mean", LABELS, lambda f: torch.nn.functional.cross_entropy(f, LABELS)),
    (
        "cross_entropy",
        "sum",
        ONE_HOT,
        lambda f: torch.nn.functional.cross_entropy(f, LABELS, reduction="sum"),
    ),
    (torch.nn.functional.huber_loss, "mean", Y, lambda f: torch.nn.functional.huber_loss(f, Y)),
]


@pytest.mark.parametrize("momentum", [0.0, 0.8])
@pytest.mark.parametrize("chunk_size", [1, 2, None])
@pytest.mark.parametrize("case", range(len(LOSSES)))
def test_is_torch_sgd_for_every_network(case: int, chunk_size: int | None, momentum: float) -> None:
    loss, reduction, targets, plain = LOSSES[case]
    rate, steps = 0.1 if reduction == "sum" else 0.5, 12
    for make_net in (make_mlp, make_plain):
        run = training.train(
            make_net,
            X,
            targets,
            loss=loss,
            reduction=reduction,
            learning_rate=rate,
            steps=steps,
            momentum=momentum,
            n_networks=3,
            seed=5,
            x_test=X_TEST,
            record=range(steps + 1),
            chunk_size=chunk_size,
        )
        for s in range(3):
            seen = by_optimizer(drawn(make_net, 5 + s), plain, steps, lambda _: rate, momentum)
            for t, (train, test) in enumerate(seen):
                # The same arithmetic in another order of sums.
                torch.testing.assert_close(run.outputs_train[s, t], train, rtol=0, atol=1e-12)
                torch.testing.assert_close(run.outputs_test[s, t], test, rtol=0, atol=1e-12)
                torch.testing.assert_close(run.loss[s, t], plain(train), rtol=0, atol=1e-12)


def test_one_network_alone_is_torch_sgd_bit_by_bit() -> None:
    run = training.train(
        make_mlp, X, Y, learning_rate=0.5, steps=20, momentum=0.9, record=range(21), seed=3, x_test=X_TEST
    )
    seen = by_optimizer(
        drawn(make_mlp, 3), lambda f: 0.5 * (f - Y).square().sum() / Y.numel(), 20, lambda _: 0.5, 0.9
    )
    assert all(torch.equal(run.outputs_train[0, t], train) for t, (train, _) in enumerate(seen))
    assert all(torch.equal(run.outputs_test[0, t], test) for t, (_, test) in enumerate(seen))


def test_factors_on_the_learning_rate_and_frozen_parameters() -> None:
    factors = {
        "0.weight": 0.5,
        "0.bias": 0.0,
        "2.weight": 1.0,
        "2.bias": 2.0,
        "4.weight": 0.25,
        "4.bias": 1.0,
    }
    run = training.train(
        make_mlp,
        X,
        Y,
        learning_rate=0.4,
        steps=9,
        trained=factors.__getitem__,
        record=range(10),
        n_networks=2,
        keep=("parameters", "0.bias", "linearization", "kernel"),
    )
    net = drawn(make_mlp, 1)
    seen = by_optimizer(net, lambda f: mean_square(f, Y), 9, lambda name: 0.4 * factors[name])
    torch.testing.assert_close(run.outputs_train[1, -1], seen[-1][0], rtol=0, atol=1e-12)
    for name, p in net.named_parameters():
        torch.testing.assert_close(run.parameters[name][1, -1], p.detach(), rtol=0, atol=1e-12)
    linear = ntkbook.linearize(drawn(make_mlp, 1))
    seen = by_optimizer(
        linear, lambda f: mean_square(f, Y), 9, lambda name: 0.4 * factors[name.removeprefix("net.")]
    )
    torch.testing.assert_close(run.linear.outputs_train[1, -1], seen[-1][0], rtol=0, atol=1e-11)


def test_midpoint_is_the_midpoint_rule() -> None:
    run = training.train(
        make_mlp,
        X,
        Y,
        learning_rate=0.7,
        steps=5,
        integrator="midpoint",
        record=range(6),
        keep=("linearization",),
    )
    for net, outputs in (
        (drawn(make_mlp, 0), run.outputs_train),
        (ntkbook.linearize(drawn(make_mlp, 0)), run.linear.outputs_train),
    ):
        for t in range(6):
            torch.testing.assert_close(outputs[0, t], net(X).detach(), rtol=0, atol=1e-12)
            before = [p.detach().clone() for p in net.parameters()]
            for factor in (0.35, 0.7):
                slope = torch.autograd.grad(mean_square(net(X), Y), list(net.parameters()))
                with torch.no_grad():
                    for p, start, g in zip(net.parameters(), before, slope, strict=True):
                        p.copy_(start - factor * g)


def test_centred_and_scaled_outputs() -> None:
    alpha = 7.0
    run = training.train(
        make_mlp,
        X,
        Y,
        learning_rate=0.5,
        steps=8,
        centre=True,
        output_scale=alpha,
        x_test=X_TEST,
        record=[0, 8],
        n_networks=2,
        momentum=0.5,
        keep=("linearization",),
    )
    assert not run.outputs_train[:, 0].any()
    assert not run.outputs_test[:, 0].any()
    net = drawn(make_mlp, 1)
    start, start_test = net(X).detach(), net(X_TEST).detach()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.5, momentum=0.5)
    for _ in range(8):
        optimizer.zero_grad()
        (mean_square(alpha * (net(X) - start), Y) / alpha**2).backward()
        optimizer.step()
    torch.testing.assert_close(run.outputs_train[1, 1], alpha * (net(X) - start).detach(), rtol=0, atol=1e-12)
    torch.testing.assert_close(
        run.outputs_test[1, 1], alpha * (net(X_TEST) - start_test).detach(), rtol=0, atol=1e-12
    )
    # The linearized trajectory does not depend on alpha.
    plain = training.train(
        make_mlp,
        X,
        Y,
        learning_rate=0.5,
        steps=8,
        centre=True,
        x_test=X_TEST,
        record=[0, 8],
        n_networks=2,
        momentum=0.5,
        keep=("linearization",),
    )
    torch.testing.assert_close(run.linear.outputs_test, plain.linear.outputs_test, rtol=0, atol=1e-12)


@pytest.mark.parametrize("momentum", [0.0, 0.8])
@pytest.mark.parametrize("case", range(len(LOSSES)))
def test_linear_run_is_descent_of_the_linearized_network(case: int, momentum: float) -> None:
    loss, reduction, targets, plain = LOSSES[case]
    rate, steps = 0.1 if reduction == "sum" else 0.5, 10
    run = training.train(
        make_mlp,
        X,
        targets,
        loss=loss,
        reduction=reduction,
        learning_rate=rate,
        steps=steps,
        momentum=momentum,
        n_networks=2,
        x_test=X_TEST,
        record=range(steps + 1),
        keep=("linearization",),
    )
    for s in range(2):
        seen = by_optimizer(ntkbook.linearize(drawn(make_mlp, s)), plain, steps, lambda _: rate, momentum)
        for t, (train, test) in enumerate(seen):
            torch.testing.assert_close(run.linear.outputs_train[s, t], train, rtol=0, atol=1e-11)
            torch.testing.assert_close(run.linear.outputs_test[s, t], test, rtol=0, atol=1e-11)
            error = float((run.outputs_test[s, t] - test).norm())
            assert float(run.linear.error_test[s, t]) == pytest.approx(error, abs=1e-10)
    assert bool((run.linear.error_train[:, 1:] > 1e-4).all()), "the networks are not linear"


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_linear_run_is_the_closed_form(reduction: str) -> None:
    rate = 0.5 if reduction == "mean" else 0.05
    run = training.train(
        make_mlp,
        X,
        Y,
        learning_rate=rate,
        steps=400,
        reduction=reduction,
        n_networks=2,
        x_test=X_TEST,
        record=training.log_steps(400, 9),
        keep=("linearization", "kernel"),
    )
    for s in range(2):
        net = drawn(make_mlp, s)
        k = ntkbook.empirical_ntk(net, X).permute(0, 2, 1, 3).reshape(12, 12)
        k_test = ntkbook.empirical_ntk(net, X_TEST, X).permute(0, 2, 1, 3).reshape(8, 12)
        flow = MSEFlow(k, Y.reshape(12, 1), reduction=reduction, learning_rate=rate)
        f0, f0_test = net(X).detach().reshape(12, 1), net(X_TEST).detach().reshape(8, 1)
        train, test = flow.train(run.steps, f0), flow.test(run.steps, k_test, f0_test, f0)
        # 400 steps add up rounding errors of some 1e-16 each.
        torch.testing.assert_close(run.linear.outputs_train[s].reshape(-1, 12, 1), train, rtol=0, atol=1e-10)
        torch.testing.assert_close(run.linear.outputs_test[s].reshape(-1, 8, 1), test, rtol=0, atol=1e-10)


def test_last_layer_alone_is_linear() -> None:
    run = training.train(
        make_mlp,
        X,
        Y,
        learning_rate=0.5,
        steps=30,
        trained="last_layer",
        keep=("linearization", "parameters"),
        n_networks=2,
        x_test=X_TEST,
    )
    assert sorted(run.parameters) == ["4.bias", "4.weight"]
    assert float(run.movement.norm[:, -1].min()) > 0.1
    assert float(run.linear.error_test.max()) < 1e-12


def test_random_state_of_the_caller_is_left_alone() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    training.train(make_mlp, X, Y, learning_rate=0.1, steps=2, n_networks=2)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(("loss", "targets"), [("cross_entropy", ONE_HOT), ("mse", Y)])
def test_midpoint_follows_the_flow_in_the_same_unit_of_time(loss: str, targets: Tensor) -> None:
    # Readouts alone have a kernel that is constant and the same for both outputs.
    errors = []
    for rate in (0.4, 0.1):
        run = training.train(
            make_mlp,
            X,
            targets,
            loss=loss,
            learning_rate=rate,
            steps=round(20 / rate),
            integrator="midpoint",
            trained="last_layer",
            keep=("kernel",),
            kernel_outputs="mean",
            record=[0, round(4 / rate), round(20 / rate)],
        )
        flow = LossFlow(run.kernel.first[0], targets, loss=loss, learning_rate=rate)
        predicted = flow.train(run.steps, run.outputs_train[0, 0])
        errors.append(float((run.outputs_train[0] - predicted).abs().max()))
        assert float((predicted[0] - predicted[2]).abs().max()) > 0.5
    assert errors[1] < 2e-3
    # Of second order: a quarter of the step leaves a sixteenth of the error.
    assert errors[0] / errors[1] == pytest.approx(16, rel=0.3)
