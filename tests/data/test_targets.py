"""One-hot targets, zero-centered and scaled, and labels that are none."""

import pytest
import torch

from ntkbook.data import one_hot

LABELS = torch.tensor([2, 0, 1, 2])


@pytest.mark.parametrize("centered", [False, True])
@pytest.mark.parametrize("scale", [1.0, 0.25, 3])
def test_entries_are_those_of_the_formula(centered, scale):
    targets = one_hot(LABELS, 4, centered=centered, scale=scale)
    for i, label in enumerate(LABELS.tolist()):
        for k in range(4):
            expected = scale * ((k == label) - (0.25 if centered else 0))
            assert float(targets[i, k]) == expected


def test_labels_come_back_and_rows_sum_to_zero():
    targets = one_hot(LABELS, centered=True)
    assert targets.shape == (4, 3)
    assert targets.argmax(1).tolist() == LABELS.tolist()
    assert float(targets.sum(1).abs().max()) < 1e-15


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int32, torch.int64])
def test_every_integer_dtype_gives_the_same(dtype):
    assert torch.equal(one_hot(LABELS.to(dtype), 3), one_hot(LABELS, 3))


def test_the_dtype_is_the_one_asked_for():
    assert one_hot(LABELS).dtype == torch.float64
    assert one_hot(LABELS, dtype=torch.float32, centered=True, scale=0.5).dtype == torch.float32


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (([0, 1],), TypeError, "labels must be a torch.Tensor, got list"),
        (
            (torch.tensor([0.0, 1.0]),),
            TypeError,
            r"integers, got torch\.float32; use labels\.to\(torch\.int64",
        ),
        ((torch.tensor([True]),), TypeError, r"integers, got torch\.bool"),
        ((torch.tensor([[0, 1]]),), ValueError, r"shape \(N,\).*got \(1, 2\)"),
        ((torch.tensor([], dtype=torch.int64),), ValueError, r"got \(0,\)"),
        ((torch.tensor([0, 3]), 3), ValueError, "between 0 and 2, got 3 at index 1"),
        ((torch.tensor([1, -1]),), ValueError, "got -1 at index 1"),
        ((torch.tensor([0]), 0), ValueError, "n_classes must be at least 1"),
        ((torch.tensor([0]), 2.0), TypeError, "n_classes must be an integer"),
    ],
)
def test_labels_that_are_none_are_named(arguments, error, message):
    with pytest.raises(error, match=message):
        one_hot(*arguments)


@pytest.mark.parametrize("scale", [0, -1, float("nan"), float("inf")])
def test_a_scale_must_be_positive(scale):
    with pytest.raises(ValueError, match="scale must be finite and positive"):
        one_hot(LABELS, scale=scale)
