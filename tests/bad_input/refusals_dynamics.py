"""What ``ntkbook.dynamics`` refuses: kernels, targets, times, rates."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import torch
from refusal import INF, NAN, Refusal
from refusals_infinite import spoiled

import ntkbook
from ntkbook import dynamics, nn

X = torch.linspace(-1, 1, 8, dtype=torch.float64).reshape(4, 2)
K = X @ X.T + torch.eye(4, dtype=torch.float64)
Y = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.5, 0.5]], dtype=torch.float64)
F0, F0_TEST = torch.zeros_like(Y), torch.zeros(3, 2, dtype=torch.float64)
CROSS = torch.ones(3, 4, dtype=torch.float64)
KERNEL = ntkbook.infinite_width(nn.mlp([2, 8, 1], b_std=0.1))

MAKERS: dict[str, Callable[..., object]] = {
    "dynamics.MSEFlow": lambda k=K, y=Y, **kw: dynamics.MSEFlow(k, y, **kw),
    "dynamics.LossFlow": lambda k=K, y=Y, **kw: dynamics.LossFlow(k, y, **kw),
    "dynamics.max_learning_rate": lambda k=K, **kw: dynamics.max_learning_rate(k, **kw),
    "dynamics.critical_learning_rate": lambda k=K, **kw: dynamics.critical_learning_rate(k, **kw),
}


def matrices() -> list[tuple[Any, type[Exception], str, str]]:
    """Bad kernels between training points: of shape, of dtype, of value, of symmetry, of sign."""
    return [
        (K.numpy(), TypeError, "ndarray", "torch.as_tensor"),
        (K.long(), TypeError, "torch.int64", ".to(torch.float64)"),
        (K.to(torch.complex128), TypeError, "torch.complex128", "real"),
        (K[0], ValueError, "(4,)", "2 dimensions"),
        (K[:3], ValueError, "(3, 4)", "square"),
        (K[:0, :0], ValueError, "(0, 0)", "at least one"),
        (torch.ones(4, 4, 2, 2, dtype=torch.float64), ValueError, "(4, 4, 2, 2)", "permute(0, 2, 1, 3)"),
        (spoiled(K), ValueError, "(3, 3)", "remove or replace"),
        (spoiled(K, INF), ValueError, "1 entries", "remove or replace"),
        (K.to("meta"), ValueError, "(4, 4)", "on the CPU"),
        (K.triu(), ValueError, "not symmetric", "one set of points with itself"),
        (K - 5 * torch.eye(4, dtype=torch.float64), ValueError, "smallest eigenvalue is -", "diag_reg"),
        (-K, ValueError, "smallest eigenvalue is -", "higher precision"),
        (K * 6e307, ValueError, "e+307", "divide the kernel"),
    ]


def of_kernels() -> Iterator[Refusal]:
    for of, make in MAKERS.items():
        for k, error, shown, remedy in matrices():
            yield Refusal(of, "k_train_train", lambda m=make, k=k: m(k), error, shown, remedy)


def of_options() -> Iterator[Refusal]:
    bad: list[tuple[str, Any, type[Exception], str, str]] = [
        ("y_train", Y.numpy(), TypeError, "ndarray", "torch.as_tensor"),
        ("y_train", Y[:3], ValueError, "(3, 2)", "a row for each of the 4 training points"),
        ("y_train", Y[:1], ValueError, "(1, 2)", "a row for each of the 4 training points"),
        ("y_train", Y.float(), ValueError, "torch.float32", "y_train.to("),
        ("y_train", spoiled(Y), ValueError, "(3, 1)", "remove or replace"),
        ("y_train", Y.to("meta"), ValueError, "meta", "y_train.to("),
        ("reduction", "none", ValueError, "'none'", "'mean', 'sum'"),
        ("learning_rate", 0.0, ValueError, "got 0.0", "finite and positive"),
        ("learning_rate", INF, ValueError, "got inf", "finite and positive"),
        ("learning_rate", "0.1", TypeError, "'0.1'", "pass a float"),
        ("momentum", 1.0, ValueError, "got 1.0", "less than 1"),
        ("momentum", -0.5, ValueError, "got -0.5", "at least 0"),
        ("momentum", NAN, ValueError, "nan", "less than 1"),
        ("momentum", "0.9", TypeError, "'0.9'", "pass a float"),
    ]
    rows = {"y_train": "y"}
    for of in ("dynamics.MSEFlow", "dynamics.LossFlow"):
        for name, value, error, shown, remedy in bad:
            options = {rows.get(name, name): value}
            if name == "momentum":
                options["learning_rate"] = 0.1
            call = lambda m=MAKERS[of], kw=options: m(**kw)  # noqa: E731
            yield Refusal(of, name, call, error, shown, remedy)
    for value, error, shown, remedy in (
        (-1.0, ValueError, "-1.0", "not negative"),
        (NAN, ValueError, "nan", "not negative"),
        ([0.1], TypeError, "[0.1]", "pass a float"),
    ):
        call = lambda value=value: dynamics.MSEFlow(K, Y, diag_reg=value)  # noqa: E731
        yield Refusal("dynamics.MSEFlow", "diag_reg", call, error, shown, remedy)
    for of in ("dynamics.max_learning_rate", "dynamics.critical_learning_rate"):
        for value, error, remedy in (
            (0, ValueError, "at least 1"),
            (1.5, TypeError, "a whole number"),
            (True, TypeError, "a whole number"),
        ):
            call = lambda m=MAKERS[of], value=value: m(n_outputs=value)  # noqa: E731
            yield Refusal(of, "n_outputs", call, error, f"got {value}", remedy)
        call = lambda m=MAKERS[of]: m(reduction="max")  # noqa: E731
        yield Refusal(of, "reduction", call, ValueError, "'max'", "'mean', 'sum'")

    rate = dynamics.max_learning_rate
    of = "dynamics.max_learning_rate"
    yield Refusal(of, "momentum", lambda: rate(K, momentum=1.0), ValueError, "got 1.0", "less than 1")
    yield Refusal(of, "momentum", lambda: rate(K, momentum="0.5"), TypeError, "'0.5'", "pass a float")


LABELS = torch.tensor([0, 1, 0, 1])
SIGNS = 2 * Y[:, :1] - 1

ROWS: list[tuple[str, str, Callable[[], object], type[Exception], str, str]] = [
    ("dynamics.MSEFlow", "y_train", lambda: dynamics.MSEFlow(K, Y[:, 0]), ValueError, "(4,)", "2 dimensions"),
    (
        "dynamics.MSEFlow",
        "momentum",
        lambda: dynamics.MSEFlow(K, Y, momentum=0.9),
        ValueError,
        "0.9",
        "needs a learning_rate",
    ),
    (
        "dynamics.LossFlow",
        "y_train",
        lambda: dynamics.LossFlow(K, LABELS),
        TypeError,
        "int64",
        "one_hot(labels)",
    ),
    (
        "dynamics.LossFlow",
        "y_train",
        lambda: dynamics.LossFlow(K, Y[:, 0]),
        TypeError,
        "(4,)",
        "one_hot(labels)",
    ),
    (
        "dynamics.LossFlow",
        "y_train",
        lambda: dynamics.LossFlow(K, 2 * Y),
        ValueError,
        "by 1",
        "probabilities",
    ),
    (
        "dynamics.LossFlow",
        "y_train:targets",
        lambda: dynamics.LossFlow(K, Y[:, :1]),
        ValueError,
        "(4, 1)",
        "logistic",
    ),
    (
        "dynamics.LossFlow",
        "y_train",
        lambda: dynamics.LossFlow(K, Y, "logistic"),
        ValueError,
        "got 0",
        "2 * y_train - 1",
    ),
    ("dynamics.LossFlow", "loss", lambda: dynamics.LossFlow(K, Y, "hinge"), ValueError, "'hinge'", "'mse'"),
    (
        "dynamics.LossFlow",
        "loss",
        lambda: dynamics.LossFlow(K, Y, 3),
        TypeError,
        "int",
        "a callable loss(f, y)",
    ),
    (
        "dynamics.LossFlow",
        "loss",
        lambda: dynamics.LossFlow(K, Y, lambda f, y: f - y).train(1.0, F0),
        ValueError,
        "(4, 2)",
        "sum or average",
    ),
    (
        "dynamics.LossFlow",
        "loss",
        lambda: dynamics.LossFlow(K, Y, lambda f, y: f.detach().sum()).train(1.0, F0),
        ValueError,
        "does not depend on f",
        "differentiable operations",
    ),
    (
        "dynamics.LossFlow",
        "tolerance",
        lambda: dynamics.LossFlow(K, Y, tolerance=0),
        ValueError,
        "0",
        "positive",
    ),
    (
        "dynamics.MSEFlow.time_to_loss",
        "level",
        lambda: mse().time_to_loss(NAN, F0),
        ValueError,
        "nan",
        "finite",
    ),
    (
        "dynamics.MSEFlow.time_to_loss",
        "level",
        lambda: mse().time_to_loss("0", F0),
        TypeError,
        "'0'",
        "a float",
    ),
    (
        "dynamics.LossFlow.time_to_loss",
        "level",
        lambda: loss().time_to_loss(INF, F0),
        ValueError,
        "inf",
        "finite",
    ),
    (
        "dynamics.LossFlow.time_to_loss",
        "horizon",
        lambda: loss().time_to_loss(0, F0, 0),
        ValueError,
        "0",
        "positive",
    ),
    (
        "dynamics.MSEFlow.time_to_loss",
        "level:momentum",
        lambda: dynamics.MSEFlow(K, Y, learning_rate=0.1, momentum=0.5).time_to_loss(0.1, F0),
        ValueError,
        "loss may rise",
        "loss(t, f0_train) on a grid",
    ),
]


def mse() -> dynamics.MSEFlow:
    return dynamics.MSEFlow(K, Y)


def loss() -> dynamics.LossFlow:
    return dynamics.LossFlow(K, Y)


def of_methods() -> Iterator[Refusal]:
    outputs: list[tuple[Any, type[Exception], str, str]] = [
        (F0.numpy(), TypeError, "ndarray", "torch.as_tensor"),
        (F0[:, 0], ValueError, "(4,)", "2 dimensions"),
        (F0[:, :1], ValueError, "(4, 1)", "expected (4, 2)"),
        (F0[:1], ValueError, "(1, 2)", "expected (4, 2)"),
        (F0.float(), ValueError, "torch.float32", "f0_train.to("),
        (spoiled(F0), ValueError, "(3, 1)", "remove or replace"),
    ]
    times: list[tuple[Any, type[Exception], str, str]] = [
        (-1.0, ValueError, "-1.0", "must not be negative"),
        (NAN, ValueError, "nan", "must not be negative or NaN"),
        (torch.tensor([0.0, NAN]), ValueError, "nan", "must not be negative or NaN"),
        (torch.ones(2, 2), ValueError, "(2, 2)", "a tensor of shape (T,)"),
        (torch.ones(0), ValueError, "(0,)", "at least one"),
        (torch.ones(2, dtype=torch.complex64), TypeError, "torch.complex64", "real"),
        ("late", TypeError, "'late'", "pass a float"),
        ([0.0, 1.0], TypeError, "[0.0, 1.0]", "torch.tensor(t)"),
    ]
    for kind, make in (("MSEFlow", mse), ("LossFlow", loss)):
        of = f"dynamics.{kind}"
        calls: dict[str, Callable[[Any, Any], object]] = {
            "train": lambda f0, t, make=make: make().train(t, f0),
            "test": lambda f0, t, make=make: make().test(t, CROSS, F0_TEST, f0),
            "loss": lambda f0, t, make=make: make().loss(t, f0),
            "time_to_loss": lambda f0, t, make=make: make().time_to_loss(0.1, f0),
        }
        if kind == "MSEFlow":
            calls["modes"] = lambda f0, t, make=make: make().modes(f0)
        for method, call in calls.items():
            for f0, error, shown, remedy in outputs:
                bad = lambda call=call, f0=f0: call(f0, 1.0)  # noqa: E731
                yield Refusal(f"{of}.{method}", "f0_train", bad, error, shown, remedy)
            for t, error, shown, remedy in times if method in ("train", "test", "loss") else ():
                bad = lambda call=call, t=t: call(F0, t)  # noqa: E731
                yield Refusal(f"{of}.{method}", "t", bad, error, shown, remedy)
        for name, cross, test, error, shown, remedy in (
            ("k_test_train", CROSS.numpy(), F0_TEST, TypeError, "ndarray", "torch.as_tensor"),
            ("k_test_train", CROSS[:, :1], F0_TEST, ValueError, "(3, 1)", "it must be (M, 4)"),
            ("k_test_train", CROSS.T, F0_TEST, ValueError, "(4, 3)", "test points in the rows"),
            ("k_test_train", CROSS.float(), F0_TEST, ValueError, "torch.float32", "k_test_train.to("),
            ("k_test_train", spoiled(CROSS), F0_TEST, ValueError, "(2, 3)", "remove or replace"),
            ("f0_test", CROSS, F0_TEST[:1], ValueError, "(1, 2)", "a row for each row of k_test_train"),
            ("f0_test", CROSS, F0_TEST[:, :1], ValueError, "(3, 1)", "a column for each output"),
            ("f0_test", CROSS, F0_TEST.float(), ValueError, "torch.float32", "f0_test.to("),
            ("f0_test", CROSS, spoiled(F0_TEST), ValueError, "(2, 1)", "remove or replace"),
        ):
            bad = lambda make=make, c=cross, f=test: make().test(1.0, c, f, F0)  # noqa: E731
            yield Refusal(f"{of}.test", name, bad, error, shown, remedy)
    steps = dynamics.MSEFlow(K, Y, learning_rate=0.1)
    yield Refusal(
        "dynamics.MSEFlow.train", "t", lambda: steps.train(0.5, F0), ValueError, "0.5", "whole number"
    )
    yield Refusal("dynamics.LossFlow.train", "t", lambda: loss().train(INF, F0), ValueError, "inf", "MSEFlow")


def of_ensembles() -> Iterator[Refusal]:
    y = Y[:, :1]
    good: dict[str, Any] = {"kernel": KERNEL, "x_train": X, "y_train": y, "x_test": X[:3] + 1}

    def ensemble(**changes: Any) -> object:
        return dynamics.ensemble(**({"t": 1.0} | good | changes))

    def posterior(**changes: Any) -> object:
        return dynamics.nngp_posterior(**(good | changes))

    asymmetric = SimpleNamespace(nngp=K.triu(), ntk=K.triu())
    one = SimpleNamespace(nngp=K[:3, :1], ntk=K[:3, :1])

    def one_test_row(a: torch.Tensor, b: torch.Tensor | None = None) -> object:
        """A kernel that gives the same row whatever the test points are."""
        return SimpleNamespace(nngp=K, ntk=K) if b is None else SimpleNamespace(nngp=K[:1], ntk=K[:1])

    both: list[tuple[str, Any, type[Exception], str, str]] = [
        ("kernel", "ntk", TypeError, "str", "infinite_width(net)"),
        ("kernel", lambda *x: K, TypeError, "Tensor", "nngp and ntk"),
        ("kernel", lambda *x: asymmetric, ValueError, "not symmetric", "with itself"),
        ("kernel", lambda *x: one, ValueError, "(3, 1)", "square"),
        ("kernel", one_test_row, ValueError, "(1, 4)", "(3, 4)"),
        ("x_train", X.numpy(), TypeError, "ndarray", "torch.as_tensor(x_train)"),
        ("x_train", X[:0], ValueError, "(0, 2)", "at least one"),
        ("x_train", spoiled(X), ValueError, "(3, 1)", "remove or replace"),
        ("y_train", y[:3], ValueError, "(3, 1)", "a row for each"),
        ("y_train", y[:1], ValueError, "(1, 1)", "a row for each"),
        ("y_train", y[:, 0], ValueError, "(4,)", "2 dimensions"),
        ("y_train", y.float(), ValueError, "torch.float32", "y_train.to("),
        ("y_train", y.numpy(), TypeError, "ndarray", "torch.as_tensor"),
        ("x_test", X[:3].numpy(), TypeError, "ndarray", "torch.as_tensor(x_test)"),
        ("x_test", X[:3].float(), ValueError, "torch.float32", "x_test.to("),
        ("x_test", X[:3, :1], ValueError, "(3, 1)", "(4, 2)"),
        ("x_test", spoiled(X), ValueError, "(3, 1)", "remove or replace"),
    ]
    for of, call in (("dynamics.ensemble", ensemble), ("dynamics.nngp_posterior", posterior)):
        for name, value, error, shown, remedy in both:
            bad = lambda call=call, kw={name: value}: call(**kw)  # noqa: E731
            yield Refusal(of, name, bad, error, shown, remedy)
    rest: list[tuple[str, dict[str, Any], type[Exception], str, str]] = [
        ("t", {"t": -1.0}, ValueError, "-1.0", "must not be negative"),
        ("t", {"t": torch.ones(2, 2)}, ValueError, "(2, 2)", "shape (T,)"),
        ("train", {"train": "first_layer"}, ValueError, "'first_layer'", "'all', 'last_layer'"),
        ("reduction", {"reduction": "none"}, ValueError, "'none'", "'mean', 'sum'"),
        ("diag_reg", {"diag_reg": -1e-3}, ValueError, "-0.001", "not negative"),
        ("learning_rate", {"learning_rate": -1.0}, ValueError, "-1.0", "positive"),
        ("momentum", {"momentum": 1.5, "learning_rate": 0.1}, ValueError, "1.5", "less than 1"),
        ("momentum", {"momentum": 0.5}, ValueError, "0.5", "needs a learning_rate"),
    ]
    for name, options, error, shown, remedy in rest:
        yield Refusal("dynamics.ensemble", name, lambda kw=options: ensemble(**kw), error, shown, remedy)
    of = "dynamics.nngp_posterior"
    yield Refusal(of, "noise", lambda: posterior(noise=-1.0), ValueError, "-1.0", "not negative")
    yield Refusal(
        of, "x_test", lambda: posterior(x_test=None), TypeError, "NoneType", "torch.as_tensor(x_test)"
    )
    yield Refusal(of, "noise", lambda: posterior(noise=None), TypeError, "None", "pass a float")
    yield Refusal(
        of, "x_test", lambda: posterior(x_test=None), TypeError, "NoneType", "torch.as_tensor(x_test)"
    )


REFUSALS = [
    *of_kernels(),
    *of_options(),
    *(Refusal(*row) for row in ROWS),
    *of_methods(),
    *of_ensembles(),
]
