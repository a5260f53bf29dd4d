"""Decide with SymPy whether two expressions are equal, with a proof or a counterexample.

Equality of expressions is undecidable in general, so there are three answers. *Holds*: a chain of
SymPy's simplifications takes the difference to exactly 0. *Fails*: at some point that the symbols'
assumptions allow, the difference is not 0 in 40-digit arithmetic. *Undecided*: neither was found.
Failing to simplify is never taken for a refutation, nor agreement at points for a proof.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import sympy as sp
from sympy.core.function import AppliedUndef

from ntkbook.verify.verdict import Verdict

_DIGITS = 40
_TRIALS = 4
# Two expressions that agree to this relative accuracy at a point are not told apart by it.
_AGREE = sp.Float(10) ** (-25)


def entries(expression: Any, name: str = "an entry") -> list[sp.Expr]:
    """Return a SymPy scalar, matrix or sequence as a flat list of scalar expressions.

    Raises
    ------
    TypeError
        Naming the argument, if it is none of these.
    """
    if isinstance(expression, bool):
        raise TypeError(f"{name} must be a SymPy expression, got a bool; pass the two sides")
    if isinstance(expression, (list, tuple)):
        return [entry for item in expression for entry in entries(item, name)]
    try:
        expression = sp.sympify(expression)
    except sp.SympifyError:
        raise TypeError(
            f"{name} must be a SymPy expression, got {expression!r}; build one of symbols"
        ) from None
    if isinstance(expression, sp.MatrixExpr):
        expression = expression.as_explicit()
    if isinstance(expression, (sp.MatrixBase, sp.NDimArray)):
        return [sp.sympify(entry) for entry in sp.flatten(expression)]
    if not isinstance(expression, sp.Expr):
        raise TypeError(
            f"{name} must be a SymPy expression, got {type(expression).__name__}; pass the two sides"
        )
    return [expression]


def shape(expression: Any) -> tuple[int, ...]:
    """Return the shape of a scalar ``()``, a matrix or a sequence."""
    if isinstance(expression, (list, tuple)):
        inner = {shape(item) for item in expression}
        if len(inner) > 1:
            raise ValueError(f"a sequence of expressions must not be ragged, got shapes {sorted(inner)}")
        return (len(expression), *inner.pop()) if inner else (0,)
    return tuple(int(n) for n in getattr(expression, "shape", ()))


def decide(lhs: Any, rhs: Any) -> Verdict:
    """Compare two expressions, matrices or sequences entry by entry.

    Returns
    -------
    Verdict
        With tolerance 0. The residual is 0 where it holds, and the relative size of the largest
        difference at the counterexample where it fails.
    """
    if shape(lhs) != shape(rhs):
        return Verdict("fails", float("inf"), 0.0, f"shapes differ: {shape(lhs)} and {shape(rhs)}")
    pairs = list(zip(entries(lhs, "lhs"), entries(rhs, "rhs"), strict=True))
    rng = random.Random(0)
    for left, right in pairs:
        found = _counterexample(left, right, rng)
        if found is not None:
            residual, where = found
            return Verdict("fails", residual, 0.0, where)
    for left, right in pairs:
        if not _proved_zero(left - right):
            rest = sp.sstr(sp.simplify(left - right))
            return Verdict("undecided", float("nan"), 0.0, f"SymPy could not take this to 0: {_short(rest)}")
    return Verdict("holds", 0.0, 0.0, "")


def assumptions(*expressions: Any) -> str:
    """Say what is assumed of the free symbols, e.g. ``'eta positive; t real'``."""
    symbols = {s for e in expressions for entry in entries(e) for s in entry.free_symbols}
    groups: dict[str, list[str]] = {}
    for symbol in sorted(symbols, key=lambda s: str(s)):
        if isinstance(symbol, sp.Symbol):
            groups.setdefault(_kind(symbol), []).append(str(symbol))
    return "; ".join(f"{', '.join(names)} {kind}" for kind, names in groups.items())


def statement(lhs: Any, rhs: Any, limit: int = 60) -> str:
    """Write ``lhs = rhs`` in SymPy's notation, each side cut to ``limit`` characters."""
    left, right = entries(lhs), entries(rhs)
    text = f"{_short(sp.sstr(left[0]), limit)} = {_short(sp.sstr(right[0]), limit)}"
    return text if len(left) == 1 else f"{len(left)} entries, the first: {text}"


def mutants(rhs: Any) -> dict[str, Any]:
    """Make wrong versions of an expression: a sign, a coefficient, an exponent, an index."""
    flat = entries(rhs)
    place = next((i for i, entry in enumerate(flat) if entry != 0), None)
    if place is None:
        return {"1 added": _with_entry(rhs, 0, sp.Integer(1))}
    entry = flat[place]
    versions = {"a sign flipped": _flip_term(entry), "a coefficient doubled": _scale_term(entry)}
    powers = sorted((p for p in entry.atoms(sp.Pow) if p.base.free_symbols), key=sp.default_sort_key)
    if powers:
        versions["an exponent raised by 1"] = entry.xreplace(
            {powers[0]: powers[0].base ** (powers[0].exp + 1)}
        )
    made = {name: _with_entry(rhs, place, version) for name, version in versions.items()}
    if len(shape(rhs)) == 2 and shape(rhs)[0] == shape(rhs)[1] and not isinstance(rhs, (list, tuple)):
        made["indices exchanged"] = rhs.T
    # A mutant that equals the original (a symmetric matrix transposed, 1**2) is not a wrong version.
    return {name: version for name, version in made.items() if decide(version, rhs).state == "fails"}


def _terms(entry: sp.Expr) -> tuple[sp.Expr, list[sp.Expr]]:
    first, *rest = sp.Add.make_args(entry)
    return first, rest


def _flip_term(entry: sp.Expr) -> sp.Expr:
    first, rest = _terms(entry)
    return sp.Add(-first, *rest)


def _scale_term(entry: sp.Expr) -> sp.Expr:
    first, rest = _terms(entry)
    return sp.Add(2 * first, *rest)


def _with_entry(expression: Any, place: int, entry: sp.Expr) -> Any:
    flat = entries(expression)
    flat[place] = entry
    if isinstance(expression, (list, tuple)):
        return _nest(flat, shape(expression))
    dims = shape(expression)
    return sp.Matrix(*dims, flat) if len(dims) == 2 else flat[0]


def _nest(flat: list[sp.Expr], dims: tuple[int, ...]) -> list[Any]:
    if len(dims) == 1:
        return flat
    step = len(flat) // dims[0]
    return [_nest(flat[i * step : (i + 1) * step], dims[1:]) for i in range(dims[0])]


def _proved_zero(difference: sp.Expr) -> bool:
    steps: tuple[Callable[[sp.Expr], sp.Expr], ...] = (
        lambda e: e,
        lambda e: e.doit(),
        sp.expand,
        sp.together,
        sp.simplify,
        lambda e: sp.simplify(sp.expand(e.rewrite(sp.exp))),
        lambda e: sp.simplify(sp.expand_func(sp.piecewise_fold(e))),
    )
    for step in steps:
        difference = step(difference)
        if difference == 0:
            return True
    return False


def _counterexample(left: sp.Expr, right: sp.Expr, rng: random.Random) -> tuple[float, str] | None:
    for point in _points((left, right), rng):
        value_left, value_right = _evaluate(left, point), _evaluate(right, point)
        if value_left is None or value_right is None:
            continue
        difference, size = abs(value_left - value_right), abs(value_left) + abs(value_right)
        if size > 0 and difference > _AGREE * size:
            shown = ", ".join(f"{s} = {v}" for s, v in point.items() if isinstance(s, sp.Symbol))
            return float(difference / size), f"differ at {shown or 'every point'}"
    return None


def _evaluate(expression: sp.Expr, point: dict[Any, Any]) -> sp.Expr | None:
    # Outer functions go first: d f(theta(t)) / d theta(t) can be taken only while theta(t) stands.
    functions = [item for item in point.items() if not isinstance(item[0], sp.Symbol)]
    symbols = {s: v for s, v in point.items() if isinstance(s, sp.Symbol)}
    try:
        for function, body in functions:
            expression = expression.replace(function, body).doit(integrals=False, sums=False)
        # Derivatives are taken before numbers go in; sums and integrals need the numbers in their limits.
        value = expression.doit(integrals=False, sums=False).subs(symbols).doit(integrals=False)
        value = sp.N(value, _DIGITS)
    except (TypeError, ValueError, ArithmeticError, NotImplementedError):
        # SymPy has no value for this expression: the point says nothing about it.
        return None
    return value if value.is_number and value.is_finite else None


def _points(sides: tuple[sp.Expr, sp.Expr], rng: random.Random) -> Iterator[dict[Any, Any]]:
    symbols = {s for side in sides for s in side.free_symbols if isinstance(s, sp.Symbol)}
    applied = {f for side in sides for f in side.atoms(AppliedUndef)}
    nesting: dict[Any, int] = {}
    for application in applied:
        inside = len(application.atoms(AppliedUndef))
        nesting[application.func] = max(inside, nesting.get(application.func, 0))
    for _ in range(_TRIALS):
        point: dict[Any, Any] = {s: _random_value(s, rng) for s in sorted(symbols, key=str)}
        for function in sorted(nesting, key=lambda f: (-nesting[f], str(f))):
            point[function] = _random_function(rng, positive=bool(function.is_positive))
        yield point


def _random_value(symbol: sp.Symbol, rng: random.Random) -> sp.Expr:
    if symbol.is_integer:
        low = 2 if symbol.is_positive or symbol.is_nonnegative else -5
        value = sp.Integer(rng.randint(low, 5))
    else:
        value = sp.Rational(rng.randint(30, 270), 100)
        if symbol.is_negative or (
            symbol.is_positive is None and not symbol.is_nonnegative and rng.random() < 0.5
        ):
            value = -value
        if symbol.is_real is None:
            value += sp.I * sp.Rational(rng.randint(30, 270), 100)
    # The random point may break a rarer assumption (even, prime, ...); try until it does not.
    same = all(
        getattr(value, f"is_{name}", None) in (held, None) for name, held in symbol.assumptions0.items()
    )
    return value if same else _random_value(symbol, rng)


def _random_function(rng: random.Random, *, positive: bool) -> Callable[..., sp.Expr]:
    weights = [sp.Rational(rng.randint(-90, 90), 60) for _ in range(40)]

    def body(*arguments: sp.Expr) -> sp.Expr:
        # A cubic in each argument, with a cross term, so that exchanged arguments show.
        value, w = weights[0], iter(weights[1:])
        for argument in arguments:
            value += next(w) * argument + next(w) * argument**2 + next(w) * argument**3
        for first, second in pairwise(arguments):
            value += next(w) * first * second + next(w) * first**2 * second
        return sp.exp(value / 10) if positive else value

    return body


def _kind(symbol: sp.Symbol) -> str:
    domain = "integer" if symbol.is_integer else "real" if symbol.is_real else "complex"
    if symbol.is_positive:
        return "positive" if domain == "real" else f"positive {domain}"
    if symbol.is_nonnegative:
        return f"nonnegative {domain}"
    if symbol.is_negative:
        return f"negative {domain}"
    return domain


def _short(text: str, limit: int = 150) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
