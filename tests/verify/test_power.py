"""A check that would accept a wrong statement is itself rejected; and bad arguments are named."""

import numpy as np
import pytest
import sympy as sp
import torch

from ntkbook import verify

x, y = sp.symbols("x y", real=True)
rng = np.random.default_rng(1)
v = rng.standard_normal(6)
gram = np.outer(v, v)
z = rng.standard_normal(400)
tensor = torch.ones(6, dtype=torch.float64)
noisy = np.exp(rng.standard_normal((5, 6)))


def square(u):
    return u**2


POWERLESS = {
    "a tolerance that takes anything": lambda: verify.close("eq", v * 1.0, v + 0, rtol=3.0),
    "a tolerance near the 1 percent mutant": lambda: verify.close("eq", v * 1.0, v + 0, rtol=5e-3),
    "the wrong value is the right one": lambda: verify.close(
        "eq", v * 1.0, v + 0, rtol=1e-9, wrong={"same": v}
    ),
    "a symmetric matrix transposed": lambda: verify.close(
        "eq", gram * 1.0, gram + 0, rtol=1e-9, wrong={"transposed": gram.T}
    ),
    "the wrong value is only just outside": lambda: verify.close(
        "eq", v * 1.0, v + 0, rtol=1e-3, wrong={"near": v * (1 + 2e-3)}
    ),
    "a value against itself": lambda: verify.close("eq", v, v, rtol=1e-9),
    "a value against a view of itself": lambda: verify.close("eq", v[:3], v[:3], rtol=1e-9),
    "a tensor against its view": lambda: verify.close("eq", tensor, tensor.view(2, 3).view(6), rtol=1e-9),
    "no wrong version": lambda: verify.close("eq", v * 1.0, v + 0, rtol=1e-9, wrong={}),
    "an equal expression as the wrong one": lambda: verify.identity(
        "eq", sp.sin(x) ** 2, 1 - sp.cos(x) ** 2, wrong={"half angle": (1 - sp.cos(2 * x)) / 2}
    ),
    "a bound never approached": lambda: verify.bound("eq", np.abs(v), 100 + np.abs(v)),
    "a bound whose wrong version holds too": lambda: verify.bound(
        "eq", np.abs(v), 2 * np.abs(v), wrong={"another": 3 * np.abs(v)}
    ),
    "an exponent from noise": lambda: verify.rate("eq", 2.0 ** np.arange(5), noisy, 0.0),
    "an exponent with a wide allowance": lambda: verify.rate(
        "eq", 2.0 ** np.arange(5), 2.0 ** np.arange(5), 1.0, tolerance=0.4
    ),
    "too few draws to tell": lambda: verify.monte_carlo("eq", z**2, 1.0, wrong={"near": 1.2}),
    "a bias that hides the difference": lambda: verify.monte_carlo(
        "eq", z**2, 1.0, wrong={"two": 2.0}, bias=1.0
    ),
    "a function against itself": lambda: verify.definition("eq", square, square, v),
    "a misreading that agrees on the example": lambda: verify.definition(
        "eq", square, lambda u: u * u, np.ones(3), wrong={"cube": lambda u: u**3}
    ),
    "a theorem with a powerless illustration": lambda: verify.theorem(
        "eq", "someone", verify.bound, np.abs(v), 100 + np.abs(v)
    ),
}


@pytest.mark.parametrize("name", POWERLESS)
def test_a_powerless_check_is_rejected(name, capsys):
    with pytest.raises(verify.PowerlessCheck, match=r"^eq "):
        POWERLESS[name]()
    assert capsys.readouterr().out == ""


BAD_INPUT = {
    "single precision": (
        lambda: verify.close("eq", torch.ones(2), np.ones(2), rtol=1e-9),
        TypeError,
        "float64",
    ),
    "nothing to compare": (lambda: verify.bound("eq", [], []), (ValueError, verify.CheckFailed), "empty"),
    "expected zero": (lambda: verify.close("eq", v, 0 * v, rtol=1e-9), ValueError, "scale="),
    "text": (lambda: verify.close("eq", np.array(["a"]), v, rtol=1e-9), TypeError, "numbers"),
    "a comparison": (lambda: verify.identity("eq", x == y, True), TypeError, "two sides"),
    "an equation object": (lambda: verify.identity("eq", sp.Eq(x, y), x), TypeError, "two sides"),
    "three points": (lambda: verify.rate("eq", [1.0, 2, 3], [1.0, 2, 3], 1.0), ValueError, "at least 4"),
    "a negative error": (
        lambda: verify.rate("eq", [1.0, 2, 3, 4], [1.0, -2, 3, 4], 1.0),
        ValueError,
        "positive",
    ),
    "one width": (lambda: verify.rate("eq", [2.0] * 4, [1.0, 2, 3, 4], 1.0), ValueError, "constant"),
    "two draws": (lambda: verify.rate("eq", [1.0, 2, 3, 4], np.ones((4, 2)), 1.0), ValueError, "at least 5"),
    "lengths differ": (lambda: verify.rate("eq", [1.0, 2, 3, 4], np.ones(3), 1.0), ValueError, r"\(4,\)"),
    "few samples": (lambda: verify.monte_carlo("eq", z[:10], 0.0), ValueError, "at least 30"),
    "shape of the mean": (lambda: verify.monte_carlo("eq", z, v), verify.CheckFailed, r"\(6,\)"),
    "a lambda as code": (
        lambda: verify.definition("eq", lambda u: u, square, v),
        TypeError,
        "named function",
    ),
    "an unknown method": (lambda: verify.theorem("eq", "someone", max, v), TypeError, "monte_carlo"),
    "ragged lists": (lambda: verify.identity("eq", [[x], [x, y]], [x]), ValueError, "ragged"),
}


@pytest.mark.parametrize("name", BAD_INPUT)
def test_bad_input_is_named(name):
    call, error, message = BAD_INPUT[name]
    with pytest.raises(error, match=message):
        call()


def test_undecided_is_neither_accepted_nor_taken_for_a_rejection():
    # True for every n, but SymPy 1.14 finds neither a proof of it nor (of course) a counterexample.
    n = sp.Symbol("n", positive=True, integer=True)
    k = sp.Symbol("k", positive=True, integer=True)
    left = sp.Sum(sp.binomial(n, k) ** 2 * k**3 * sp.harmonic(k), (k, 1, n))
    right = left + sp.Mod(n**3 + 2 * n, 3)  # 3 divides n^3 + 2n
    with pytest.raises(verify.CheckFailed, match="could not be decided"):
        verify.identity("eq", left, right)
    with pytest.raises(verify.PowerlessCheck, match="not rejected"):
        verify.identity("eq", left, left + 0 * n, wrong={"the same, disguised": right})


def test_a_failure_says_label_kind_residual_and_tolerance():
    with pytest.raises(verify.CheckFailed, match=r"eq-x \(close\): residual 0\.5, tolerance 1e-09: it fails"):
        verify.close("eq-x", np.array([1.5]), np.array([1.0]), rtol=1e-9)


def test_a_counterexample_is_shown():
    with pytest.raises(verify.CheckFailed, match=r"differ at x = "):
        verify.identity("eq-x", x**2, x)


def test_the_line_says_what_was_verified_under_which_assumptions(capsys):
    verify.identity("eq-x", sp.diff(sp.exp(2 * x), x), 2 * sp.exp(2 * x), wrong={"no 2": sp.exp(2 * x)})
    line = capsys.readouterr().out
    assert "2*exp(2*x)" in line
    assert "for x real" in line
    assert "rejected: no 2" in line


@pytest.mark.parametrize("seed", range(3))
def test_false_alarms_of_the_monte_carlo_threshold_are_rare(seed):
    # 200 true statements with 20 entries each: at 1e-6 apiece none should be rejected.
    generator = np.random.default_rng(seed)
    for _ in range(200):
        estimate = verify.estimate_mean(generator.standard_normal((60, 20)))
        assert estimate.distance(np.zeros(20)) <= estimate.threshold


def test_the_interval_of_a_fitted_exponent_covers_as_often_as_it_says():
    # Counted over 400 fits of noisy power laws: a 0.9 interval must cover between 0.85 and 0.95
    # of the time (its standard error is 0.015).
    generator = np.random.default_rng(0)
    n = 2.0 ** np.arange(6)
    hits = 0
    for _ in range(400):
        curve = n[:, None] ** -0.5 * np.exp(0.3 * generator.standard_normal((6, 8)))
        fit = verify.fit_exponent(n, curve, confidence=0.9)
        hits += abs(fit.exponent + 0.5) <= fit.half_width
    assert 0.85 < hits / 400 < 0.95
