"""What kernels at finite width refuse: ``empirical_ntk`` and its kin, expansions, tracking, training."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from refusal import INF, NAN, Refusal
from refusals_infinite import spoiled

import ntkbook
from ntkbook import nn, training

NET = torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.Tanh(), torch.nn.Linear(5, 2))
X = torch.linspace(-1, 1, 12).reshape(4, 3)
Y = torch.ones(4, 2)


class Function(torch.nn.Module):
    """A network whose outputs pass through a function of the tests."""

    def __init__(self, function: Callable[..., object]) -> None:
        super().__init__()
        self.linear, self.function = torch.nn.Linear(3, 2), function

    def forward(self, x: torch.Tensor) -> object:
        return self.function(self.linear(x))


def with_layer(layer: torch.nn.Module) -> torch.nn.Module:
    return torch.nn.Sequential(torch.nn.Linear(3, 5), layer, torch.nn.Linear(5, 2))


def with_weight(value: float) -> torch.nn.Module:
    net = torch.nn.Linear(3, 2)
    with torch.no_grad():
        net.weight[0, 0] = value
    return net


KERNELS: dict[str, Callable[..., object]] = {
    "empirical_ntk": ntkbook.empirical_ntk,
    "empirical_nngp": ntkbook.empirical_nngp,
    "NTKOperator": ntkbook.NTKOperator,
    "ntk_vector_product": lambda net, x1, x2=None: ntkbook.ntk_vector_product(net, x1, x2, Y),
    "monte_carlo_kernel": lambda net, x1, x2=None: ntkbook.monte_carlo_kernel(lambda: net, x1, x2, 2),
    "track_ntk": lambda net, x1: ntkbook.track_ntk(net, x1, train_step=print, n_steps=1),
}


def of_batches() -> Iterator[Refusal]:
    bad: list[tuple[Any, type[Exception], str, str]] = [
        (X.numpy(), TypeError, "ndarray", "torch.as_tensor"),
        ([[1.0, 2.0, 3.0]], TypeError, "list", "torch.as_tensor"),
        (torch.tensor(1.0), ValueError, "()", ".unsqueeze(0)"),
        (X[:0], ValueError, "(0, 3)", "at least one sample"),
        (spoiled(X), ValueError, "(3, 2)", "remove or replace"),
        (X.double(), ValueError, "torch.float64", "convert"),
        (X.to("meta"), ValueError, "meta", "move"),
    ]
    for of, kernel in KERNELS.items():
        for x, error, shown, remedy in bad:
            argument = "x:x1" if of == "track_ntk" else "x1"
            call = lambda kernel=kernel, x=x: kernel(NET, x)  # noqa: E731
            yield Refusal(of, argument, call, error, shown, remedy)
            if of != "track_ntk":
                call = lambda kernel=kernel, x=x: kernel(NET, X, x)  # noqa: E731
                yield Refusal(of, "x2", call, error, shown, remedy)
        if of != "track_ntk":
            call = lambda kernel=kernel: kernel(NET, X, X[:, :2])  # noqa: E731
            yield Refusal(of, "x2", call, ValueError, "(2,)", "must be alike")
        call = lambda kernel=kernel: kernel(NET, X[0])  # noqa: E731
        argument = "x:x" if of == "track_ntk" else "x1:x"
        yield Refusal(of, argument, call, ValueError, "(2,)", "x.unsqueeze(0)")


def of_networks() -> Iterator[Refusal]:
    class Branches(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x

    bad: list[tuple[object, type[Exception], str, str]] = [
        (torch.relu, TypeError, "builtin", "torch.nn.Module"),
        (with_weight(NAN), ValueError, "'weight'", "remove or replace"),
        (with_layer(torch.nn.BatchNorm1d(5)), ValueError, "BatchNorm1d", "net.eval()"),
        (
            with_layer(torch.nn.BatchNorm1d(5, track_running_stats=False)).eval(),
            ValueError,
            "'1'",
            "use Group",
        ),
        (with_layer(torch.nn.Dropout(0.5)), ValueError, "Dropout", "net.eval()"),
        (with_layer(torch.nn.RReLU()), ValueError, "RReLU", "net.eval()"),
        (Function(lambda y: y.argmax(1)), TypeError, "torch.int64", "real scores"),
        (Function(lambda y: (y, y)), TypeError, "tuple", "wrap it"),
        (Function(lambda y: y.sum(0)), ValueError, "(2,)", "the first axis must"),
        (Function(lambda y: y.sum()), ValueError, "()", "the first axis must"),
        (Function(lambda y: y[:, :0]), ValueError, "(2, 0)", "at least one number"),
        (Function(lambda y: y / 0), ValueError, "4 entries", "remove or replace"),
        (Function(lambda y: y - y.mean(0)), ValueError, "Function", "net.eval()"),
        (Function(lambda y: y + torch.randn(2)), ValueError, "Function", "net.eval()"),
        (Function(lambda y: y.to(torch.complex64)), TypeError, "torch.complex64", "real scores"),
    ]
    for of, kernel in KERNELS.items():
        for net, error, shown, remedy in bad:
            # Modes are set for the reader by track_ntk.
            if of == "track_ntk" and not isinstance(net, Function):
                continue
            if of == "monte_carlo_kernel" and net is torch.relu:
                continue
            argument = {"monte_carlo_kernel": "make_net:net", "ntk_vector_product": "net"}.get(of, "net")
            if shown in ("Function", "'1'"):
                argument = argument.partition(":")[0] + (":Function" if shown == "Function" else ":layer")
            call = lambda kernel=kernel, net=net: kernel(net, X)  # noqa: E731
            yield Refusal(of, argument, call, error, shown, remedy)
    frozen = torch.nn.Linear(3, 2).requires_grad_(False)
    for of in ("empirical_ntk", "NTKOperator", "ntk_vector_product", "track_ntk"):
        call = lambda kernel=KERNELS[of]: kernel(frozen, X)  # noqa: E731
        yield Refusal(of, "net", call, ValueError, "Linear", "net.requires_grad_(True)")
    for of, call in {
        "linearize": ntkbook.linearize,
        "taylor_expand": lambda net: ntkbook.taylor_expand(net, 2),
    }.items():
        for net, error, shown, remedy in bad[:3] + bad[4:6]:
            yield Refusal(of, "net", lambda call=call, net=net: call(net), error, shown, remedy)


def of_options() -> Iterator[Refusal]:
    bad: list[tuple[str, Any, type[Exception], str, str]] = [
        ("outputs", "trace", ValueError, "'trace'", "'full', 'diagonal', 'mean'"),
        ("outputs", None, ValueError, "None", "'full', 'diagonal', 'mean'"),
        ("method", "fast", ValueError, "'fast'", "'auto', 'jacobian', 'vector_product', 'structured'"),
        ("chunk_size", 0, ValueError, "got 0", "at least 1"),
        ("chunk_size", 2.0, TypeError, "got 2.0", "a whole number"),
        ("chunk_size", True, TypeError, "got True", "a whole number"),
        ("dtype", torch.int64, TypeError, "torch.int64", "such as torch.float64"),
        ("dtype", "double", TypeError, "'double'", "such as torch.float64"),
        ("memory_limit", -1, ValueError, "got -1", "at least 1"),
        ("memory_limit", "2GB", TypeError, "'2GB'", "a whole number"),
        ("memory_limit", 100, ValueError, "100", "raise"),
    ]
    for name, value, error, shown, remedy in bad:
        call = lambda kw={name: value}: ntkbook.empirical_ntk(NET, X, **kw)  # noqa: E731
        yield Refusal("empirical_ntk", name, call, error, shown, remedy)
    for of, call in {
        "NTKOperator": lambda size: ntkbook.NTKOperator(NET, X, chunk_size=size),
        "ntk_vector_product": lambda size: ntkbook.ntk_vector_product(NET, X, None, Y, chunk_size=size),
    }.items():
        for size, error, remedy in ((0, ValueError, "at least 1"), (1.5, TypeError, "whole number")):
            yield Refusal(of, "chunk_size", lambda c=call, s=size: c(s), error, f"got {size}", remedy)


def product(vector: Any) -> object:
    return ntkbook.ntk_vector_product(NET, X, None, vector)


def operator(x2: Any = None) -> Any:
    return ntkbook.NTKOperator(NET, X, x2)


def track(**options: Any) -> object:
    good: dict[str, Any] = {"net": NET, "x": X, "train_step": lambda step: None, "n_steps": 1}
    arguments = good | options
    return ntkbook.track_ntk(arguments.pop("net"), arguments.pop("x"), arguments.pop("y", None), **arguments)


def monte_carlo(**options: Any) -> object:
    good: dict[str, Any] = {"make_net": lambda: torch.nn.Linear(3, 2), "x1": X, "n_samples": 2}
    return ntkbook.monte_carlo_kernel(**(good | options))


ROWS: list[tuple[str, str, Callable[[], object], type[Exception], str, str]] = [
    ("ntk_vector_product", "vector", lambda: product(Y[:3]), ValueError, "(3, 2)", "(4, 2)"),
    ("ntk_vector_product", "vector", lambda: product(Y[:, 0]), ValueError, "(4,)", "(4, 2)"),
    ("ntk_vector_product", "vector", lambda: product(Y.numpy()), ValueError, "ndarray", "a tensor"),
    (
        "ntk_vector_product",
        "vector",
        lambda: product(Y.double()),
        ValueError,
        "float64",
        "vector.to(net(x2))",
    ),
    ("ntk_vector_product", "vector", lambda: product(spoiled(Y)), ValueError, "(3, 1)", "remove or replace"),
    ("NTKOperator.__matmul__", "v", lambda: operator() @ torch.ones(4), ValueError, "(4,)", "(8,)"),
    (
        "NTKOperator.__matmul__",
        "v",
        lambda: operator() @ torch.ones(2, 2, 2),
        ValueError,
        "(2, 2, 2)",
        "(8, m)",
    ),
    (
        "NTKOperator.__matmul__",
        "v",
        lambda: operator() @ torch.ones(8).double(),
        ValueError,
        "float64",
        "v.to(",
    ),
    (
        "NTKOperator.__matmul__",
        "v",
        lambda: operator() @ np.ones(8),
        TypeError,
        "ndarray",
        "torch.as_tensor(v)",
    ),
    ("NTKOperator.__matmul__", "v", lambda: operator() @ torch.full((8,), NAN), ValueError, "(0,)", "remove"),
    ("NTKOperator.matvec", "v", lambda: operator().matvec(np.ones(3)), ValueError, "(3,)", "(8,)"),
    ("NTKOperator.matvec", "v", lambda: operator().matvec("ones"), TypeError, "'ones'", "numbers"),
    (
        "NTKOperator.matvec",
        "v",
        lambda: operator().matvec(np.full(8, INF)),
        ValueError,
        "8 entries",
        "remove",
    ),
    ("NTKOperator.rmatvec", "v", lambda: operator(X[:2]).rmatvec(np.ones(4)), ValueError, "(4,)", "(8,)"),
    ("NTKOperator.matmat", "v", lambda: operator().matmat(np.ones((3, 2))), ValueError, "(3, 2)", "(8, m)"),
    ("NTKOperator.top_eigenvalues", "k", lambda: operator().top_eigenvalues(8), ValueError, "got 8", "7"),
    (
        "NTKOperator.top_eigenvalues",
        "k",
        lambda: operator().top_eigenvalues(0),
        ValueError,
        "got 0",
        "at least 1",
    ),
    (
        "NTKOperator.top_eigenvalues",
        "k",
        lambda: operator().top_eigenvalues(1.5),
        TypeError,
        "1.5",
        "whole number",
    ),
    (
        "NTKOperator.top_eigenvalues",
        "k:x2",
        lambda: operator(X[:2]).top_eigenvalues(),
        ValueError,
        "symmetric",
        "build NTKOperator with x2=None",
    ),
    (
        "NTKOperator.top_eigenvalues",
        "tolerance",
        lambda: operator().top_eigenvalues(tolerance=-1.0),
        ValueError,
        "-1.0",
        "not negative",
    ),
    ("taylor_expand", "degree", lambda: ntkbook.taylor_expand(NET, -1), ValueError, "got -1", "at least 0"),
    (
        "taylor_expand",
        "degree",
        lambda: ntkbook.taylor_expand(NET, 1.0),
        TypeError,
        "got 1.0",
        "whole number",
    ),
    (
        "taylor_expand",
        "degree",
        lambda: ntkbook.taylor_expand(NET, True),
        TypeError,
        "got True",
        "whole number",
    ),
    (
        "monte_carlo_kernel",
        "make_net",
        lambda: monte_carlo(make_net=NET),
        TypeError,
        "Sequential",
        "write lambda",
    ),
    ("monte_carlo_kernel", "make_net", lambda: monte_carlo(make_net=3), TypeError, "int", "write lambda"),
    (
        "monte_carlo_kernel",
        "make_net:net",
        lambda: monte_carlo(make_net=lambda: 3),
        TypeError,
        "int",
        "Module",
    ),
    ("monte_carlo_kernel", "n_samples", lambda: monte_carlo(n_samples=1), ValueError, "got 1", "at least 2"),
    (
        "monte_carlo_kernel",
        "n_samples",
        lambda: monte_carlo(n_samples=None),
        TypeError,
        "None",
        "whole number",
    ),
    (
        "monte_carlo_kernel",
        "n_samples",
        lambda: monte_carlo(n_samples=2.5),
        TypeError,
        "2.5",
        "whole number",
    ),
    ("monte_carlo_kernel", "seed", lambda: monte_carlo(seed=0.5), TypeError, "0.5", "whole number"),
    ("monte_carlo_kernel", "seed", lambda: monte_carlo(seed="0"), TypeError, "'0'", "whole number"),
    ("track_ntk", "net", lambda: track(net="mlp"), TypeError, "str", "torch.nn.Module"),
    ("track_ntk", "y", lambda: track(y=Y[:3]), ValueError, "3 rows", "one target for each"),
    ("track_ntk", "y", lambda: track(y=torch.zeros(4)), ValueError, "zero everywhere", "leave y out"),
    ("track_ntk", "y", lambda: track(y=Y.numpy()), TypeError, "ndarray", "torch.as_tensor(y)"),
    ("track_ntk", "y", lambda: track(y=spoiled(Y)), ValueError, "(3, 1)", "remove or replace"),
    ("track_ntk", "train_step", lambda: track(train_step=None), TypeError, "NoneType", "a function"),
    ("track_ntk", "n_steps", lambda: track(n_steps=0), ValueError, "got 0", "at least 1"),
    ("track_ntk", "n_steps", lambda: track(n_steps=None), TypeError, "None", "whole number"),
    ("track_ntk", "every", lambda: track(every=0), ValueError, "got 0", "at least 1"),
    ("track_ntk", "every", lambda: track(every=1.0), TypeError, "got 1.0", "whole number"),
    ("track_ntk", "n_eigenvalues", lambda: track(n_eigenvalues=0), ValueError, "got 0", "at least 1"),
    ("track_ntk", "method", lambda: track(method="quick"), ValueError, "'quick'", "'auto', 'jacobian'"),
    ("training.log_steps", "steps", lambda: training.log_steps(0, 3), ValueError, "got 0", "at least 1"),
    ("training.log_steps", "n", lambda: training.log_steps(10, 2.5), TypeError, "2.5", "whole number"),
]


def of_training() -> Iterator[Refusal]:
    def train(**options: Any) -> object:
        good: dict[str, Any] = {
            "make_net": lambda: nn.mlp([3, 8, 1]),
            "x_train": X,
            "y_train": Y[:, :1],
            "learning_rate": 0.1,
            "steps": 3,
        }
        return training.train(**(good | options))

    kept, labels = nn.mlp([3, 8, 1]), torch.tensor([0, 1, 2, 0])
    bad: list[tuple[str, dict[str, Any], type[Exception], str, str]] = [
        ("make_net", {"make_net": kept}, TypeError, "Sequential", "copy.deepcopy"),
        ("make_net", {"make_net": lambda: 3}, TypeError, "int", "must return a torch.nn.Module"),
        (
            "make_net",
            {"make_net": lambda: kept, "n_networks": 2},
            ValueError,
            "twice",
            "build the network inside",
        ),
        ("x_train", {"x_train": X.numpy()}, TypeError, "ndarray", "torch.as_tensor(x_train)"),
        ("x_train", {"x_train": X[:0]}, ValueError, "(0, 3)", "at least one"),
        ("x_train", {"x_train": X.double()}, ValueError, "torch.float64", "convert one"),
        ("x_train", {"x_train": spoiled(X)}, ValueError, "(3, 2)", "remove or replace"),
        ("x_train", {"x_train": X.to("meta")}, ValueError, "meta", "move one"),
        ("x_test", {"x_test": X[:, :2]}, ValueError, "(2,)", "make them alike"),
        ("x_test", {"x_test": spoiled(X, INF)}, ValueError, "1 entries", "remove or replace"),
        ("kernel_inputs", {"kernel_inputs": X.double()}, ValueError, "torch.float64", "make them alike"),
        ("y_train", {"y_train": Y[:, 0]}, ValueError, "(4,)", "y_train.unsqueeze(1)"),
        ("y_train", {"y_train": Y[:3, :1]}, ValueError, "(3, 1)", "a target for each"),
        ("y_train", {"y_train": Y[:1, :1]}, ValueError, "(1, 1)", "a target for each"),
        ("y_train", {"y_train": Y}, ValueError, "(4, 2)", "a column for each output"),
        ("y_train", {"y_train": Y[:, :1].double()}, ValueError, "torch.float64", "y_train.to(torch.float32)"),
        ("y_train", {"y_train": Y[:, :1] > 0}, TypeError, "torch.bool", ".to(torch.float64)"),
        ("y_train", {"y_train": [1.0] * 4}, TypeError, "list", "torch.as_tensor(y_train)"),
        ("y_train", {"y_train": spoiled(Y[:, :1])}, ValueError, "(3, 0)", "remove or replace"),
        ("y_train", {"y_train": labels, "loss": "cross_entropy"}, ValueError, "0 to 2", "between 0 and 0"),
        ("loss", {"loss": "hinge"}, ValueError, "'hinge'", "'cross_entropy', 'mse'"),
        ("loss", {"loss": lambda f, y: f - y}, ValueError, "(4, 1)", "sum or average"),
        ("loss", {"loss": lambda f, y: 1.0}, TypeError, "got float", "by torch's functions"),
        ("loss", {"loss": 3}, TypeError, "int", "a callable"),
        ("reduction", {"reduction": "none"}, ValueError, "'none'", "'mean', 'sum'"),
        ("learning_rate", {"learning_rate": 0}, ValueError, "got 0", "finite and positive"),
        ("learning_rate", {"learning_rate": INF}, ValueError, "got inf", "finite and positive"),
        ("learning_rate", {"learning_rate": "0.1"}, TypeError, "'0.1'", "pass a float"),
        ("learning_rate", {"learning_rate": 1e6, "steps": 50}, FloatingPointError, "1e+06", "stable below"),
        ("steps", {"steps": 0}, ValueError, "got 0", "at least 1"),
        ("steps", {"steps": 10.0}, TypeError, "got 10.0", "whole number"),
        ("momentum", {"momentum": 1.0}, ValueError, "got 1.0", "less than 1"),
        ("momentum", {"momentum": NAN}, ValueError, "got nan", "less than 1"),
        ("momentum", {"momentum": "0.9"}, TypeError, "'0.9'", "pass a float"),
        ("integrator", {"integrator": "rk4"}, ValueError, "'rk4'", "'euler', 'midpoint'"),
        (
            "integrator",
            {"integrator": "midpoint", "momentum": 0.5},
            ValueError,
            "'midpoint'",
            "leave one out",
        ),
        ("n_networks", {"n_networks": 0}, ValueError, "got 0", "at least 1"),
        ("seed", {"seed": 0.5}, TypeError, "0.5", "whole number"),
        ("seed", {"seed": True}, TypeError, "True", "whole number"),
        ("trained", {"trained": "first"}, ValueError, "'first'", "'all', 'last_layer'"),
        ("trained", {"trained": lambda name: False}, ValueError, "no parameter", "the names are"),
        ("trained", {"trained": lambda name: -1.0}, ValueError, "got -1.0", "not negative"),
        ("output_scale", {"output_scale": -2.0}, ValueError, "-2.0", "finite and positive"),
        ("record", {"record": 1}, ValueError, "got 1", "at least 2"),
        ("record", {"record": [0, 9]}, ValueError, "9", "steps=3"),
        ("record", {"record": [2, 1]}, ValueError, "ascending", "sorted(set(record))"),
        ("record", {"record": "all"}, ValueError, "'all'", "a count or a sequence"),
        ("keep", {"keep": "kernel"}, TypeError, "'kernel'", "keep=('kernel',)"),
        ("keep", {"keep": ("weights",)}, ValueError, "'weights'", "the names of parameters"),
        ("keep", {"keep": 3}, TypeError, "int", "a collection of names"),
        ("kernel_outputs", {"kernel_outputs": "trace"}, ValueError, "'trace'", "'full', 'mean'"),
        ("diverged", {"diverged": "ignore"}, ValueError, "'ignore'", "'raise', 'nan'"),
        ("chunk_size", {"chunk_size": 0}, ValueError, "got 0", "at least 1"),
    ]
    for name, options, error, shown, remedy in bad:
        yield Refusal("training.train", name, lambda kw=options: train(**kw), error, shown, remedy)


REFUSALS = [
    *of_batches(),
    *of_networks(),
    *of_options(),
    *(Refusal(*row) for row in ROWS),
    *of_training(),
]
