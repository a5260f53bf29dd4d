"""What each kind of check finds: a verdict on the statement, verdicts on its wrong versions, a summary."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import sympy as sp

from ntkbook._validation import check_number, check_positive
from ntkbook.verify import numeric, statistical, symbolic
from ntkbook.verify.verdict import CheckFailed, PowerlessCheck, Verdict

# The verdict on the right version, a way to get those on the wrong ones (computed only once the right
# one has held), and a summary.
Findings = tuple[Verdict, Callable[[], dict[str, Verdict]], str]


def identity(lhs: Any, rhs: Any, *, wrong: Mapping[str, Any] | None = None) -> Findings:
    """Compare two expressions exactly."""
    _check_versions(wrong)
    right = symbolic.decide(lhs, rhs)

    def verdicts() -> dict[str, Verdict]:
        versions = symbolic.mutants(rhs) if wrong is None else wrong
        return {name: symbolic.decide(lhs, version) for name, version in versions.items()}

    under = symbolic.assumptions(lhs, rhs)
    summary = f"SymPy: {symbolic.statement(lhs, rhs)}" + (f", for {under}" if under else "")
    return right, verdicts, summary


def close(
    actual: Any,
    expected: Any,
    *,
    rtol: float,
    wrong: Mapping[str, Any] | None = None,
    scale: float | None = None,
) -> Findings:
    """Compare two arrays within a tolerance."""
    _check_versions(wrong)
    check_positive("rtol", rtol)
    if scale is not None:
        check_positive("scale", scale)
    if numeric.shares_storage(actual, expected):
        raise PowerlessCheck("both sides are the same numbers in memory: nothing is compared")
    right = numeric.compare(actual, expected, rtol, scale)

    def verdicts() -> dict[str, Verdict]:
        versions = numeric.mutants(expected) if wrong is None else wrong
        size = scale if scale is not None else float(abs(numeric.as_array("expected", expected)).max())
        return {name: numeric.compare(actual, value, rtol, size) for name, value in versions.items()}

    return right, verdicts, right.detail


def bound(
    smaller: Any, larger: Any, *, wrong: Mapping[str, Any] | None = None, rtol: float = 1e-12
) -> Findings:
    """Compare the sides of an inequality."""
    _check_versions(wrong)
    check_positive("rtol", rtol, zero_allowed=True)
    right = numeric.compare_bound(smaller, larger, rtol)

    def verdicts() -> dict[str, Verdict]:
        versions = {"half the bound": numeric.as_array("larger", larger) / 2} if wrong is None else wrong
        return {name: numeric.compare_bound(smaller, value, rtol) for name, value in versions.items()}

    return right, verdicts, right.detail


def rate(
    x: Any,
    y: Any,
    exponent: float,
    *,
    tolerance: float = 0.0,
    wrong: Mapping[str, float] | None = None,
    confidence: float | None = None,
) -> Findings:
    """Compare a fitted exponent with the predicted one."""
    _check_versions(wrong)
    check_number("exponent", exponent)
    check_positive("tolerance", tolerance, zero_allowed=True)
    fit = statistical.fit_exponent(x, y, confidence)
    exponent += 0.0  # -0.0 is printed as 0
    reach = fit.half_width + tolerance
    residual = abs(fit.exponent - exponent)
    summary = f"exponent {fit.exponent:.3f} ± {fit.half_width:.3f}, expected {exponent:g}"
    right = Verdict(
        "holds" if residual <= reach else "fails",
        residual,
        reach,
        f"fitted {summary}",
    )

    def verdicts() -> dict[str, Verdict]:
        versions = (
            {f"{exponent + shift:g}": exponent + shift for shift in (-0.5, 0.5)} if wrong is None else wrong
        )
        found = {}
        for name, value in versions.items():
            told_apart = abs(value - exponent) > 2 * reach
            found[name] = Verdict("fails" if told_apart else "undecided", abs(fit.exponent - value), reach)
        return found

    if tolerance:
        summary += f", next order {tolerance:g}"
    return right, verdicts, summary


def monte_carlo(
    samples: Any, expected: Any, *, wrong: Mapping[str, Any] | None = None, bias: float = 0.0
) -> Findings:
    """Compare a mean over draws with an expectation."""
    _check_versions(wrong)
    check_positive("bias", bias, zero_allowed=True)
    estimate = statistical.estimate_mean(samples)
    target = numeric.as_array("expected", expected)
    if target.shape != estimate.mean.shape:
        raise CheckFailed(
            f"samples average to shape {estimate.mean.shape}, expected has shape {target.shape}"
        )
    reach = estimate.threshold + estimate.in_errors(bias)
    distance = estimate.distance(target)
    right = Verdict(
        "holds" if distance <= reach else "fails",
        distance,
        reach,
        "the mean is this many standard errors away",
    )

    def verdicts() -> dict[str, Verdict]:
        versions = {"sign flipped": -target, "doubled": 2 * target} if wrong is None else wrong
        found = {}
        for name, value in versions.items():
            if numeric.as_array(name, value).shape != target.shape:
                found[name] = Verdict("fails", float("inf"), reach, "shapes differ")
                continue
            told_apart = estimate.separation(value, target) > 2 * reach
            found[name] = Verdict("fails" if told_apart else "undecided", estimate.distance(value), reach)
        return found

    return right, verdicts, f"{estimate.n_samples} draws"


def definition(
    code: Callable[..., Any],
    formula: Callable[..., Any],
    *arguments: Any,
    rtol: float = 1e-12,
    wrong: Mapping[str, Callable[..., Any]] | None = None,
) -> Findings:
    """Compare a function of the book with its definition spelled out."""
    _check_versions(wrong)
    check_positive("rtol", rtol)
    if not callable(code):
        raise TypeError(f"code must be a named function, got {type(code).__name__}; pass the function itself")
    if not callable(formula):
        raise TypeError(f"formula must be a function, got {type(formula).__name__}; spell the definition out")
    name = getattr(code, "__name__", type(code).__name__)
    if name == "<lambda>":
        raise TypeError("code must be the named function that the book uses from here on, not a lambda")
    if code is formula:
        raise PowerlessCheck("code and formula are the same function: nothing is compared")
    actual, expected = code(*arguments), formula(*arguments)
    versions = None if wrong is None else {k: misread(*arguments) for k, misread in wrong.items()}
    exact = isinstance(expected, (sp.Basic, sp.MatrixBase))
    findings = (
        identity(actual, expected, wrong=versions)
        if exact
        else close(actual, expected, rtol=rtol, wrong=versions)
    )
    return findings[0], findings[1], f"code: {name}; {findings[2]}"


def _check_versions(wrong: object) -> None:
    if wrong is not None and not isinstance(wrong, Mapping):
        raise TypeError(f"wrong must be a mapping, got {type(wrong).__name__}; pass {{name: version}}")
