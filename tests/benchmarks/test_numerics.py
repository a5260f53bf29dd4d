"""The table of errors: complete, free of NaN, within its limits, and able to tell a bad formula."""

import importlib.util
import json
import math
import re
import sys
from pathlib import Path

import pytest
import torch

from ntkbook.infinite import dual_activations, gaussian_pair
from ntkbook.plotting import sphinx_numerics

PATH = Path(__file__).parents[2] / "benchmarks" / "numerics.py"
spec = importlib.util.spec_from_file_location("numerics", PATH)
numerics = importlib.util.module_from_spec(spec)
sys.modules["numerics"] = numerics
spec.loader.exec_module(numerics)

REPORT = json.loads(numerics.RESULT.read_text(encoding="utf-8"))
PRECISIONS = ("float32", "float64")
NOT_REGIMES = ("faults", "refusals", "calibration")

# An error may be this many times what one rounding of each covariance does, plus one rounding: the sum of 12
# products that makes a covariance, and the five operations or so of a formula, round more than once.
RATIO = 8.0
# Laplacians on both sides are fourth derivatives: autograd adds up some hundred terms.
FOURTH_DERIVATIVES = 150.0
# The quadrature adds up some thousand products, and promises, beside rounding, so much at moderate variances,
# and so much in K and in Theta at any. In single precision the promise is 1e-5 a layer.
SUMS = 64.0
QUADRATURE = {"float64": (1e-11, 3e-6, 5e-3), "float32": (1e-4, 2e-3, 5e-3)}
# GELU's tanh form changes faster than the others, because of the cube in it: this much a layer.
GELU_TANH = 1e-9


def within_limits(part, name, precision, regime, cell):
    nngp, ntk, ratio = cell
    if name.startswith("operators, Laplacians"):
        return ratio <= FOURTH_DERIVATIVES
    if ratio <= RATIO:
        return True
    if part == "activations" and name in numerics.integral.FUNCTIONS:
        ordinary, value, slope = QUADRATURE[precision]
        if regime.startswith("norm 1e6"):
            return nngp <= value and ntk <= slope
        # Each layer adds its own error, in deep networks ten or a hundred of them.
        depth = re.match(r"depth (\d+)", regime)
        layers = int(depth[1]) if depth else 1
        if name == "gelu_tanh":
            ordinary = max(ordinary, GELU_TANH * layers)
        elif precision == "float64":
            ordinary *= max(1, layers / 10)
        return ratio <= SUMS or max(nngp, ntk) <= ordinary
    return False


def broken_limits(report):
    return [
        (name, precision, regime, cell)
        for part in ("activations", "engines")
        for name, rows in report[part].items()
        for precision in PRECISIONS
        for regime, cell in rows[precision].items()
        if regime not in NOT_REGIMES and cell is not None
        if not all(map(math.isfinite, cell)) or not within_limits(part, name, precision, regime, cell)
    ]


def said(report, field):
    return {
        (name, precision, regime): text
        for part in ("activations", "engines")
        for name, rows in report[part].items()
        for precision in PRECISIONS
        for regime, text in rows[precision].get(field, {}).items()
    }


def test_every_activation_of_the_package_is_in_the_table():
    offered = {
        kind.__name__
        for kind in dual_activations._RULES
        if kind.__module__.startswith(("torch.", "ntkbook."))
    }
    measured = {REPORT["modules"][name].split("(")[0] for name in REPORT["activations"]}
    assert offered <= measured, f"run {numerics.COMMAND} after adding {offered - measured} to dual_cases.py"
    assert REPORT["modules"].keys() == REPORT["activations"].keys() == numerics.recursion.CASES.keys()


def test_every_engine_and_regime_is_in_the_table():
    names = [name for row in numerics.regimes() for name in row.names]
    assert REPORT["regimes"] == names
    for rows in REPORT["activations"].values():
        for precision in PRECISIONS:
            assert [regime for regime in rows[precision] if regime not in NOT_REGIMES] == names
    engines = {name.split(",")[0] for name in REPORT["engines"]}
    assert engines == {"cntk", "infinite_width", "empirical_ntk", "operators"}
    assert {regime for column in sphinx_numerics.COLUMNS.values() for regime in column} == set(names)


def test_the_table_has_no_nan_and_is_within_its_limits():
    assert said(REPORT, "faults") == {}
    assert broken_limits(REPORT) == []


def test_what_is_refused_is_beyond_the_range_or_said_on_the_page():
    for (name, _, regime), text in said(REPORT, "refusals").items():
        assert regime.startswith("norm 1e6"), (name, regime)
        if name.startswith("operators"):
            assert "not smooth enough" in text
        else:
            assert "leaves the range" in text


def test_the_truth_is_exact():
    for name, rows in REPORT["activations"].items():
        assert (name in numerics.integral.FUNCTIONS) == ("calibration" in rows)
        assert rows.get("calibration", 0.0) < 1e-17


def test_the_quick_run_has_no_nan_and_is_within_its_limits(capsys):
    report = numerics.main(["--quick"])
    assert report["activations"].keys() == numerics.recursion.CASES.keys()
    assert said(report, "faults") == {}
    assert broken_limits(report) == []
    assert "ratio" in capsys.readouterr().out


def naive_frame(first, q12, second):
    """Take the cosine from a rounded ratio, and one for the width."""
    cosine = q12 * first.inverse * second.inverse
    return gaussian_pair.Frame(cosine, torch.ones_like(cosine), first.deviation * second.deviation)


def naive_rectify(a, b, q11, q12, q22, ntk):
    """Evaluate the formulas as they are printed, with an arccosine."""
    scale = (q11 * q22).sqrt()
    cosine = (q12 * q11.rsqrt() * q22.rsqrt()).clamp(-1, 1)
    angle = torch.arccos(cosine)
    gain = (a - b) ** 2 / (2 * torch.pi)
    phi_phi = gain * scale * (angle.sin() + (torch.pi - angle) * cosine) + a * b * q12
    return phi_phi, (gain * (torch.pi - angle) + a * b) * ntk


@pytest.mark.parametrize(
    ("place", "wrong"),
    [
        ("ntkbook.infinite.rules_activations.rectify", naive_rectify),
        ("ntkbook.infinite.rectified_moments.frame_of", naive_frame),
    ],
)
def test_a_textbook_formula_breaks_the_limits(monkeypatch, place, wrong):
    """It loses half of the digits of Theta where inputs are equal, on the route without gradients or with."""
    rows = [row for row in numerics.regimes() if row.title == "coincident" and row.depths == (1,)]
    assert broken_limits({"engines": {}} | numerics.activation("relu", rows)) == []
    monkeypatch.setattr(place, wrong)
    broken = broken_limits({"engines": {}} | numerics.activation("relu", rows))
    assert {precision for _, precision, _, _ in broken} == {"float32", "float64"}
