"""The small-data benchmark: its protocol by another route, and its resumption."""

import math

import numpy as np
import pytest
from benchmark_script import small_data
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from ntkbook import data
from ntkbook.estimators import NTKClassifier

GRIDS = {
    "NTK": {"depth": (1, 2), "b_std": (0.0, 1.0), "diag_reg": (0.1, 1e-3)},
    "RBF-SVM": {"C": (0.1, 10.0), "gamma_times_features": (0.1, 1.0)},
}


@pytest.mark.parametrize("method", GRIDS)
def test_a_cell_is_nested_cross_validation(method):
    """Compare with scikit-learn's own search, kernels computed anew for each split."""
    cell = small_data.cell("wine", method, GRIDS[method], 90)
    x, y = small_data.load("wine", 90)
    assert len(y) == 90
    correct = []
    for k, (train, test) in enumerate(StratifiedKFold(4, shuffle=True, random_state=0).split(x, y)):
        scaler = StandardScaler().fit(x[train])
        x_train, x_test = scaler.transform(x[train]), scaler.transform(x[test])
        if method == "NTK":
            model, grid = NTKClassifier(w_std=math.sqrt(2)), GRIDS[method]
        else:
            model = SVC()
            grid = {"C": (0.1, 10.0), "gamma": (0.1 / 13, 1.0 / 13)}
        inner = StratifiedKFold(3, shuffle=True, random_state=0)
        search = GridSearchCV(model, {n: list(v) for n, v in grid.items()}, cv=inner).fit(x_train, y[train])
        # Several settings are often equally good: the cell's choice is one of the best.
        chosen = dict(cell["chosen"][k])
        if method == "RBF-SVM":
            chosen["gamma"] = chosen.pop("gamma_times_features") / 13
        means = search.cv_results_["mean_test_score"]
        assert means[search.cv_results_["params"].index(chosen)] == pytest.approx(means.max(), abs=1e-9)
        model.set_params(**chosen).fit(x_train, y[train])
        correct.append(int((model.predict(x_test) == y[test]).sum()))
    assert cell["fold_correct"] == correct
    assert sum(cell["fold_size"]) == 90


def test_of_equal_settings_the_first_is_chosen():
    cell = small_data.cell("iris", "NTK", {"depth": (2,), "b_std": (0.3,), "diag_reg": (1e-3, 1.0001e-3)}, 60)
    assert all(chosen["diag_reg"] == 1e-3 for chosen in cell["chosen"])


def test_larger_tables_are_cut_with_their_classes_in_proportion():
    _, y = small_data.load("digits", 500)
    whole = data.table("digits").labels.numpy()
    assert len(y) == 500
    share, wanted = (np.bincount(labels) / len(labels) for labels in (y, whole))
    assert np.abs(share - wanted).max() < 1 / 500
    assert np.array_equal(small_data.load("digits", 500)[1], y)
    assert len(small_data.load("iris", 500)[1]) == 150


def run(store):
    """Run two methods on two tables; return the result and the cells that were computed."""
    computed = []

    def count(name, method, grid, max_rows):
        computed.append((name, method))
        return original(name, method, grid, max_rows)

    original = small_data.cell
    small_data.cell = count
    grids = {"NTK": small_data.QUICK_GRIDS["NTK"], "RBF-SVM": small_data.QUICK_GRIDS["RBF-SVM"]}
    try:
        result = small_data.run(("iris", "wine"), grids, max_rows=60, store=store, jobs=1)
    finally:
        small_data.cell = original
    return result, computed


@pytest.fixture
def two_methods(monkeypatch):
    # Friedman's test wants three samples; everything else is as in the full run.
    monkeypatch.setattr(small_data.stats, "friedmanchisquare", lambda *_: small_data.stats.wilcoxon([1, 2]))


def test_a_run_goes_on_where_it_was_killed(tmp_path, two_methods):
    store = tmp_path / "new" / "cells.jsonl"
    first, computed = run(store)
    assert len(computed) == 4
    assert run(store)[1] == []
    # Killed while writing the third line: two are left, and half of one.
    lines = store.read_text().splitlines()
    store.write_text("\n".join(lines[:2]) + "\n" + lines[2][:50])
    again, computed = run(store)
    assert len(computed) == 2
    assert run(store)[1] == []
    for result in (first, again):
        for row in result["tables"]:
            for method in row["methods"].values():
                del method["seconds"]
        del result["cpu_seconds"]
    assert again == first


def test_cells_of_another_version_are_computed_again(tmp_path, two_methods, monkeypatch):
    store = tmp_path / "cells.jsonl"
    run(store)
    monkeypatch.setattr(small_data, "versions", lambda: {"python": "another"})
    assert len(run(store)[1]) == 4


def test_the_quick_run_prints_both_tables_and_writes_nothing(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(small_data, "RESULT", tmp_path / "result.json")
    small_data.main(["--quick"])
    printed = capsys.readouterr().out
    for word in (*small_data.GRIDS, "iris", "wine", "Friedman rank", "P90", "PMA", "Wilcoxon"):
        assert word in printed
    assert list(tmp_path.iterdir()) == []
