"""A store survives kill -9, refuses strangers, notices damage, and loses nothing when the disk is full."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import zarr
from gram_cases import Logged, data, rbf, stopped_after

import ntkbook
from ntkbook.gram import GramStoreError, StoredGram

TILES = 21  # 23 rows in tiles of 4, upper triangle


def compute(store, kernel=rbf, x1=None, **options):
    options = {"tile_size": 4, "progress": False, **options}
    return ntkbook.gram(kernel, data() if x1 is None else x1, store=store, **options)


def run_logged(store, log, seconds):
    code = "from gram_cases import *; import ntkbook\n"
    code += f"ntkbook.gram(Logged({log!r}, {seconds}), data(), tile_size=4, store={store!r}, progress=False)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    return subprocess.Popen([sys.executable, "-c", code], env=environment, stderr=subprocess.PIPE)


def test_kill_9_at_any_moment(tmp_path):
    store, log = str(tmp_path / "g.zarr"), str(tmp_path / "log")
    kills, finished = 0, False
    while not finished:
        calls = Path(log).read_text().count("\n") if Path(log).exists() else 0
        process = run_logged(store, log, 0.02)
        if kills < 3:
            # Wait until some tiles are computed, and then a moment that falls anywhere between two writes.
            while process.poll() is None and (
                not Path(log).exists() or Path(log).read_text().count("\n") < calls + 4
            ):
                time.sleep(0.002)
            time.sleep(0.007 * (kills + 1))
            process.send_signal(signal.SIGKILL)
            kills += 1
        finished = process.wait() == 0
        if not finished:
            assert process.returncode == -signal.SIGKILL, process.stderr.read().decode()
        process.stderr.close()
    assert kills == 3
    calls = Path(log).read_text().count("\n")
    assert TILES <= calls <= TILES + kills  # at most the tile in flight was lost each time
    assert torch.equal(StoredGram(store).tensor(), ntkbook.gram(rbf, data(), tile_size=4, progress=False))


@pytest.mark.parametrize("tile", [(0, 1), (1, 0)])
def test_a_kill_between_a_tile_and_its_mirror_image(tmp_path, tile):
    log = str(tmp_path / "log")
    kernel = Logged(log, 0)
    whole = compute(tmp_path / "g", kernel).tensor()
    group = zarr.open_group(str(tmp_path / "g"), mode="r+")
    group["done"][tile] = 0
    resumed = compute(tmp_path / "g", kernel)
    assert Path(log).read_text().count("\n") == TILES + 1
    assert torch.equal(resumed.tensor(), whole)


def test_a_finished_store_computes_nothing(tmp_path):
    first = compute(tmp_path / "g")

    log = str(tmp_path / "log")
    kernel = Logged(log, 0)
    stored = compute(tmp_path / "h", kernel)
    assert Path(log).read_text().count("\n") == TILES
    again = compute(tmp_path / "h", Logged(log, 0))
    assert Path(log).read_text().count("\n") == TILES
    assert torch.equal(again.tensor(), stored.tensor())
    assert torch.equal(first.tensor(), stored.tensor())


def interrupted(store, tiles):
    """Leave a store with the first ``tiles`` tiles."""
    with stopped_after(tiles), pytest.raises(InterruptedError):
        compute(store)


def resume(store):
    """Resume it, and return the matrix and how many tiles that took."""
    with stopped_after(None) as computed:
        return compute(store).tensor(), len(computed)


def snapshot(store):
    return {path: path.read_bytes() for path in Path(store).rglob("*") if path.is_file()}


class Scaled(torch.nn.Module):
    def __init__(self, w_std, weight=1.0):
        super().__init__()
        self.w_std = w_std
        self.weight = torch.nn.Parameter(torch.tensor(weight))

    def forward(self, a, b):
        return self.w_std * self.weight * rbf(a, b)


def outer(factor):
    return lambda a, b: factor * rbf(a, b) if isinstance(factor, float) else factor(rbf(a, b))


@pytest.mark.parametrize(
    ("before", "after", "what"),
    [
        ({}, {"x1": data(seed=3)}, "x1"),
        ({}, {"x1": data().float()}, "x1"),
        ({}, {"x2": data()}, "x2"),
        ({}, {"kernel": lambda a, b: 2 * rbf(a, b)}, "kernel"),
        ({"kernel": outer(1.0)}, {"kernel": outer(2.0)}, "kernel"),
        ({"kernel": Scaled(1.0)}, {"kernel": Scaled(2.0)}, "kernel"),
        ({"kernel": Scaled(1.0)}, {"kernel": Scaled(1.0, 2.0)}, "kernel"),
        ({"kernel": outer(torch.nn.ReLU())}, {"kernel": outer(torch.nn.LeakyReLU())}, "kernel"),
        ({}, {"dtype": torch.float32}, "dtype"),
        ({}, {"tile_size": 8}, "tile_size"),
    ],
)
def test_another_run_is_refused_with_what_differs(tmp_path, before, after, what):
    store = tmp_path / "g"
    arguments = {"kernel": rbf, "x1": data(), **before}
    compute(store, arguments.pop("kernel"), arguments.pop("x1"), **arguments)
    kept = snapshot(store)
    arguments = {"kernel": rbf, "x1": data(), "x2": None, "tile_size": 4, **before, **after}
    positional = [arguments.pop(name) for name in ("kernel", "x1", "x2")]
    with pytest.raises(GramStoreError, match=f"another run .*{what}: stored .*, now "):
        ntkbook.gram(*positional, store=store, progress=False, **arguments)
    assert snapshot(store) == kept


def linear(a, b):
    return a @ b.mT


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_a_store_keeps_every_dtype(tmp_path, dtype):
    """Also one that NumPy lacks: with a store and without, the matrix is the same to the bit."""
    x = data().to(dtype)
    first = compute(tmp_path / "g", linear, x)
    resumed = compute(tmp_path / "g", linear, x)
    expected = ntkbook.gram(linear, x, tile_size=4, progress=False)
    for stored in (first, resumed):
        assert stored.dtype == stored.tensor().dtype == dtype
        assert torch.equal(stored.tensor(), expected)
        assert torch.equal(stored.diagonal(), expected.diagonal())
        assert torch.equal(stored[3:5, 7], expected[3:5, 7])
        assert np.array_equal(np.asarray(stored), expected.double())
        assert torch.allclose(stored @ data(), expected.double() @ data(), rtol=1e-12)
    assert compute(tmp_path / "h", dtype=dtype).dtype == dtype


@pytest.mark.parametrize("store", [True, False])
def test_a_dtype_that_is_only_for_storage_is_refused(tmp_path, store):
    place = tmp_path / "g" if store else None
    with pytest.raises(TypeError, match=r"dtype must be .* got torch.float8_e5m2"):
        compute(place, dtype=torch.float8_e5m2)
    with pytest.raises(TypeError, match=r"x1 must be .* got torch.float8_e5m2"):
        compute(place, x1=data().to(torch.float8_e5m2))
    with pytest.raises(TypeError, match=r"kernel must return real floating point, got torch.float8_e5m2"):
        compute(place, lambda a, b: rbf(a, b).to(torch.float8_e5m2))


def test_another_version_is_refused(tmp_path, monkeypatch):
    compute(tmp_path / "g")
    monkeypatch.setattr(ntkbook, "__version__", "99.0")
    with pytest.raises(GramStoreError, match=r"version: stored '.*', now '99\.0'"):
        compute(tmp_path / "g")


@pytest.mark.parametrize("factor", [lambda: 3.0, lambda: Scaled(1.0)])
def test_equal_kernels_built_anew_are_recognized(tmp_path, factor):
    def product():
        scale = factor()
        return lambda a, b: rbf(a, b) * (scale if isinstance(scale, float) else scale(a, b))

    with stopped_after(7), pytest.raises(InterruptedError):
        compute(tmp_path / "g", product())
    with stopped_after(None) as computed:
        compute(tmp_path / "g", product())
    assert len(computed) == TILES - 7  # the kernel built anew did not begin again


def test_a_kernel_without_comparable_state_is_refused(tmp_path):
    generator = iter([1])
    with pytest.raises(TypeError, match="cannot tell whether a list_iterator"):
        compute(tmp_path / "g", lambda a, b: rbf(a, b) * next(generator))
    assert not (tmp_path / "g").exists()


@pytest.mark.parametrize("damage", ["flipped bit", "truncated", "removed"])
def test_a_damaged_tile_is_noticed(tmp_path, damage):
    interrupted(tmp_path / "g", 5)
    chunk = sorted((tmp_path / "g" / "gram" / "c").rglob("*"))[-1]
    content = bytearray(chunk.read_bytes())
    content[8] ^= 1
    if damage == "removed":
        chunk.unlink()
    else:
        chunk.write_bytes(content if damage == "flipped bit" else content[:20])
    kept = snapshot(tmp_path / "g")
    with pytest.raises(GramStoreError, match=r"corrupt: tile \(\d, \d\) does not match its checksum"):
        resume(tmp_path / "g")
    assert snapshot(tmp_path / "g") == kept


@pytest.mark.parametrize("victim", ["zarr.json", "gram/zarr.json", "done/zarr.json"])
@pytest.mark.parametrize("damage", ["removed", "cut", "other"])
def test_damaged_metadata_is_noticed(tmp_path, victim, damage):
    interrupted(tmp_path / "g", 5)
    path = tmp_path / "g" / victim
    if damage == "removed":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:40])
    else:
        path.write_text(json.dumps({"zarr_format": 3, "node_type": "group", "attributes": {}}))
    kept = snapshot(tmp_path / "g")
    with pytest.raises(GramStoreError, match="no Gram store, or its metadata is damaged"):
        resume(tmp_path / "g")
    assert snapshot(tmp_path / "g") == kept


def test_what_is_no_store_is_left_alone(tmp_path):
    (tmp_path / "file").write_text("precious")
    with pytest.raises(GramStoreError, match="is not a directory"):
        compute(tmp_path / "file")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "notes.txt").write_text("precious")
    with pytest.raises(GramStoreError, match="no Gram store"):
        compute(tmp_path / "folder")
    assert (tmp_path / "folder" / "notes.txt").read_text() == "precious"
    assert (tmp_path / "file").read_text() == "precious"
    with pytest.raises(GramStoreError, match="does not exist"):
        StoredGram(tmp_path / "nowhere")


def test_an_empty_folder_and_a_left_over_draft_are_taken(tmp_path):
    (tmp_path / "g").mkdir()
    (tmp_path / ".g.draft" / "gram").mkdir(parents=True)
    (tmp_path / ".g.draft" / "zarr.json").write_text("{")
    (tmp_path / ".g.draft" / "gram" / "stale").write_text("of a run that died")
    assert torch.equal(
        compute(tmp_path / "g").tensor(), ntkbook.gram(rbf, data(), tile_size=4, progress=False)
    )
    assert not (tmp_path / ".g.draft").exists()
    assert not list(tmp_path.rglob("stale"))


def test_an_unfinished_store_cannot_be_read_as_a_result(tmp_path):
    interrupted(tmp_path / "g", 5)
    # Of 36 it has one on the diagonal and four twice.
    with pytest.raises(GramStoreError, match="lacks 27 of its tiles"):
        StoredGram(tmp_path / "g")


def test_a_full_disk_loses_nothing(tmp_path, monkeypatch):
    expected = ntkbook.gram(rbf, data(), tile_size=4, progress=False)
    interrupted(tmp_path / "g", 7)

    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(zarr.Array, "__setitem__", full)
        with pytest.raises(GramStoreError, match=r"cannot write tile \(1, 2\).*the disk is full.*are kept"):
            compute(tmp_path / "g")
    matrix, calls = resume(tmp_path / "g")
    assert torch.equal(matrix, expected)
    assert calls == TILES - 7


def test_a_real_write_error_in_a_process_of_its_own(tmp_path):
    # A file-size limit makes the operating system itself refuse a tile of 8 kB.
    code = """
import resource, torch, ntkbook
from ntkbook.gram import GramStoreError
x = torch.randn(40, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
def compute():
    return ntkbook.gram(lambda a, b: a @ b.T, x, tile_size=32, store="g.zarr", progress=False)
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
try:
    compute()
except GramStoreError as error:
    assert "cannot write tile (0, 0)" in str(error), error
else:
    raise SystemExit("no error")
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
torch.testing.assert_close(compute().tensor(), x @ x.T)
"""
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)


def test_a_stored_matrix_reads_like_a_tensor(tmp_path):
    stored = compute(tmp_path / "g")
    dense = ntkbook.gram(rbf, data(), tile_size=4, progress=False)
    vectors = torch.randn(23, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(stored @ vectors, dense @ vectors)
    assert torch.equal(stored.diagonal(), dense.diagonal())
    assert torch.equal(stored[3:9, 2], dense[3:9, 2])
    assert np.array_equal(np.asarray(stored), dense.numpy())
    assert np.asarray(stored, dtype=np.float32).dtype == np.float32
    assert torch.equal(torch.linalg.eigvalsh(stored), torch.linalg.eigvalsh(dense))
    assert torch.allclose(stored, dense)
    assert len(stored) == 23
    assert stored.ndim == 2
    assert "23, 23" in repr(stored)
