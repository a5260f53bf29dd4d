"""Every kind of network against the properties all kernels have, and against finite networks."""

from __future__ import annotations

import pytest
import torch
from network_zoo import ZOO

from ntkbook import infinite_width
from ntkbook.infinite import conformance

CASES = [pytest.param(*case, id=name) for name, case in ZOO.items()]


@pytest.mark.parametrize(("make_net", "make_x"), CASES)
def test_symmetric_and_positive(make_net, make_x):
    conformance.check_symmetry(make_net, make_x(4))


@pytest.mark.parametrize(("make_net", "make_x"), CASES)
def test_pairs_do_not_see_the_batch(make_net, make_x):
    conformance.check_batching(make_net, make_x(4))


@pytest.mark.parametrize(("make_net", "make_x"), CASES)
def test_gradients(make_net, make_x):
    conformance.check_gradient(make_net, make_x(3))


@pytest.mark.parametrize(("make_net", "make_x"), CASES)
def test_single_precision(make_net, make_x):
    conformance.check_single_precision(make_net, make_x(4))


@pytest.mark.parametrize(("make_net", "make_x"), CASES)
def test_stays_on_the_device(make_net, make_x):
    x = make_x(4)
    try:
        conformance.check_device(make_net, x)
    except (AssertionError, RuntimeError) as error:
        # There a tensor that is not fake, such as a graph's matrix, is copied to the fake device in earnest.
        if torch.__version__ < "2.7" and ("NVIDIA" in str(error) or "not compiled with CUDA" in str(error)):
            pytest.skip("fake tensors of torch 2.6 need a driver for this network")
        raise
    if torch.cuda.is_available():
        net = make_net(6)
        on_cpu, on_gpu = infinite_width(net)(x), infinite_width(net)(x.cuda())
        torch.testing.assert_close(on_gpu.ntk.cpu(), on_cpu.ntk, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("make_net", "make_x"), CASES)
def test_finite_networks(make_net, make_x):
    conformance.check_finite_networks(make_net, make_x(3), width=48, n_draws=60)


@pytest.mark.parametrize(("make_net", "make_x"), CASES)
def test_shapes_are_those_of_the_network(make_net, make_x):
    x = make_x(3)
    net = make_net(6)
    k = infinite_width(net)(x[:2], x)
    assert k.shape1 == tuple(net(x[:2]).shape)
    assert k.nngp.shape == k.ntk.shape == (2, 3)


@pytest.mark.parametrize("special", ["coincident", "antipodal", "collinear", "zero", "tiny", "huge"])
@pytest.mark.parametrize(("make_net", "make_x"), CASES)
def test_special_pairs(make_net, make_x, special):
    x = make_x(2)
    other = {
        "coincident": x.clone(),
        "antipodal": -x,
        "collinear": 2 * x,
        "zero": torch.zeros_like(x),
        "tiny": 1e-20 * x,
        "huge": 1e6 * x,
    }[special]
    both = torch.cat([x, other])
    kernel = infinite_width(make_net(8))
    for dtype in (torch.float64, torch.float32):
        k = kernel(both.to(dtype))
        cross = kernel(x.to(dtype), other.to(dtype))
        for name in ("nngp", "ntk"):
            whole, block = getattr(k, name), getattr(cross, name)
            assert bool(torch.isfinite(whole).all())
            size = whole.diagonal().max()
            torch.testing.assert_close(
                whole[:2, 2:] / size, block / size, rtol=1e-9 if dtype == torch.float64 else 1e-3, atol=1e-12
            )
        if special == "coincident":
            torch.testing.assert_close(cross.ntk.diagonal(), k.ntk.diagonal()[:2], rtol=1e-5, atol=0)
            if dtype == torch.float64:  # no loss of half the digits, as from the arccos of a rounded ratio
                torch.testing.assert_close(cross.ntk.diagonal(), k.ntk.diagonal()[:2], rtol=1e-13, atol=0)
    single, double = kernel(both.float()), kernel(both)
    scale = (double.ntk.diagonal()[:, None] * double.ntk.diagonal()).sqrt()
    assert float(((single.ntk.double() - double.ntk) / scale.clamp(min=1e-12)).abs().max()) < 1e-3
