"""Hypothesis looks for inputs that crash, hang, give NaN or broadcast: shapes, dtypes, extreme values.

For every input there is either an error that the package's own code raises and that names the argument, or
a result of the documented shape without NaN, equal to that of a float64 copy within the input's precision.
A longer search with fresh seeds: ``NTKBOOK_SEARCH=2000 pytest tests/bad_input/test_searched_inputs.py``.
"""

from __future__ import annotations

import math
import os
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from refusal import PACKAGE
from torch import Tensor

import ntkbook
from ntkbook import data, dynamics, nn, operators
from ntkbook.estimators import NNGPRegressor, NTKRegressor

EXAMPLES = int(os.environ.get("NTKBOOK_SEARCH", "0"))
SUITE = settings(
    max_examples=EXAMPLES or 40,
    derandomize=not EXAMPLES,
    deadline=20_000,  # milliseconds: no input may take long
    suppress_health_check=list(HealthCheck),
    database=None,
)
FLOATS = [torch.float64, torch.float32, torch.float16, torch.bfloat16]
DTYPES = [*FLOATS, torch.int64, torch.bool, torch.complex64]
SIZES = [0.0, 1.0, 1.0, 1.0, 1e-30, 1e-300, 1e4, 1e18, 1e30, 1e160, 1e300]
# A RuntimeError of our own code is that of a solver which gives up.
REFUSED = (TypeError, ValueError, RuntimeError, FloatingPointError)
BAD = [float("nan"), float("inf"), -float("inf")]


def shapes(*right: int) -> st.SearchStrategy[tuple[int, ...]]:
    """Shapes near a right one: itself, one size changed, an axis more or less, or any small one."""
    exact = st.just(tuple(right))
    changed = st.tuples(st.integers(0, len(right) - 1), st.integers(0, 5)).map(
        lambda change: tuple(change[1] if i == change[0] else n for i, n in enumerate(right))
    )
    axes = st.sampled_from([tuple(right[1:]), (1, *right), (*right, 1), tuple(right[:-1])])
    anything = st.lists(st.integers(0, 3), max_size=5).map(tuple)
    return st.one_of(exact, exact, exact, changed, changed, axes, anything)


@st.composite
def tensors(draw: st.DrawFn, *right: int, symmetric: bool = False) -> Tensor:
    """Tensors of any dtype near a right shape, with entries of some size, at times one that is not finite."""
    shape = draw(shapes(*right))
    count = torch.Size(shape).numel()
    phase = draw(st.sampled_from([0.0, 1.0, 2.5]))
    values = torch.sin(phase + 1.7 * torch.arange(count, dtype=torch.float64)).reshape(shape)
    if symmetric and len(shape) == 2:
        shift = draw(st.sampled_from([0.0, 1.0, -3.0]))
        values = values @ values.mT + shift * torch.eye(len(values), dtype=torch.float64) * (
            1.0 if shape[0] == shape[-1] else 0.0
        )
    values = values * draw(st.sampled_from(SIZES))
    if count and draw(st.integers(0, 9)) == 0:
        values.view(-1)[draw(st.integers(0, values.numel() - 1))] = draw(st.sampled_from(BAD))
    return values.to(draw(st.sampled_from([torch.float64] * 4 + DTYPES)))


def result_or_refusal(call: Callable[[], Any], *others: str) -> Any:
    """Return the result, or None for an error that our code raised in words of ours."""
    try:
        return call()
    except REFUSED as error:
        where = traceback.extract_tb(error.__traceback__)[-1].filename
        if not Path(where).is_relative_to(PACKAGE) and not any(f"/{name}/" in where for name in others):
            raise AssertionError(f"raised by {where}") from error
        if len(str(error)) <= 25:
            raise AssertionError("says too little") from error
        return None


def moderate(*values: Tensor) -> bool:
    """Whether products of entries stay far from overflow and underflow in their precision."""
    return all(
        v.dtype in FLOATS and 1e-3 < float(v.double().abs().max()) < (50 if v.itemsize == 2 else 1e4)
        for v in values
    )


def check_result(
    result: Tensor, shape: tuple[int, ...], inputs: list[Tensor], exact: Callable[[], Tensor]
) -> None:
    """Require shape and no NaN; for inputs of moderate size a finite result near that of float64."""
    assert tuple(result.shape) == shape
    assert not result.isnan().any()
    if moderate(*inputs):
        assert result.isfinite().all()
        right = exact().double()
        error = float((result.double() - right).abs().max())
        # The square root: near-equal inputs lose half of their digits in the derivative of a kink.
        assert error <= 20 * float(right.abs().max()) * torch.finfo(inputs[0].dtype).eps ** 0.5


NET = nn.mlp([3, 8, 1], b_std=0.1)
TORCH_NET = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2))


def second(*right: int) -> st.SearchStrategy[Tensor | None]:
    return st.one_of(st.none(), tensors(*right))


@SUITE
@given(tensors(3, 3), second(2, 3))
def test_infinite_width(x1: Tensor, x2: Tensor | None) -> None:
    kernel = ntkbook.infinite_width(NET)
    found = result_or_refusal(lambda: kernel(x1, x2))
    if found is not None:
        positions = tuple(x1.shape[1:-1])
        shape = (len(x1), len(x1 if x2 is None else x2), *positions, *positions)
        inputs = [x1] if x2 is None else [x1, x2]
        wide = [x.double() for x in inputs]
        check_result(found.nngp, shape, inputs, lambda: kernel(*wide).nngp)
        check_result(found.ntk, shape, inputs, lambda: kernel(*wide).ntk)


@SUITE
@given(tensors(3, 3), second(2, 3))
def test_empirical_ntk(x1: Tensor, x2: Tensor | None) -> None:
    dtype = x1.dtype if x1.dtype in FLOATS else torch.float32
    net, wide = TORCH_NET.to(dtype), torch.nn.Sequential(*TORCH_NET)
    found = result_or_refusal(lambda: ntkbook.empirical_ntk(net, x1, x2))
    if found is not None:
        n_outputs = 2 * math.prod(x1.shape[1:-1])  # further axes are flattened into the outputs
        shape = (len(x1), len(x1 if x2 is None else x2), n_outputs, n_outputs)
        inputs = [x1] if x2 is None else [x1, x2]
        check_result(
            found, shape, inputs, lambda: ntkbook.empirical_ntk(wide.double(), *(x.double() for x in inputs))
        )


@SUITE
@given(tensors(2, 1, 3, 4), second(1, 1, 3, 4), st.sampled_from(["gap", "flatten"]))
def test_cntk(x1: Tensor, x2: Tensor | None, readout: str) -> None:
    found = result_or_refusal(lambda: ntkbook.cntk(x1, x2, depth=2, readout=readout))
    if found is not None:
        shape = (len(x1), len(x1 if x2 is None else x2))
        inputs = [x1] if x2 is None else [x1, x2]
        wide = [x.double() for x in inputs]
        check_result(found, shape, inputs, lambda: ntkbook.cntk(*wide, depth=2, readout=readout))


@SUITE
@given(tensors(3, 3), second(2, 3), st.integers(-1, 4))
def test_gram(x1: Tensor, x2: Tensor | None, tile_size: int) -> None:
    def linear(a: Tensor, b: Tensor) -> Tensor:
        return a.reshape(len(a), -1) @ b.reshape(len(b), -1).mT

    found = result_or_refusal(lambda: ntkbook.gram(linear, x1, x2, tile_size=tile_size, progress=False))
    if found is not None:
        inputs = [x1, x1 if x2 is None else x2]
        wide = [x.double() for x in inputs]
        check_result(found, (len(inputs[0]), len(inputs[1])), inputs, lambda: linear(*wide))


@SUITE
@given(
    tensors(3, 3, symmetric=True),
    tensors(3, 2),
    st.sampled_from([0.0, 1e-3, 1.0]),
    st.sampled_from(["auto", "cg"]),
)
@pytest.mark.filterwarnings("ignore:the Gram matrix is not positive")
def test_solve(gram: Tensor, targets: Tensor, diag_reg: float, method: str) -> None:
    found = result_or_refusal(lambda: ntkbook.solve(gram, targets, diag_reg, method=method))
    if found is not None:
        assert found.shape == targets.shape
        assert not found.isnan().any()
        if moderate(gram, targets):
            shift = diag_reg * gram.double().diagonal().mean() * torch.eye(len(gram), dtype=torch.float64)
            residual = (gram.double() + shift) @ found.double() - targets.double()
            rounding = 1e3 * max(torch.finfo(t.dtype).eps for t in (gram, targets))
            allowed = rounding * (gram.double().norm() * found.double().norm() + targets.double().norm())
            assert residual.norm() <= allowed + 1e-3 * targets.double().norm()


TIMES = st.one_of(
    st.sampled_from([0.0, 1.0, 1e-300, 1e300, float("inf"), float("nan"), -1.0, "soon", None]),
    tensors(3),
)


@SUITE
@given(
    tensors(3, 3, symmetric=True),
    tensors(3, 2),
    TIMES,
    tensors(2, 3),
    st.sampled_from([None, 0.1, 1e300, 0.0]),
)
@pytest.mark.filterwarnings("ignore:learning_rate")
def test_mse_flow(k: Tensor, y: Tensor, t: Any, cross: Tensor, learning_rate: float | None) -> None:
    flow = result_or_refusal(lambda: dynamics.MSEFlow(k, y, learning_rate=learning_rate))
    if flow is None:
        return
    leading = tuple(t.shape) if isinstance(t, Tensor) else ()
    f0 = torch.zeros_like(y)
    train = result_or_refusal(lambda: flow.train(t, f0))
    if train is not None:
        assert tuple(train.shape) == (*leading, *y.shape)
        assert not train.isnan().any()
    f0_test = torch.zeros(len(cross) if cross.ndim else 0, y.shape[1], dtype=y.dtype)
    test = result_or_refusal(lambda: flow.test(t, cross, f0_test, f0))
    if test is not None:
        assert tuple(test.shape) == (*leading, len(cross), y.shape[1])
        assert not test.isnan().any()


@SUITE
@given(
    tensors(3, 3, symmetric=True),
    tensors(3, 2),
    st.sampled_from(["mse", "huber", "cross_entropy", "hinge"]),
    TIMES,
)
@pytest.mark.filterwarnings("ignore")
def test_loss_flow(k: Tensor, y: Tensor, loss: str, t: Any) -> None:
    flow = result_or_refusal(lambda: dynamics.LossFlow(k, y, loss))
    if flow is None:
        return
    # Where outputs move by many orders of magnitude the solver may give up, and says so.
    found = result_or_refusal(lambda: flow.train(t, torch.zeros_like(y)))
    if found is not None:
        assert found.shape[-2:] == y.shape
        assert not found.isnan().any()


@SUITE
@given(
    tensors(4, 3), tensors(4, 2), tensors(2, 3), st.sampled_from([NTKRegressor, NNGPRegressor]), st.booleans()
)
@pytest.mark.filterwarnings("ignore")
def test_estimators(x: Tensor, y: Tensor, x_test: Tensor, make: Any, regular: bool) -> None:
    if torch.bfloat16 in (x.dtype, y.dtype, x_test.dtype):
        return  # NumPy has no such dtype
    arrays = [t.numpy() for t in (x, y, x_test)]
    model = make(depth=1, diag_reg=1e-3 if regular else 0.0)
    if result_or_refusal(lambda: model.fit(arrays[0], arrays[1]), "sklearn", "numpy") is not None:
        found = result_or_refusal(lambda: model.predict(arrays[2]), "sklearn", "numpy")
        if found is not None:
            assert found.shape == (len(x_test), *y.shape[1:])
            assert not torch.from_numpy(found).isnan().any()


def rbf(a: Tensor, b: Tensor) -> Tensor:
    return torch.exp(-0.5 * (a[:, None] - b).square().sum(-1))


@SUITE
@given(tensors(3, 2), second(2, 2), st.lists(st.integers(-1, 3), max_size=2))
def test_laplacian(x1: Tensor, x2: Tensor | None, axes: list[int]) -> None:
    operator = result_or_refusal(lambda: operators.laplacian(*axes))
    if operator is None:
        return
    found = result_or_refusal(lambda: operators.apply(rbf, operator)(x1, x2))
    if found is not None:
        assert tuple(found.shape) == (len(x1), len(x1 if x2 is None else x2))
        assert found.isfinite().all()


ANYTHING = st.one_of(
    st.integers(-2, 6), st.sampled_from([None, True, 2.0, 0.1, "2", float("nan"), 10**30, -1.5])
)
MAKERS = {
    "curve": ("noise",),
    "circle": ("noise", "frequencies"),
    "sphere": ("dimension", "degree", "noise"),
    "moons": ("noise",),
    "spirals": ("n_classes", "turns", "noise"),
    "blobs": ("n_classes", "noise"),
    "teacher": ("dimension", "n_neurons", "noise"),
    "single_index": ("dimension", "degree", "noise"),
    "sparse_parity": ("dimension", "order"),
}


@SUITE
@given(st.data(), st.sampled_from(sorted(MAKERS)))
def test_data_makers(chosen: st.DataObject, kind: str) -> None:
    small = st.integers(1, 6)
    options = {name: chosen.draw(st.one_of(small, small, ANYTHING), label=name) for name in MAKERS[kind]}
    sizes = {
        name: chosen.draw(st.one_of(small, small, st.integers(-1, 0), st.just(2.5)))
        for name in ("n_train", "n_test")
    }
    seed = chosen.draw(st.one_of(small, small, ANYTHING), label="seed")
    # What is drawn is small: a million dimensions are right, and take memory.
    if any(value == 10**30 for value in (options.get("dimension"), options.get("n_classes"))):
        return
    split = result_or_refusal(lambda: getattr(data, kind)(**sizes, **options, seed=seed))
    if split is not None:
        assert all(t.isfinite().all() and t.ndim == 2 for t in split)
        assert (len(split.x_train), len(split.y_test)) == (sizes["n_train"], sizes["n_test"])


@pytest.mark.parametrize("call", [lambda: torch.ones(2) @ torch.ones(3), lambda: int("three")])
def test_errors_of_others_are_findings(call: Callable[[], object]) -> None:
    with pytest.raises(AssertionError, match="raised by"):
        result_or_refusal(call)


def test_a_broadcast_and_a_lost_digit_are_findings() -> None:
    x = torch.ones(2, 2)
    for wrong in (x[:1], x * torch.nan, 1.1 * x):
        with pytest.raises(AssertionError):
            check_result(wrong, (2, 2), [x], lambda: x)
