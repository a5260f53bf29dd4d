"""What cannot have a kernel is refused by name, with the remedy."""

import pytest
import torch
from torch import nn

import ntkbook
from ntkbook import empirical_ntk
from ntkbook.empirical.checks import check_mode

X = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))


class Fn(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.linear, self.function = nn.Linear(3, 2), function

    def forward(self, x):
        return self.function(self.linear, x)


def net(*extra):
    return nn.Sequential(nn.Linear(3, 5), *extra, nn.Linear(5, 2))


def poisoned(value):
    module = net()
    with torch.no_grad():
        module[1].weight[0, 0] = value
    return module


def with_nan(x):
    x = x.clone()
    x[1, 2] = float("nan")
    return x


BAD = {
    "not a module": (lambda: empirical_ntk(torch.relu, X), TypeError, "net must be a torch.nn.Module"),
    "not a tensor": (lambda: empirical_ntk(net(), [[1.0, 2.0, 3.0]]), TypeError, "x1 must be a torch.Tensor"),
    "no output at all": (
        lambda: empirical_ntk(Fn(lambda linear, x: linear(x)[:, :0]), X),
        ValueError,
        r"output is empty: its shape is \(\d, 0\)",
    ),
    "empty batch": (lambda: empirical_ntk(net(), X[:0]), ValueError, r"x1 is empty: its shape is \(0, 3\)"),
    "empty second batch": (lambda: empirical_ntk(net(), X, X[:0]), ValueError, "x2 is empty"),
    "scalar": (lambda: empirical_ntk(net(), torch.tensor(1.0)), ValueError, "x1 has no batch axis"),
    "one sample without batch axis": (
        lambda: empirical_ntk(net(), X[0]),
        ValueError,
        "first axis must be the batch",
    ),
    "feature shapes": (
        lambda: empirical_ntk(net(), X, X[:, :2]),
        ValueError,
        r"x2 has samples of shape \(2,\)",
    ),
    "nan input": (
        lambda: empirical_ntk(net(), with_nan(X)),
        ValueError,
        r"x1 holds 1 entries .* index \(1, 2\)",
    ),
    "infinite second input": (lambda: empirical_ntk(net(), X, X / 0), ValueError, "x2 holds 12 entries"),
    "nan parameter": (
        lambda: empirical_ntk(poisoned(float("nan")), X),
        ValueError,
        "parameter '1.weight' of net",
    ),
    "infinite parameter": (lambda: empirical_ntk(poisoned(float("inf")), X), ValueError, "'1.weight' of net"),
    "infinite output": (lambda: empirical_ntk(Fn(lambda m, x: m(x) / 0), X), ValueError, "the output of net"),
    "second batch elsewhere": (lambda: empirical_ntk(net(), X, X.to("meta")), ValueError, "x2 is on meta"),
    "dtypes": (
        lambda: empirical_ntk(net(), X.double()),
        ValueError,
        "x1 is torch.float64 but the parameters",
    ),
    "dtypes of batches": (
        lambda: empirical_ntk(net().double(), X.double(), X),
        ValueError,
        "x2 is torch.float32",
    ),
    "nothing trainable": (
        lambda: empirical_ntk(net().requires_grad_(False), X),
        ValueError,
        "no parameter of",
    ),
    "no parameters": (lambda: empirical_ntk(nn.ReLU(), X), ValueError, "no parameter of ReLU requires grad"),
    "integer output": (
        lambda: empirical_ntk(Fn(lambda m, x: m(x).argmax(1)), X),
        TypeError,
        "has no gradient",
    ),
    "tuple output": (
        lambda: empirical_ntk(Fn(lambda m, x: (m(x), x)), X),
        TypeError,
        "must return one tensor",
    ),
    "lost batch axis": (lambda: empirical_ntk(Fn(lambda m, x: m(x).sum(0)), X[:3]), ValueError, "first axis"),
    "scalar output": (
        lambda: empirical_ntk(Fn(lambda m, x: m(x).sum()), X),
        ValueError,
        "first axis must be",
    ),
    "batch norm in train mode": (
        lambda: empirical_ntk(net(nn.BatchNorm1d(5)), X),
        ValueError,
        "'1' .BatchNorm1d.",
    ),
    "batch norm without statistics": (
        lambda: empirical_ntk(net(nn.BatchNorm1d(5, track_running_stats=False)).eval(), X),
        ValueError,
        "keeps no running statistics",
    ),
    "dropout in train mode": (
        lambda: empirical_ntk(net(nn.Dropout(0.3)), X),
        ValueError,
        "drops entries at random",
    ),
    "random slope in train mode": (lambda: empirical_ntk(net(nn.RReLU()), X), ValueError, "net.eval()"),
    "attention dropout": (
        lambda: check_mode(nn.MultiheadAttention(4, 2, dropout=0.1)),
        ValueError,
        "net .MultiheadAttention. drops entries",
    ),
    "random forward": (
        lambda: empirical_ntk(Fn(lambda m, x: m(x) + torch.randn(len(x), 2)), X),
        ValueError,
        "from call to call",
    ),
    "functional dropout": (
        lambda: empirical_ntk(Fn(lambda m, x: nn.functional.dropout(m(x), 0.5)), X),
        ValueError,
        "from call to call",
    ),
    "mixed samples": (
        lambda: empirical_ntk(Fn(lambda m, x: m(x - x.mean(0))), X),
        ValueError,
        "other samples",
    ),
    "chunk size 0": (
        lambda: empirical_ntk(net(), X, chunk_size=0),
        ValueError,
        "chunk_size must be at least 1, got 0",
    ),
    "fractional chunk size": (lambda: empirical_ntk(net(), X, chunk_size=1.5), TypeError, "chunk_size"),
    "memory limit 0": (lambda: empirical_ntk(net(), X, memory_limit=0), ValueError, "memory_limit"),
    "memory for the result": (
        lambda: empirical_ntk(net(), X, memory_limit=100),
        ValueError,
        "cannot hold the result",
    ),
    "memory for the work": (lambda: empirical_ntk(net(), X, memory_limit=300), ValueError, "need about"),
    "unknown method": (lambda: empirical_ntk(net(), X, method="fast"), ValueError, "method must be one of"),
    "unknown outputs": (
        lambda: empirical_ntk(net(), X, outputs="trace"),
        ValueError,
        "outputs must be one of",
    ),
    "integer dtype": (lambda: empirical_ntk(net(), X, dtype=torch.int64), TypeError, "dtype must be a real"),
    "nngp of labels": (
        lambda: ntkbook.empirical_nngp(Fn(lambda m, x: m(x).argmax(1)), X),
        TypeError,
        "has no gradient",
    ),
    "vector of another shape": (
        lambda: ntkbook.ntk_vector_product(net(), X, None, torch.ones(3, 2)),
        ValueError,
        r"shape \(4, 2\) of net\(x2\), got \(3, 2\)",
    ),
    "vector of another dtype": (
        lambda: ntkbook.ntk_vector_product(net(), X, None, torch.ones(4, 2, dtype=torch.float64)),
        ValueError,
        "vector is torch.float64",
    ),
    "operator times a short vector": (
        lambda: ntkbook.NTKOperator(net(), X) @ torch.ones(4),
        ValueError,
        r"the kernel has shape \(8, 8\)",
    ),
    "eigenvalues of a cross kernel": (
        lambda: ntkbook.NTKOperator(net(), X, X[:2]).top_eigenvalues(),
        ValueError,
        "symmetric",
    ),
    "too many eigenvalues": (
        lambda: ntkbook.NTKOperator(net(), X).top_eigenvalues(8),
        ValueError,
        "k must lie",
    ),
    "negative degree": (
        lambda: ntkbook.taylor_expand(net(), -1),
        ValueError,
        "degree must be at least 0",
    ),
    "fractional degree": (
        lambda: ntkbook.taylor_expand(net(), 1.0),
        TypeError,
        "degree must be an integer",
    ),
    "expansion in train mode": (lambda: ntkbook.linearize(net(nn.Dropout(0.1))), ValueError, "net.eval()"),
    "one draw": (lambda: ntkbook.monte_carlo_kernel(net, X, n_samples=1), ValueError, "at least 2"),
    "a net for a maker": (lambda: ntkbook.monte_carlo_kernel(net(), X), TypeError, "write lambda"),
    "no steps": (
        lambda: ntkbook.track_ntk(net(), X, train_step=lambda step: None, n_steps=0),
        ValueError,
        "n_steps must be",
    ),
    "step that is no function": (
        lambda: ntkbook.track_ntk(net(), X, train_step=None, n_steps=1),
        TypeError,
        "train_step",
    ),
    "targets of another length": (
        lambda: ntkbook.track_ntk(net(), X, X[:2], train_step=lambda step: None, n_steps=1),
        ValueError,
        "y has 2 rows but x has 4",
    ),
    "targets of zero": (
        lambda: ntkbook.track_ntk(net(), X, 0 * X, train_step=lambda step: None, n_steps=1),
        ValueError,
        "zero everywhere",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_named(name):
    call, error, message = BAD[name]
    with pytest.raises(error, match=message):
        call()


def test_a_batch_of_one_is_served():
    torch.manual_seed(1)
    module = net(nn.Tanh())
    whole = empirical_ntk(module, X)
    for method in ("auto", "structured", "jacobian", "vector_product"):
        assert torch.allclose(empirical_ntk(module, X[:1], method=method), whole[:1, :1], atol=1e-5)
        assert torch.allclose(empirical_ntk(module, X[:1], X, method=method), whole[:1], atol=1e-5)
        assert torch.allclose(empirical_ntk(module, X, X[:1], method=method), whole[:, :1], atol=1e-5)


def test_eval_mode_serves_what_train_mode_does_not():
    module = net(nn.BatchNorm1d(5), nn.Dropout(0.3)).eval()
    assert torch.isfinite(empirical_ntk(module, X)).all()


def test_duplicate_and_zero_samples_are_no_trouble():
    x = torch.cat([X, X[:1], torch.zeros(1, 3)])
    kernel = empirical_ntk(net(nn.ReLU()), x)
    assert torch.isfinite(kernel).all()
    assert torch.allclose(kernel[0], kernel[4], atol=1e-6)
