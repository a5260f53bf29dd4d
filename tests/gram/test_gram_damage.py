"""Damaged stores: whatever was damaged, the matrix is the same or the damage is named."""

import json
import random
import shutil

import pytest
import torch
import zarr
from damage import damage_file
from gram_cases import data, rbf

import ntkbook
from ntkbook.gram import GramStoreError, StoredGram


def compute(store):
    return ntkbook.gram(rbf, data(5), tile_size=2, store=store, progress=False)


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """A finished store, and one that lacks two tiles of the triangle."""
    folder = tmp_path_factory.mktemp("stores")
    compute(folder / "whole")
    shutil.copytree(folder / "whole", folder / "part")
    done = zarr.open_group(str(folder / "part"), mode="r+")["done"]
    done[0, 2] = done[2, 0] = done[2, 2] = 0
    (folder / "part" / "gram" / "c" / "2" / "2").unlink()
    return folder


def outcome(call):
    try:
        matrix = call().tensor()
    except GramStoreError:
        return "named"
    expected = ntkbook.gram(rbf, data(5), tile_size=2, progress=False)
    assert matrix.dtype == expected.dtype
    assert torch.equal(matrix, expected)
    return "the same"


def test_two_hundred_damaged_stores(stores, tmp_path):
    seen = set()
    for seed in range(200):
        draw = random.Random(seed)
        kind = draw.choice(["whole", "part"])
        store = shutil.copytree(stores / kind, tmp_path / "g")
        files = sorted(path for path in store.rglob("*") if path.is_file())
        path = draw.choice(
            [path for path in files if path.suffix == ".json"] if draw.random() < 0.5 else files
        )
        what = damage_file(path, draw)
        try:
            seen |= {outcome(lambda: StoredGram(store)), outcome(lambda: compute(store))}  # noqa: B023
        except Exception as error:
            pytest.fail(f"seed {seed}, {kind}: {what} in {path.relative_to(store)}: {error!r}")
        shutil.rmtree(store)
    assert seen == {"named", "the same"}


@pytest.mark.parametrize(("old", "new"), [('"float64"', '"int64"'), ('"little"', '"big"')])
def test_other_numbers_in_the_same_bytes_are_noticed(stores, tmp_path, old, new):
    store = shutil.copytree(stores / "whole", tmp_path / "g")
    path = store / "gram" / "zarr.json"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(GramStoreError, match="its metadata is damaged"):
        StoredGram(store)


def test_a_store_without_a_checksum_of_its_metadata_is_read_and_resumed(stores, tmp_path):
    for kind in ("whole", "part"):
        store = shutil.copytree(stores / kind, tmp_path / kind)
        del zarr.open_group(str(store), mode="r+").attrs["checksum"]
        assert outcome(lambda: compute(store)) == "the same"  # noqa: B023


def claims_more(text, shape):
    tree = json.loads(text)
    tree["shape"] = shape
    return json.dumps(tree)


HEADERS = {
    "garbage": ("zarr.json", lambda text: "\x00\xff{" * 30_000),
    "garbage of the right length": ("gram/zarr.json", lambda text: "x" * len(text)),
    "a megabyte of spaces": ("zarr.json", lambda text: text + " " * 2**20),
    "a megabyte of spaces in an array": ("gram/zarr.json", lambda text: text + " " * 2**20),
    "brackets without end": ("done/zarr.json", lambda text: "[" * 60_000),
    "more checksums than tiles": ("done/zarr.json", lambda text: claims_more(text, [3000, 3000])),
    "more entries than tiles": ("gram/zarr.json", lambda text: claims_more(text, [10**9, 10**9])),
}


@pytest.mark.parametrize("checksum", [True, False])
@pytest.mark.parametrize("name", HEADERS)
def test_an_oversized_or_senseless_header_is_named(stores, tmp_path, name, checksum):
    """Stores of the first days have no checksum: there the sizes themselves must tell."""
    place, change = HEADERS[name]
    store = shutil.copytree(stores / "part", tmp_path / "g")
    if not checksum:
        del zarr.open_group(str(store), mode="r+").attrs["checksum"]
    (store / place).write_text(change((store / place).read_text()))
    kept = {path: path.read_bytes() for path in store.rglob("*") if path.is_file()}
    for read in (lambda: StoredGram(store), lambda: compute(store)):
        with pytest.raises(GramStoreError, match="is no Gram store, or its metadata is damaged"):
            read()
    assert kept == {path: path.read_bytes() for path in store.rglob("*") if path.is_file()}
