"""The seed of a chapter, and the data sets with their fixed splits."""

import sys

import numpy as np
import pytest
import torch

import ntkbook
from ntkbook import data


def test_the_seed_fixes_torch_and_numpy(monkeypatch):
    monkeypatch.delenv("NTKBOOK_SEED", raising=False)
    assert ntkbook.seed(5) == 5
    first = torch.randn(3), np.random.rand(3)  # noqa: NPY002
    ntkbook.seed(5)
    assert torch.equal(torch.randn(3), first[0])
    assert (np.random.rand(3) == first[1]).all()  # noqa: NPY002
    ntkbook.seed(6)
    assert not torch.equal(torch.randn(3), first[0])


def test_the_environment_overrides_the_seed(monkeypatch):
    monkeypatch.setenv("NTKBOOK_SEED", "11")
    assert ntkbook.seed(5) == 11
    draw = torch.randn(3)
    monkeypatch.delenv("NTKBOOK_SEED")
    ntkbook.seed(11)
    assert torch.equal(torch.randn(3), draw)


@pytest.mark.parametrize("text", ["x", "1.5", "-1", str(2**32)])
def test_a_bad_seed_is_named(monkeypatch, text):
    monkeypatch.setenv("NTKBOOK_SEED", text)
    with pytest.raises(ValueError, match="NTKBOOK_SEED"):
        ntkbook.seed()
    monkeypatch.delenv("NTKBOOK_SEED")
    with pytest.raises(ValueError, match="default"):
        ntkbook.seed(-3)


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
