"""Cholesky with graded jitter, and conjugate gradients on matrices that stay on disk."""

import importlib

import pytest
import torch
from gram_cases import data, rbf

import ntkbook
from ntkbook.solve import JitterWarning


def gaussian(a, b):
    return torch.exp(-torch.cdist(a, b).square() / 2)


def targets(n, k=2):
    return torch.randn(n, k, generator=torch.Generator().manual_seed(4), dtype=torch.float64)


@pytest.mark.parametrize("method", ["cholesky", "cg"])
@pytest.mark.parametrize("diag_reg", [0.0, 0.1])
def test_agrees_with_a_direct_solve(method, diag_reg):
    x = data(40)
    gram = 3 * rbf(x, x)
    expected = torch.linalg.solve(gram + diag_reg * 3 * torch.eye(40, dtype=torch.float64), targets(40))
    ours = ntkbook.solve(gram, targets(40), diag_reg, method=method, tolerance=1e-12)
    torch.testing.assert_close(ours, expected, rtol=1e-7, atol=1e-7)
    torch.testing.assert_close(
        ntkbook.solve(gram, targets(40)[:, 0], diag_reg), expected[:, 0], rtol=1e-7, atol=1e-7
    )


def test_a_stored_matrix_is_never_in_memory(tmp_path, monkeypatch):
    x = data(150)
    stored = ntkbook.gram(gaussian, x, tile_size=32, store=tmp_path / "g", progress=False)
    dense = stored.tensor()

    def forbidden(*args):
        raise AssertionError("the whole matrix was read")

    monkeypatch.setattr(type(stored), "tensor", forbidden)
    monkeypatch.setattr(type(stored), "__array__", forbidden)
    ours = ntkbook.solve(stored, targets(150), 1e-3, tolerance=1e-10)
    torch.testing.assert_close(ours, ntkbook.solve(dense, targets(150), 1e-3), rtol=1e-6, atol=1e-6)


def test_the_preconditioner_is_what_makes_it_fast():
    x = data(200)
    gram = gaussian(x, x)
    condition = torch.linalg.cond(gram + 1e-6 * torch.eye(200, dtype=torch.float64))
    assert condition > 1e7
    ntkbook.solve(gram, targets(200), 1e-6, method="cg", rank=180, max_iterations=40)
    with pytest.raises(RuntimeError, match="in 40 iterations"):
        ntkbook.solve(gram, targets(200), 1e-6, method="cg", rank=1, max_iterations=40)


def test_zero_targets_and_exact_columns():
    gram = rbf(data(10), data(10))
    y = torch.stack([torch.zeros(10, dtype=torch.float64), gram[:, 3]], 1)
    ours = ntkbook.solve(gram, y, method="cg")
    expected = torch.zeros(10, 2, dtype=torch.float64)
    expected[3, 1] = 1
    torch.testing.assert_close(ours, expected, atol=1e-6, rtol=0)


def test_the_residual_is_looked_at_after_the_last_iteration():
    # With the rank of the matrix the preconditioner is its inverse: one iteration does it.
    x = data(10)
    gram = rbf(x, x)
    ours = ntkbook.solve(gram, targets(10), method="cg", max_iterations=1)
    torch.testing.assert_close(gram @ ours, targets(10), rtol=1e-7, atol=1e-7)
    with pytest.raises(RuntimeError, match="in 1 iterations"):
        ntkbook.solve(gram, targets(10), method="cg", max_iterations=1, rank=1)


@pytest.mark.parametrize("method", ["cholesky", "cg"])
def test_targets_are_moved_to_the_matrix(method, tmp_path, monkeypatch):
    # Meta tensors stand for those on a GPU. They have no values: what looks at them is cut out.
    solver = importlib.import_module("ntkbook.solve")
    for name in ("check_finite", "_check_symmetric"):
        monkeypatch.setattr(solver, name, lambda *arguments: None)
    for name in ("_cholesky", "_conjugate_gradients"):
        monkeypatch.setattr(solver, name, lambda gram, columns, *options: columns)
    gram = rbf(data(10), data(10))
    assert ntkbook.solve(gram.to("meta"), targets(10), method=method).is_meta
    stored = ntkbook.gram(rbf, data(10), store=tmp_path / "g", progress=False)
    with pytest.raises(NotImplementedError, match="Cannot copy out of meta tensor"):
        ntkbook.solve(stored, targets(10).to("meta"), method=method)


def test_jitter_is_graded_and_named():
    x = data(30)
    x[7] = x[21]  # a duplicated input: singular
    gram = rbf(x, x)
    gram[7, 7] -= 1e-13
    with pytest.warns(JitterWarning, match=r"added 1e-1[0-4] to its diagonal"):
        solution = ntkbook.solve(gram, gram[:, 3])
    torch.testing.assert_close(gram @ solution, gram[:, 3], atol=1e-8, rtol=0)
    with pytest.warns(JitterWarning, match="float32"):
        ntkbook.solve(gram.float() - 3e-7 * torch.eye(30), gram[:, 3])


@pytest.mark.parametrize("method", ["cholesky", "cg"])
def test_an_indefinite_matrix_is_refused(method):
    gram = rbf(data(12), data(12)) - 0.9 * torch.eye(12, dtype=torch.float64)
    with pytest.raises(RuntimeError, match="not positive definite"):
        ntkbook.solve(gram, targets(12), method=method)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gram": torch.zeros(3, 4)}, r"square matrix \(N, N\), got shape \(3, 4\)"),
        ({"gram": torch.zeros(3, 3, 2, 2)}, "for several outputs"),
        ({"gram": torch.full((3, 3), torch.nan)}, "gram holds"),
        ({"gram": torch.eye(3) + torch.ones(3, 3).triu(1)}, "must be symmetric"),
        ({"gram": torch.eye(3).half()}, "float32 or float64"),
        ({"targets": torch.zeros(4)}, "targets must have 3 rows"),
        ({"targets": torch.zeros(3, 1, 1)}, "targets must have 1 or 2 dimensions"),
        ({"diag_reg": -1.0}, "diag_reg must be"),
        ({"method": "lu"}, "method must be one of"),
    ],
)
def test_bad_input(change, message):
    arguments = {"gram": torch.eye(3), "targets": torch.zeros(3), **change}
    with pytest.raises((TypeError, ValueError), match=message):
        ntkbook.solve(**arguments)
