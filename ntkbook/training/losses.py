"""Losses of an ensemble: one number for each network, in the conventions of ``ntkbook.dynamics``."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ntkbook._validation import check_choice, check_finite, check_tensor
from ntkbook.dynamics.losses import LossFunction, make_loss, scalar_of
from ntkbook.training.ensemble import over_networks

EnsembleLoss = Callable[[Tensor], Tensor]


def ensemble_loss(loss: str | LossFunction, reduction: str, y: Tensor, f0: Tensor) -> EnsembleLoss:
    """Return the function from outputs (S, N, K) to losses (S,).

    Parameters
    ----------
    loss : {"mse", "cross_entropy", "logistic", "huber"} or callable
        A callable maps outputs (N, K) and targets to a scalar.
    reduction : {"mean", "sum"}
        Of the named losses.
    y : Tensor
        Targets (N, K), or class labels (N,) for cross-entropy; for a callable anything of length N.
    f0 : Tensor, shape (S, N, K)
        Outputs, to compare with.

    Raises
    ------
    TypeError, ValueError
        If the targets do not fit the loss and the outputs.
    """
    check_choice("reduction", reduction, ("mean", "sum"))
    if not isinstance(y, Tensor):
        raise TypeError(
            f"y_train must be a torch.Tensor, got {type(y).__name__}; use torch.as_tensor(y_train)"
        )
    n, k = f0.shape[1:]
    if y.ndim == 0 or len(y) != n:
        raise ValueError(
            f"y_train has shape {tuple(y.shape)} but x_train has {n} samples; pass a target for each"
        )
    if y.device != f0.device:
        raise ValueError(f"y_train is on {y.device} but the outputs are on {f0.device}; move one of them")
    function: LossFunction
    if callable(loss):
        function = loss
    else:
        if loss == "cross_entropy" and not y.is_floating_point():
            y = _one_hot(y, k).to(f0.dtype)
        _check_targets(y, f0)
        function = make_loss(loss, reduction, y).value

    return lambda f: over_networks(lambda one: scalar_of(function, one, y), "the loss", f)


def _one_hot(labels: Tensor, k: int) -> Tensor:
    if labels.ndim != 1 or labels.dtype == torch.bool or labels.is_complex():
        raise ValueError(
            f"y_train must hold class labels, whole numbers of shape (N,), or probabilities of shape "
            f"(N, {k}); got {labels.dtype} of shape {tuple(labels.shape)}"
        )
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= k:
        raise ValueError(
            f"y_train holds labels from {low} to {high}, but the network has {k} outputs: labels must lie "
            f"between 0 and {k - 1}"
        )
    return torch.nn.functional.one_hot(labels.long(), k)


def _check_targets(y: Tensor, f0: Tensor) -> None:
    check_tensor("y_train", y)
    if y.shape != f0.shape[1:]:
        hint = "; use y_train.unsqueeze(1)" if y.ndim == 1 and f0.shape[2] == 1 else ""
        raise ValueError(
            f"y_train has shape {tuple(y.shape)} but the outputs have shape {tuple(f0.shape[1:])}: a row for "
            f"each sample, a column for each output{hint}"
        )
    if y.dtype != f0.dtype:
        raise ValueError(f"y_train is {y.dtype} but the outputs are {f0.dtype}; use y_train.to({f0.dtype})")
    check_finite("y_train", y)
