"""The checks of the book: each tests its statement, then shows that it would reject a wrong one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from ntkbook.verify import findings
from ntkbook.verify.ledger import report
from ntkbook.verify.verdict import Check, CheckFailed, PowerlessCheck


def identity(label: str, lhs: Any, rhs: Any, *, wrong: Mapping[str, Any] | None = None) -> None:
    r"""Check with SymPy that two expressions are equal, exactly.

    The statement holds only if SymPy takes ``lhs - rhs`` to 0. A wrong version is rejected only by a
    counterexample in 40-digit arithmetic, never by a simplification that did not succeed.

    Parameters
    ----------
    label : str
        Label of the equation.
    lhs, rhs : sympy.Expr, sympy.Matrix or nested sequence of them
        The two sides, reached by different routes; equal shapes.
    wrong : mapping of str to expression, optional
        Wrong right-hand sides, each under a few words that name the error. By default a sign, a
        coefficient, an exponent and, for a square matrix, the indices of ``rhs`` are perturbed.

    Raises
    ------
    CheckFailed
        If the sides differ (with the point where they do), or SymPy could not decide.
    PowerlessCheck
        If a wrong version is not rejected.
    TypeError, ValueError
        If an argument does not fit, such as sides that are no expressions.

    Examples
    --------
    >>> import sympy as sp
    >>> from ntkbook import verify
    >>> t, lam = sp.symbols("t lambda", positive=True)
    >>> r = sp.exp(-lam * t)
    >>> wrong = {"sign": lam * r}
    >>> verify.identity("eq-decay", sp.diff(r, t), -lam * r, wrong=wrong)
    ✓ eq-decay  identity  SymPy: -lambda*exp(-lambda*t) = ..., for lambda, t positive; exact; rejected: ...
    """
    _conclude(label, "identity", partial(findings.identity, lhs, rhs, wrong=wrong))


def close(
    label: str,
    actual: Any,
    expected: Any,
    *,
    rtol: float,
    wrong: Mapping[str, Any] | None = None,
    scale: float | None = None,
) -> None:
    r"""Check in float64 that two computed values agree: ``max |actual - expected| <= rtol * scale``.

    Parameters
    ----------
    label : str
        Label of the equation.
    actual, expected : array_like
        Equal shapes, computed by two routes; float64 (never float32). Nothing is broadcast.
    rtol : float
        The tolerance, relative to ``scale``. State it from the arithmetic, not from the outcome.
    wrong : mapping of str to array_like, optional
        Wrong values of ``expected``; each must miss by more than 10 tolerances. By default the sign,
        1 % of the size and, for an asymmetric square matrix, the indices are changed.
    scale : float, optional
        ``max |expected|`` by default; needed where the expected value is 0.

    Raises
    ------
    CheckFailed
        With the residual; also if shapes differ, or a value is not finite.
    PowerlessCheck
        If a wrong version passes, or both sides share their memory.
    TypeError, ValueError
        If an argument does not fit, such as single precision, or 0 everywhere expected without ``scale``.

    Examples
    --------
    >>> import numpy as np
    >>> from ntkbook import verify
    >>> X = np.array([[1.0, 2.0], [3.0, 4.0]])
    >>> verify.close("eq-gram", X @ X.T, np.einsum("ik,jk->ij", X, X), rtol=1e-14,
    ...              wrong={"transposed": X.T @ X})
    ✓ eq-gram  close  4 numbers; residual 0 ≤ 1e-14; rejected: transposed (0.2)
    """
    _conclude(label, "close", partial(findings.close, actual, expected, rtol=rtol, wrong=wrong, scale=scale))


def bound(
    label: str,
    smaller: Any,
    larger: Any,
    *,
    wrong: Mapping[str, Any] | None = None,
    rtol: float = 1e-12,
) -> None:
    r"""Check an inequality ``smaller <= larger`` on examples that come near to equality.

    A bound that is never approached cannot fail, so by default the same check must reject half the
    bound: among the examples there must be one with ``smaller > larger / 2``.

    Parameters
    ----------
    label : str
        Label of the equation.
    smaller, larger : array_like
        Equal shapes, float64; ``rtol`` allows for rounding only.
    wrong : mapping of str to array_like, optional
        Wrong values of ``larger``; by default half of it.
    rtol : float
        Relative to the largest entry of ``larger``.

    Raises
    ------
    CheckFailed
        If the inequality fails somewhere, with the excess; or shapes differ, or a value is not finite.
    PowerlessCheck
        If a wrong version holds too: no example comes near to equality.
    TypeError, ValueError
        If an argument does not fit, such as single precision, or a ``larger`` that is 0 everywhere.

    Examples
    --------
    >>> import numpy as np
    >>> from ntkbook import verify
    >>> a = np.linspace(0, np.pi / 2, 5)
    >>> wrong = {"a for sin a, halved": a / 2}
    >>> verify.bound("eq-jordan", 2 * a / np.pi, np.sin(a), wrong=wrong)
    ✓ eq-jordan  bound  5 comparisons; residual 0 ≤ 1e-12; rejected: a for sin a, halved (...)
    """
    _conclude(label, "bound", partial(findings.bound, smaller, larger, wrong=wrong, rtol=rtol))


def rate(
    label: str,
    x: Any,
    y: Any,
    exponent: float,
    *,
    tolerance: float = 0.0,
    wrong: Mapping[str, float] | None = None,
    confidence: float | None = None,
) -> None:
    r"""Check a power law :math:`y \sim x^p` by its fitted exponent and a confidence interval.

    Parameters
    ----------
    label : str
        Label of the equation.
    x : array_like, shape (n,)
    y : array_like, shape (n,) or (n, R)
        R independent draws give Student's interval over their slopes (confidence 1 - 1e-6). A
        single curve gives the 0.95 interval of the straight-line fit.
    exponent : float
        What the theory says.
    tolerance : float
        Allowance for the terms after the leading one, added to the interval; say why in the text.
    wrong : mapping of str to float, optional
        Wrong exponents; by default 1/2 more and 1/2 less. Each must lie more than two half-widths
        away from the right one, or the data are too few to tell.
    confidence : float, optional
        Another level of confidence, between 0 and 1.

    Raises
    ------
    CheckFailed
        If the exponent lies outside of the interval, with the fitted one.
    PowerlessCheck
        If a wrong exponent is too near to the right one for these data.
    TypeError, ValueError
        If an argument does not fit: fewer than 4 points, 2 to 4 draws, or values that are not positive.

    Examples
    --------
    >>> import numpy as np
    >>> from ntkbook import verify
    >>> step = np.array([0.1, 0.05, 0.025, 0.0125])
    >>> error = np.abs((1 - step) ** (1 / step) - np.exp(-1))
    >>> verify.rate("eq-euler", step, error, 1.0, tolerance=0.05)
    ✓ eq-euler  rate  exponent 1.018 ± 0.016, expected 1, ...; rejected: 0.5 (...), 1.5 (...)
    """
    _conclude(
        label,
        "rate",
        partial(findings.rate, x, y, exponent, tolerance=tolerance, wrong=wrong, confidence=confidence),
    )


def monte_carlo(
    label: str,
    samples: Any,
    expected: Any,
    *,
    wrong: Mapping[str, Any] | None = None,
    bias: float = 0.0,
) -> None:
    r"""Check an expectation against the mean of independent draws, in standard errors.

    The threshold is sized over all entries together so that a true statement fails once in :math:`10^6` runs.
    A wrong version must lie at least two thresholds from the right one, so that it would be rejected with
    near certainty and not by luck.

    Parameters
    ----------
    label : str
        Label of the equation.
    samples : array_like, shape (S, ...)
        S >= 30 independent draws.
    expected : array_like, shape (...)
        The statement.
    wrong : mapping of str to array_like, optional
        Wrong expectations; by default the sign flipped and the value doubled.
    bias : float
        A bound on the systematic part of the difference (for instance of order 1/width), in the
        units of ``expected``; say in the text where it comes from.

    Raises
    ------
    CheckFailed
        If the mean is too many standard errors away, with how many; or the shapes differ.
    PowerlessCheck
        If a wrong version is too near to the right one for so few draws.
    TypeError, ValueError
        If an argument does not fit, such as fewer than 30 draws.

    Examples
    --------
    >>> import numpy as np
    >>> from ntkbook import verify
    >>> z = np.random.default_rng(0).standard_normal(4000)
    >>> verify.monte_carlo("eq-moment", z**2, 1.0, wrong={"fourth moment": 3.0})
    ✓ eq-moment  monte_carlo  4000 draws; ... standard errors ≤ 4.9...; rejected: fourth moment (...)
    """
    _conclude(label, "monte_carlo", partial(findings.monte_carlo, samples, expected, wrong=wrong, bias=bias))


def definition(
    label: str,
    code: Callable[..., Any],
    formula: Callable[..., Any],
    *arguments: Any,
    rtol: float = 1e-12,
    wrong: Mapping[str, Callable[..., Any]] | None = None,
) -> None:
    """Check that the code which the book uses computes what a definition says.

    Parameters
    ----------
    label : str
        Label of the equation.
    code : callable
        A named function, used from here on.
    formula : callable
        The definition spelled out as plainly as it is printed, by another route.
    *arguments
        An example on which both are evaluated; SymPy arguments give an exact comparison.
    rtol : float
        For numerical results.
    wrong : mapping of str to callable, optional
        Misreadings of the definition; by default the value of ``formula`` is perturbed.

    Raises
    ------
    CheckFailed
        If ``code`` computes something else, with the residual.
    PowerlessCheck
        If a misreading gives the same, or ``code`` and ``formula`` are the same function.
    TypeError, ValueError
        If an argument does not fit, such as a ``code`` without a name; and what the two functions raise.

    Examples
    --------
    >>> import numpy as np
    >>> from ntkbook import verify
    >>> def loss(f, y):
    ...     return 0.5 * np.mean((f - y) ** 2)
    >>> half_mean = lambda f, y: sum((f - y) ** 2) / (2 * len(y))
    >>> f, y = np.array([1.0, 2.0]), np.array([0.0, 4.0])
    >>> verify.definition("eq-loss", loss, half_mean, f, y)
    ✓ eq-loss  definition  code: loss; 1 number; residual 0 ≤ 1e-12; rejected: ...
    """
    _conclude(
        label, "definition", partial(findings.definition, code, formula, *arguments, rtol=rtol, wrong=wrong)
    )


def theorem(label: str, cite: str, method: Callable[..., None], *arguments: Any, **options: Any) -> None:
    """Cite a theorem, with a numerical illustration that would contradict it were it false as stated.

    Parameters
    ----------
    label : str
        Label of the equation.
    cite : str
        The key of its source in the bibliography.
    method : callable
        One of the other checks (``verify.rate``, ``verify.bound``, ...), which makes the illustration.
    *arguments, **options
        What that check takes after its label.

    Raises
    ------
    CheckFailed
        If the illustration contradicts the theorem.
    PowerlessCheck
        If the illustration would not contradict a wrong version.
    TypeError, ValueError
        If ``cite`` is no text, ``method`` none of the checks, or an argument does not fit that check.

    Examples
    --------
    >>> import numpy as np
    >>> from ntkbook import verify
    >>> n = np.array([1.0, 2.0, 4.0, 8.0])
    >>> verify.theorem("eq-clt", "feller1971", verify.rate, n, n**-0.5, -0.5)
    ✓ eq-clt  theorem  feller1971, illustrated by rate: exponent -0.500 ± ...
    """
    find = _FINDERS.get(method)
    if not isinstance(cite, str) or not cite:
        kind = ValueError if isinstance(cite, str) else TypeError
        raise kind(f"cite must be a key of the bibliography, got {cite!r}")
    if find is None:
        raise TypeError(f"method must be one of {', '.join(f.__name__ for f in _FINDERS)}, got {method!r}")
    _conclude(label, "theorem", partial(find, *arguments, **options), cite=cite, method=method.__name__)


_FINDERS: dict[Callable[..., None], Callable[..., findings.Findings]] = {
    identity: findings.identity,
    close: findings.close,
    bound: findings.bound,
    rate: findings.rate,
    monte_carlo: findings.monte_carlo,
    definition: findings.definition,
}


def _conclude(
    label: str, kind: str, find: Callable[[], findings.Findings], cite: str = "", method: str = ""
) -> None:
    if not isinstance(label, str) or not label:
        problem = ValueError if isinstance(label, str) else TypeError
        raise problem(f"label must be that of an equation, such as 'eq-chapter-name', got {label!r:.60}")
    try:
        right, verdicts, summary = find()
    except (CheckFailed, PowerlessCheck) as problem:
        raise type(problem)(f"{label} ({kind}): {problem}") from None
    if right.state != "holds":
        outcome = "it could not be decided" if right.state == "undecided" else "it fails"
        raise CheckFailed(
            f"{label} ({kind}): residual {right.residual:.3g}, tolerance {right.tolerance:.3g}: "
            f"{outcome} ({right.detail})"
        )
    wrong = verdicts()
    if not wrong:
        raise PowerlessCheck(f"{label} ({kind}): no wrong version was tried; give one with wrong=")
    for name, verdict in wrong.items():
        if verdict.state != "fails":
            raise PowerlessCheck(
                f"{label} ({kind}): the wrong version {name!r} was not rejected "
                f"(residual {verdict.residual:.3g}, tolerance {verdict.tolerance:.3g}). "
                "Tighten the tolerance, take more draws, or choose an example that tells them apart."
            )
    if cite:
        summary = f"{cite}, illustrated by {method}: {summary}"
    rejected = tuple((name, verdict.residual) for name, verdict in wrong.items())
    check = Check(label, kind, right.residual, right.tolerance, summary, rejected, cite)
    report(check)
