"""Kernels of differential operators: closed forms, Wang et al.'s covariance, differences, finite networks."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import sympy as sp
import torch
from torch import Tensor

from ntkbook import infinite_width, nn, operators

W, B = 1.3, 0.7
X1 = torch.tensor([[0.3, -0.8], [1.1, 0.4], [0.0, 0.0], [-0.6, 0.9]], dtype=torch.float64)
# Coincident, antipodal and collinear partners of the first point among others.
X2 = torch.tensor([[0.3, -0.8], [-0.3, 0.8], [0.45, -1.2], [0.2, 0.5], [0.0, 0.0]], dtype=torch.float64)
HEAT = operators.partial(0) - 0.3 * operators.laplacian(1)
OPERATORS = {
    "identity": operators.identity,
    "partial": operators.partial(1),
    "laplacian": operators.laplacian(),
    "heat": HEAT,
    "mixed": operators.partial(0) @ operators.partial(1) + 2.0 * operators.identity,
    "advection": (lambda x: 1.0 + x[:, 0] * x[:, 1]) * operators.partial(0) + operators.laplacian(),
}
PAIRS = pytest.mark.parametrize(
    ("left", "right"),
    [("identity", "laplacian"), ("partial", "heat"), ("laplacian", "laplacian"), ("heat", "mixed"),
     ("advection", "laplacian"), ("mixed", "advection")],
)  # fmt: skip
Function = Callable[[Tensor, Tensor], Tensor]


def _kernel(activation: torch.nn.Module, field: str = "ntk", d: int = 2, w_std: float = W) -> Function:
    kernel = infinite_width(nn.mlp([d, 8, 1], activation=activation, w_std=w_std, b_std=B))
    return lambda a, b: getattr(kernel(a, b), field)


def _symbolic_kernel(name: str) -> tuple[sp.Expr, list[sp.Symbol], list[sp.Symbol]]:
    """NTK of one hidden layer with two inputs, from the textbook form of the dual activations."""
    x, y = list(sp.symbols("x0 x1")), list(sp.symbols("y0 y1"))
    w2, b2 = sp.Rational(13, 10) ** 2, sp.Rational(7, 10) ** 2
    q11, q12, q22 = (w2 * (a[0] * b[0] + a[1] * b[1]) / 2 + b2 for a, b in ((x, x), (x, y), (y, y)))
    if name == "sin":
        front = sp.exp(-(q11 + q22) / 2)
        value, slope = front * sp.sinh(q12), front * sp.cosh(q12)
    else:
        root = sp.sqrt((1 + 2 * q11) * (1 + 2 * q22))
        value = 2 / sp.pi * sp.asin(2 * q12 / root)
        slope = 4 / sp.pi / sp.sqrt((1 + 2 * q11) * (1 + 2 * q22) - 4 * q12**2)
    nngp = w2 * value + b2
    return nngp + w2 * slope * q12, x, y


def _symbolic_operator(name: str, u: sp.Expr, x: list[sp.Symbol]) -> sp.Expr:
    laplacian = sp.diff(u, x[0], 2) + sp.diff(u, x[1], 2)
    return {
        "identity": u,
        "partial": sp.diff(u, x[1]),
        "laplacian": laplacian,
        "heat": sp.diff(u, x[0]) - sp.Rational(3, 10) * sp.diff(u, x[1], 2),
        "mixed": sp.diff(u, x[0], x[1]) + 2 * u,
        "advection": (1 + x[0] * x[1]) * sp.diff(u, x[0]) + laplacian,
    }[name]


@PAIRS
@pytest.mark.parametrize("name", ["sin", "erf"])
def test_closed_form(name: str, left: str, right: str) -> None:
    expression, x, y = _symbolic_kernel(name)
    expression = _symbolic_operator(left, _symbolic_operator(right, expression, y), x)
    exact = sp.lambdify((*x, *y), expression, modules="math", cse=True)
    expected = torch.tensor([[exact(*a, *b) for b in X2.tolist()] for a in X1.tolist()], dtype=torch.float64)
    activation = nn.Sin() if name == "sin" else nn.Erf()
    kernel = operators.apply(_kernel(activation), OPERATORS[left], OPERATORS[right])
    # Sums of up to some hundred terms, each rounded, of the size of the largest entry.
    atol = 1e-12 * float(expected.abs().max())
    torch.testing.assert_close(kernel(X1, X2), expected, rtol=1e-11, atol=atol)
    single = kernel(X1.float(), X2.float())
    torch.testing.assert_close(single.double(), expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))


def _second_derivative(activation: torch.nn.Module, z: np.ndarray) -> np.ndarray:
    if isinstance(activation, nn.Sin):
        return -np.sin(z)
    if isinstance(activation, nn.Erf):
        return -4 / math.sqrt(math.pi) * z * np.exp(-(z**2))
    return -2 * np.tanh(z) / np.cosh(z) ** 2


@pytest.mark.parametrize("activation", [nn.Sin(), nn.Erf(), torch.nn.Tanh()], ids=["sin", "erf", "tanh"])
def test_second_derivative_of_wang_yu_perdikaris(activation: torch.nn.Module) -> None:
    # Theorem 4.1: Sigma_xx = E[u^4 phi''(u x + v) phi''(u x' + v)], u, v standard normal.
    x = torch.tensor([[0.0], [0.7]], dtype=torch.float64)
    kernel = infinite_width(nn.mlp([1, 8, 1], activation=activation, w_std=1.0, b_std=1.0))
    second = operators.partial(0) @ operators.partial(0)
    found = operators.apply(lambda a, b: kernel(a, b).nngp, second, second)(x)
    # Trapezoidal sums of a function that is analytic and below 1e-20 at the ends: exact to rounding.
    grid = np.linspace(-11, 11, 1201)
    u, v = grid[:, None], grid[None, :]
    density = np.exp(-0.5 * (u**2 + v**2)) / (2 * math.pi) * (grid[1] - grid[0]) ** 2
    slopes = [_second_derivative(activation, u * float(p) + v) for p in x[:, 0]]
    expected = torch.tensor(
        [[float((density * u**4 * a * b).sum()) for b in slopes] for a in slopes], dtype=torch.float64
    )
    # tanh goes through quadrature of derivatives up to the fourth, stated to be good to 1e-8.
    rtol = 1e-7 if isinstance(activation, torch.nn.Tanh) else 1e-11
    torch.testing.assert_close(found, expected, rtol=rtol, atol=0.0)


@pytest.mark.parametrize(
    "activation", [nn.Gaussian(), torch.nn.GELU(), nn.Gabor(), nn.Rbf(0.5)], ids=lambda a: type(a).__name__
)
def test_finite_differences(activation: torch.nn.Module) -> None:
    deep = infinite_width(nn.mlp([2, 8, 8, 1], activation=activation, w_std=W, b_std=B))

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return deep(a, b).ntk

    def laplacian(f: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        step = 2e-3  # fourth-order differences: truncation 1e-11 and rounding 1e-10, times higher derivatives
        total = -5.0 * f(x)
        for e in torch.eye(2, dtype=x.dtype):
            near = f(x + step * e) + f(x - step * e)
            far = f(x + 2 * step * e) + f(x - 2 * step * e)
            total = total + (16 * near - far) / 12
        return total / step**2

    operator = operators.laplacian()
    one = operators.apply(kernel, operators.identity, operator)(X1, X2)
    scale = float(one.abs().max())
    torch.testing.assert_close(one, laplacian(lambda y: kernel(X1, y), X2), rtol=1e-6, atol=1e-6 * scale)
    two = operators.apply(kernel, operator, operator)(X1, X2)
    half = operators.apply(kernel, operators.identity, operator)
    differences = laplacian(lambda x: half(x, X2), X1)
    torch.testing.assert_close(two, differences, rtol=1e-6, atol=1e-6 * float(two.abs().max()))


def _residual_kernel(width: int, x: Tensor, operator: operators.Operator) -> Tensor:
    net = nn.mlp([2, width, 1], activation=nn.Erf(), w_std=W, b_std=B, dtype=torch.float64)
    return operators.empirical(net, x, x, operator, operator)


def test_finite_networks_converge_as_width_to_minus_half() -> None:
    torch.manual_seed(0)
    x = X1[:3]
    exact = operators.apply(_kernel(nn.Erf()), HEAT, HEAT)(x)
    widths, draws = (64, 1024), 60
    logs, variances = [], []
    for width in widths:
        samples = torch.stack([_residual_kernel(width, x, HEAT) for _ in range(draws)])
        # One hidden layer: the average is exact at any width.
        score = (samples.mean(0) - exact) / (samples.std(0) / math.sqrt(draws))
        assert float(score.abs().max()) < 6.0
        squares = (samples - exact).square().sum((1, 2))
        logs.append(0.5 * math.log(float(squares.mean())))
        variances.append(0.25 * float(squares.var() / squares.mean().square()) / draws)
    span = math.log(widths[1] / widths[0])
    slope, error = (logs[1] - logs[0]) / span, math.sqrt(sum(variances)) / span
    assert error < 0.09
    assert abs(slope + 0.5) < 5.0 * error
    assert math.exp(logs[1]) < 0.2 * float(exact.norm())


@PAIRS
def test_empirical_kernel_against_plain_autograd(left: str, right: str) -> None:
    torch.manual_seed(1)
    net = nn.mlp([2, 7, 5, 2], activation=torch.nn.Tanh(), b_std=0.5, dtype=torch.float64)

    def gradients(name: str, point: Tensor) -> list[Tensor]:
        x = point.clone().requires_grad_()
        rows = []
        for u in net(x[None])[0]:
            (g,) = torch.autograd.grad(u, x, create_graph=True)
            h = torch.stack([torch.autograd.grad(entry, x, create_graph=True)[0] for entry in g])
            value = {
                "identity": u,
                "partial": g[1],
                "laplacian": h[0, 0] + h[1, 1],
                "heat": g[0] - 0.3 * h[1, 1],
                "mixed": h[0, 1] + 2 * u,
                "advection": (1 + x[0] * x[1]) * g[0] + h[0, 0] + h[1, 1],
            }[name]
            parts = torch.autograd.grad(
                value, list(net.parameters()), retain_graph=True, allow_unused=True, materialize_grads=True
            )
            rows.append(torch.cat([p.reshape(-1) for p in parts]))
        return rows

    first = torch.stack([torch.stack(gradients(left, p)) for p in X1])
    second = torch.stack([torch.stack(gradients(right, p)) for p in X2])
    expected = torch.einsum("iap,jbp->ijab", first, second)
    for chunk_size in (None, 2):
        found = operators.empirical(
            net, X1, X2, OPERATORS[left], OPERATORS[right], outputs="full", chunk_size=chunk_size
        )
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)
    mean = operators.empirical(net, X1, X2, OPERATORS[left], OPERATORS[right])
    torch.testing.assert_close(mean, expected.diagonal(dim1=2, dim2=3).mean(-1), rtol=1e-10, atol=1e-12)


def test_algebra_of_operators() -> None:
    def u(x: Tensor) -> Tensor:
        return (x[:, :1] ** 3 * x[:, 1:] ** 4).tile(1, 2)

    x0, x1 = X1.unbind(1)
    first, second = operators.partial(0), operators.partial(1)
    expected = {
        first @ (2.0 * second - 3.0 * operators.laplacian()): 24 * x0**2 * x1**3
        - 3 * (6 * x1**4 + 36 * x0**2 * x1**2),
        (first + second) @ (first - second): 6 * x0 * x1**4 - 12 * x0**3 * x1**2,
        -(operators.laplacian(0) @ first): -6 * x1**4,
        (lambda x: x[:, 1]) * ((lambda x: 2 * x[:, 0]) * second): 8 * x0**4 * x1**4,
        first - 2.0 * operators.identity: 3 * x0**2 * x1**4 - 2 * x0**3 * x1**4,
    }
    for operator, values in expected.items():
        torch.testing.assert_close(operator(u)(X1), values[:, None].tile(1, 2), rtol=1e-12, atol=1e-12)
    assert [operator.order for operator in expected] == [3, 2, 3, 1, 1]


@pytest.mark.parametrize("finite", [False, True])
def test_block_kernel_is_symmetric_and_positive(finite: bool) -> None:
    torch.manual_seed(2)
    net = nn.mlp([2, 64, 1], activation=nn.Sin(), b_std=B, dtype=torch.float64)
    limit = infinite_width(net)
    kernel = net if finite else lambda a, b: limit(a, b).ntk
    gram = operators.block_kernel(
        kernel, (operators.identity, X2), (HEAT, X1), (operators.partial(0), X2[:1])
    )
    assert gram.shape == (10, 10)
    assert torch.equal(gram, gram.mT)
    assert float(torch.linalg.eigvalsh(gram).min()) > -1e-12 * float(gram.norm())
    expected = (
        operators.empirical(net, X2, X1, right=HEAT)
        if finite
        else operators.apply(kernel, right=HEAT)(X2, X1)
    )
    torch.testing.assert_close(gram[:5, 5:9], expected)
    torch.testing.assert_close(gram[5:9, :5], expected.mT)


def test_tiles_agree_and_gradients_pass_through() -> None:
    x = torch.linspace(-1, 1, 70, dtype=torch.float64)[:, None]
    kernel = operators.apply(_kernel(nn.Erf(), d=1), operators.laplacian(), operators.laplacian())
    whole = kernel(x)
    torch.testing.assert_close(whole[60:, :10], kernel(x[60:], x[:10]), rtol=1e-11, atol=1e-12)
    w_std = torch.tensor(W, dtype=torch.float64, requires_grad=True)

    def total(w: Tensor | float, points: Tensor) -> Tensor:
        kernel = infinite_width(nn.mlp([2, 8, 1], activation=nn.Erf(), w_std=w, b_std=B))
        return operators.apply(lambda a, b: kernel(a, b).ntk, HEAT, HEAT)(points, X2).square().sum()

    points = X1.clone().requires_grad_()
    slope, gradient = torch.autograd.grad(total(w_std, points), (w_std, points))
    step = 1e-5
    difference = (total(W + step, X1) - total(W - step, X1)) / (2 * step)
    torch.testing.assert_close(slope, difference, rtol=1e-6, atol=0.0)
    e = torch.zeros_like(X1)
    e[0, 1] = step
    moved = (total(W, X1 + e) - total(W, X1 - e)) / (2 * step)
    torch.testing.assert_close(gradient[0, 1], moved, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(
    ("activation", "field", "order"),
    [
        (torch.nn.ReLU(), "ntk", 1),
        (torch.nn.ReLU(), "nngp", 3),
        (nn.Abs(), "ntk", 1),
        (torch.nn.LeakyReLU(0.1), "ntk", 1),
        (nn.RectifiedMonomial(2), "ntk", 3),
        (nn.RectifiedMonomial(2), "nngp", None),
        (nn.Sin(b=8.0), "ntk", None),
        (torch.nn.GELU(), "ntk", None),
    ],
)
@pytest.mark.parametrize("d", [1, 2])
def test_kinks_are_refused_and_smooth_kernels_are_not(
    activation: torch.nn.Module, field: str, order: int | None, d: int, dtype: torch.dtype
) -> None:
    # "order" is the first derivative across coincident inputs that does not exist; 4 are asked for.
    x = torch.tensor([[0.4, 0.2], [1.1, -0.5]], dtype=dtype)[:, :d]
    for asked, operator in ((2, operators.partial(0)), (4, operators.laplacian())):
        applied = operators.apply(_kernel(activation, field, d), operator, operator)
        if order is None or asked < order:
            assert bool(torch.isfinite(applied(x)).all())
        else:
            with pytest.raises(ValueError, match=r"not smooth enough.*ReLU"):
                applied(x)


_SMOOTH = _kernel(nn.Erf())
_NET = nn.mlp([2, 4, 1], activation=nn.Erf(), dtype=torch.float64)
_LAP = operators.laplacian()
REFUSED: dict[str, tuple[Callable[[], object], type[Exception], str]] = {
    "left is no operator": (lambda: operators.apply(_SMOOTH, 3, _LAP), TypeError, "left must be an operator"),  # type: ignore[arg-type]
    "laplacian not called": (
        lambda: operators.apply(_SMOOTH, _LAP, operators.laplacian),  # type: ignore[arg-type]
        TypeError,
        "right must be an operator.*call it",
    ),
    "kernel is no function": (lambda: operators.apply(X1), TypeError, "kernel must be a function"),  # type: ignore[arg-type]
    "kernel returns no tensor": (
        lambda: operators.apply(infinite_width(_NET), _LAP)(X1),  # type: ignore[arg-type]
        TypeError,
        r"kernel\(a, b\)\.ntk",
    ),
    "kernel of wrong shape": (
        lambda: operators.apply(lambda a, b: a, _LAP)(X1, X2),
        ValueError,
        "kernel must map",
    ),
    "points of one dimension": (lambda: operators.apply(_SMOOTH)(X1[0]), ValueError, "x1 must have 2 dim"),
    "points not finite": (lambda: operators.apply(_SMOOTH)(X1 / 0), ValueError, "x1 holds"),
    "integers": (lambda: operators.apply(_SMOOTH)(X1, X2.long()), TypeError, "x2 must be real"),
    "dtypes": (lambda: operators.apply(_SMOOTH)(X1, X2.float()), ValueError, "x2 is torch.float32"),
    "coordinates": (lambda: operators.apply(_SMOOTH)(X1, X2[:, :1]), ValueError, "x1 has 2 coordinates"),
    "axis beyond inputs": (
        lambda: operators.apply(_SMOOTH, operators.partial(2))(X1),
        ValueError,
        "along coordinate 2, but inputs have 2",
    ),
    "axis beyond inputs, finite": (
        lambda: operators.empirical(_NET, X1, right=operators.laplacian(5)),
        ValueError,
        "along coordinate 5",
    ),
    "negative axis": (lambda: operators.partial(-1), ValueError, "axis must be"),
    "axis no number": (lambda: operators.laplacian(1.0), TypeError, "axis must be"),  # type: ignore[arg-type]
    "sum with a number": (lambda: _LAP + 1.0, TypeError, "operators.identity"),  # type: ignore[operator]
    "factor": (lambda: "2" * _LAP, TypeError, "factor must be a number"),  # type: ignore[operator]
    "composition with a number": (lambda: _LAP @ 2, TypeError, "composed with an operator"),  # type: ignore[operator]
    "composition with a coefficient": (
        lambda: _LAP @ OPERATORS["advection"],
        ValueError,
        "constant coefficients",
    ),
    "coefficient of wrong shape": (
        lambda: operators.apply(_SMOOTH, (lambda x: x) * _LAP)(X1),
        ValueError,
        "coefficient must map",
    ),
    "no module": (lambda: operators.empirical(_SMOOTH, X1), TypeError, "net must be"),  # type: ignore[arg-type]
    "outputs": (lambda: operators.empirical(_NET, X1, outputs="all"), ValueError, "outputs must be one of"),
    "chunk size": (lambda: operators.empirical(_NET, X1, chunk_size=0), ValueError, "chunk_size must be"),
    "images": (lambda: operators.empirical(_NET, X1[None]), ValueError, "x1 must have 2 dimensions"),
    "no condition": (lambda: operators.block_kernel(_SMOOTH), ValueError, "at least one condition"),
    "condition no pair": (lambda: operators.block_kernel(_SMOOTH, X1), TypeError, "must be a pair"),  # type: ignore[arg-type]
    "condition swapped": (
        lambda: operators.block_kernel(_SMOOTH, (X1, _LAP)),  # type: ignore[arg-type]
        TypeError,
        r"conditions\[0\]\[0\] must be an operator",
    ),
    "several outputs": (
        lambda: operators.block_kernel(nn.mlp([2, 4, 3], dtype=torch.float64), (operators.identity, X1)),
        ValueError,
        "one output, got 3",
    ),
}


@pytest.mark.parametrize("name", list(REFUSED))
def test_refused_by_name(name: str) -> None:
    call, error, message = REFUSED[name]
    with pytest.raises(error, match=message):
        call()


def _rbf(a: Tensor, b: Tensor) -> Tensor:
    return torch.exp(-0.5 * (a[:, None] - b).square().sum(-1))


def test_orders_of_the_simplest_operators() -> None:
    assert [o.order for o in (operators.identity, operators.partial(0), operators.laplacian())] == [0, 1, 2]


def test_factors_of_both_sides_multiply_the_kernel() -> None:
    plain = operators.apply(_rbf, operators.partial(0), operators.laplacian())(X1, X2)
    numbers = operators.apply(_rbf, 3.0 * operators.partial(0), -2.0 * operators.laplacian())(X1, X2)
    torch.testing.assert_close(numbers, -6.0 * plain, rtol=1e-12, atol=1e-12)

    def first(x: Tensor) -> Tensor:
        return 2.0 + x[:, 0]

    def second(x: Tensor) -> Tensor:
        return 1.0 - 0.5 * x[:, 1]

    kernel = operators.apply(_rbf, first * operators.partial(0), second * operators.laplacian())
    expected = first(X1)[:, None] * plain * second(X2)
    torch.testing.assert_close(kernel(X1, X2), expected, rtol=1e-12, atol=1e-12)


def test_one_point_has_as_many_coordinates_as_several() -> None:
    kernel = operators.apply(_rbf, operators.partial(1), operators.partial(1))
    torch.testing.assert_close(kernel(X1[:1], X2), kernel(X1, X2)[:1])


@pytest.mark.parametrize(
    ("field", "left", "right"), [("ntk", 1, 0), ("ntk", 0, 1), ("nngp", 2, 1)], ids=["left", "right", "third"]
)
@pytest.mark.parametrize("scale", [1.0, 1e3])
def test_the_derivative_of_the_very_order_asked_for_must_exist(
    field: str, left: int, right: int, scale: float
) -> None:
    # The first derivative of the NTK, and the third of the NNGP covariance, jump where two inputs coincide.
    of_order = [operators.identity, operators.partial(0), operators.laplacian()]
    kernel = _kernel(torch.nn.ReLU(), field)
    with pytest.raises(ValueError, match=f"of order {left + right} jumps"):
        operators.apply(kernel, of_order[left], of_order[right])(scale * X1)
    lower = of_order[left - 1] if left else operators.identity
    right_lower = of_order[right] if left else of_order[right - 1]
    assert bool(torch.isfinite(operators.apply(kernel, lower, right_lower)(scale * X1)).all())


def test_gradients_of_as_many_points_as_fit_are_held(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    gradients = operators._Gradients.__call__

    def counted(self: operators._Gradients, x: Tensor) -> Tensor:
        sizes.append(len(x))
        return gradients(self, x)

    n_parameters = sum(p.numel() for p in _NET.parameters())
    whole = operators.empirical(_NET, X1, X2, _LAP)
    monkeypatch.setattr(operators._Gradients, "__call__", counted)
    # Room for three points' gradients in float64: 4 points are taken as 3 and 1, 5 as 3 and 2.
    monkeypatch.setattr(operators, "_CHUNK_BYTES", 8 * 3 * n_parameters)
    torch.testing.assert_close(operators.empirical(_NET, X1, X2, _LAP), whole)
    assert sizes == [3, 3, 2, 1, 3, 2]
