"""The committed result of the small-data benchmark: every column recomputed from the rows."""

import json
import math

import numpy as np
import pytest
from benchmark_script import small_data

from ntkbook import data

RESULT = json.loads(small_data.RESULT.read_text())
TABLES, METHODS = RESULT["tables"], list(RESULT["summary"]["methods"])


def share(row, method):
    result = row["methods"][method]
    return sum(result["fold_correct"]) / sum(result["fold_size"])


def test_the_committed_result_is_of_this_protocol():
    assert RESULT["protocol"] == small_data.protocol(small_data.GRIDS, small_data.MAX_ROWS)
    assert RESULT["command"] == "python benchmarks/small_data.py"
    assert [row["table"] for row in TABLES] == list(data.TABLES)
    assert list(small_data.GRIDS) == METHODS
    assert {"python", "ntkbook", "torch", "numpy", "scipy", "scikit-learn"} == set(RESULT["versions"])
    # Under 30 minutes on two cores.
    assert RESULT["cpu_seconds"] < 2 * 30 * 60


@pytest.mark.parametrize("row", TABLES, ids=lambda row: row["table"])
def test_each_row_tests_every_example_once(row):
    assert 150 <= row["rows"] <= small_data.MAX_ROWS
    assert list(row["methods"]) == METHODS
    for name, result in row["methods"].items():
        assert sum(result["fold_size"]) == row["rows"]
        assert max(result["fold_size"]) - min(result["fold_size"]) <= 1 + row["classes"]
        p = share(row, name)
        assert result["accuracy"] == round(100 * p, 2)
        assert result["standard_error"] == round(100 * math.sqrt(p * (1 - p) / row["rows"]), 2)
        # No worse than guessing the classes evenly: 5 standard errors.
        assert p > 1 / row["classes"] - 5 * 0.5 / math.sqrt(row["rows"])
        grid = RESULT["protocol"]["grids"][name]
        assert len(result["chosen"]) == 4
        assert all(set(chosen) == set(grid) for chosen in result["chosen"])
        assert all(chosen[key] in grid[key] for chosen in result["chosen"] for key in grid)


def test_the_summary_follows_from_the_rows():
    for method in METHODS:
        ranks, of_best = [], []
        for row in TABLES:
            mine, others = share(row, method), [share(row, m) for m in METHODS if m != method]
            ranks.append(1 + sum(o > mine for o in others) + sum(o == mine for o in others) / 2)
            of_best.append(mine / max(mine, *others))
        n = len(TABLES)
        mean = sum(of_best) / n
        spread = math.sqrt(sum((v - mean) ** 2 for v in of_best) / (n - 1) / n)
        expected = {
            "friedman_rank": sum(ranks) / n,
            "accuracy": 100 * sum(share(row, method) for row in TABLES) / n,
            "p90": 100 * sum(v >= 0.90 for v in of_best) / n,
            "p95": 100 * sum(v >= 0.95 for v in of_best) / n,
            "pma": 100 * mean,
            "pma_standard_error": 100 * spread,
        }
        assert RESULT["summary"]["methods"][method] == pytest.approx(expected, abs=0.00501)


@pytest.mark.parametrize("other", METHODS[1:])
def test_the_comparison_follows_from_the_rows(other):
    differences = [share(row, "NTK") - share(row, other) for row in TABLES]
    found = RESULT["summary"]["NTK_against"][other]
    assert found["wins"] == sum(d > 0 for d in differences)
    assert found["ties"] == sum(d == 0 for d in differences)
    assert found["losses"] == sum(d < 0 for d in differences)
    assert found["mean_difference"] == pytest.approx(100 * sum(differences) / len(TABLES), abs=0.00501)
    # The signed-rank test against its own definition: random signs for the ranks of the differences.
    size = np.abs(differences)
    ranks = np.array([sum(s < v for s in size) + (sum(s == v for s in size) + 1) / 2 for v in size])
    signed = abs(float(np.sign(differences) @ ranks))
    signs = np.random.default_rng(0).choice([-1, 1], (200_000, len(ranks)))
    p = float((np.abs(signs @ (ranks * (size > 0))) >= signed - 1e-9).mean())
    assert found["wilcoxon_p"] == pytest.approx(p, abs=0.03)


def test_showing_prints_the_committed_result(capsys):
    small_data.main(["--show"])
    lines = capsys.readouterr().out.splitlines()
    for method, columns in RESULT["summary"]["methods"].items():
        (line,) = (text for text in lines if text.startswith(f"{method:16}") and "+-" in text)
        assert f"{columns['friedman_rank']:.2f}" in line
        assert f"{columns['pma']:.1f} +- {columns['pma_standard_error']:.1f}" in line
    for row in TABLES:
        (line,) = (text for text in lines if text.startswith(f"{row['table']:16}"))
        marked = [part.strip() for part in line.replace("*", "*|").split("|")][:-1]
        best = max(share(row, m) for m in METHODS)
        assert len(marked) == sum(share(row, m) == best for m in METHODS)


def test_the_result_as_text_reads_back():
    assert json.loads(small_data.as_text(RESULT)) == RESULT
    assert small_data.RESULT.read_text() == small_data.as_text(RESULT)
