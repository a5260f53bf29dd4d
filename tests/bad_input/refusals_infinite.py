"""What kernels at infinite width refuse: networks, inputs, activations, rules; and the CNTK."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from refusal import INF, NAN, Refusal

import ntkbook
from ntkbook import infinite, nn
from ntkbook.cntk import chain_kernels
from ntkbook.infinite import InfiniteWidthError

NET = nn.mlp([3, 8, 1])
PLAIN = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1))
X = torch.linspace(-1, 1, 12, dtype=torch.float64).reshape(4, 3)
IMAGES = torch.linspace(-1, 1, 2 * 3 * 16, dtype=torch.float64).reshape(2, 3, 4, 4)
Q = torch.ones(2, 2, dtype=torch.float64)


def spoiled(x: torch.Tensor, value: float = NAN) -> torch.Tensor:
    """Return a copy whose last entry is not finite."""
    x = x.clone()
    x.view(-1)[-1] = value
    return x


BATCHES: list[tuple[Any, type[Exception], str, str]] = [
    (X.numpy(), TypeError, "ndarray", "torch.as_tensor"),
    ([[1.0, 2.0, 3.0]], TypeError, "list", "torch.as_tensor"),
    (None, TypeError, "NoneType", "torch.as_tensor"),
    (X.long(), TypeError, "torch.int64", ".to(torch.float64)"),
    (X > 0, TypeError, "torch.bool", ".to(torch.float64)"),
    (X.to(torch.complex128), TypeError, "torch.complex128", "must be real"),
    (X.to_sparse(), TypeError, "sparse", ".to_dense()"),
    (X[:0], ValueError, "(0, 3)", "at least one entry"),
    (X[:, :0], ValueError, "(4, 0)", "at least one entry"),
    (X[0], ValueError, "(3,)", "reshape(-1, 1)"),
    (torch.tensor(1.0), ValueError, "()", "reshape(-1, 1)"),
    (spoiled(X), ValueError, "(3, 2)", "remove or replace"),
    (spoiled(X, -INF), ValueError, "1 entries", "remove or replace"),
]


def of_batches() -> Iterator[Refusal]:
    kernel = ntkbook.infinite_width(NET)
    of = "infinite.InfiniteWidthKernel.__call__"
    for x, error, shown, remedy in BATCHES:
        yield Refusal(of, "x1", lambda x=x: kernel(x), error, shown, remedy)
        if x is not None:
            yield Refusal(of, "x2", lambda x=x: kernel(X, x), error, shown, remedy)
    rows: list[tuple[str, Any, Any, type[Exception], str, str]] = [
        ("x2", X, X.float(), ValueError, "torch.float32", "x2.to(x1.dtype)"),
        ("x2", X, X.to("meta"), ValueError, "meta", "x2.to(x1.device)"),
        ("x2", X, X[:, :2], ValueError, "(4, 2)", "only their first dimensions"),
        ("x1:Linear", X[:, :2], None, InfiniteWidthError, "2", "3"),
        ("x1:Linear", IMAGES, None, InfiniteWidthError, "4", "3"),
        ("x1", (X, X), None, InfiniteWidthError, "2 tensors", "pass as many"),
        ("x1", (X, X[:3]), None, ValueError, "3 entries", "must agree"),
        ("x2", X, (X, X), ValueError, "2", "as many of both"),
    ]
    for name, x1, x2, error, shown, remedy in rows:
        yield Refusal(of, name, lambda a=x1, b=x2: kernel(a, b), error, shown, remedy)


NETWORKS: list[tuple[str, str, Any, type[Exception], str, str]] = [
    ("infinite_width", "net", lambda: ntkbook.infinite_width("mlp"), TypeError, "str", "torch.nn.Module"),
    ("infinite_width", "net", lambda: ntkbook.infinite_width(torch.relu), TypeError, "builtin", "Module"),
    (
        "infinite_width",
        "net:Softmax",
        lambda: ntkbook.infinite_width(torch.nn.Sequential(nn.Linear(3, 1), torch.nn.Softmax(-1))),
        InfiniteWidthError,
        "'1'",
        "ntkbook.nn.SelfAttention",
    ),
    (
        "infinite_width",
        "net:MaxPool2d",
        lambda: ntkbook.infinite_width(torch.nn.Sequential(nn.Conv2d(3, 2, 3), torch.nn.MaxPool2d(2))),
        InfiniteWidthError,
        "'1'",
        "AvgPool2d",
    ),
    (
        "infinite_width",
        "net:PReLU",
        lambda: ntkbook.infinite_width(torch.nn.Sequential(nn.Linear(3, 1), torch.nn.PReLU())),
        InfiniteWidthError,
        "'1'",
        "an activation with fixed ones",
    ),
    (
        "infinite_width",
        "w_std",
        lambda: ntkbook.infinite_width(PLAIN),
        InfiniteWidthError,
        "'0'",
        "w_std=...",
    ),
    (
        "infinite_width",
        "w_std",
        lambda: ntkbook.infinite_width(NET, 1.0),
        InfiniteWidthError,
        "none",
        "layers",
    ),
    (
        "infinite_width",
        "w_std",
        lambda: ntkbook.infinite_width(PLAIN, -1.0),
        ValueError,
        "-1.0",
        "not negative",
    ),
    ("infinite_width", "w_std", lambda: ntkbook.infinite_width(PLAIN, "2"), TypeError, "'2'", "pass a float"),
    ("infinite_width", "w_std", lambda: ntkbook.infinite_width(PLAIN, Q), ValueError, "(2, 2)", "a number"),
    (
        "infinite_width",
        "w_std",
        lambda: ntkbook.infinite_width(PLAIN, 1e200),
        ValueError,
        "got 1e+200",
        "use a value nearer to 1",
    ),
    (
        "infinite_width",
        "w_std",
        lambda: ntkbook.infinite_width(PLAIN, torch.tensor(1e-30)),
        ValueError,
        "torch.float32",
        "use a value nearer to 1",
    ),
    (
        "infinite_width",
        "b_std",
        lambda: ntkbook.infinite_width(PLAIN, 1, 1e-160),
        ValueError,
        "got 1e-160",
        "use a value nearer to 1",
    ),
    (
        "infinite_width",
        "b_std",
        lambda: ntkbook.infinite_width(PLAIN, 1, NAN),
        ValueError,
        "nan",
        "not negative",
    ),
    (
        "infinite_width",
        "b_std",
        lambda: ntkbook.infinite_width(NET, None, 1),
        InfiniteWidthError,
        "none",
        "set",
    ),
    (
        "dual",
        "activation",
        lambda: ntkbook.dual(torch.nn.Softmax(-1), Q, Q, Q),
        TypeError,
        "Softmax",
        "Elementwise",
    ),
    ("dual", "activation", lambda: ntkbook.dual("relu", Q, Q, Q), TypeError, "'relu'", "torch.nn.ReLU()"),
    *(
        (
            "dual",
            f"activation:{name}",
            lambda module=module: ntkbook.dual(module, Q, Q, Q),
            error,
            value,
            remedy,
        )
        for name, module, error, value, remedy in (
            ("negative_slope", torch.nn.LeakyReLU(1e200), ValueError, "1e+200", "nearer to 1"),
            ("negative_slope", torch.nn.LeakyReLU(NAN), ValueError, "nan", "must be finite"),
            ("negative_slope", torch.nn.LeakyReLU("steep"), TypeError, "'steep'", "pass a float"),
            ("a", nn.ABReLU(1e200, 1.0), ValueError, "1e+200", "nearer to 1"),
            ("b", nn.ABReLU(1.0, 1e-160), ValueError, "1e-160", "nearer to 1"),
            ("alpha", torch.nn.ELU(NAN), ValueError, "nan", "must be finite"),
            ("beta", torch.nn.Softplus(0), ValueError, "got 0", "a positive number"),
            ("beta", torch.nn.Softplus(NAN), ValueError, "nan", "must be finite"),
            ("threshold", torch.nn.Softplus(1, NAN), ValueError, "nan", "must be finite"),
            ("approximate", torch.nn.GELU("erf"), ValueError, "'erf'", "'none', 'tanh'"),
        )
    ),
    (
        "dual",
        "activation",
        lambda: ntkbook.dual(torch.nn.ReLU, Q, Q, Q),
        TypeError,
        "class 'torch",
        "an instance",
    ),
    (
        "dual",
        "activation:PReLU",
        lambda: ntkbook.dual(torch.nn.PReLU(), Q, Q, Q),
        TypeError,
        "slope",
        "LeakyReLU",
    ),
    (
        "dual",
        "q11",
        lambda: ntkbook.dual(torch.nn.ReLU(), 1.0, Q, Q),
        TypeError,
        "float",
        "torch.as_tensor(q11)",
    ),
    ("dual", "q11", lambda: ntkbook.dual(torch.nn.ReLU(), Q.float(), Q, Q), ValueError, "float32", "q11.to("),
    (
        "dual",
        "q12",
        lambda: ntkbook.dual(torch.nn.ReLU(), Q, Q.long(), Q),
        TypeError,
        "int64",
        ".to(torch.float64)",
    ),
    ("dual", "q12", lambda: ntkbook.dual(torch.nn.ReLU(), Q, Q[:0], Q), ValueError, "(0, 2)", "at least one"),
    (
        "dual",
        "q22",
        lambda: ntkbook.dual(torch.nn.ReLU(), Q, Q, torch.ones(3).double()),
        ValueError,
        "(3,)",
        "(1, N2)",
    ),
    ("dual", "q22", lambda: ntkbook.dual(torch.nn.ReLU(), Q, Q, Q.to("meta")), ValueError, "meta", "q22.to("),
    ("dual_diagonal", "activation", lambda: ntkbook.dual_diagonal("relu", Q), TypeError, "'relu'", "ReLU()"),
    (
        "dual_diagonal",
        "q",
        lambda: ntkbook.dual_diagonal(torch.nn.ReLU(), 2.0),
        TypeError,
        "float",
        "as_tensor(q)",
    ),
    (
        "dual_diagonal",
        "q",
        lambda: ntkbook.dual_diagonal(torch.nn.ReLU(), Q.long()),
        TypeError,
        "int64",
        "q.to(",
    ),
    ("register_dual", "module_types", lambda: ntkbook.register_dual(), TypeError, "got no", "at least one"),
    (
        "register_dual",
        "module_types:torch.nn.Module",
        lambda: ntkbook.register_dual(torch.nn.ReLU()),
        TypeError,
        "ReLU()",
        "pass the type",
    ),
    (
        "register_dual",
        "module_types:torch.nn.Module",
        lambda: ntkbook.register_dual(int),
        TypeError,
        "int",
        "subclasses of",
    ),
    (
        "infinite.has_dual",
        "module",
        lambda: infinite.has_dual(torch.nn.ReLU),
        TypeError,
        "class 'torch",
        "an instance",
    ),
    (
        "infinite.register_rule",
        "targets",
        lambda: infinite.register_rule(),
        TypeError,
        "empty",
        "at least one",
    ),
    (
        "infinite.register_rule",
        "targets",
        lambda: infinite.register_rule(torch.nn.ReLU()),
        TypeError,
        "ReLU()",
        "pass the type",
    ),
    ("infinite.register_rule", "targets", lambda: infinite.register_rule(3), TypeError, "3", "module types"),
    (
        "infinite.register_rule",
        "needs",
        lambda: infinite.register_rule(torch.nn.ReLU, needs="all"),
        ValueError,
        "'all'",
        "'keep', 'full', 'diagonal'",
    ),
    (
        "infinite.register_rule",
        "channels",
        lambda: infinite.register_rule(torch.nn.ReLU, channels="middle"),
        ValueError,
        "'middle'",
        "'first', 'last'",
    ),
    (
        "infinite.register_refusal",
        "targets",
        lambda: infinite.register_refusal(torch.nn.ReLU(), reason="because"),
        TypeError,
        "ReLU()",
        "pass the type",
    ),
    (
        "infinite.register_refusal",
        "reason",
        lambda: infinite.register_refusal(torch.nn.ReLU, reason=""),
        ValueError,
        "''",
        "name the remedy",
    ),
]


def of_cntk() -> Iterator[Refusal]:
    def cntk(x1: Any = IMAGES, x2: Any = None, **options: Any) -> object:
        return ntkbook.cntk(x1, x2, **({"depth": 2} | options))

    wrong: list[tuple[str, Any, type[Exception], str, str]] = [
        ("x1", IMAGES.numpy(), TypeError, "ndarray", "torch.as_tensor(x1)"),
        ("x1", IMAGES[0], ValueError, "(3, 4, 4)", "4 dimensions"),
        ("x1", IMAGES.to(torch.uint8), TypeError, "torch.uint8", ".to(torch.float64)"),
        ("x1", IMAGES[:, :0], ValueError, "(2, 0, 4, 4)", "at least one"),
        ("x1", spoiled(IMAGES), ValueError, "(1, 2, 3, 3)", "remove or replace"),
        ("x1", IMAGES * 1e160, ValueError, "1e+160", "multiply the images"),
        ("x1", IMAGES * 1e-300, ValueError, "e-300", "multiply the images"),
        ("x1", IMAGES.float() * 1e30, ValueError, "torch.float32", "dtype=torch.float64"),
        ("x2", IMAGES * 1e200, ValueError, "e+200", "multiply the images"),
        ("x1", IMAGES.to("meta"), ValueError, "(2, 3, 4, 4)", "on the CPU"),
        ("x2", IMAGES.numpy(), TypeError, "ndarray", "torch.as_tensor(x2)"),
        ("x2", IMAGES[:, :1], ValueError, "(2, 1, 4, 4)", "(N, C, H, W)"),
        ("x2", IMAGES[..., :1], ValueError, "(2, 3, 4, 1)", "must agree"),
        ("x2", IMAGES.float(), ValueError, "torch.float32", "x2.to(x1.dtype)"),
        ("x2", spoiled(IMAGES, INF), ValueError, "1 entries", "remove or replace"),
        ("depth", 0, ValueError, "got 0", "a positive number"),
        ("depth", 2.0, ValueError, "got 2.0", "a positive number"),
        ("depth", True, ValueError, "got True", "a positive number"),
        ("depth", [], ValueError, "empty", "give the number"),
        ("depth", (1, -1), ValueError, "got -1", "a positive number"),
        ("depth", "3", ValueError, "'3'", "a positive number"),
        ("readout", "mean", ValueError, "'mean'", "'gap', 'flatten'"),
        ("kernel_size", 2, ValueError, "got 2", "odd"),
        ("kernel_size", 3.0, ValueError, "got 3.0", "odd positive integer"),
        ("dtype", torch.float16, ValueError, "torch.float16", "torch.float32 or torch.float64"),
        ("dtype", "float64", ValueError, "float64", "torch.float32 or torch.float64"),
        ("convention", "NTK", ValueError, "'NTK'", "'arora', 'ntk'"),
        ("w_std", 1.0, ValueError, "w_std=1.0", "use convention='ntk'"),
        ("w_std", -1.0, ValueError, "-1.0", "finite and positive"),
        ("w_std", "1", TypeError, "'1'", "pass a float"),
        ("w_std", 1e-160, ValueError, "got 1e-160", "nearer to 1"),
        ("w_std", 1e200, ValueError, "got 1e+200", "nearer to 1"),
        ("b_std", -0.1, ValueError, "-0.1", "not negative"),
        ("b_std", 1e-160, ValueError, "got 1e-160", "nearer to 1"),
        ("b_std", 1e200, ValueError, "got 1e+200", "nearer to 1"),
        ("trained", "last", ValueError, "'last'", "'all', 'hidden'"),
    ]
    for name, value, error, shown, remedy in wrong:
        call = lambda kw={name: value}: cntk(**kw)  # noqa: E731
        yield Refusal("cntk", name, call, error, shown, remedy)
    # Squares in range, whose products over the layers are not.
    for w_std, b_std, depth, shown in (
        (1e-150, 0.0, 2, "e-302"),
        (1e40, 0.0, 6, "e+79"),
        (1e40, 1.0, 6, "6 layers"),
        (1e-100, 1e100, 1, "1e+200"),
    ):
        call = lambda w=w_std, b=b_std, d=depth: cntk(  # noqa: E731
            depth=d, convention="ntk", w_std=w, b_std=b
        )
        yield Refusal("cntk", "w_std", call, ValueError, shown, "use values nearer to 1")
    chain: dict[str, Any] = {
        "x1": IMAGES,
        "x2": None,
        "convolutions": [(1.0, 0.0)],
        "dense": (1.0, 0.0),
        "kernel_size": 3,
        "readout": "gap",
    }
    for name, value, error, shown, remedy in (
        ("x1", IMAGES[0], ValueError, "(3, 4, 4)", "4 dimensions"),
        ("x2", IMAGES.float(), ValueError, "torch.float32", "x2.to(x1.dtype)"),
        ("convolutions", [], ValueError, "empty", "at least one"),
        ("convolutions", [(-1.0, 0.0)], ValueError, "-1.0", "not negative"),
        ("convolutions", [(1e200, 0.0)], ValueError, "got 1e+200", "nearer to 1"),
        ("dense", (1.0, 1e-160), ValueError, "got 1e-160", "nearer to 1"),
        ("dense", (1.0, NAN), ValueError, "nan", "not negative"),
        ("dense", 1.0, TypeError, "1.0", "(w_std, b_std)"),
        ("kernel_size", 4, ValueError, "got 4", "odd"),
        ("readout", "sum", ValueError, "'sum'", "'gap', 'flatten'"),
    ):
        call = lambda kw=chain | {name: value}: chain_kernels(kw.pop("x1"), kw.pop("x2"), **kw)  # noqa: E731
        yield Refusal("cntk.chain_kernels", name, call, error, shown, remedy)


REFUSALS = [*of_batches(), *(Refusal(*row) for row in NETWORKS), *of_cntk()]
