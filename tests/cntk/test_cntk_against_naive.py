"""Every engine against the 4-D twin: conventions, sizes, filters, readouts, borders, equal images."""

import numpy as np
import pytest
import torch
from cntk_engines import ENGINES, pictures, recursion_of, run_engine
from cntk_naive import naive_cntk, naive_gram

import ntkbook

SHAPES = [(3, 6, 6), (1, 5, 7), (2, 9, 3), (4, 1, 1), (2, 1, 6)]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("readout", ["gap", "flatten"])
@pytest.mark.parametrize("q", [1, 3, 5])
def test_double_precision(engine, shape, readout, q):
    x1, x2 = pictures(3, *shape), pictures(2, *shape, seed=1)
    x2[1] = x1[2]  # an equal pair, which is not on the diagonal
    for options in (
        {},
        {"convention": "ntk", "w_std": 1.3, "b_std": 0.4},
        {"convention": "ntk", "b_std": 0.2, "trained": "hidden"},
    ):
        depths = (1, 2, 4)
        nngp, ntk = run_engine(ENGINES[engine], x1, x2, recursion_of(x1, depths, readout, q, **options))
        for k, depth in enumerate(depths):
            # One channel and q = 1 make every correlation +-1, where rounding costs sqrt(eps).
            tolerance = 1e-7 if shape[0] == q == 1 else 1e-11
            expected = naive_gram(x1, x2, depth, readout, q, **options)
            np.testing.assert_allclose(ntk[k], expected, rtol=tolerance, atol=tolerance * abs(expected).max())
            expected = naive_gram(x1, x2, depth, readout, q, **options, nngp=True)
            np.testing.assert_allclose(
                nngp[k], expected, rtol=tolerance, atol=tolerance * abs(expected).max()
            )


@pytest.mark.parametrize("readout", ["gap", "flatten"])
def test_public_function_on_both_conventions(readout):
    x1, x2 = pictures(3, 3, 5, 6), pictures(4, 3, 5, 6, seed=1)
    for options in ({}, {"convention": "ntk", "w_std": 1.1, "b_std": 0.3, "trained": "hidden"}):
        ours = ntkbook.cntk(x1, x2, depth=(3, 1), readout=readout, **options, return_nngp=True)
        for k, depth in enumerate((3, 1)):
            np.testing.assert_allclose(ours.ntk[k], naive_gram(x1, x2, depth, readout, **options), rtol=1e-10)
            expected = naive_gram(x1, x2, depth, readout, **options, nngp=True)
            np.testing.assert_allclose(ours.nngp[k], expected, rtol=1e-10)


@pytest.mark.parametrize("engine", ENGINES)
def test_single_precision_and_32_by_32(engine):
    # 32 x 32 takes another layout than the small sizes; flattening keeps the reference quick.
    x = pictures(3, 3, 32, 32)
    recursion = recursion_of(x, (20,), "flatten")
    exact = [naive_by_diagonal(a, b, 20) for a in x for b in x]
    double = run_engine(ENGINES[engine], x, x, recursion)[1].flatten()
    single = run_engine(ENGINES[engine], x.float(), x.float(), recursion)[1].flatten()
    np.testing.assert_allclose(double, exact, rtol=1e-12)
    # 20 layers of rounding at 6e-8 each, and the polynomials' 4e-7 on the part of the kernel that they carry
    np.testing.assert_allclose(single, exact, rtol=4e-6)


def naive_by_diagonal(x, z, depth):
    """The flattened kernel from the diagonal entries alone, which close under the recursion."""
    same = torch.equal(x, z)

    def box(a):
        padded = np.pad(a, 1)
        return sum(padded[s : s + 32, t : t + 32] for s in range(3) for t in range(3))

    s, v1, v2 = (box((a * b).sum(0).numpy()) for a, b in ((x, z), (x, x), (z, z)))
    theta = s
    for layer in range(depth):
        norm = np.sqrt(v1 * v2)
        angle = np.arccos(np.clip(s / norm, -1, 1)) * (not same)
        k = norm * (np.sin(angle) + (np.pi - angle) * np.cos(angle)) / np.pi / 9
        theta = k + (np.pi - angle) / np.pi / 9 * theta
        if layer + 1 < depth:
            s, theta, v1, v2 = box(k), box(theta), box(v1) / 9, box(v2) / 9
    return theta.sum()


@pytest.mark.parametrize("size", [(28, 28), (32, 32), (20, 33)], ids=str)
def test_pooled_layouts_of_large_images(size):
    x = pictures(2, 2, *size)
    recursion = recursion_of(x, (2,))
    exact = run_engine(ENGINES["reference"], x, x[:1], recursion)[1]
    torch.testing.assert_close(run_engine(ENGINES["cpu"], x, x[:1], recursion)[1], exact, rtol=1e-12, atol=0)
    single = run_engine(ENGINES["cpu"], x.float(), x[:1].float(), recursion)[1]
    torch.testing.assert_close(single, exact, rtol=3e-6, atol=0)


def test_depth_counts_convolutions_by_hand():
    # One pixel: the patch sum is the pixel's own, so each layer multiplies by c_sigma / q^2 * E = 1 / 9.
    x = torch.full((1, 1, 1, 1), 0.5, dtype=torch.float64)
    for depth in (1, 2, 5):
        value = ntkbook.cntk(x, depth=depth).item()
        assert value == pytest.approx((depth + 1) * 0.25 / 9**depth, rel=1e-14)
        assert value == pytest.approx(naive_cntk(x[0], x[0], depth), rel=1e-14)
        hidden = ntkbook.cntk(x, depth=depth, trained="hidden").item()
        assert hidden == pytest.approx((depth - 1) * 0.25 / 9**depth, rel=1e-14)


@pytest.mark.parametrize("readout", ["gap", "flatten"])
def test_conversion_between_the_conventions(readout):
    x = pictures(4, 3, 5, 5)
    arora = ntkbook.cntk(x, depth=3, readout=readout, return_nngp=True)
    ours = ntkbook.cntk(x, depth=3, readout=readout, convention="ntk", return_nngp=True)
    factor = 2 / 3 if readout == "gap" else 2 / 3 / 25
    for a, b in zip(arora, ours, strict=True):
        torch.testing.assert_close(b, factor * a, rtol=1e-12, atol=0)
