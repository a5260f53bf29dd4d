"""The seed of a chapter."""

import numpy as np
import pytest
import torch

import ntkbook


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
