"""What Gram matrices by tiles, their solver, differential operators and seeds refuse."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from refusal import INF, NAN, Refusal
from refusals_infinite import spoiled

import ntkbook
from ntkbook import nn, operators
from ntkbook.gram import GramStoreError, StoredGram

X = torch.linspace(-1, 1, 8, dtype=torch.float64).reshape(4, 2)
G = X @ X.T + torch.eye(4, dtype=torch.float64)
Y = torch.ones(4, 2, dtype=torch.float64)
NET = torch.nn.Sequential(torch.nn.Linear(2, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1)).double()


def linear(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return a @ b.T


def rbf(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return torch.exp(-0.5 * (a[:, None] - b).square().sum(-1))


def gram(**changes: Any) -> object:
    good: dict[str, Any] = {"kernel": linear, "x1": X, "progress": False}
    return ntkbook.gram(**(good | changes))


@cache
def folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="bad-input-"))


@cache
def stored() -> StoredGram:
    """A Gram matrix (4, 4) on disk."""
    made = ntkbook.gram(linear, X, store=folder() / "stored", progress=False)
    assert isinstance(made, StoredGram)
    return made


def a_file() -> Path:
    path = folder() / "file"
    path.write_text("no store")
    return path


def continued(**changes: Any) -> object:
    """Take up the stored matrix with other arguments."""
    stored()
    return gram(store=folder() / "stored", **changes)


GRAM: list[tuple[str, Callable[[], object], type[Exception], str, str]] = [
    ("kernel", lambda: gram(kernel="ntk"), TypeError, "str", "a callable of two batches"),
    ("kernel", lambda: gram(kernel=lambda a, b: 3.0), TypeError, "float", "must return a torch.Tensor"),
    (
        "kernel",
        lambda: gram(kernel=lambda a, b: (a @ b.T, a)),
        TypeError,
        "tuple",
        "lambda a, b: kernel(a, b).ntk",
    ),
    ("kernel", lambda: gram(kernel=lambda a, b: a), ValueError, "(4, 2)", "(n, m)"),
    ("kernel", lambda: gram(kernel=lambda a, b: (a @ b.T)[:1]), ValueError, "(1, 4)", "(4, 4)"),
    ("kernel", lambda: gram(kernel=lambda a, b: (a @ b.T)[:, :1]), ValueError, "(4, 1)", "(4, 4)"),
    (
        "kernel",
        lambda: gram(kernel=lambda a, b: torch.ones(4, 4, 2, 3)),
        ValueError,
        "(4, 4, 2, 3)",
        "(n, m, K, K)",
    ),
    ("kernel", lambda: gram(kernel=lambda a, b: (a @ b.T) * NAN), ValueError, "(0, 0)", "remove or replace"),
    (
        "kernel",
        lambda: gram(kernel=lambda a, b: (a @ b.T).long()),
        TypeError,
        "torch.int64",
        "floating point",
    ),
    ("x1", lambda: gram(x1=X.numpy()), TypeError, "ndarray", "torch.as_tensor(x1)"),
    ("x1", lambda: gram(x1=X[:0]), ValueError, "(0, 2)", "at least one"),
    ("x1", lambda: gram(x1=torch.tensor(1.0)), ValueError, "scalar", "x1[None]"),
    ("x1", lambda: gram(x1=X.long()), TypeError, "torch.int64", "x1.to(torch.float64)"),
    ("x1", lambda: gram(x1=spoiled(X)), ValueError, "(3, 1)", "remove or replace"),
    ("x2", lambda: gram(x2=X.tolist()), TypeError, "list", "torch.as_tensor(x2)"),
    ("x2", lambda: gram(x2=X.float()), ValueError, "torch.float32", "x2.to(x1.dtype)"),
    ("x2", lambda: gram(x2=X[:, :1]), ValueError, "(4, 1)", "first dimensions"),
    ("x2", lambda: gram(x2=X.to("meta")), ValueError, "meta", "on the CPU"),
    ("tile_size", lambda: gram(tile_size=0), ValueError, "got 0", "at least 1"),
    ("tile_size", lambda: gram(tile_size=2.0), TypeError, "got 2.0", "a whole number"),
    ("tile_size", lambda: gram(tile_size=True), TypeError, "got True", "a whole number"),
    ("dtype", lambda: gram(dtype=torch.int32), TypeError, "torch.int32", "torch.float64"),
    ("dtype", lambda: gram(dtype="float32"), TypeError, "'float32'", "torch.float64"),
    ("client", lambda: gram(client="localhost"), TypeError, "str", "distributed.Client"),
    ("store", lambda: gram(store=3), TypeError, "3", "a path"),
    ("store:file", lambda: gram(store=a_file()), GramStoreError, "not a directory", "use another path"),
    ("store:x1", lambda: continued(x1=X + 1), GramStoreError, "stored", "Use another store"),
    ("store:kernel", lambda: continued(kernel=rbf), GramStoreError, "stored", "Use another store"),
    (
        "store:tile_size",
        lambda: continued(tile_size=3),
        GramStoreError,
        "stored 64, now 3",
        "Use another store",
    ),
]

SOLVE: list[tuple[str, Callable[[], object], type[Exception], str, str]] = [
    ("gram", lambda: ntkbook.solve(G.numpy(), Y), TypeError, "ndarray", "torch.as_tensor(gram)"),
    ("gram", lambda: ntkbook.solve(G[:3], Y), ValueError, "(3, 4)", "a square matrix"),
    ("gram", lambda: ntkbook.solve(G[0], Y), ValueError, "(4,)", "a square matrix"),
    ("gram", lambda: ntkbook.solve(spoiled(G), Y), ValueError, "(3, 3)", "remove or replace"),
    ("gram", lambda: ntkbook.solve(G.half(), Y), TypeError, "torch.float16", "gram.double()"),
    ("gram", lambda: ntkbook.solve(G.triu(), Y), ValueError, "symmetric", "with itself"),
    (
        "gram:matrix",
        lambda: ntkbook.solve(-G, Y),
        torch.linalg.LinAlgError,
        "not positive definite",
        "diag_reg",
    ),
    (
        "gram:matrix",
        lambda: ntkbook.solve(0 * G, Y),
        torch.linalg.LinAlgError,
        "not positive definite",
        "diag_reg",
    ),
    (
        "gram:matrix",
        lambda: ntkbook.solve(G - 3 * torch.eye(4), Y, method="cg"),
        torch.linalg.LinAlgError,
        "curvature",
        "larger diag_reg",
    ),
    ("gram", lambda: ntkbook.solve(G.triu(), Y, method="cg"), ValueError, "symmetric", "with itself"),
    ("gram", lambda: ntkbook.solve(G.to("meta"), Y), ValueError, "(4, 4)", "on the CPU"),
    ("targets", lambda: ntkbook.solve(G, Y.numpy()), TypeError, "ndarray", "torch.as_tensor(targets)"),
    ("targets", lambda: ntkbook.solve(G, Y[:3]), ValueError, "(3, 2)", "4 rows"),
    ("targets", lambda: ntkbook.solve(G, Y[:1]), ValueError, "(1, 2)", "4 rows"),
    ("targets", lambda: ntkbook.solve(G, Y[None]), ValueError, "(1, 4, 2)", "1 or 2 dimensions"),
    ("targets", lambda: ntkbook.solve(G, Y.long()), TypeError, "torch.int64", "targets.to(torch.float64)"),
    ("targets", lambda: ntkbook.solve(G, spoiled(Y, INF)), ValueError, "(3, 1)", "remove or replace"),
    ("diag_reg", lambda: ntkbook.solve(G, Y, -1.0), ValueError, "-1.0", "not negative"),
    ("diag_reg", lambda: ntkbook.solve(G, Y, "1e-3"), TypeError, "'1e-3'", "pass a float"),
    ("method", lambda: ntkbook.solve(G, Y, method="lu"), ValueError, "'lu'", "'auto', 'cholesky', 'cg'"),
    ("tolerance", lambda: ntkbook.solve(G, Y, tolerance=0.0), ValueError, "0.0", "finite and positive"),
    (
        "max_iterations",
        lambda: ntkbook.solve(G, Y, method="cg", max_iterations=0),
        ValueError,
        "got 0",
        "at least 1",
    ),
    ("max_iterations", lambda: ntkbook.solve(G, Y, max_iterations=1.5), TypeError, "1.5", "whole number"),
    ("rank", lambda: ntkbook.solve(G, Y, method="cg", rank=0), ValueError, "got 0", "at least 1"),
    ("rank", lambda: ntkbook.solve(G, Y, method="cg", rank=2.0), TypeError, "2.0", "whole number"),
]

STORED: list[tuple[str, str, Callable[[], object], type[Exception], str, str]] = [
    (
        "StoredGram",
        "path",
        lambda: StoredGram(folder() / "nowhere"),
        GramStoreError,
        "nowhere",
        "ntkbook.gram",
    ),
    ("StoredGram", "path", lambda: StoredGram(3), TypeError, "3", "a path"),
    ("StoredGram.__matmul__", "vectors", lambda: stored() @ Y[:3], ValueError, "(3, 2)", "(4,) or (4, m)"),
    (
        "StoredGram.__matmul__",
        "vectors",
        lambda: stored() @ Y.numpy(),
        TypeError,
        "ndarray",
        "torch.as_tensor",
    ),
    (
        "StoredGram.__matmul__",
        "vectors",
        lambda: stored() @ spoiled(Y),
        ValueError,
        "(3, 1)",
        "remove or replace",
    ),
    ("StoredGram.__getitem__", "index", lambda: stored()[9], IndexError, "9", "(4, 4)"),
    ("StoredGram.__getitem__", "index", lambda: stored()["first"], IndexError, "'first'", "(4, 4)"),
]


def apply(*, left: Any = operators.identity, right: Any = operators.identity, kernel: Any = rbf) -> Any:
    return operators.apply(kernel, left, right)


def empirical(**changes: Any) -> object:
    return operators.empirical(**({"net": NET, "x1": X} | changes))


def relu_kernel(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return ntkbook.infinite_width(nn.mlp([2, 8, 1]))(a, b).ntk


LAPLACIAN = operators.laplacian()
DOUBLED = (lambda x: 2 * x[:, 0]) * operators.partial(0)

OPERATORS: list[tuple[str, str, Callable[[], object], type[Exception], str, str]] = [
    ("partial", "axis", lambda: operators.partial(-1), ValueError, "got -1", "at least 0"),
    ("partial", "axis", lambda: operators.partial(1.0), TypeError, "got 1.0", "a whole number"),
    ("partial", "axis", lambda: operators.partial(True), TypeError, "got True", "a whole number"),
    ("laplacian", "axes:axis", lambda: operators.laplacian(0, -2), ValueError, "got -2", "at least 0"),
    ("laplacian", "axes", lambda: operators.laplacian(0, 0), ValueError, "(0, 0)", "each coordinate once"),
    (
        "Operator.__add__",
        "other:added",
        lambda: LAPLACIAN + 1.0,
        TypeError,
        "float",
        "c * operators.identity",
    ),
    ("Operator.__sub__", "other:added", lambda: LAPLACIAN - "u", TypeError, "str", "c * operators.identity"),
    ("Operator.__rmul__", "factor", lambda: "2" * LAPLACIAN, TypeError, "str", "a number or a function"),
    ("Operator.__rmul__", "factor", lambda: NAN * LAPLACIAN, ValueError, "nan", "finite"),
    ("Operator.__rmul__", "factor", lambda: True * LAPLACIAN, TypeError, "True", "a float"),
    ("Operator.__matmul__", "other:composed", lambda: LAPLACIAN @ 3.0, TypeError, "float", "an operator"),
    ("Operator.__matmul__", "other:S", lambda: LAPLACIAN @ DOUBLED, ValueError, "constant", "by hand"),
    ("Operator.__call__", "u", lambda: LAPLACIAN("u"), TypeError, "str", "a function of a batch"),
    (
        "Operator.__call__",
        "u:inputs",
        lambda: operators.partial(5)(NET)(X),
        ValueError,
        "5",
        "mend the operator's",
    ),
    ("Operator.__call__", "u:x", lambda: LAPLACIAN(NET)(X[0]), ValueError, "(2,)", "2 dimensions"),
    (
        "Operator.__call__",
        "u:x",
        lambda: LAPLACIAN(NET)(X.numpy()),
        TypeError,
        "ndarray",
        "torch.as_tensor(x)",
    ),
    (
        "Operator.__call__",
        "u:coefficient",
        lambda: ((lambda x: x) * operators.partial(0))(NET)(X),
        ValueError,
        "(4, 2)",
        "lambda x: x[:, 0]",
    ),
    ("apply", "kernel", lambda: apply(kernel="rbf"), TypeError, "str", "a function of two batches"),
    ("apply", "kernel", lambda: apply(kernel=lambda a, b: 1.0)(X), TypeError, "float", "choose a field"),
    ("apply", "kernel", lambda: apply(kernel=lambda a, b: a)(X), ValueError, "(4, 2)", "(4, 4)"),
    ("apply", "kernel", lambda: apply(kernel=lambda a, b: rbf(a, b)[:1])(X), ValueError, "(1, 4)", "(4, 4)"),
    ("apply", "kernel", lambda: apply(kernel=relu_kernel, left=LAPLACIAN)(X), ValueError, "jumps", "smooth"),
    ("apply", "left", lambda: apply(left="laplacian"), TypeError, "str", "operators.laplacian()"),
    ("apply", "left", lambda: apply(left=operators.laplacian), TypeError, "function", "call it"),
    ("apply", "left:inputs", lambda: apply(left=operators.partial(2))(X), ValueError, "have 2", "mend"),
    ("apply", "right", lambda: apply(right=None), TypeError, "NoneType", "operators.identity"),
    ("apply", "kernel:x1", lambda: apply()(X[0]), ValueError, "(2,)", "2 dimensions"),
    ("apply", "kernel:x2", lambda: apply()(X, X.float()), ValueError, "torch.float32", "x2.to(x1.dtype)"),
    ("apply", "kernel:x2", lambda: apply()(X, X[:, :1]), ValueError, "1", "must agree"),
    ("apply", "kernel:x1", lambda: apply()(spoiled(X)), ValueError, "(3, 1)", "remove or replace"),
    ("identity", "u", lambda: operators.identity(3), TypeError, "int", "a function of a batch"),
    ("empirical", "net", lambda: empirical(net="mlp"), TypeError, "str", "torch.nn.Module"),
    ("empirical", "x1", lambda: empirical(x1=X.numpy()), TypeError, "ndarray", "torch.as_tensor(x1)"),
    ("empirical", "x1", lambda: empirical(x1=X[None]), ValueError, "(1, 4, 2)", "2 dimensions"),
    ("empirical", "x1", lambda: empirical(x1=X.float()), ValueError, "torch.float32", "x1.to("),
    ("empirical", "x2", lambda: empirical(x2=spoiled(X)), ValueError, "(3, 1)", "remove or replace"),
    ("empirical", "x2", lambda: empirical(x2=X[:, :1]), ValueError, "(1,)", "must be alike"),
    ("empirical", "left", lambda: empirical(left=operators.partial), TypeError, "function", "call it"),
    ("empirical", "right", lambda: empirical(right="d"), TypeError, "str", "operators.partial(i)"),
    (
        "empirical",
        "outputs",
        lambda: empirical(outputs="diagonal"),
        ValueError,
        "'diagonal'",
        "'mean', 'full'",
    ),
    ("empirical", "chunk_size", lambda: empirical(chunk_size=0), ValueError, "got 0", "at least 1"),
    (
        "block_kernel",
        "conditions",
        lambda: operators.block_kernel(rbf),
        ValueError,
        "no",
        "(operator, points)",
    ),
    (
        "block_kernel",
        "conditions",
        lambda: operators.block_kernel(rbf, X),
        TypeError,
        "Tensor",
        "(operator, points)",
    ),
    (
        "block_kernel",
        "conditions",
        lambda: operators.block_kernel(rbf, (X, X)),
        TypeError,
        "Tensor",
        "operators.",
    ),
    (
        "block_kernel",
        "conditions",
        lambda: operators.block_kernel(rbf, (LAPLACIAN, X[0])),
        ValueError,
        "(2,)",
        "2 dimensions",
    ),
    (
        "block_kernel",
        "kernel",
        lambda: operators.block_kernel("rbf", (LAPLACIAN, X)),
        TypeError,
        "str",
        "a function of two batches",
    ),
    (
        "block_kernel",
        "kernel:net",
        lambda: operators.block_kernel(torch.nn.Linear(2, 3).double(), (operators.identity, X)),
        ValueError,
        "got 3",
        "operators.empirical(",
    ),
]


@contextmanager
def environment(value: str) -> Iterator[None]:
    with patch.dict("os.environ", {"NTKBOOK_SEED": value}):
        yield


def seeded_by(value: str) -> object:
    with environment(value):
        return ntkbook.seed(0)


def seeded(value: Any) -> object:
    with environment(""):
        return ntkbook.seed(value)


SEED: list[tuple[str, Callable[[], object], type[Exception], str, str]] = [
    ("default", lambda: seeded(-1), ValueError, "got -1", "between 0 and"),
    ("default", lambda: seeded(2**32), ValueError, "4294967296", "between 0 and"),
    ("default", lambda: seeded(1.5), TypeError, "1.5", "a whole number"),
    ("default", lambda: seeded(True), TypeError, "True", "a whole number"),
    ("default", lambda: seeded("3"), TypeError, "'3'", "a whole number"),
    ("default:NTKBOOK_SEED", lambda: seeded_by("three"), ValueError, "'three'", "must be an integer"),
    ("default:NTKBOOK_SEED", lambda: seeded_by("-7"), ValueError, "-7", "between 0 and"),
]

REFUSALS = [
    *(Refusal("gram", *row) for row in GRAM),
    *(Refusal("solve", *row) for row in SOLVE),
    *(Refusal(f"gram.{of}", *row) for of, *row in STORED),
    *(Refusal(f"operators.{of}", *row) for of, *row in OPERATORS),
    *(Refusal("seed", *row) for row in SEED),
]
