"""What the estimators and the GPyTorch kernel refuse; data in scikit-learn's own words and code."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import gpytorch
import numpy as np
import torch
from refusal import NAN, Refusal

from ntkbook import nn
from ntkbook.estimators import NNGPRegressor, NTKClassifier, NTKRegressor
from ntkbook.gpytorch_kernel import NetworkKernel

X = np.linspace(-1, 1, 24).reshape(8, 3)
Y = np.sin(X.sum(1))
LABELS = np.array(["cat", "dog"] * 4)
K = X @ X.T + np.eye(8)
MAKERS: dict[str, type] = {
    "NTKRegressor": NTKRegressor,
    "NTKClassifier": NTKClassifier,
    "NNGPRegressor": NNGPRegressor,
}


def targets(of: str) -> Any:
    return LABELS if of == "NTKClassifier" else Y


def of_parameters() -> Iterator[Refusal]:
    bad: list[tuple[str, Any, type[Exception], str, str]] = [
        ("net", "mlp", TypeError, "str", "kernel='precomputed'"),
        ("net:torch", torch.nn.Linear(3, 1), ValueError, "plain torch layers", "layers of ntkbook.nn"),
        ("depth", -1, ValueError, "got -1", "at least 0"),
        ("depth", 1.5, TypeError, "got 1.5", "a whole number"),
        ("depth", True, TypeError, "got True", "a whole number"),
        ("w_std", -1.0, ValueError, "got -1.0", "finite and not negative"),
        ("w_std", "2", TypeError, "'2'", "pass a float"),
        ("b_std", NAN, ValueError, "got nan", "finite and not negative"),
        ("activation", "cubic", ValueError, "'cubic'", "'erf', 'gelu'"),
        ("activation", 3, ValueError, "got 3", "a module or one of"),
        ("diag_reg", -1e-3, ValueError, "got -0.001", "finite and not negative"),
        ("diag_reg", "1e-3", TypeError, "'1e-3'", "pass a float"),
    ]
    trained: list[tuple[str, Any, type[Exception], str, str]] = [
        ("kernel", "rbf", ValueError, "'rbf'", "'ntk', 'nngp', 'precomputed'"),
        ("t", -1.0, ValueError, "got -1.0", "must not be negative"),
        ("t", NAN, ValueError, "got nan", "must not be negative or NaN"),
        ("t", "inf", TypeError, "'inf'", "pass a float"),
    ]
    for of, make in MAKERS.items():
        for name, value, error, shown, remedy in bad if of == "NNGPRegressor" else bad + trained:
            options = {name.partition(":")[0]: value}
            call = lambda make=make, of=of, kw=options: make(**kw).fit(X, targets(of))  # noqa: E731
            yield Refusal(f"estimators.{of}", name, call, error, shown, remedy)
        net = nn.mlp([3, 1, 1])
        call = lambda make=make, of=of, net=net: make(net, depth=5).fit(X, targets(of))  # noqa: E731
        yield Refusal(f"estimators.{of}", "depth", call, ValueError, "depth=5", "leave net=None")
    for of in ("NTKRegressor", "NTKClassifier"):
        call = lambda of=of: MAKERS[of](net, kernel="precomputed").fit(K, targets(of))  # noqa: E731
        yield Refusal(f"estimators.{of}", "net", call, ValueError, "precomputed", "leave net=None")


def of_data() -> Iterator[Refusal]:
    gap = np.where(X[2, 1] == X, NAN, X)
    # scikit-learn checks data before ours is reached; its tests want its own words.
    bad_x: list[tuple[Any, type[Exception], str, str]] = [
        (gap, ValueError, "NaN", "missing values"),
        (np.where(X[2, 1] == X, np.inf, X), ValueError, "infinity", "dtype('float64')"),
        (X[:, :, None], ValueError, "dim 3", "<= 2"),
        (X[:, 0], ValueError, "1D array", "array.reshape(-1, 1)"),
        (X[:, :0], ValueError, "(8, 0)", "a minimum of 1"),
        (X + 1j, ValueError, "Complex", "not supported"),
    ]
    for of, make in MAKERS.items():
        name = f"estimators.{of}"
        for x, error, shown, remedy in bad_x:
            call = lambda make=make, x=x, of=of: make().fit(x, targets(of))  # noqa: E731
            argument = {"NaN": "X", "infinity": "X", "Complex": "X:data"}.get(shown, "X:array")
            yield Refusal(f"{name}.fit", argument, call, error, shown, remedy, "sklearn")
        call = lambda make=make, of=of: make().fit(X, targets(of)[:5])  # noqa: E731
        yield Refusal(f"{name}.fit", "y:samples", call, ValueError, "[8, 5]", "inconsistent", "sklearn")
        call = lambda make=make: make().fit(X, None)  # noqa: E731
        yield Refusal(f"{name}.fit", "y", call, ValueError, "None", "requires y", "sklearn")
        methods = ["predict"] if of != "NTKClassifier" else ["predict", "predict_proba", "decision_function"]
        for method in methods:
            fitted = lambda make=make, of=of: make().fit(X, targets(of))  # noqa: E731
            call = lambda fitted=fitted, m=method: getattr(fitted(), m)(X[:, :2])  # noqa: E731
            yield Refusal(f"{name}.{method}", "X", call, ValueError, "2 features", "expecting 3", "sklearn")
            call = lambda fitted=fitted, m=method: getattr(fitted(), m)(gap)  # noqa: E731
            yield Refusal(f"{name}.{method}", "X", call, ValueError, "NaN", "missing values", "sklearn")
            call = lambda make=make, m=method: getattr(make(), m)(X)  # noqa: E731
            yield Refusal(f"{name}.{method}", "X:instance", call, ValueError, of, "Call 'fit'", "sklearn")
    for of in ("NTKRegressor", "NTKClassifier"):
        for weights, shown, remedy, by in (
            (-np.ones(8), "-1", "must not be negative", "ntkbook"),
            (np.ones(7), "(7,)", "expected (8,)", "sklearn"),
            (np.full(8, NAN), "NaN", "contains", "sklearn"),
        ):
            call = lambda of=of, w=weights: MAKERS[of]().fit(X, targets(of), w)  # noqa: E731
            yield Refusal(f"estimators.{of}.fit", "sample_weight", call, ValueError, shown, remedy, by)


def precomputed(k: Any = K, diag_reg: float = 0.0) -> NTKRegressor:
    return NTKRegressor(kernel="precomputed", diag_reg=diag_reg).fit(k, Y)


ROWS: list[tuple[str, str, Callable[[], object], type[Exception], str, str]] = [
    ("NTKRegressor.fit", "X", lambda: precomputed(X), ValueError, "(8, 3)", "the square Gram matrix"),
    (
        "NTKRegressor.fit",
        "X:kernel",
        lambda: precomputed(np.triu(K)),
        ValueError,
        "not symmetric",
        "with itself",
    ),
    (
        "NTKRegressor.fit",
        "X:kernel",
        lambda: precomputed(K - 2 * np.eye(8)),
        ValueError,
        "eigenvalue is -1",
        "diag_reg",
    ),
    (
        "NTKRegressor.fit",
        "X:matrix",
        lambda: precomputed(K - 2 * np.eye(8), 1e-6),
        torch.linalg.LinAlgError,
        "not positive definite",
        "Pass a larger diag_reg",
    ),
    (
        "NTKRegressor.fit",
        "X:Linear",
        lambda: NTKRegressor(nn.mlp([2, 1])).fit(X, Y),
        ValueError,
        "(8, 3)",
        "mend",
    ),
    (
        "NTKClassifier.fit",
        "y:data",
        lambda: NTKClassifier().fit(X, ["a"] * 8),
        ValueError,
        "'a'",
        "at least 2 classes",
    ),
    (
        "NNGPRegressor.predict",
        "return_std",
        lambda: NNGPRegressor().fit(X, Y).predict(X, return_std=True, return_cov=True),
        ValueError,
        "True",
        "the former is in the latter",
    ),
    (
        "NNGPRegressor.predict",
        "return_cov",
        lambda: NNGPRegressor().fit(X, Y).predict(X, return_std=True, return_cov=True),
        ValueError,
        "True",
        "the former is in the latter",
    ),
    (
        "NNGPRegressor",
        "optimize",
        lambda: NNGPRegressor(nn.mlp([3, 1, 1]), optimize=True).fit(X, Y),
        ValueError,
        "net is given",
        "NetworkKernel",
    ),
    (
        "NNGPRegressor",
        "w_std",
        lambda: NNGPRegressor(optimize=True, w_std=0.0).fit(X, Y),
        ValueError,
        "0.0",
        "positive",
    ),
]


def of_gpytorch() -> Iterator[Refusal]:
    net = nn.mlp([3, 8, 1])
    inputs = torch.linspace(-1, 1, 12).reshape(4, 3)
    of, method = "gpytorch_kernel.NetworkKernel", "gpytorch_kernel.NetworkKernel.forward"
    positive = gpytorch.constraints.Positive()
    for name, call, error, shown, remedy in (
        ("net", lambda: NetworkKernel("mlp"), TypeError, "str", "torch.nn.Module"),
        ("net", lambda: NetworkKernel(nn.Abs()), ValueError, "w_std", "such as Linear"),
        ("net", lambda: NetworkKernel(nn.mlp([3, 1], w_std=0.0)), ValueError, "w_std=0", "positive value"),
        ("kernel", lambda: NetworkKernel(net, "gram"), ValueError, "'gram'", "'nngp', 'ntk'"),
        (
            "w_std_constraint",
            lambda: NetworkKernel(net, w_std_constraint=2.0),
            TypeError,
            "float",
            "Positive()",
        ),
        (
            "b_std_constraint",
            lambda: NetworkKernel(net, b_std_constraint="x"),
            TypeError,
            "str",
            "Positive()",
        ),
    ):
        yield Refusal(of, name, call, error, shown, remedy)
    kernel = NetworkKernel(net, w_std_constraint=positive)
    for name, call, error, shown, remedy in (
        ("x1:inputs", lambda: kernel.forward(inputs[None], inputs), ValueError, "(1, 4, 3)", "(N, d)"),
        ("x1", lambda: kernel.forward(inputs * NAN, inputs), ValueError, "12 entries", "remove or replace"),
        (
            "x2",
            lambda: kernel.forward(inputs, inputs.double()),
            ValueError,
            "torch.float64",
            "x2.to(x1.dtype)",
        ),
        ("diag:x2", lambda: kernel.forward(inputs, inputs[:1], diag=True), ValueError, "(1, 3)", "as many"),
    ):
        yield Refusal(method, name, call, error, shown, remedy)
    call = lambda: kernel.forward(inputs, inputs, last_dim_is_batch=True)  # noqa: E731
    yield Refusal(method, "last_dim_is_batch", call, ValueError, "True", "one kernel for each batch")


REFUSALS = [
    *of_parameters(),
    *of_data(),
    *(Refusal(f"estimators.{of}", *row) for of, *row in ROWS),
    *of_gpytorch(),
]
