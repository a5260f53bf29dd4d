"""Averages over draws and histories of training, against the same done at once by hand."""

import pytest
import torch
from torch import nn

from ntkbook import empirical_nngp, empirical_ntk, monte_carlo_kernel, track_ntk

D = torch.float64


def draw():
    return nn.Sequential(nn.Linear(3, 6), nn.Tanh(), nn.Linear(6, 2)).double()


def batch(n=5):
    return torch.randn(n, 3, dtype=D, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("second", [None, 2])
def test_streamed_moments_are_the_plain_ones(second):
    x1, x2 = batch(), None if second is None else batch()[:second]
    kernel = monte_carlo_kernel(draw, x1, x2, n_samples=9, seed=4)
    nngp, ntk = [], []
    for s in range(9):
        torch.manual_seed(4 + s)
        net = draw()
        nngp.append(empirical_nngp(net, x1, x2))
        ntk.append(empirical_ntk(net, x1, x2, outputs="mean"))
    for estimate, values in ((kernel.nngp, torch.stack(nngp)), (kernel.ntk, torch.stack(ntk))):
        assert torch.allclose(estimate.mean, values.mean(0), rtol=1e-12)
        assert torch.allclose(estimate.standard_error, values.std(0) / 3, rtol=1e-10)
    assert kernel.n_samples == 9


def test_draws_repeat_and_leave_the_callers_randomness():
    torch.manual_seed(1)
    state = torch.random.get_rng_state()
    first = monte_carlo_kernel(draw, batch(), n_samples=3, seed=7)
    assert torch.equal(torch.random.get_rng_state(), state)
    again, other = (monte_carlo_kernel(draw, batch(), n_samples=3, seed=s) for s in (7, 8))
    assert torch.equal(first.ntk.mean, again.ntk.mean)
    assert not torch.equal(first.ntk.mean, other.ntk.mean)


def test_progress_bars_show_the_work(capsys):
    monte_carlo_kernel(draw, batch(), n_samples=2, progress=True)
    assert "draws" in capsys.readouterr().err
    monte_carlo_kernel(draw, batch(), n_samples=2)
    assert capsys.readouterr().err == ""


def training(net, x, y, learning_rate=0.2):
    optimizer = torch.optim.SGD(net.parameters(), lr=learning_rate)

    def step(_):
        optimizer.zero_grad()
        (0.5 * (net(x) - y) ** 2).mean().backward()
        optimizer.step()

    return step


def test_history_is_what_kernels_taken_by_hand_give():
    x, y = batch(), batch()[:, :2]
    torch.manual_seed(2)
    net = draw()
    twin = draw()
    twin.load_state_dict(net.state_dict())
    history = track_ntk(net, x, y, train_step=training(net, x, y), n_steps=5, every=2, n_eigenvalues=3)
    assert history.steps.tolist() == [0, 2, 4, 5]
    step, kernels = training(twin, x, y), []
    for t in range(6):
        if t in (0, 2, 4, 5):
            kernels.append(empirical_ntk(twin, x, outputs="mean", method="jacobian"))
        step(t)
    kernels = torch.stack(kernels)
    norms = kernels.flatten(1).norm(dim=1)
    target = y @ y.T
    assert torch.allclose(history.drift, (kernels - kernels[0]).flatten(1).norm(dim=1) / norms[0], atol=1e-12)
    assert torch.allclose(
        history.alignment, (kernels * target).sum((1, 2)) / norms / target.norm(), rtol=1e-10
    )
    assert torch.allclose(history.eigenvalues, torch.linalg.eigvalsh(kernels).flip(1)[:, :3], rtol=1e-9)
    assert torch.allclose(history.first, kernels[0])
    assert torch.allclose(history.last, kernels[-1])
    assert float(history.drift[-1]) > 0


def test_history_without_targets_and_without_training():
    net = draw()
    history = track_ntk(net, batch(), train_step=lambda step: None, n_steps=3)
    assert history.alignment is None
    assert not history.drift.any()
    assert history.eigenvalues.shape == (4, 5)


def test_alignment_of_a_kernel_with_its_own_direction_is_one():
    # A bias alone has the kernel 1 1^T, the direction of constant targets.
    net = nn.Linear(3, 1).double()
    net.weight.requires_grad_(False)
    history = track_ntk(net, batch(), 3 * torch.ones(5, dtype=D), train_step=lambda step: None, n_steps=1)
    assert torch.allclose(history.alignment, torch.ones(2, dtype=D))


def test_layers_return_to_their_own_modes():
    net = nn.Sequential(nn.Linear(3, 6), nn.BatchNorm1d(6), nn.Dropout(0.5), nn.Linear(6, 1)).double()
    net.train()
    net[1].eval()
    modes = [m.training for m in net.modules()]
    seen = []

    def step(_):
        seen.append([m.training for m in net.modules()])

    track_ntk(net, batch(), train_step=step, n_steps=2)
    assert seen == [modes, modes]
    assert [m.training for m in net.modules()] == modes
