"""What every kernel has: symmetry, cross = auto, permutations, positivity, gradients, names."""

import subprocess
import sys

import pytest
import torch
from cntk_engines import pictures

import ntkbook
from ntkbook.cntk import chain_kernels

BOTH = pytest.mark.parametrize("readout", ["gap", "flatten"])


@BOTH
def test_symmetric_positive_and_equal_to_the_cross_kernel(readout):
    x = pictures(12, 2, 6, 5)
    auto = ntkbook.cntk(x, depth=4, readout=readout)
    assert torch.equal(auto, auto.mT)
    torch.testing.assert_close(ntkbook.cntk(x, x.clone(), depth=4, readout=readout), auto, rtol=1e-13, atol=0)
    assert torch.linalg.eigvalsh(auto).min() > 1e-6 * auto.diagonal().mean()
    hidden = ntkbook.cntk(x, depth=4, readout=readout, trained="hidden", return_nngp=True)
    assert torch.linalg.eigvalsh(hidden.ntk).min() > 0
    assert torch.linalg.eigvalsh(hidden.nngp).min() > 0
    assert (auto > hidden.ntk).all()  # the first and the last layer add their own positive part


@BOTH
def test_permutation_and_reflection(readout):
    x, z = pictures(5, 3, 6, 7), pictures(4, 3, 6, 7, seed=1)
    order = torch.tensor([3, 0, 4, 1, 2])
    kernel = ntkbook.cntk(x, z, depth=3, readout=readout)
    assert torch.equal(ntkbook.cntk(x[order], z, depth=3, readout=readout), kernel[order])
    torch.testing.assert_close(ntkbook.cntk(z, x, depth=3, readout=readout), kernel.mT, rtol=1e-13, atol=0)
    for change in (
        lambda a: a.flip(3),
        lambda a: a.flip(2),
        lambda a: a.mT,
        lambda a: a[:, [2, 0, 1]],
        lambda a: -a,
    ):
        moved = ntkbook.cntk(change(x), change(z), depth=3, readout=readout)
        torch.testing.assert_close(moved, kernel, rtol=1e-12, atol=0)
    torch.testing.assert_close(
        ntkbook.cntk(3 * x, 5 * z, depth=3, readout=readout), 15 * kernel, rtol=1e-12, atol=0
    )


@BOTH
def test_many_depths_are_one_pass_over_the_deepest(readout):
    x = pictures(3, 1, 5, 5)
    together = ntkbook.cntk(x, depth=(4, 1, 4, 2), readout=readout)
    for k, depth in enumerate((4, 1, 4, 2)):
        assert torch.equal(together[k], ntkbook.cntk(x, depth=depth, readout=readout))


@BOTH
@pytest.mark.parametrize("equal", [False, True])
def test_gradient_agrees_with_differences(readout, equal):
    x, z = pictures(1, 2, 3, 4), pictures(1, 2, 3, 4, seed=1)
    if equal:
        z = x.clone()
    direction = pictures(1, 2, 3, 4, seed=2)
    x.requires_grad_()
    (gradient,) = torch.autograd.grad(ntkbook.cntk(x, z, depth=3, readout=readout).sum(), x)
    assert torch.isfinite(gradient).all()
    step = 1e-5
    ahead, behind = (
        ntkbook.cntk(x.detach() + sign * step * direction, z, depth=3, readout=readout) for sign in (1, -1)
    )
    slope = ((ahead - behind) / (2 * step)).item()
    # At equal images kappa_0 has a symmetric kink: its two sides cancel to first order in the step.
    assert (gradient * direction).sum().item() == pytest.approx(slope, rel=1e-4 if equal else 1e-7)


def test_dtype_and_shape_of_results():
    x = pictures(3, 1, 4, 4)
    assert ntkbook.cntk(x.float(), depth=2).dtype == torch.float32
    assert ntkbook.cntk(x.float(), depth=2, dtype=torch.float64).dtype == torch.float64
    assert ntkbook.cntk(x.bfloat16(), depth=2).dtype == torch.bfloat16
    assert ntkbook.cntk(x, x[:2], depth=(2, 3)).shape == (2, 3, 2)
    assert ntkbook.cntk(x, depth=[2]).shape == (1, 3, 3)
    noncontiguous = x.transpose(2, 3)[:, :, ::2]
    torch.testing.assert_close(
        ntkbook.cntk(noncontiguous, depth=2), ntkbook.cntk(noncontiguous.clone(), depth=2)
    )


def test_chain_with_its_own_constants_per_layer():
    x, z = pictures(2, 2, 4, 5), pictures(3, 2, 4, 5, seed=1)
    same = chain_kernels(x, z, convolutions=[(1.2, 0.3)] * 3, dense=(1.2, 0.3), kernel_size=3, readout="gap")
    pair = ntkbook.cntk(x, z, depth=3, convention="ntk", w_std=1.2, b_std=0.3, return_nngp=True)
    torch.testing.assert_close(same, (pair.nngp, pair.ntk))
    # A layer's weight passes through a bias-free ReLU network as a factor, whichever layer it belongs to.
    base = chain_kernels(x, z, convolutions=[(1.0, 0.0)] * 3, dense=(1.0, 0.0), kernel_size=3, readout="gap")
    for place in range(4):
        stds = [(1.0, 0.0)] * 4
        stds[place] = (1.7, 0.0)
        nngp, ntk = chain_kernels(x, z, convolutions=stds[:3], dense=stds[3], kernel_size=3, readout="gap")
        torch.testing.assert_close(nngp, 1.7**2 * base[0], rtol=1e-12, atol=0)
        torch.testing.assert_close(ntk, 1.7**2 * base[1], rtol=1e-12, atol=0)


def test_the_name_stays_the_function():
    code = (
        "import ntkbook\n"
        "import ntkbook.cntk.reference, ntkbook.cntk.cpu, ntkbook.gram\n"
        "assert callable(ntkbook.cntk) and callable(ntkbook.gram) and callable(ntkbook.solve)\n"
        "from ntkbook.cntk import reference\n"
        "assert reference.block_sums and ntkbook.cntk.__name__ == 'cntk'\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x1": torch.zeros(3, 4, 4)}, r"x1 must have 4 dimensions, got shape \(3, 4, 4\)"),
        ({"x1": torch.zeros(2, 3, 4, 4, dtype=torch.int64)}, "real floating point"),
        ({"x1": torch.full((2, 3, 4, 4), torch.nan)}, "96 entries that are NaN"),
        ({"x2": torch.zeros(2, 1, 4, 4)}, r"agree in channels.*\(2, 3, 4, 4\).*\(2, 1, 4, 4\)"),
        ({"x2": torch.zeros(2, 3, 4, 4).double()}, "convert one with"),
        ({"x2": torch.full((2, 3, 4, 4), torch.inf)}, "x2 holds"),
        ({"kernel_size": 2}, "kernel_size must be an odd"),
        ({"kernel_size": -1}, "kernel_size must be an odd"),
        ({"kernel_size": 3.0}, "kernel_size must be an odd"),
        ({"depth": 0}, "depth must be a positive"),
        ({"depth": -2}, "depth must be a positive"),
        ({"depth": 2.0}, "depth"),
        ({"depth": True}, "depth must be a positive"),
        ({"depth": ()}, "depth is empty"),
        ({"readout": "max"}, "readout must be one of"),
        ({"convention": "jacot"}, "convention must be one of"),
        ({"trained": "last"}, "trained must be one of"),
        ({"b_std": 0.1}, "use convention='ntk'"),
        ({"w_std": 1.0}, "use convention='ntk'"),
        ({"convention": "ntk", "w_std": 0.0}, "w_std must be finite and positive"),
        ({"convention": "ntk", "b_std": -1.0}, "b_std must be finite"),
        ({"dtype": torch.float16}, "dtype must be torch.float32 or torch.float64"),
    ],
)
def test_bad_input(change, message):
    arguments = {"x1": torch.ones(2, 3, 4, 4), "depth": 2, **change}
    with pytest.raises((TypeError, ValueError), match=message):
        ntkbook.cntk(**arguments)
