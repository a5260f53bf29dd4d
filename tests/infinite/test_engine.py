"""The plan, tiles, symmetry, gradients in the hyperparameters, and rules that users add."""

from __future__ import annotations

import pytest
import torch
from network_zoo import ZOO, Apply, conv, dense, relu, seq

from ntkbook import infinite_width, nn
from ntkbook.infinite import conformance, dual, engine, register_rule
from ntkbook.infinite.dual_rectified import slopes
from ntkbook.infinite.rectifier import rectify

F64 = torch.float64


def rand(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def layouts(net):
    plan = infinite_width(net).plan
    return [plan.full[node] for node in plan.nodes if node.op in ("placeholder", "call_module")]


# The plan


def test_flatten_needs_the_diagonal_only():
    assert layouts(nn.cnn([2, 4, 4], 1, readout="flatten", image_size=(4, 4)))[:-2] == [False] * 5


def test_pooling_needs_all():
    assert layouts(nn.cnn([2, 4, 4], 1, readout="gap"))[:5] == [True] * 5


def test_after_the_last_pool_the_diagonal_is_enough():
    net = seq(conv(2, 4), nn.AvgPool2d(2), conv(4, 4), torch.nn.Flatten(), dense(16, 1))
    assert layouts(net)[:5] == [True, True, False, False, True]


def test_locally_connected_layers_need_the_diagonal_even_if_pooled():
    net = seq(conv(2, 4), relu(), nn.LocallyConnected2d(4, 4, 4, 3), nn.GlobalAvgPool2d())
    assert layouts(net)[:4] == [False, False, False, True]


def test_a_value_with_two_users_gets_what_the_greedier_needs():
    net = Apply(
        lambda x, a, b, c, pool: b(a(x).flatten(1)) + c(pool(a(x))),
        a=torch.nn.Identity(),
        b=dense(32, 4),
        c=dense(2, 4),
        pool=nn.GlobalAvgPool2d(),
    )
    x = rand(3, 2, 4, 4)
    kernel = infinite_width(net)
    assert kernel.plan.full[kernel.plan.nodes[0]]
    nngp = (
        1.3**2 * (x.flatten(1) @ x.flatten(1).mT / 32 + x.mean((2, 3)) @ x.mean((2, 3)).mT / 2) + 2 * 0.3**2
    )
    torch.testing.assert_close(kernel(x).nngp, nngp)


def test_a_locally_connected_layer_beside_a_pool():
    """Both act on one value, of which the pool needs all and the layer the diagonal."""
    first, last, other = conv(2, 4), dense(48, 5), dense(4, 5)
    local = nn.LocallyConnected2d(4, 4, (3, 4), 3, padding="same", w_std=1.2, b_std=0.5, dtype=F64)

    def forward(x, first, local, last, other):
        h = first(x)
        return last(local(h).flatten(1)) + other(h.mean((2, 3)))

    x = rand(3, 2, 3, 4)
    both = infinite_width(Apply(forward, first=first, local=local, last=last, other=other))(x)
    branches = (
        infinite_width(seq(first, local, torch.nn.Flatten(), last))(x),
        infinite_width(seq(first, nn.GlobalAvgPool2d(), other))(x),
    )
    for name in ("nngp", "ntk"):
        expected = sum(getattr(k, name) for k in branches)
        torch.testing.assert_close(getattr(both, name), expected, rtol=1e-12, atol=1e-13)


def test_flattened_inputs_never_become_spatial():
    x = rand(3, 1, 4, 4)
    net = seq(torch.nn.Flatten(), dense(16, 4))
    kernel = infinite_width(net)
    assert len(kernel.plan.flattened) == 1
    torch.testing.assert_close(kernel(x).nngp, infinite_width(net[1])(x.flatten(1)).nngp)


def test_layout_changes_no_number():
    x = rand(3, 2, 4, 3)
    net = seq(conv(2, 4), relu(), conv(4, 4, 2, stride=2), relu())
    full = infinite_width(net)(x)
    assert full.nngp.shape == (3, 3, 2, 2, 2, 2)
    flat = infinite_width(seq(net, torch.nn.Flatten()))(x)
    for name in ("nngp", "ntk"):
        expected = torch.einsum("nmijij->nm", getattr(full, name)) / 4
        torch.testing.assert_close(getattr(flat, name), expected, rtol=1e-12, atol=0)


# Tiles and symmetry


@pytest.mark.parametrize("name", ["mlp", "conv_flatten", "conv_gap", "attention", "graph", "layer_norm"])
@pytest.mark.parametrize("symmetric", [True, False])
def test_tiles_change_no_number(name, symmetric, monkeypatch):
    make_net, make_x = ZOO[name]
    x = make_x(11)
    x[7] = x[2]  # coincident inputs in two tiles
    net = make_net(6)
    arguments = (x,) if symmetric else (x, x.flip(0)[:9])
    whole = infinite_width(net)(*(a.clone().requires_grad_() for a in arguments))
    monkeypatch.setattr(engine, "_TILE_ENTRIES", 16)
    tiled = infinite_width(net)(*arguments)
    for field in ("nngp", "ntk", "cov1", "cov2"):
        value = getattr(whole, field).detach()
        torch.testing.assert_close(getattr(tiled, field), value, rtol=1e-12, atol=1e-14)


def test_spatial_outputs_are_mirrored_with_their_positions(monkeypatch):
    net, x = conv(2, 4), rand(9, 2, 3, 2)
    whole = infinite_width(net)(x.clone().requires_grad_())
    monkeypatch.setattr(engine, "_TILE_ENTRIES", 16)
    torch.testing.assert_close(infinite_width(net)(x).nngp, whole.nngp.detach())


def test_kernels_survive_copies_and_pickles():
    import copy
    import pickle

    kernel, x = infinite_width(nn.mlp([4, 8, 1], dtype=F64)), rand(3, 4)
    for twin in (copy.deepcopy(kernel), pickle.loads(pickle.dumps(kernel))):
        assert torch.equal(twin(x).ntk, kernel(x).ntk)


def test_the_same_tensor_twice_is_the_symmetric_kernel():
    x = rand(4, 4)
    kernel = infinite_width(ZOO["mlp"][0](6))
    assert kernel(x, x).symmetric
    assert not kernel(x, x.clone()).symmetric


def test_dropout_masks_are_shared_by_equal_batches_only():
    x = rand(4, 4)
    net = seq(dense(4, 8), relu(), torch.nn.Dropout(0.25), dense(8, 1, b_std=None))
    plain = infinite_width(seq(*(net[i] for i in (0, 1, 3))))(x)
    dropped, cross = infinite_width(net)(x), infinite_width(net)(x, x[:3])
    gain = 1 + torch.eye(4, dtype=F64) / 3
    torch.testing.assert_close(dropped.nngp, plain.nngp * gain)
    torch.testing.assert_close(dropped.ntk, plain.ntk * gain)
    torch.testing.assert_close(infinite_width(net)(x, x.clone()).ntk, dropped.ntk)
    torch.testing.assert_close(cross.ntk, plain.ntk[:, :3])
    torch.testing.assert_close(infinite_width(net.eval())(x).ntk, plain.ntk)


MERGES = {
    "sum": lambda h, b: h + b,
    "product": lambda h, b: h * b,
    "channels": lambda h, b: torch.cat([h, b], dim=1),
    "positions": lambda h, b: torch.cat([h, b], dim=2),
}


@pytest.mark.parametrize("first", [True, False], ids=["dropped first", "dropped second"])
@pytest.mark.parametrize("merge", MERGES.values(), ids=MERGES)
@pytest.mark.parametrize("duplicate", [True, False])
def test_a_merge_with_a_dropped_branch_ties_no_pair_of_equal_inputs(merge, first, duplicate):
    """Masks of different inputs are independent, even of equal ones: no entry off the diagonal changes."""

    def forward(x, a, b, drop, last):
        h, dropped = a(x), drop(b(x))
        return last(merge(dropped, h) if first else merge(h, dropped))

    x = rand(3, 2, 4, 3)
    x[2] = x[0]
    parts = {"a": conv(2, 4), "b": conv(2, 4), "drop": torch.nn.Dropout(0.5), "last": nn.GlobalAvgPool2d()}
    net = Apply(forward, **parts)
    arguments = (x,) if duplicate else (x, x[:2].clone())
    dropped = infinite_width(net)(*arguments)
    plain = infinite_width(net.eval())(*arguments)
    other = torch.ones_like(plain.nngp, dtype=torch.bool)
    if duplicate:
        other.fill_diagonal_(False)
        assert bool((dropped.nngp > plain.nngp * 1.001).diagonal().all())
    for name in ("nngp", "ntk"):
        torch.testing.assert_close(
            getattr(dropped, name)[other], getattr(plain, name)[other], rtol=1e-13, atol=0
        )


# Plain torch layers, functional twins


def test_plain_layers_equal_ours():
    x = rand(3, 2, 5, 4)
    plain = seq(
        torch.nn.Conv2d(2, 4, 3, stride=2, padding=1, padding_mode="circular"),
        relu(),
        torch.nn.ConvTranspose2d(4, 4, 3, stride=2, padding=1),
        relu(),
        torch.nn.Flatten(),
        torch.nn.Linear(60, 1, bias=False),
    )
    std = {"w_std": 1.3, "b_std": 0.3}
    ours = seq(
        nn.Conv2d(2, 4, 3, 2, 1, padding_mode="circular", **std),
        relu(),
        nn.ConvTranspose2d(4, 4, 3, 2, 1, **std),
        relu(),
        torch.nn.Flatten(),
        nn.Linear(60, 1, w_std=1.3),
    )
    kernel = infinite_width(plain, **std)(x)
    torch.testing.assert_close(kernel.ntk, infinite_width(ours)(x).ntk, rtol=1e-14, atol=0)


TWINS = {
    "relu": (torch.relu, torch.nn.ReLU()),
    "relu method": (lambda x: x.relu(), torch.nn.ReLU()),
    "leaky": (lambda x: torch.nn.functional.leaky_relu(x, 0.3), torch.nn.LeakyReLU(0.3)),
    "gelu": (lambda x: torch.nn.functional.gelu(x, approximate="tanh"), torch.nn.GELU("tanh")),
    "tanh": (torch.tanh, torch.nn.Tanh()),
    "sigmoid": (lambda x: x.sigmoid(), torch.nn.Sigmoid()),
    "silu": (torch.nn.functional.silu, torch.nn.SiLU()),
    "mish": (torch.nn.functional.mish, torch.nn.Mish()),
    "softplus": (lambda x: torch.nn.functional.softplus(x, beta=2), torch.nn.Softplus(2)),
    "elu": (lambda x: torch.nn.functional.elu(x, 0.5), torch.nn.ELU(0.5)),
    "erf": (torch.erf, nn.Erf()),
    "sin": (torch.sin, nn.Sin()),
    "cos": (lambda x: x.cos(), nn.Cos()),
    "exp": (torch.exp, nn.Exp()),
    "abs": (abs, nn.Abs()),
    "sign": (torch.sign, nn.Sign()),
    "square": (torch.square, nn.Monomial(2)),
    "cube": (lambda x: x**3, nn.Monomial(3)),
}


@pytest.mark.parametrize(("fn", "module"), TWINS.values(), ids=TWINS)
def test_functional_twins(fn, module):
    x = rand(3, 4)
    layers = dense(4, 8), dense(8, 2)
    twin = infinite_width(seq(layers[0], Apply(fn), layers[1]))(x)
    own = infinite_width(seq(layers[0], module, layers[1]))(x)
    torch.testing.assert_close(twin.ntk, own.ntk, rtol=0, atol=0)
    y = layers[0](x)
    torch.testing.assert_close(fn(y), module(y))


# Gradients in the hyperparameters


def test_gradients_of_the_standard_deviations():
    x = rand(4, 4)
    stds = [torch.tensor(value, dtype=F64, requires_grad=True) for value in (1.4, 0.3)]

    def value(w_std, b_std, name):
        net = nn.mlp([4, 8, 8, 1], w_std=w_std, b_std=b_std, dtype=F64)
        assert len(list(net.parameters())) == 6
        return getattr(infinite_width(net)(x), name).sin().sum()

    for name in ("nngp", "ntk"):
        assert torch.autograd.gradcheck(lambda w, b: value(w, b, name), stds, rtol=1e-6)  # noqa: B023


def test_gradients_of_plain_layers():
    w_std = torch.tensor(1.4, dtype=F64, requires_grad=True)
    net = seq(torch.nn.Linear(4, 8), relu(), torch.nn.Linear(8, 1))
    k = infinite_width(net, w_std=w_std, b_std=0.1)(rand(3, 4))
    (slope,) = torch.autograd.grad(k.nngp[0, 1], w_std)
    h = 1e-6
    above, below = (infinite_width(net, w_std=1.4 + s, b_std=0.1)(rand(3, 4)).nngp[0, 1] for s in (h, -h))
    torch.testing.assert_close(slope, (above - below) / (2 * h), rtol=1e-7, atol=0)


@pytest.mark.parametrize("name", ["nngp", "ntk"])
@pytest.mark.parametrize(
    "activation", [torch.nn.ReLU(), nn.Erf(), torch.nn.GELU()], ids=["relu", "erf", "gelu"]
)
def test_gradients_at_coincident_inputs(activation, name):
    """Of one batch with equal rows, moved together; and of a batch against its copy, which stays."""
    base = rand(2, 4)[[0, 1, 0]]
    direction = rand(2, 4, seed=1)[[0, 1, 0]]
    kernel = infinite_width(nn.mlp([4, 8, 8, 1], activation=activation, b_std=0.2, dtype=F64))

    def slope_of(fn, x):
        x = x.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(fn(x).sum(), x)
        return (gradient * direction).sum()

    def difference(fn, x, h=1e-4):
        # ReLU's tangent kernel has a cone |h| (c + c' h) there, so that differences err by c' h: extrapolate.
        coarse, fine = ((fn(x + s * direction) - fn(x - s * direction)).sum() / (2 * s) for s in (h, h / 2))
        return 2 * fine - coarse

    own = lambda x: getattr(kernel(x), name)  # noqa: E731
    torch.testing.assert_close(slope_of(own, base), difference(own, base), rtol=1e-6, atol=1e-6)
    against = lambda x: getattr(kernel(x, base), name)  # noqa: E731
    torch.testing.assert_close(slope_of(against, base), difference(against, base), rtol=1e-6, atol=1e-6)


def test_marginal_likelihood_learns_the_standard_deviations():
    """On digits, three against five: evidence and test error of the NNGP improve from a poor start."""
    datasets = pytest.importorskip("sklearn.datasets")
    images, labels = datasets.load_digits(return_X_y=True)
    chosen = (labels == 3) | (labels == 5)
    x = torch.tensor(images[chosen][:160] / 16.0)
    y = torch.tensor((labels[chosen][:160] == 3) * 2.0 - 1.0)
    x_train, y_train, x_test, y_test = x[:60], y[:60], x[60:], y[60:]
    logs = torch.tensor([-1.5, 1.0], dtype=F64, requires_grad=True)  # log of w_std, b_std

    def evidence_and_error():
        w_std, b_std = logs.exp()
        kernel = infinite_width(nn.mlp([64, 8, 8, 1], w_std=w_std, b_std=b_std, dtype=F64))
        gram = kernel(x_train).nngp + 1e-2 * torch.eye(60, dtype=F64)
        root = torch.linalg.cholesky(gram)
        weights = torch.cholesky_solve(y_train[:, None], root)[:, 0]
        negative = 0.5 * y_train @ weights + root.diagonal().log().sum()
        return negative, (kernel(x_test, x_train).nngp @ weights - y_test).square().mean().detach()

    optimizer = torch.optim.Adam([logs], lr=0.1)
    first, first_error = evidence_and_error()
    for _ in range(30):
        optimizer.zero_grad()
        loss, _ = evidence_and_error()
        loss.backward()
        optimizer.step()
    last, last_error = evidence_and_error()
    assert last < first - 10
    assert last_error < 0.7 * first_error


# Rules of users


class Times(torch.nn.Module):
    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, x):
        return self.factor * x


class Wrong(Times):
    pass


def _times(factor, call):
    return call.kernel.map(lambda t: factor * t)


def test_a_user_rule_passes_the_conformance_suite():
    register_rule(Times)(lambda call: _times(call.target.factor**2, call))
    make_net = lambda n: seq(dense(4, n), Times(2.0), relu(), dense(n, 4))  # noqa: E731
    conformance.check_rule(make_net, rand(3, 4), width=32, n_draws=60)


def test_the_conformance_suite_finds_a_wrong_rule():
    register_rule(Wrong)(lambda call: _times(call.target.factor, call))
    make_net = lambda n: seq(dense(4, n), Wrong(2.0), relu(), dense(n, 4))  # noqa: E731
    with pytest.raises(AssertionError, match="finite networks disagree"):
        conformance.check_rule(make_net, rand(3, 4), width=32, n_draws=60)


def test_the_conformance_suite_finds_an_asymmetric_rule():
    def skewed(call):
        k = call.kernel
        return k.replace(nngp=k.nngp + torch.ones_like(k.nngp).triu(1))

    register_rule(Wrong)(skewed)
    with pytest.raises(AssertionError, match="not symmetric"):
        conformance.check_symmetry(lambda n: seq(dense(4, n), Wrong(2.0)), rand(3, 4))


# Differential operators and transforms


def test_torch_func_transforms():
    from torch.func import jacfwd, jacrev, vmap

    kernel = infinite_width(nn.mlp([2, 8, 1], activation=nn.Erf(), dtype=F64))
    a, b = rand(3, 2), rand(3, 2, seed=1)

    def one(x, y):
        return kernel(x[None], y[None]).ntk[0, 0]

    torch.testing.assert_close(vmap(one)(a, b), kernel(a, b).ntk.diagonal())
    mixed = vmap(jacrev(jacfwd(one), argnums=1))(a, b)
    h = 1e-4
    steps = torch.eye(2, dtype=F64) * h
    expected = torch.stack(
        [
            (
                one(a[0] + s, b[0] + t)
                - one(a[0] + s, b[0] - t)
                - one(a[0] - s, b[0] + t)
                + one(a[0] - s, b[0] - t)
            )
            for s in steps
            for t in steps
        ]
    ) / (4 * h * h)
    torch.testing.assert_close(mixed[0].flatten(), expected, rtol=1e-5, atol=1e-6)


# The fast route of piecewise-linear activations


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(
    "module",
    [torch.nn.ReLU(), torch.nn.LeakyReLU(0.2), nn.ABReLU(0.3, -1.2), nn.ABReLU(0.8, 0.0), nn.Abs()],
    ids=["relu", "leaky", "two slopes", "left slope", "abs"],
)
def test_rectify_equals_the_dual_activation(module, dtype):
    x = torch.cat([rand(5, 3), rand(5, 3), -rand(2, 3), 0 * rand(1, 3), 1e-15 * rand(1, 3), 1e6 * rand(2, 3)])
    x = torch.cat([x, rand(1, 3) + 1e-9]).to(dtype)
    q12 = x @ x.mT
    q = q12.diagonal()
    ntk = rand(len(x), len(x), seed=1).to(dtype)
    expected = dual(module, q[:, None], q12, q[None])
    phi_phi, product = rectify(*slopes(module), q[:, None], q12, q[None], ntk)
    scale = (q[:, None] * q).sqrt().clamp(min=1e-30)
    tolerance = 1e-13 if dtype == torch.float64 else 2e-6
    assert float(((phi_phi - expected.phi_phi) / scale).abs().max()) < tolerance
    error = (product - expected.dphi_dphi * ntk).abs()
    # An angle near 0 or pi is the root of a difference, and errs by the root of its rounding.
    near = 1 - (q12 / scale).abs() < 1e-3
    assert float(error.masked_fill(near, 0).max()) < 10 * tolerance
    assert float(error.max()) < tolerance**0.5


@pytest.mark.parametrize("name", ["mlp", "conv_flatten", "conv_gap", "graph"])
def test_the_fast_route_changes_no_number(name):
    make_net, make_x = ZOO[name]
    kernel = infinite_width(make_net(6))
    x = make_x(5)
    fast, slow = kernel(x), kernel(x.clone().requires_grad_())
    torch.testing.assert_close(fast.ntk, slow.ntk.detach(), rtol=1e-12, atol=1e-14)
