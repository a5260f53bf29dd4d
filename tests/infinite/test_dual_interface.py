"""What users and other modules meet: the registry, checks, broadcasting, devices."""

from __future__ import annotations

import pytest
import torch
from dual_cases import CLOSED, NUMERIC, Case
from torch._subclasses.fake_tensor import FakeTensorMode

from ntkbook import nn
from ntkbook.infinite import DualMoments, dual, dual_activations, dual_diagonal, has_dual, register_dual

ALL = pytest.mark.parametrize("case", CLOSED + NUMERIC, ids=lambda case: case.name)


class Unknown(torch.nn.Module):
    """Half of the input."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Halve."""
        return 0.5 * x


class SteeperReLU(torch.nn.ReLU):
    """A subclass that is not what its parent is."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Twice the positive part."""
        return 2 * super().forward(x)


Q = torch.ones(2, 3)


@pytest.mark.parametrize(
    ("module", "arguments", "error", "match"),
    [
        (Unknown(), (Q, Q, Q), TypeError, "Unknown has no registered dual.*Elementwise"),
        (SteeperReLU(), (Q, Q, Q), TypeError, "SteeperReLU has no registered dual"),
        (torch.nn.PReLU(), (Q, Q, Q), TypeError, "PReLU has a trainable slope.*LeakyReLU"),
        (torch.nn.Softmax(dim=-1), (Q, Q, Q), TypeError, "Softmax has no registered dual"),
        (torch.nn.ReLU(), (1.0, Q, Q), TypeError, "q11 must be a torch.Tensor, got float"),
        (torch.nn.ReLU(), (Q, Q.long(), Q), TypeError, "q12 must be real floating point"),
        (torch.nn.ReLU(), (Q.double(), Q, Q), ValueError, "q11 is torch.float64 but q12 is torch.float32"),
        (torch.nn.ReLU(), (Q, Q, Q.to("meta")), ValueError, "q22 is on meta but q12 is on cpu"),
        (torch.nn.ReLU(), (torch.ones(4), Q, Q), ValueError, r"\(4,\), \(2, 3\), \(2, 3\) do not broadcast"),
        (torch.nn.ReLU(), (Q, Q[:0], Q), ValueError, "q12 is empty"),
        (torch.nn.Softplus(threshold=2.0), (Q, Q, Q), ValueError, "threshold of at least 20"),
    ],
)
def test_refusals_name_the_argument_and_the_remedy(module, arguments, error, match) -> None:
    with pytest.raises(error, match=match):
        dual(module, *arguments)


def test_registration() -> None:
    assert not has_dual(Unknown())

    @register_dual(Unknown)
    def rule(module, q11, q12, q22):
        return DualMoments(0.25 * q12, torch.full_like(q12, 0.25))

    try:
        assert has_dual(Unknown())
        assert dual(Unknown(), Q, Q, Q).phi_phi[0, 0] == 0.25
        assert dual_diagonal(Unknown(), Q[0])[0] == 0.25
    finally:
        del dual_activations._RULES[Unknown]
    with pytest.raises(TypeError, match="pass the type, not an instance"):
        register_dual(Unknown())


@ALL
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_broadcast_shape_and_dtype(case: Case, dtype: torch.dtype) -> None:
    q11, q22 = torch.full((4, 1), 1.5, dtype=dtype), torch.full((1, 5), 0.7, dtype=dtype)
    for moment in dual(case.module, q11, torch.full((4, 5), 0.2, dtype=dtype), q22):
        assert moment.shape == (4, 5)
        assert moment.dtype == dtype
    for moment in dual(case.module, q11, torch.tensor(0.2, dtype=dtype), q22):
        assert moment.shape == (4, 5)
    assert dual_diagonal(case.module, q22).shape == (1, 5)


@ALL
def test_inputs_are_left_alone(case: Case) -> None:
    q = [torch.full((3,), x, dtype=torch.float64) for x in (1.0, -0.5, 2.0)]
    copies = [x.clone() for x in q]
    dual(case.module, *q)
    assert all(torch.equal(x, c) for x, c in zip(q, copies, strict=True))


@ALL
def test_no_device_mistake_and_no_wait_on_fake_cuda(case: Case) -> None:
    # A constant left on the CPU raises a device mismatch; reading a value (a wait for the GPU) raises as
    # well. Derivatives in forward mode, because the backward engine has no queue for a device that is not
    # there.
    with FakeTensorMode():
        q11, q12 = torch.rand(4, 1, device="cuda"), torch.rand(4, 4, device="cuda")
        f = lambda c: dual(case.module, q11, c, q11.mT)  # noqa: E731
        results = [*f(q12)]
        if case.name != "elu_kinked":  # whose tangent kernel refuses to be differentiated
            results += torch.func.jvp(f, (q12,), (q12,))[1]
        assert all(m.device.type == "cuda" and m.shape == (4, 4) for m in results)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_equals_cpu() -> None:
    x = torch.randn(20, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    q12, q = x @ x.T / 8, x.square().mean(1)
    for case in CLOSED + NUMERIC:
        on_cpu = dual(case.module, q[:, None], q12, q[None])
        on_cuda = dual(case.module, q[:, None].cuda(), q12.cuda(), q[None].cuda())
        for a, b in zip(on_cpu, on_cuda, strict=True):
            torch.testing.assert_close(b.cpu(), a, rtol=1e-11, atol=1e-12)


def test_every_activation_of_the_package_has_a_dual() -> None:
    exported = [getattr(nn, name) for name in nn.__all__]
    activations = [t for t in exported if isinstance(t, type) and t.__module__ == "ntkbook.nn.activations"]
    assert len(activations) == 16
    assert all(t in dual_activations._RULES for t in activations)
