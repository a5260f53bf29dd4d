"""The tiled matrix is the kernel's own matrix, whatever the tiles; symmetric work is done once."""

import math

import pytest
import torch
from gram_cases import data, rbf

import ntkbook


@pytest.mark.parametrize("tile_size", [1, 4, 7, 23, 100])
@pytest.mark.parametrize("on_disk", [False, True])
def test_equals_the_kernel(tile_size, on_disk, tmp_path):
    x, z = data(), data(9, seed=1)
    store = {"store": tmp_path / "g.zarr"} if on_disk else {}
    cross = ntkbook.gram(rbf, x, z, tile_size=tile_size, progress=False, **store)
    torch.testing.assert_close(torch.as_tensor(cross[:]), rbf(x, z), rtol=1e-12, atol=1e-14)
    store = {"store": tmp_path / "h.zarr"} if on_disk else {}
    auto = ntkbook.gram(rbf, x, tile_size=tile_size, progress=False, **store)
    assert torch.equal(auto[:], auto[:].mT)
    torch.testing.assert_close(auto[:], rbf(x, x), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("n", [20, 23])
def test_symmetric_work_is_done_once(n):
    calls = []

    def counting(a, b):
        calls.append((len(a), len(b)))
        return rbf(a, b)

    ntkbook.gram(counting, data(n), tile_size=4, progress=False)
    tiles = math.ceil(n / 4)
    assert len(calls) == tiles * (tiles + 1) // 2


@pytest.mark.parametrize("on_disk", [False, True])
def test_several_outputs(on_disk, tmp_path):
    x = data(9)

    def full(
        a, b
    ):  # two outputs that look in different directions: (n, m, 2, 2) is not symmetric in the outputs
        first, second = (torch.stack([c, 0.5 * c.roll(1, dims=1)], 1) for c in (a, b))
        return torch.einsum("nkd,mld->nmkl", first, second)

    def by_output(a, b):
        return full(a, b).diagonal(dim1=2, dim2=3)

    for name, kernel in (("full", full), ("diagonal", by_output)):
        store = {"store": tmp_path / name} if on_disk else {}
        ours = ntkbook.gram(kernel, x, tile_size=4, progress=False, **store)
        torch.testing.assert_close(ours[:], kernel(x, x))
        if on_disk:
            for n, size in ((8, 4), (9, 4)):  # the second has a ragged last tile
                again = {"store": tmp_path / f"{name}{n}", "tile_size": size, "progress": False}
                diagonal = ntkbook.gram(kernel, x[:n], **again).diagonal()
                pairs = [kernel(x[i : i + 1], x[i : i + 1])[0, 0] for i in range(n)]
                torch.testing.assert_close(diagonal, torch.stack(pairs))


def test_cntk_and_gradient_free():
    x = torch.rand(5, 2, 6, 6, requires_grad=True)
    ours = ntkbook.gram(lambda a, b: ntkbook.cntk(a, b, depth=3), x, tile_size=2, progress=False)
    assert not ours.requires_grad
    torch.testing.assert_close(ours, ntkbook.cntk(x.detach(), depth=3))


def test_dtype_of_the_result(tmp_path):
    x = data(6)
    assert ntkbook.gram(rbf, x, progress=False).dtype == torch.float64
    assert ntkbook.gram(rbf, x, progress=False, dtype=torch.float32).dtype == torch.float32
    stored = ntkbook.gram(rbf, x, progress=False, dtype=torch.float32, store=tmp_path / "s")
    assert stored.dtype == stored[0:2].dtype == torch.float32


def test_progress_bar_shows_the_time_left(capsys):
    ntkbook.gram(rbf, data(), tile_size=8)
    shown = capsys.readouterr().err
    assert "100%" in shown
    assert "<00:00" in shown
    ntkbook.gram(rbf, data(), tile_size=8, progress=False)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"kernel": 3}, TypeError, "kernel must be a callable"),
        ({"kernel": lambda a, b: (rbf(a, b), None)}, TypeError, r"got tuple; for a pair of kernels"),
        (
            {"kernel": lambda a, b: rbf(b, a)},
            ValueError,
            r"for batches of n, m = \(4, 3\), got shape \(3, 4\)",
        ),
        ({"kernel": lambda a, b: rbf(a, b) * torch.nan}, ValueError, r"tile \(0, 0\) holds"),
        ({"x1": torch.zeros(0, 3)}, ValueError, "x1 is empty"),
        ({"x1": torch.tensor(1.0)}, ValueError, "first axis"),
        ({"tile_size": 0}, ValueError, "tile_size must be at least 1, got 0"),
        ({"tile_size": 2.5}, TypeError, "tile_size must be an integer"),
        ({"dtype": torch.int64}, TypeError, "dtype must be a real floating-point"),
    ],
)
def test_bad_input(change, error, message):
    arguments = {"kernel": rbf, "x1": data(4), "x2": data(3), "progress": False, "tile_size": 4, **change}
    with pytest.raises(error, match=message):
        ntkbook.gram(arguments.pop("kernel"), arguments.pop("x1"), arguments.pop("x2"), **arguments)
