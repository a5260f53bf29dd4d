"""First and second derivatives of dual activations: Price's theorem, differences in a network's inputs."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from dual_cases import CLOSED, NUMERIC, Case
from torch import Tensor

from ntkbook import nn
from ntkbook.infinite import dual

ALL = pytest.mark.parametrize("case", CLOSED + NUMERIC, ids=lambda case: case.name)
# The derivative of a jump is no function: its moment is taken as zero, and is not the derivative of the
# other.
NO_JUMP = pytest.mark.parametrize(
    "case", [c for c in CLOSED + NUMERIC if c.name not in ("sign", "step")], ids=lambda case: case.name
)
SECOND = pytest.mark.parametrize(
    "case",
    [c for c in CLOSED + NUMERIC if c.name not in ("sign", "step", "elu_kinked")],
    ids=lambda case: case.name,
)
POINT = torch.tensor([0.9, -0.6, 0.3], dtype=torch.float64)
OTHERS = {
    "ordinary": torch.tensor([-0.2, 0.7, 1.1], dtype=torch.float64),
    "coincident": POINT.clone(),
    "antipodal": -POINT,
    "collinear": 1.5 * POINT,
}
PLACES = pytest.mark.parametrize("place", list(OTHERS))


def _kernel(case: Case, which: int, x: Tensor, y: Tensor) -> Tensor:
    return dual(case.module, x.square().mean(-1), (x * y).mean(-1), y.square().mean(-1))[which]


def _gradient(value: Tensor, x: Tensor, **options: bool) -> Tensor:
    """Gradient of a sum; zero for a moment that is constant."""
    if not value.requires_grad:
        return torch.zeros_like(x)
    (gradient,) = torch.autograd.grad(value.sum(), x, allow_unused=True, materialize_grads=True, **options)
    return gradient


def _central(f: Callable[[Tensor], Tensor], x: Tensor, step: float) -> Tensor:
    """Central differences of f, one row per coordinate of x."""
    return torch.stack(
        [(f(x + step * e) - f(x - step * e)) / (2 * step) for e in torch.eye(len(x), dtype=x.dtype)]
    )


@NO_JUMP
def test_price_theorem(case: Case) -> None:
    q11, q12, q22 = (torch.tensor(q, dtype=torch.float64) for q in ([0.5, 2.0], [-0.3, 1.2], [0.7, 1.1]))
    q12.requires_grad_(True)
    moments = dual(case.module, q11, q12, q22)
    torch.testing.assert_close(
        _gradient(moments.phi_phi, q12), moments.dphi_dphi.detach(), rtol=1e-11, atol=1e-13
    )


def _not_differentiable(case: Case, which: int) -> bool:
    return case.name == "elu_kinked" and which == 1  # refused, see the test of refusals


@ALL
@PLACES
@pytest.mark.parametrize("which", [0, 1], ids=["phi_phi", "dphi_dphi"])
def test_gradient_in_the_inputs(case: Case, place: str, which: int) -> None:
    if _not_differentiable(case, which):
        return
    y = OTHERS[place]
    x = POINT.clone().requires_grad_(True)
    gradient = _gradient(_kernel(case, which, x, y), x)
    # A jump makes the moment a cone around collinear inputs. The value at its tip is the mean of the
    # one-sided derivatives, which central differences meet up to the cone's curvature times the step.
    cone = place != "ordinary" and (case.name in ("sign", "step") if which == 0 else _kinked_slope(case))
    differences = _central(lambda p: _kernel(case, which, p, y), POINT, 1e-5)
    torch.testing.assert_close(gradient, differences, rtol=1e-6, atol=1e-3 if cone else 1e-6)


def _kinked_slope(case: Case) -> bool:
    return case.name in ("relu", "leaky_relu", "ab_relu", "abs", "rect_1")


@ALL
@pytest.mark.parametrize("which", [0, 1], ids=["phi_phi", "dphi_dphi"])
def test_gradient_of_the_diagonal(case: Case, which: int) -> None:
    if _not_differentiable(case, which):
        return
    x = POINT.clone().requires_grad_(True)
    differences = _central(lambda p: _kernel(case, which, p, p), POINT, 1e-5)
    torch.testing.assert_close(_gradient(_kernel(case, which, x, x), x), differences, rtol=1e-6, atol=1e-8)


def _first(case: Case, x: Tensor, y: Tensor) -> Tensor:
    x = x.detach().requires_grad_(True)
    return _gradient(_kernel(case, 0, x, y), x, create_graph=True)


@SECOND
@pytest.mark.parametrize("place", ["ordinary", "coincident"])
def test_mixed_second_derivative(case: Case, place: str) -> None:
    """The matrix of d^2 k / dx dy, as the kernel of a derivative of the network needs it."""
    y = OTHERS[place].clone().requires_grad_(True)
    rows = torch.stack([_gradient(g, y, retain_graph=True) for g in _first(case, POINT, y)])
    differences = _central(lambda p: _first(case, POINT, p).detach(), OTHERS[place], 1e-6).T
    torch.testing.assert_close(rows, differences, rtol=2e-6, atol=2e-6)


@SECOND
def test_pure_second_derivative_where_inputs_coincide(case: Case) -> None:
    x = POINT.clone().requires_grad_(True)
    first = _gradient(_kernel(case, 0, x, POINT), x, create_graph=True)
    rows = torch.stack([_gradient(g, x, retain_graph=True) for g in first])
    differences = _central(lambda p: _first(case, p, POINT).detach(), POINT, 1e-6).T
    torch.testing.assert_close(rows, differences, rtol=2e-6, atol=2e-6)


@SECOND
def test_forward_mode_and_function_transforms_agree_with_backward(case: Case) -> None:
    y = OTHERS["ordinary"]
    f = lambda x: _kernel(case, 0, x, y)  # noqa: E731
    forward_over_reverse = torch.func.hessian(f)(POINT)
    reverse_over_reverse = torch.autograd.functional.hessian(f, POINT)
    torch.testing.assert_close(forward_over_reverse, reverse_over_reverse, rtol=1e-10, atol=1e-10)
    batch = torch.stack([POINT, y, 2 * POINT])
    mapped = torch.func.vmap(torch.func.grad(f))(batch)
    torch.testing.assert_close(
        mapped, torch.stack([torch.func.grad(f)(p) for p in batch]), rtol=1e-10, atol=1e-12
    )


@ALL
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_gradients_are_finite_everywhere(case: Case, dtype: torch.dtype) -> None:
    variances = [0.0, 1e-20, 1.0, 100.0 if case.grows else 1e6]
    triples = [
        (a, r * (a * b) ** 0.5, b) for a in variances for b in variances for r in (-1.0, 0.0, 0.5, 1.0)
    ]
    q = [torch.tensor(column, dtype=dtype, requires_grad=True) for column in zip(*triples, strict=True)]
    for which, moment in enumerate(dual(case.module, *q)):
        if not _not_differentiable(case, which):
            for x in q:
                assert _gradient(moment, x, retain_graph=True).isfinite().all()


def test_gradient_that_quadrature_cannot_give_is_refused() -> None:
    q = torch.ones(2, requires_grad=True)
    moments = dual(torch.nn.ELU(0.5), q, 0.5 * q, q)
    moments.phi_phi.sum().backward()
    with pytest.raises(RuntimeError, match="alpha=1"):
        moments.dphi_dphi.sum().backward()


@ALL
def test_broadcast_gradients_have_the_shapes_of_the_arguments(case: Case) -> None:
    q11 = torch.tensor([[0.5], [2.0]], dtype=torch.float64, requires_grad=True)
    q22 = torch.tensor([[0.7, 1.1, 3.0]], dtype=torch.float64, requires_grad=True)
    q12 = (0.4 * (q11 * q22).sqrt()).detach().requires_grad_(True)
    moment = dual(case.module, q11, q12, q22).phi_phi
    broadcast = [_gradient(moment, q, retain_graph=True) for q in (q11, q12, q22)]
    full = [q.detach().expand(2, 3).clone().requires_grad_(True) for q in (q11, q12, q22)]
    moment = dual(case.module, *full).phi_phi
    separate = [_gradient(moment, q, retain_graph=True) for q in full]
    for got, expected, q in zip(broadcast, separate, (q11, q12, q22), strict=True):
        torch.testing.assert_close(got, expected.sum_to_size(q.shape), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", ["erf", "elementwise"])
def test_forward_mode_within_forward_mode_is_refused(name):
    # torch would return 0 for the second derivative, without a word.
    module = nn.Erf() if name == "erf" else nn.Elementwise(torch.tanh)
    one = torch.tensor(1.0, dtype=torch.float64)

    def moment(q):
        return dual(module, q, 0.3 * q, q).phi_phi

    def forward(f):
        return lambda q: torch.func.jvp(f, (q,), (one,))[1]

    mixed = forward(torch.func.grad(moment))(2 * one)
    torch.testing.assert_close(mixed, torch.func.grad(forward(moment))(2 * one))
    assert abs(float(mixed)) > 1e-3
    with pytest.raises(RuntimeError, match="forward-mode derivative of a forward-mode derivative"):
        forward(forward(moment))(2 * one)
