"""Every warning of the package points at the line that its reader wrote."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import cross_val_score

import ntkbook
from ntkbook import dynamics, training
from ntkbook.estimators import NNGPRegressor, NTKClassifier, NTKRegressor

EYE = torch.eye(2, dtype=torch.float64)
Y = torch.tensor([[1.0], [0.0]], dtype=torch.float64)
X = np.array([[0.0], [0.0], [1.0], [1.0], [2.0], [2.0]])
TARGETS = np.arange(6.0)
EXACT = {"diag_reg": 0.0, "depth": 1, "activation": "erf"}
FAINT = {**EXACT, "diag_reg": 1e-18}
KERNEL = ntkbook.infinite_width(ntkbook.nn.mlp([2, 8, 1]))
TRAINING = {"learning_rate": 9.0, "steps": 1, "keep": ("linearization",), "diverged": "nan"}


def draw():
    return torch.nn.Linear(2, 1, dtype=torch.float64)


def scores():
    cross_val_score(NTKRegressor(**EXACT), X, TARGETS, cv=2)


WARNINGS = {
    "solve": lambda: ntkbook.solve(torch.ones_like(EYE), Y),
    "LossFlow": lambda: dynamics.LossFlow(EYE, Y, "mse", learning_rate=9.0),
    "MSEFlow": lambda: dynamics.MSEFlow(EYE, Y, learning_rate=9.0),
    "ensemble": lambda: dynamics.ensemble(KERNEL, EYE, Y, None, 1, learning_rate=99.0),
    "train": lambda: training.train(draw, EYE, Y, **TRAINING),
    "NTKRegressor, singular": lambda: NTKRegressor(**EXACT).fit(X, TARGETS),
    "NTKRegressor, jitter": lambda: NTKRegressor(**FAINT).fit(X, TARGETS),
    "NTKClassifier": lambda: NTKClassifier(**EXACT).fit(X, TARGETS > 2),
    "NNGPRegressor": lambda: NNGPRegressor(**EXACT).fit(X, TARGETS),
    "through another library": scores,
}


@pytest.mark.parametrize("name", WARNINGS)
def test_the_line_is_the_callers(name):
    with pytest.warns(UserWarning, match=r"not below|singular|not positive definite") as caught:
        WARNINGS[name]()
    assert {warning.filename for warning in caught} == {__file__}
    line = Path(__file__).read_text().splitlines()[caught[0].lineno - 1]
    assert "lambda: " in line or "cross_val_score(" in line


def test_a_likelihood_that_is_not_maximized(monkeypatch):
    stopped = type("Result", (), {"success": False, "message": "stopped", "x": np.zeros(3)})
    monkeypatch.setattr("ntkbook.estimators._likelihood.minimize", lambda *args, **kwargs: stopped)
    model = NNGPRegressor(optimize=True, depth=1)
    with pytest.warns(ConvergenceWarning, match="was not maximized: stopped") as caught:
        model.fit(X, TARGETS)
    assert caught[0].filename == __file__


def test_there_is_one_way_to_warn():
    package = Path(ntkbook.__file__).parent
    found = {
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        if re.search(r"warnings\.warn\(|stacklevel", path.read_text())
    }
    assert found == {"_warn.py"}
