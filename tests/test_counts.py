"""Whole numbers are checked in one way: a TypeError for what is none, a ValueError for one out of range."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

import ntkbook
from ntkbook import dynamics, nn, operators, training
from ntkbook._validation import check_count
from ntkbook.estimators import NTKRegressor

X = torch.eye(3)
Y = X[:, :1]
# By hand until their modules are next revised, with messages of their own.
ELSEWHERE = {"infinite", "cntk", "verify"}

COUNTS = {
    "tile_size": lambda k: ntkbook.gram(lambda a, b: a @ b.T, X, tile_size=k, progress=False),
    "chunk_size": lambda k: ntkbook.empirical_ntk(torch.nn.Linear(3, 1), X, chunk_size=k),
    "degree": lambda k: ntkbook.taylor_expand(torch.nn.Linear(3, 1), k),
    "n_outputs": lambda k: dynamics.max_learning_rate(X, k),
    "axis": operators.partial,
    "steps": lambda k: training.train(lambda: nn.Linear(3, 1), X, Y, learning_rate=0.1, steps=k),
    "n_samples": lambda k: ntkbook.monte_carlo_kernel(lambda: nn.Linear(3, 1), X, n_samples=k),
    "depth": lambda k: NTKRegressor(depth=k).fit(X.numpy(), Y.numpy()[:, 0]),
    "n": lambda k: training.log_steps(10, k),
}


@pytest.mark.parametrize("name", COUNTS)
def test_one_behaviour(name):
    for wrong in (2.0, "2", True, None if name != "chunk_size" else 1.5, np.float64(2), torch.tensor(2)):
        with pytest.raises(TypeError, match=rf"\b{name} must be an integer, got .*; pass a whole number"):
            COUNTS[name](wrong)
    with pytest.raises(ValueError, match=rf"\b{name} must be at least \d, got -1"):
        COUNTS[name](-1)
    COUNTS[name](np.int64(2))  # NumPy's integers are integers


def test_a_count_is_returned_as_pythons_own():
    assert type(check_count("n", np.int64(2))) is int


def test_no_count_is_checked_by_hand():
    package = Path(ntkbook.__file__).parent
    by_hand = re.compile(r"isinstance\(\w+, bool\) or not isinstance\(\w+, (int|Integral)\)")
    found = {
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        if by_hand.search(path.read_text())
        if path.relative_to(package).parts[0] not in ELSEWHERE
    }
    assert found == set()
