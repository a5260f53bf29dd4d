"""Losses of an ensemble: one number for each network, in the conventions of ``ntkbook.dynamics``."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ntkbook._validation import check_choice, check_finite, check_tensor

Loss = str | Callable[[Tensor, Tensor], Tensor]
EnsembleLoss = Callable[[Tensor], Tensor]


def ensemble_loss(loss: Loss, reduction: str, y: Tensor, f0: Tensor) -> EnsembleLoss:
    """Return the function from outputs (S, N, K) to losses (S,).

    Parameters
    ----------
    loss : {"mse", "cross_entropy"} or callable
        A callable maps outputs (N, K) and targets to a scalar.
    reduction : {"mean", "sum"}
        Over entries for the squared loss, over samples for cross-entropy; not read by a callable.
    y : Tensor
        Targets.
    f0 : Tensor, shape (S, N, K)
        Outputs, to compare shapes with.

    Raises
    ------
    TypeError, ValueError
        If the targets do not fit the loss and the outputs.
    """
    check_choice("reduction", reduction, ("mean", "sum"))
    n, k = f0.shape[1:]
    if not isinstance(y, Tensor):
        raise TypeError(
            f"y_train must be a torch.Tensor, got {type(y).__name__}; use torch.as_tensor(y_train)"
        )
    if y.ndim == 0 or len(y) != n:
        raise ValueError(
            f"y_train has shape {tuple(y.shape)} but x_train has {n} samples; pass a target for each"
        )
    if y.device != f0.device:
        raise ValueError(f"y_train is on {y.device} but the outputs are on {f0.device}; move one of them")
    if callable(loss):
        return lambda f: _scalars(loss, f, y)
    check_choice("loss", loss, ("mse", "cross_entropy"))
    if loss == "cross_entropy":
        return _cross_entropy(_probabilities(y, f0), n if reduction == "mean" else 1)
    _check_targets(y, f0)
    count = n * k if reduction == "mean" else 1
    return lambda f: 0.5 * (f - y).square().sum((1, 2)) / count


def _scalars(loss: Callable[[Tensor, Tensor], Tensor], f: Tensor, y: Tensor) -> Tensor:
    values = [loss(outputs, y) for outputs in f]
    if not isinstance(values[0], Tensor) or values[0].ndim != 0:
        got = tuple(values[0].shape) if isinstance(values[0], Tensor) else type(values[0]).__name__
        raise ValueError(f"loss must return a tensor with one number, got {got}; average or sum in it")
    return torch.stack(values)


def _check_targets(y: Tensor, f0: Tensor) -> None:
    check_tensor("y_train", y)
    if y.shape != f0.shape[1:]:
        hint = "; use y_train.unsqueeze(1)" if y.shape == f0.shape[1:2] and f0.shape[2] == 1 else ""
        raise ValueError(
            f"y_train has shape {tuple(y.shape)} but the outputs have shape {tuple(f0.shape[1:])}: a row for "
            f"each sample, a column for each output{hint}"
        )
    if y.dtype != f0.dtype:
        raise ValueError(f"y_train is {y.dtype} but the outputs are {f0.dtype}; use y_train.to({f0.dtype})")
    check_finite("y_train", y)


def _probabilities(y: Tensor, f0: Tensor) -> Tensor:
    """Return class labels (N,) as rows of zeros and a one; check rows of probabilities (N, K)."""
    k = f0.shape[2]
    if k < 2:
        raise ValueError(
            "cross-entropy needs an output for each class, but the network has one: softmax of one output is "
            "1; use loss=torch.nn.functional.binary_cross_entropy_with_logits, or two outputs"
        )
    if not y.is_floating_point():
        if y.ndim != 1 or y.dtype == torch.bool or y.is_complex():
            raise ValueError(
                f"labels must be whole numbers of shape ({len(y)},), got {y.dtype} {tuple(y.shape)}"
            )
        if int(y.min()) < 0 or int(y.max()) >= k:
            raise ValueError(
                f"labels run from {int(y.min())} to {int(y.max())}, but must lie in 0, ..., {k - 1}"
            )
        return torch.nn.functional.one_hot(y.long(), k).to(f0.dtype)
    _check_targets(y, f0)
    if bool((y < 0).any()) or not torch.allclose(y.sum(1), torch.ones_like(y[:, 0]), atol=1e-5):
        raise ValueError(
            "y_train must hold probabilities for cross-entropy: entries of at least 0, rows that sum to 1; "
            "zero-centred targets are for the squared loss"
        )
    return y


def _cross_entropy(y: Tensor, count: int) -> EnsembleLoss:
    return lambda f: -(y * torch.log_softmax(f, dim=2)).sum((1, 2)) / count
