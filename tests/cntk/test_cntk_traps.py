"""Where kernels go wrong: black pixels, equal and nearly equal images, depth, scales, threads."""

import math

import mpmath
import numpy as np
import pytest
import torch
from cntk_engines import ENGINES, pictures, recursion_of, run_engine
from cntk_naive import naive_gram

import ntkbook
from ntkbook.cntk import polynomials
from ntkbook.cntk.recursion import arora
from ntkbook.cntk.scaling import Scaling


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("readout", ["gap", "flatten"])
@pytest.mark.parametrize("q", [1, 3, 5])
def test_black_borders_and_black_images(dtype, readout, q):
    x = pictures(4, 3, 9, 8, dtype=dtype)
    x[:, :, :3] = 0
    x[1, :, :, 4:] = 0
    x[3] = 0
    result = ntkbook.cntk(x, depth=(1, 6), readout=readout, kernel_size=q, dtype=dtype)
    assert torch.isfinite(result).all()
    assert (result[:, 3] == 0).all()
    assert (result[:, :, 3] == 0).all()
    for k, depth in enumerate((1, 6)):
        expected = naive_gram(x.double(), x.double(), depth, readout, q)
        np.testing.assert_allclose(result[k], expected, rtol=3e-6 if dtype == torch.float32 else 1e-11)


def test_only_black_images():
    assert (ntkbook.cntk(torch.zeros(2, 1, 5, 5), depth=3) == 0).all()
    with_bias = ntkbook.cntk(torch.zeros(2, 1, 5, 5).double(), depth=3, convention="ntk", b_std=0.5)
    expected = naive_gram(np.zeros((1, 1, 5, 5)), np.zeros((1, 1, 5, 5)), 3, convention="ntk", b_std=0.5)
    # Constant pictures are parallel at every displacement, where rounding costs sqrt(eps) = 1e-8.
    np.testing.assert_allclose(with_bias, np.broadcast_to(expected, (2, 2)), rtol=1e-8)


@pytest.mark.parametrize("readout", ["gap", "flatten"])
def test_equal_images_wherever_they_stand(readout):
    x = pictures(3, 3, 8, 8, dtype=torch.float32)
    x2 = torch.cat([x[2:], x[:1], x[2:]])
    x[2, 0, 0, 0] = x2[2, 0, 0, 0] = 0.0
    x2[0, 0, 0, 0] = -0.0  # the other zero is the same pixel
    exact = naive_gram(x.double(), x2.double(), 4, readout)
    for dtype, tolerance in ((torch.float32, 2e-6), (torch.float64, 1e-12)):
        ours = ntkbook.cntk(x, x2, depth=4, readout=readout, dtype=dtype)
        np.testing.assert_allclose(ours, exact, rtol=tolerance)


@pytest.mark.parametrize("distance", [1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6])
def test_near_duplicates_by_regime(distance):
    # e = d / w is about distance^2 / 2. Single precision knows e to 1e-7, so sqrt(e) is off by up to
    # sqrt(2e-7) = 5e-4 once distance < 5e-4: that share of kappa_0, at displacement 0 only. Double: 1e-8.
    x = pictures(1, 3, 8, 8).float().double()
    z = (x + distance * pictures(1, 3, 8, 8, seed=7)).float().double()
    exact = ntkbook.cntk(x, z, depth=5, readout="flatten", dtype=torch.float64)
    reference = run_engine(ENGINES["reference"], x, z, recursion_of(x, (5,), "flatten"))[1][0]
    torch.testing.assert_close(exact, reference, rtol=1e-7 if distance < 1e-5 else 1e-9, atol=0)
    single = ntkbook.cntk(x, z, depth=5, readout="flatten", dtype=torch.float32).double()
    assert (single / exact - 1).abs() < (5e-4 if distance < 2e-3 else 1e-5 / distance * 1e-1)
    pooled = ntkbook.cntk(x, z, depth=5, dtype=torch.float64)
    assert (ntkbook.cntk(x, z, depth=5, dtype=torch.float32).double() / pooled - 1).abs() < 2e-5


def test_float32_flattening_works_in_double_by_default():
    x = pictures(1, 3, 8, 8, dtype=torch.float32)
    z = x + 1e-4 * pictures(1, 3, 8, 8, seed=7, dtype=torch.float32)
    ours = ntkbook.cntk(x, z, depth=5, readout="flatten")
    assert ours.dtype == torch.float32
    exact = naive_gram(x.double(), z.double(), 5, "flatten")
    np.testing.assert_allclose(ours, exact, rtol=1e-7)


@pytest.mark.parametrize("readout", ["gap", "flatten"])
@pytest.mark.parametrize("depth", [40, 150])
def test_great_depth_in_single_precision(readout, depth):
    # Unscaled, the patch sums alone would have grown by 9^depth, past 3.4e38 at depth 40.
    x = pictures(3, 3, 6, 7) * 200
    exact = ntkbook.cntk(x, depth=depth, readout=readout, convention="ntk")
    single = ntkbook.cntk(x.float(), depth=depth, readout=readout, convention="ntk", dtype=torch.float32)
    assert torch.isfinite(single).all()
    torch.testing.assert_close(single.double(), exact, rtol=2e-5, atol=0)


@pytest.mark.parametrize("w_std", [0.1, 1.0, 3.0])
@pytest.mark.parametrize("b_std", [0.0, 1e-3, 5.0])
@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
def test_extreme_scales(w_std, b_std, scale):
    x = pictures(2, 2, 5, 5) * scale
    options = {"convention": "ntk", "w_std": w_std, "b_std": b_std}
    expected = naive_gram(x, x, 6, **options)
    # Where the bias outweighs the image all correlations are nearly 1: sqrt(eps) = 1e-8.
    np.testing.assert_allclose(ntkbook.cntk(x, depth=6, **options), expected, rtol=1e-8)
    single = ntkbook.cntk(x.float(), depth=6, **options).double() if expected.max() < 1e38 else None
    if single is not None and expected.min() > 1e-37:
        np.testing.assert_allclose(single, naive_gram(x.float(), x.float(), 6, **options), rtol=1e-4)


def test_scaling_keeps_its_bound():
    for depth, shape in ((60, (3, 32, 32)), (60, (1, 1, 1)), (60, (1, 1, 40))):
        recursion = arora(3, (depth,), "gap", shape[1] * shape[2], True)
        scaling = Scaling.of(recursion, 255.0, shape)
        assert all(math.log2(factor).is_integer() for factor in scaling.rescale)
        assert any(factor < 1 for factor in scaling.rescale) == (shape != (1, 1, 1))


@pytest.mark.parametrize(
    ("coefficients", "bound", "is_p"),
    [
        (polynomials.P_SINGLE, 4.7e-7, True),
        (polynomials.P_DOUBLE, 2.6e-15, True),
        (polynomials.R_SINGLE, 4.2e-7, False),
        (polynomials.R_DOUBLE, 7.4e-16, False),
    ],
)
def test_polynomials_keep_their_stated_error(coefficients, bound, is_p):
    with mpmath.workdps(40):
        worst = mpmath.mpf(0)
        for k in range(1, 401):
            e = mpmath.mpf(k) / 400
            angle = mpmath.acos(1 - e)
            exact = (
                angle / (mpmath.pi * mpmath.sqrt(e))
                if is_p
                else (mpmath.sin(angle) - angle * mpmath.cos(angle)) / (mpmath.pi * e**1.5)
            )
            ours = mpmath.polyval([mpmath.mpf(c) for c in reversed(coefficients)], e)
            worst = max(worst, abs(ours - exact))
        assert worst < bound


@pytest.mark.parametrize("readout", ["gap", "flatten"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_threads_and_blocks_change_no_bit(readout, dtype, monkeypatch):
    from ntkbook.cntk import cpu

    x = pictures(9, 2, 7, 6, dtype=dtype)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = ntkbook.cntk(x, depth=3, readout=readout, dtype=dtype)
        torch.set_num_threads(2)
        assert torch.equal(one, ntkbook.cntk(x, depth=3, readout=readout, dtype=dtype))
        monkeypatch.setattr(cpu, "_TABLE_BYTES", 20_000)  # three images or fewer at a time
        assert torch.equal(one, ntkbook.cntk(x, depth=3, readout=readout, dtype=dtype))
    finally:
        torch.set_num_threads(threads)
