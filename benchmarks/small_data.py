"""Small data: an infinitely wide network against three standard classifiers on tables of the UCI repository.

``python benchmarks/small_data.py`` compares the NTK classifier, an SVM with a Gaussian kernel, a random
forest and a tuned finite network on 25 tables of 150 to 500 rows, in under 30 minutes on two cores. It
needs the extras ``sklearn`` and ``tables``. Each cell, one method on one table, is written to ``--store``
when it is done, and the same command goes on where it stopped. The result is ``benchmarks/small_data.json``;
``--show`` prints it, ``--quick`` tries everything on two small tables in seconds and writes nothing.

The protocol is nested cross-validation. Four stratified outer folds give the accuracies: every row is tested
once, by a model that has not seen it. Within each outer training part three stratified folds choose the
settings by their mean accuracy, the first of equals, and the chosen model is fitted to the whole outer
training part. Numbers are standardized with the mean and standard deviation of the outer training part, which
use no labels and are the same for all methods. Larger tables are cut to 500 rows, drawn with their classes
in proportion. The NTK does not depend on the inner split: each kernel is computed once per outer fold, and
its rows and columns are sliced.

The columns of the summary are those of Arora et al. (2020): the rank among the methods on a table, averaged
over the tables, equal accuracies sharing theirs (Friedman rank); the mean accuracy; the share of the tables
on which a method has at least 90% and 95% of the highest accuracy there (P90, P95); and the mean percentage
of the highest accuracy (PMA). They compare 90 tables with folds published earlier, an NTK within an SVM,
settings chosen once per table on a part that is tested later too, and a finite network of the NTK's
architecture; numbers there and here are not to be compared one by one.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import os
import platform
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import StratifiedKFold, train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from ntkbook import data, infinite_width, nn
from ntkbook.estimators import NTKClassifier

RESULT = Path(__file__).with_suffix(".json")
COMMAND = "python benchmarks/small_data.py"
MAX_ROWS, OUTER, INNER = 500, 4, 3

# In order of preference where inner accuracies are equal: the smoother model first.
GRIDS: dict[str, dict[str, Sequence[Any]]] = {
    "NTK": {
        "depth": (1, 2, 3, 4, 5),
        "b_std": (0.0, 0.3, 1.0),
        "diag_reg": (1.0, 0.1, 0.01, 1e-3, 1e-4),
    },
    "RBF-SVM": {
        "C": (0.1, 1.0, 10.0, 100.0, 1000.0),
        "gamma_times_features": (0.01, 0.03, 0.1, 0.3, 1.0, 3.0),
    },
    "random forest": {
        "n_estimators": (300,),
        "min_samples_leaf": (3, 1),
        "max_features": (1, "sqrt", 0.5),
    },
    "MLP": {
        "hidden_layer_sizes": ((64,), (256,), (128, 128)),
        "alpha": (10.0, 0.1),
        "learning_rate_init": (1e-3, 1e-2),
    },
}
QUICK_GRIDS: dict[str, dict[str, Sequence[Any]]] = {
    "NTK": {"depth": (1, 3), "b_std": (0.3,), "diag_reg": (0.1, 1e-3)},
    "RBF-SVM": {"C": (1.0, 10.0), "gamma_times_features": (0.3,)},
    "random forest": {"n_estimators": (20,), "min_samples_leaf": (3, 1), "max_features": ("sqrt",)},
    "MLP": {"hidden_layer_sizes": ((16,),), "alpha": (0.01,), "learning_rate_init": (1e-2,)},
}
# Seconds a cell takes for a row and a setting, roughly: for the order of work and the estimate of the end.
COST = {"NTK": 4e-5, "RBF-SVM": 4e-5, "random forest": 8e-4, "MLP": 6e-4}

Rows = NDArray[np.int64]
# Given the outer training rows: settings -> rows to fit -> rows to predict -> labels.
Predictor = Callable[[dict[str, Any], Rows, Rows], NDArray[Any]]


def ntk(x: NDArray[Any], y: NDArray[Any]) -> Predictor:
    """NTK of a ReLU network with w_std^2 = 2; each depth and b_std costs one kernel of all rows."""
    grams: dict[tuple[int, float], NDArray[Any]] = {}

    def predict(settings: dict[str, Any], train: Rows, test: Rows) -> NDArray[Any]:
        depth, b_std = key = settings["depth"], settings["b_std"]
        if key not in grams:
            net = nn.mlp([x.shape[1], *[1] * depth, 1], w_std=2**0.5, b_std=b_std)
            grams[key] = infinite_width(net)(torch.from_numpy(x)).ntk.numpy()
        model = NTKClassifier(kernel="precomputed", diag_reg=settings["diag_reg"])
        model.fit(grams[key][np.ix_(train, train)], y[train])
        return model.predict(grams[key][np.ix_(test, train)])

    return predict


def fitted(make: Callable[[dict[str, Any], int], Any]) -> Callable[[NDArray[Any], NDArray[Any]], Predictor]:
    """Turn what makes a scikit-learn classifier of settings and a number of features into a method."""

    def prepare(x: NDArray[Any], y: NDArray[Any]) -> Predictor:
        def predict(settings: dict[str, Any], train: Rows, test: Rows) -> NDArray[Any]:
            with warnings.catch_warnings():
                # 200 epochs are the budget of a finite network here, converged or not.
                warnings.simplefilter("ignore", ConvergenceWarning)
                return make(settings, x.shape[1]).fit(x[train], y[train]).predict(x[test])

        return predict

    return prepare


METHODS = {
    "NTK": ntk,
    "RBF-SVM": fitted(lambda s, d: SVC(C=s["C"], gamma=s["gamma_times_features"] / d)),
    "random forest": fitted(lambda s, _: RandomForestClassifier(random_state=0, **s)),
    "MLP": fitted(lambda s, _: MLPClassifier(max_iter=200, random_state=0, **s)),
}


def load(name: str, max_rows: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return inputs and labels, cut to at most ``max_rows`` rows."""
    x, labels, _ = data.table(name)
    y = labels.numpy()
    rows = np.arange(len(x))
    if len(rows) > max_rows:
        rows, _ = train_test_split(rows, train_size=max_rows, stratify=y, random_state=0)
    return x.numpy()[rows], y[rows]


def folds(labels: NDArray[Any], count: int) -> Iterator[tuple[Rows, Rows]]:
    """Yield (training rows, test rows) of stratified folds, the same ones every time."""
    return StratifiedKFold(count, shuffle=True, random_state=0).split(labels, labels)


def cell(name: str, method: str, grid: dict[str, Sequence[Any]], max_rows: int) -> dict[str, Any]:
    """Run one method on one table: nested cross-validation."""
    start = time.process_time()
    x, y = load(name, max_rows)
    settings = [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]
    correct, sizes, chosen = [], [], []
    for train, test in folds(y, OUTER):
        predict = METHODS[method](StandardScaler().fit(x[train]).transform(x), y)
        scores = np.zeros(len(settings))
        for inner, validation in folds(y[train], INNER):
            fit, check = train[inner], train[validation]
            scores += [float(np.mean(predict(s, fit, check) == y[check])) for s in settings]
        # Means that differ by rounding are equal: the first of them is the choice.
        best = settings[int(np.argmax(np.round(scores, 9)))]
        correct.append(int(np.sum(predict(best, train, test) == y[test])))
        sizes.append(len(test))
        chosen.append(best)
    return {
        "table": name,
        "method": method,
        "rows": len(y),
        "features": x.shape[1],
        "classes": len(np.unique(y)),
        "fold_correct": correct,
        "fold_size": sizes,
        "chosen": chosen,
        "seconds": round(time.process_time() - start, 2),
    }


def row(cells: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return what the result holds of one table, from its cells."""
    first = cells[0]
    results = {}
    for one in cells:
        share = sum(one["fold_correct"]) / sum(one["fold_size"])
        error = (share * (1 - share) / sum(one["fold_size"])) ** 0.5
        kept = {key: one[key] for key in ("fold_correct", "fold_size", "chosen", "seconds")}
        results[one["method"]] = {
            "accuracy": round(100 * share, 2),
            "standard_error": round(100 * error, 2),
            **kept,
        }
    return {key: first[key] for key in ("table", "rows", "features", "classes")} | {"methods": results}


def summarize(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the summary's columns per method, and tests of the differences, from the rows alone."""
    methods = list(rows[0]["methods"])
    # Correct answers, not rounded percentages: whether two methods are equal must not hang on rounding.
    share = np.array([[_share(r["methods"][m]) for m in methods] for r in rows])  # (tables, methods)
    ranks = stats.rankdata(-share, axis=1)
    of_best = share / share.max(1, keepdims=True)
    columns = {
        "friedman_rank": ranks.mean(0),
        "accuracy": 100 * share.mean(0),
        "p90": 100 * (of_best >= 0.90).mean(0),
        "p95": 100 * (of_best >= 0.95).mean(0),
        "pma": 100 * of_best.mean(0),
        "pma_standard_error": 100 * of_best.std(0, ddof=1) / len(rows) ** 0.5,
    }
    summary: dict[str, Any] = {
        m: {name: round(float(values[j]), 2) for name, values in columns.items()}
        for j, m in enumerate(methods)
    }
    tests = {}
    for j, m in enumerate(methods[1:], 1):
        difference = share[:, 0] - share[:, j]
        tests[m] = {
            "wins": int((difference > 0).sum()),
            "ties": int((difference == 0).sum()),
            "losses": int((difference < 0).sum()),
            "mean_difference": round(100 * float(difference.mean()), 2),
            "wilcoxon_p": round(float(stats.wilcoxon(difference, zero_method="zsplit").pvalue), 4),
        }
    friedman = round(float(stats.friedmanchisquare(*share.T).pvalue), 4)
    return {"methods": summary, f"{methods[0]}_against": tests, "friedman_p": friedman}


def _share(result: dict[str, Any]) -> float:
    return float(sum(result["fold_correct"]) / sum(result["fold_size"]))


def show(result: dict[str, Any]) -> None:
    """Print both tables."""
    methods = list(result["summary"]["methods"])
    print(f"\n{'accuracy in %':16}{'rows':>6}{'feat.':>6}{'cl.':>4}" + "".join(f"{m:>16}" for m in methods))
    for r in result["tables"]:
        best = max(_share(v) for v in r["methods"].values())
        entries = "".join(
            f"{v['accuracy']:9.1f} +- {v['standard_error']:3.1f}" + ("*" if _share(v) == best else " ")
            for v in r["methods"].values()
        )
        print(f"{r['table']:16}{r['rows']:6}{r['features']:6}{r['classes']:4}{entries}")
    print("* highest; +- one binomial standard error\n")
    print(f"{'':16}{'Friedman rank':>15}{'accuracy':>10}{'P90':>7}{'P95':>7}{'PMA':>15}")
    for m, v in result["summary"]["methods"].items():
        pma = f"{v['pma']:.1f} +- {v['pma_standard_error']:.1f}"
        print(f"{m:16}{v['friedman_rank']:15.2f}{v['accuracy']:10.2f}{v['p90']:7.1f}{v['p95']:7.1f}{pma:>15}")
    print()
    for m, v in result["summary"][f"{methods[0]}_against"].items():
        print(
            f"{methods[0]} against {m}: {v['wins']} wins, {v['ties']} ties, {v['losses']} losses, "
            f"{v['mean_difference']:+.2f} points in the mean, Wilcoxon p = {v['wilcoxon_p']:.3f}"
        )
    print(f"Friedman test that all are alike: p = {result['summary']['friedman_p']:.4f}")


def as_text(result: dict[str, Any]) -> str:
    """Return the result as JSON with one line for each table and each other entry."""
    tables = ",\n  ".join(map(json.dumps, result["tables"]))
    entries = {key: json.dumps(value) for key, value in result.items()} | {"tables": f"[\n  {tables}\n ]"}
    return "{\n " + ",\n ".join(f"{json.dumps(key)}: {value}" for key, value in entries.items()) + "\n}\n"


def protocol(grids: dict[str, dict[str, Sequence[Any]]], max_rows: int) -> dict[str, Any]:
    """Return all that a cell's result depends on, besides the libraries."""
    whole = {"outer_folds": OUTER, "inner_folds": INNER, "max_rows": max_rows, "grids": grids}
    return dict(json.loads(json.dumps(whole)))  # lists for tuples, as in the file


def versions() -> dict[str, str]:
    names = ("ntkbook", "torch", "numpy", "scipy", "scikit-learn")
    return {"python": platform.python_version()} | {name: version(name) for name in names}


def read_cells(store: Path, fingerprint: str) -> dict[tuple[str, str], dict[str, Any]]:
    """Return the finished cells of the same code and versions; a line cut short by a kill is none."""
    found = {}
    for line in store.read_text().splitlines() if store.exists() else []:
        try:
            stored = json.loads(line)
        except json.JSONDecodeError:
            continue
        if stored["fingerprint"] == fingerprint:
            found[stored["cell"]["table"], stored["cell"]["method"]] = stored["cell"]
    return found


def write_cell(store: Path, fingerprint: str, result: dict[str, Any]) -> None:
    """Append a finished cell, on a line of its own even after a line that a kill has cut short."""
    store.parent.mkdir(parents=True, exist_ok=True)
    with store.open("a") as file:
        file.write("\n" * (file.tell() > 0) + json.dumps({"fingerprint": fingerprint, "cell": result}))
        file.flush()
        os.fsync(file.fileno())


def finished(
    pairs: Sequence[tuple[str, str]], grids: dict[str, dict[str, Sequence[Any]]], max_rows: int, jobs: int
) -> Iterator[tuple[tuple[str, str], dict[str, Any]]]:
    """Yield the cells as they are done, from this process or from several."""
    if jobs == 1:
        _one_thread()
        for pair in pairs:
            yield pair, cell(*pair, grids[pair[1]], max_rows)
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=_one_thread) as pool:
        futures = {pool.submit(cell, *pair, grids[pair[1]], max_rows): pair for pair in pairs}
        for future in as_completed(futures):
            yield futures[future], future.result()


def _one_thread() -> None:
    torch.set_num_threads(1)
    threadpool_limits(1)


def run(
    names: Sequence[str],
    grids: dict[str, dict[str, Sequence[Any]]],
    *,
    max_rows: int,
    store: Path | None,
    jobs: int,
) -> dict[str, Any]:
    """Run the cells that are not in the store yet, and return the whole result."""
    setup = protocol(grids, max_rows)
    source = Path(__file__).read_text()
    fingerprint = hashlib.sha256(json.dumps([setup, versions(), source]).encode()).hexdigest()[:16]
    cells = read_cells(store, fingerprint) if store else {}
    wanted = [(name, method) for name in names for method in grids]
    sizes = {name: len(load(name, max_rows)[1]) for name in names}

    def cost(pair: tuple[str, str]) -> float:
        settings = np.prod([len(values) for values in grids[pair[1]].values()])
        return float(COST[pair[1]] * settings * sizes[pair[0]] * OUTER * INNER)

    todo = sorted((pair for pair in wanted if pair not in cells), key=cost, reverse=True)
    with tqdm(total=round(sum(map(cost, wanted))), bar_format=BAR, disable=store is None) as bar:
        bar.update(round(sum(cost(pair) for pair in wanted if pair in cells)))
        for pair, done in finished(todo, grids, max_rows, jobs):
            cells[pair] = done
            if store:
                write_cell(store, fingerprint, done)
            bar.set_description(f"{len(cells)} of {len(wanted)} cells, last {pair[1]} on {pair[0]}")
            bar.update(round(cost(pair)))
    rows = [row([cells[name, method] for method in grids]) for name in names]
    return {
        "command": COMMAND,
        "protocol": setup,
        "standard_error": "binomial, of the accuracy over all rows; pma: over the tables",
        "versions": versions(),
        "cpu_seconds": round(sum(c["seconds"] for c in cells.values())),
        "tables": rows,
        "summary": summarize(rows),
    }


BAR = "{desc}: {percentage:3.0f}%|{bar}| {elapsed}<{remaining}"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--quick", action="store_true", help="two small tables, few settings, nothing written"
    )
    parser.add_argument("--show", action="store_true", help="print the committed result and stop")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes; default: all cores")
    parser.add_argument("--store", type=Path, default=Path("data"), help="a folder for finished cells")
    parser.add_argument(
        "--output", type=Path, default=RESULT, help=f"default: {RESULT.name} beside this file"
    )
    options = parser.parse_args(arguments)
    if options.show:
        show(json.loads(options.output.read_text()))
        return
    if options.quick:
        show(run(("iris", "wine"), QUICK_GRIDS, max_rows=60, store=None, jobs=1))
        return
    result = run(
        data.TABLES, GRIDS, max_rows=MAX_ROWS, store=options.store / "small_data.jsonl", jobs=options.jobs
    )
    options.output.write_text(as_text(result))
    show(result)
    print(f"{result['cpu_seconds'] / 60:.0f} minutes of one core in all. Written to {options.output}")


if __name__ == "__main__":
    main()
