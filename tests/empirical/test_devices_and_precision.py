"""Device and dtype follow the inputs; products in float32 stay in float32.

No GPU is needed: tensors on the meta device refuse to meet tensors on the CPU just as those on a GPU do, so a
constant made on the wrong device fails here.
"""

import contextlib

import pytest
import torch
from torch import nn
from torch.overrides import TorchFunctionMode

import ntkbook
from ntkbook import empirical_ntk
from ntkbook.empirical.network import exact_operators


class Unread(TorchFunctionMode):
    """Lets code pass that looks at values, which meta tensors do not have."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function in (torch.allclose, torch.Tensor.__bool__):
            return True
        if function == torch.Tensor.is_meta.__get__:
            return False  # of a GPU's tensors, for which these stand
        return 1.0 if function is torch.Tensor.__float__ else function(*args, **(kwargs or {}))


def images():
    net = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1, groups=2),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        ntkbook.nn.Conv2d(4, 3, 3, padding="same", padding_mode="circular", b_std=0.1),
        nn.GroupNorm(1, 3),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.PReLU(),
        nn.Linear(3, 3),
    )
    return net.eval().to("meta"), torch.empty(5, 2, 6, 6, device="meta")


def tokens():
    net = nn.Sequential(nn.Embedding(7, 4, padding_idx=0), nn.LayerNorm(4), nn.Flatten(), nn.Linear(12, 2))
    return net.to("meta"), torch.empty(5, 3, dtype=torch.long, device="meta")


def test_the_check_can_fail():
    with Unread(), pytest.raises(RuntimeError, match="device"):
        _ = torch.ones(3) + torch.ones(3, device="meta")


@pytest.mark.parametrize("build", [images, tokens])
@pytest.mark.parametrize("outputs", ["full", "diagonal", "mean"])
@pytest.mark.parametrize("method", ["auto", "structured", "jacobian", "vector_product"])
def test_no_route_leaves_the_device(method, outputs, build):
    net, x = build()
    with Unread():
        for x2 in (None, x[:2]):
            kernel = empirical_ntk(net, x, x2, method=method, outputs=outputs, chunk_size=3)
            assert kernel.device.type == "meta"


def test_nothing_else_leaves_the_device():
    net, x = images()
    with Unread():
        assert ntkbook.empirical_nngp(net, x).device.type == "meta"
        vector = torch.empty(5, 3, device="meta")
        assert ntkbook.ntk_vector_product(net, x, None, vector).device.type == "meta"
        assert ntkbook.taylor_expand(net, 2)(x).device.type == "meta"


@pytest.mark.parametrize("method", ["structured", "jacobian", "vector_product"])
def test_accumulation_dtype(method):
    torch.manual_seed(0)
    net, x = nn.Sequential(nn.Linear(20, 300), nn.Tanh(), nn.Linear(300, 3)), 10 * torch.randn(8, 20)
    exact = empirical_ntk(net.double(), x.double(), method="jacobian")
    net = net.float()
    plain, summed = (empirical_ntk(net, x, method=method, dtype=d) for d in (None, torch.float64))
    assert plain.dtype == torch.float32
    assert summed.dtype == torch.float64
    # Gradients are float32 in both, so float64 sums may only not be worse than rounding of the inputs allows.
    assert float((summed - exact).abs().max() / exact.abs().max()) < 3e-7


def test_float64_sums_are_exact_for_float32_gradients():
    # One linear layer: the gradient is the input itself, so only the sum rounds.
    torch.manual_seed(0)
    net, x = nn.Linear(4000, 1, bias=False), torch.randn(6, 4000)
    exact = (x.double() @ x.double().T)[:, :, None, None]
    summed = empirical_ntk(net, x, dtype=torch.float64)
    plain = empirical_ntk(net, x)
    assert torch.allclose(summed, exact, rtol=1e-14, atol=1e-12)
    assert not torch.allclose(plain.double(), exact, rtol=1e-14, atol=1e-12)


def test_a_network_of_two_dtypes_may_convert_its_inputs_itself():
    class Mixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.last = nn.Linear(6, 8).double(), nn.Linear(8, 2)

        def forward(self, x):
            return self.last(torch.tanh(self.first(x.double())).float())

    torch.manual_seed(0)
    net, x = Mixed(), torch.randn(4, 6).bfloat16()
    expected = empirical_ntk(net, x.float())
    assert torch.equal(empirical_ntk(net, x), expected)
    assert bool((expected[:, :, 0, 0].diagonal() > 0).all())


def test_half_precision_networks_are_served():
    torch.manual_seed(0)
    net, x = (
        nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 2)).bfloat16(),
        torch.randn(4, 6).bfloat16(),
    )
    exact = empirical_ntk(net.double(), x.double())
    found = empirical_ntk(net.bfloat16(), x, dtype=torch.float32)
    assert float((found - exact).abs().max() / exact.abs().max()) < 0.05  # bfloat16 has 8 bits


def test_settings_are_restored():
    torch.set_float32_matmul_precision("high")
    tf32 = torch.backends.cudnn.allow_tf32
    fused = torch.backends.mha.get_fastpath_enabled()
    try:
        with contextlib.suppress(KeyError), exact_operators():
            assert torch.get_float32_matmul_precision() == "highest"
            assert not torch.backends.cudnn.allow_tf32
            raise KeyError
        assert torch.get_float32_matmul_precision() == "high"
        assert torch.backends.cudnn.allow_tf32 == tf32
        assert torch.backends.mha.get_fastpath_enabled() == fused
    finally:
        torch.set_float32_matmul_precision("highest")
