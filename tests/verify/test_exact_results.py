"""What the checks compute, to the digit: bounds, thresholds, wrong versions, texts, tables."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import sympy as sp
from scipy import stats

from ntkbook.verify import findings, statistical, symbolic
from ntkbook.verify.sphinx_scripts import load_once
from ntkbook.verify.sphinx_sources import table

X, Y = sp.symbols("x y", positive=True)


def test_a_mean_gets_no_allowance_unless_one_is_given() -> None:
    samples = 0.1 * np.random.default_rng(0).standard_normal(1000)
    # 0.2 is 60 standard errors away.
    assert findings.monte_carlo(samples, 0.2)[0].state == "fails"
    assert findings.monte_carlo(samples, 0.2, bias=0.2)[0].state == "holds"


@pytest.mark.parametrize("entries", [1, 7])
def test_the_threshold_of_a_mean_is_students_for_the_largest_entry(entries: int) -> None:
    samples = np.random.default_rng(1).standard_normal((30, entries))
    expected = stats.t.isf(statistical.FALSE_ALARM / (2 * entries), 29)
    assert statistical.estimate_mean(samples).threshold == pytest.approx(expected, rel=1e-12)


def test_an_interval_over_draws_needs_five_of_them() -> None:
    x = np.array([1.0, 2.0, 4.0, 8.0])
    y = x[:, None] ** np.linspace(1.9, 2.1, 5)
    with pytest.raises(ValueError, match="4 draws; an interval over draws needs at least 5"):
        statistical.fit_exponent(x, y[:, :4])
    fit = statistical.fit_exponent(x, y, confidence=0.9)
    # Slopes 1.9, 1.95, ..., 2.1 have the mean 2 and the standard deviation 0.05 sqrt(5 / 2).
    assert fit.exponent == pytest.approx(2.0, rel=1e-12)
    half = stats.t.isf(0.05, 4) * 0.05 * np.sqrt(2.5 / 5)
    assert fit.half_width == pytest.approx(half, rel=1e-9)


def test_the_residual_of_a_counterexample_is_relative() -> None:
    assert symbolic.decide(2 * X, X).residual == pytest.approx(1 / 3, rel=1e-12)


def test_wrong_versions_are_made_as_their_names_say() -> None:
    assert symbolic.mutants(sp.Integer(0)) == {"1 added": 1}
    assert symbolic.mutants(5 * X**2) == {
        "a sign flipped": -5 * X**2,
        "a coefficient doubled": 10 * X**2,
        "an exponent raised by 1": 5 * X**3,
    }
    made = symbolic.mutants(sp.Matrix([[0, X], [Y, 1]]))
    assert made["a sign flipped"] == sp.Matrix([[0, -X], [Y, 1]])
    assert made["indices exchanged"] == sp.Matrix([[0, Y], [X, 1]])


def test_a_long_side_is_cut_to_the_limit() -> None:
    twenty, more = sp.Symbol("a" * 20), sp.Symbol("b" * 21)
    assert symbolic.statement(twenty, more, limit=20) == f"{'a' * 20} = {'b' * 19}…"


def test_the_table_of_sources_has_a_row_for_each_item() -> None:
    items = [{"number": n, "source": "key", "name": f"item {n}", "at": ["eq-a", "07_lazy"]} for n in (1, 2)]
    assert table(items)[2:] == [
        f"| {n} | {{cite:t}}`key` | item {n} | {{eq}}`eq-a`, {{doc}}`07_lazy` |" for n in (1, 2)
    ]


def test_a_page_loads_each_script_once_and_thebe_never() -> None:
    def script(name: str, **attributes: str) -> SimpleNamespace:
        return SimpleNamespace(filename=name, attributes=attributes)

    plain, deferred = script("a.js"), script("a.js", defer="defer")
    inline = SimpleNamespace(filename=None, attributes={"body": "let x = 1"})
    context = {"script_files": [plain, deferred, script("b.js"), inline, script("sphinx-Thebe.js"), inline]}
    load_once(None, "page", "template", context, None)  # type: ignore[arg-type]
    assert [(s.filename, "defer" in s.attributes) for s in context["script_files"]] == [
        ("a.js", True),
        ("b.js", False),
        (None, False),
    ]
