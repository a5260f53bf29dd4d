"""The verifier must accept every true statement here, and none of their false twins."""

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
import scipy.linalg
import sympy as sp
import torch

from ntkbook import verify

x, y, a, b = sp.symbols("x y a b", real=True)
t, lam, eta, q = sp.symbols("t lambda eta q", positive=True)
n = sp.Symbol("n", positive=True, integer=True)
f = sp.Function("f")
theta = sp.Function("theta")

A = sp.Matrix(2, 3, sp.symbols("A:6", real=True))
B = sp.Matrix(3, 2, sp.symbols("B:6", real=True))
S = sp.Matrix(2, 2, sp.symbols("S:4", real=True))
r0 = sp.Matrix(sp.symbols("r:2", real=True))
normal = sp.exp(-(x**2) / 2) / sp.sqrt(2 * sp.pi)
softmax = sp.exp(x) / (sp.exp(x) + sp.exp(y))

rng = np.random.default_rng(0)
X = rng.standard_normal((5, 3))
W = rng.standard_normal((3, 3))
K = X @ X.T
target = rng.standard_normal(5)
step = 0.1 / 2.0 ** np.arange(6)
z = rng.standard_normal((40_000, 2))
pairs = z @ np.array([[1.0, 0.6], [0.0, 0.8]])  # unit variances, correlation 0.6
widths = 2.0 ** np.arange(4, 10)
draws = np.abs(rng.standard_normal((6, 200)).T / np.sqrt(widths)).T  # (6, 200): errors of size n^(-1/2)


def mean_square(values, targets):
    return 0.5 * ((values - targets) ** 2).mean()


def bilinear(first, second):
    return first @ W @ second.T


class Case(NamedTuple):
    """A check as a function of its statement, and the statement in a true and a false version."""

    check: Callable[[Any], None]
    right: Any
    wrong: Any


def identity(lhs):
    return lambda rhs: verify.identity("eq", lhs, rhs)


def close(actual, rtol=1e-10):
    return lambda expected: verify.close("eq", actual, expected, rtol=rtol)


CASES = {
    # identities: signs, coefficients, exponents, indices, transposes, eta, arguments, assumptions
    "decay, sign": Case(
        identity(sp.diff(sp.exp(-lam * t), t)), -lam * sp.exp(-lam * t), lam * sp.exp(-lam * t)
    ),
    "power rule, coefficient": Case(identity(sp.diff(x**3, x)), 3 * x**2, 2 * x**2),
    "power rule, exponent": Case(identity(sp.diff(x**3, x)), 3 * x**2, 3 * x**3),
    "chain rule": Case(
        identity(sp.diff(f(theta(t)), t)),
        sp.Subs(sp.diff(f(x), x), x, theta(t)) * sp.diff(theta(t), t),
        sp.Subs(sp.diff(f(x), x), x, theta(t)),
    ),
    "chain rule, wrong argument": Case(
        identity(sp.diff(f(x * y), x)),
        y * sp.Subs(sp.diff(f(a), a), a, x * y),
        x * sp.Subs(sp.diff(f(a), a), a, x * y),
    ),
    "function, arguments swapped": Case(
        identity(sp.diff(f(x, y) * x, y)), x * sp.diff(f(x, y), y), x * sp.diff(f(y, x), y)
    ),
    "transpose of a product": Case(identity((A * B).T), B.T * A.T, (B.T * A.T).T),
    "gradient of a quadratic form": Case(
        identity(sp.Matrix([sp.diff((r0.T * S * r0)[0], r) for r in r0])), (S + S.T) * r0, 2 * S * r0
    ),
    "row for column": Case(identity((A * B)[0, 1]), sum(A[0, k] * B[k, 1] for k in range(3)), (A * B)[1, 0]),
    "shape": Case(identity(A.T * sp.Matrix([a, b])), A.T * sp.Matrix([a, b]), (A.T * sp.Matrix([a, b])).T),
    "off by eta": Case(
        identity(sp.diff(sp.exp(-eta * lam * t) * a, t)),
        -eta * lam * a * sp.exp(-eta * lam * t),
        -lam * a * sp.exp(-eta * lam * t),
    ),
    "ODE with a source": Case(
        identity(sp.dsolve(sp.diff(f(t), t) + lam * (f(t) - b), f(t), ics={f(0): a}).rhs),
        b + (a - b) * sp.exp(-lam * t),
        b - (a - b) * sp.exp(-lam * t),
    ),
    "sum, index": Case(
        identity(sp.summation(sp.Symbol("k", integer=True), (sp.Symbol("k", integer=True), 1, n))),
        n * (n + 1) / 2,
        n * (n - 1) / 2,
    ),
    "limit of the Euler product": Case(
        identity(
            sp.limit(
                (1 - lam / sp.Symbol("m", positive=True)) ** sp.Symbol("m", positive=True),
                sp.Symbol("m", positive=True),
                sp.oo,
            )
        ),
        sp.exp(-lam),
        sp.exp(lam),
    ),
    "Gaussian second moment": Case(
        identity(sp.integrate(x**2 * normal, (x, -sp.oo, sp.oo))), sp.Integer(1), sp.Rational(1, 2)
    ),
    "Gaussian moment of ReLU": Case(
        identity(sp.integrate(x**2 * normal, (x, 0, sp.oo))), sp.Rational(1, 2), sp.Integer(1)
    ),
    "softmax, diagonal": Case(
        identity(sp.diff(softmax, x)), softmax * (1 - softmax), softmax * (1 + softmax)
    ),
    "softmax, off-diagonal": Case(
        identity(sp.diff(softmax, y)), -softmax * (1 - softmax), softmax * (1 - softmax)
    ),
    "root of a square, assumption": Case(identity(sp.sqrt(q**2 * x**2)), q * sp.Abs(x), q * x),
    "double angle": Case(identity(sp.sin(2 * x)), 2 * sp.sin(x) * sp.cos(x), sp.sin(x) * sp.cos(x)),
    "inverse": Case(
        identity(sp.Matrix([[q, x], [x, q + x**2]]).inv()[0, 1]),
        -x / (q * (q + x**2) - x**2),
        x / (q * (q + x**2) - x**2),
    ),
    "Lambert W": Case(
        identity(sp.diff(sp.LambertW(q), q)),
        sp.LambertW(q) / (q * (1 + sp.LambertW(q))),
        sp.LambertW(q) / (1 + sp.LambertW(q)),
    ),
    # values: the same mistakes in numbers
    "Gram matrix": Case(close(np.einsum("ik,jk->ij", X, X)), K, K + 1e-6),
    "matrix, transposed": Case(close(np.einsum("ij,jk->ik", W, W)), W @ W, (W @ W).T),
    "sign": Case(close(-target + 0.0), np.negative(target), target.copy()),
    "1 percent": Case(close(target + 0.0), target * 1.0, target * 1.01),
    "missing 1/N": Case(close(mean_square(target, 0)), target @ target / 10, target @ target / 2),
    "off by a learning rate": Case(close(0.1 * (K @ target)), (0.1 * K) @ target, K @ target),
    "index shifted": Case(
        close(np.cumsum(target)), np.tril(np.ones((5, 5))) @ target, np.roll(np.cumsum(target), 1)
    ),
    "arguments swapped": Case(
        close(np.einsum("ia,ab,jb->ij", X[:3], W, X[1:4])), bilinear(X[:3], X[1:4]), bilinear(X[1:4], X[:3])
    ),
    "column against row": Case(close(target[:, None] * 1.0), target.reshape(5, 1) + 0, target * 1.0),
    "not a number": Case(close(target * 1.0), target + 0, np.where(target > 0, np.nan, target)),
    "matrix exponential": Case(
        close(scipy.linalg.expm(-K), 1e-8), np.linalg.matrix_power(scipy.linalg.expm(-K / 8), 8), np.exp(-K)
    ),
    "pseudo-inverse": Case(close(np.linalg.pinv(X)), np.linalg.solve(X.T @ X, X.T), X.T * 1.0),
    "tensor against array": Case(close(torch.from_numpy(X) @ torch.from_numpy(X).T), K, K[::-1].copy()),
    # bounds: too small, reversed, wrong sign
    "Cauchy-Schwarz": Case(
        lambda larger: verify.bound("eq", np.abs(K).ravel(), larger),
        np.sqrt(np.outer(K.diagonal(), K.diagonal())).ravel(),
        0.9 * np.sqrt(np.outer(K.diagonal(), K.diagonal())).ravel(),
    ),
    "exponential above its tangent": Case(
        lambda larger: verify.bound("eq", 1 + target, larger), np.exp(target), np.exp(-target)
    ),
    "inequality reversed": Case(
        lambda larger: verify.bound(
            "eq", np.linspace(0.1, 1, 5), larger, wrong={"square": np.linspace(0.1, 1, 5) ** 2}
        ),
        np.sqrt(np.linspace(0.1, 1, 5)),
        np.linspace(0.1, 1, 5) ** 1.5,
    ),
    # rates
    "Euler, exponent": Case(
        lambda p: verify.rate("eq", step, np.abs((1 - step) ** (1 / step) - np.exp(-1)), p, tolerance=0.1),
        1.0,
        2.0,
    ),
    "midpoint, exponent": Case(
        lambda p: verify.rate(
            "eq", step, np.abs((1 - step + step**2 / 2) ** (1 / step) - np.exp(-1)), p, tolerance=0.1
        ),
        2.0,
        1.0,
    ),
    "width, exponent": Case(lambda p: verify.rate("eq", widths, draws, p, tolerance=0.05), -0.5, -1.0),
    "width, sign": Case(lambda p: verify.rate("eq", widths, draws, p, tolerance=0.05), -0.5, 0.5),
    # Monte Carlo
    "variance": Case(lambda v: verify.monte_carlo("eq", z[:, 0] ** 2, v), 1.0, 2.0),
    "fourth moment": Case(lambda v: verify.monte_carlo("eq", z[:, 0] ** 4, v), 3.0, 1.0),
    "covariance, sign": Case(
        lambda v: verify.monte_carlo("eq", pairs[:, :, None] * pairs[:, None, :], v),
        np.array([[1, 0.6], [0.6, 1]]),
        np.array([[1, -0.6], [-0.6, 1]]),
    ),
    "covariance, index": Case(
        lambda v: verify.monte_carlo("eq", pairs * np.array([1, 3.0]) * pairs[:, :1], v),
        np.array([1, 1.8]),
        np.array([1.8, 1]),
    ),
    "ReLU covariance": Case(
        lambda v: verify.monte_carlo("eq", np.maximum(pairs, 0).prod(1), v),
        (np.sin(np.arccos(0.6)) + (np.pi - np.arccos(0.6)) * 0.6) / (2 * np.pi),
        (np.sin(np.arccos(0.6)) + np.arccos(0.6) * 0.6) / (2 * np.pi),
    ),
    # definitions
    "loss without one half": Case(
        lambda formula: verify.definition("eq", mean_square, formula, target, np.ones(5)),
        lambda v, w: sum((v - w) ** 2) / 10,
        lambda v, w: sum((v - w) ** 2) / 5,
    ),
    "form with its arguments swapped": Case(
        lambda formula: verify.definition("eq", bilinear, formula, X[:3], X[1:4]),
        lambda u, v: np.array([[p @ (W @ s) for s in v] for p in u]),
        lambda u, v: np.array([[s @ (W @ p) for s in v] for p in u]),
    ),
    # theorems
    "central limit": Case(
        lambda p: verify.theorem("eq", "feller1971", verify.rate, widths, draws, p, tolerance=0.05),
        -0.5,
        -0.25,
    ),
}


def test_there_are_at_least_forty_wrong_statements():
    assert len(CASES) >= 40


@pytest.mark.parametrize("name", CASES)
def test_the_true_statement_is_accepted(name, capsys):
    CASES[name].check(CASES[name].right)
    assert capsys.readouterr().out.startswith("✓ eq ")


@pytest.mark.parametrize("name", CASES)
def test_the_false_statement_is_rejected(name, capsys):
    with pytest.raises(verify.CheckFailed, match=r"^eq "):
        CASES[name].check(CASES[name].wrong)
    assert capsys.readouterr().out == ""


def test_an_expected_zero_has_no_sign(capsys):
    verify.rate("eq", 2.0 ** np.arange(5), np.array([1.0, 1.01, 0.99, 1.0, 1.01]), -0.0)
    assert "expected 0;" in capsys.readouterr().out


KINDS = ["identity", "close", "bound", "rate", "monte_carlo", "definition", "theorem"]


@pytest.mark.parametrize("name", [*KINDS, "fit_exponent", "estimate_mean"])
def test_documentation_says_what_is_raised(name):
    said = getattr(verify, name).__doc__.partition("Raises\n    ------\n")[2].partition("Examples\n")[0]
    wanted = {"TypeError", "ValueError"} | ({"CheckFailed", "PowerlessCheck"} if name in KINDS else set())
    assert wanted <= set(re.findall(r"\w+", said))
