"""The losses of function-space training: value, gradient in the outputs, and what targets they accept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ntkbook._validation import check_choice

LossFunction = Callable[[Tensor, Tensor], Tensor]

# Rows of probabilities may have come from single precision.
_SUM_TOLERANCE = 1e-5


@dataclass(frozen=True)
class Loss:
    """A loss on the outputs of all training points, float64 (N, K) each.

    Attributes
    ----------
    name : str
        For messages.
    value : callable
        ``value(f, y)``: a tensor of shape ().
    gradient : callable
        ``gradient(f, y)``: the derivative of ``value`` in f, (N, K).
    curvature : float
        The largest eigenvalue of its second derivative at any f; 0 where that is not known.
    """

    name: str
    value: LossFunction
    gradient: LossFunction
    curvature: float


def make_loss(loss: str | LossFunction, reduction: str, y: Tensor) -> Loss:
    """Return the loss of this name, or wrap a callable, and check the targets for it.

    ``reduction="mean"`` divides a sum over all entries by N for the cross-entropy, by NK for the others, as
    ``torch.nn.functional`` does; a callable is used as it is.
    """
    check_choice("reduction", reduction, ("mean", "sum"))
    if not isinstance(loss, str):
        if not callable(loss):
            raise TypeError(f"loss must be a name or a callable loss(f, y), got {type(loss).__name__}")
        return _from_callable(loss)
    check_choice("loss", loss, tuple(_NAMED))
    check_targets, value, gradient, curvature, per_sample = _NAMED[loss]
    check_targets(y)
    scale = 1.0 if reduction == "sum" else 1.0 / (len(y) if per_sample else y.numel())
    return Loss(
        loss, lambda f, y: scale * value(f, y), lambda f, y: scale * gradient(f, y), scale * curvature
    )


def refuse_labels(y: object) -> None:
    """Say what to do with a vector of class numbers, which is not what the cross-entropy takes here."""
    if isinstance(y, Tensor) and (y.ndim == 1 or not y.is_floating_point()):
        raise TypeError(
            f"y_train must hold a row of class probabilities for each sample, got {y.dtype} of shape "
            f"{tuple(y.shape)}; labels become torch.nn.functional.one_hot(labels).to(k_train_train)"
        )


def scalar_of(loss: LossFunction, f: Tensor, y: Tensor) -> Tensor:
    """Return the value of a caller's loss, of shape ().

    Raises
    ------
    TypeError, ValueError
        If it is no tensor, or one of several entries.
    """
    value = loss(f, y)
    name = getattr(loss, "__name__", type(loss).__name__)
    if not isinstance(value, Tensor):
        raise TypeError(
            f"loss {name} must return a tensor with one entry, got {type(value).__name__}; compute it from f "
            "by torch's functions"
        )
    if value.numel() != 1:
        raise ValueError(
            f"loss {name} must return a tensor with one entry, got {tuple(value.shape)}; "
            "sum or average over the samples in it"
        )
    return value.reshape(())


def _from_callable(loss: LossFunction) -> Loss:
    name = getattr(loss, "__name__", type(loss).__name__)

    def gradient(f: Tensor, y: Tensor) -> Tensor:
        with torch.enable_grad():
            leaf = f.detach().requires_grad_()
            value = scalar_of(loss, leaf, y)
            if not value.requires_grad:
                raise ValueError(f"loss {name} does not depend on f by differentiable operations")
            (result,) = torch.autograd.grad(value, leaf)
        return result

    return Loss(name, lambda f, y: scalar_of(loss, f, y).detach(), gradient, 0.0)


def _any(y: Tensor) -> None:
    """Accept all targets."""


def _probabilities(y: Tensor) -> None:
    if y.shape[1] < 2:
        raise ValueError(
            "loss='cross_entropy' needs two columns of targets or more, one for each class, got shape "
            f"{tuple(y.shape)}; for one output and labels -1 and 1 use loss='logistic'"
        )
    negative, off = float(y.min()), float((y.sum(1) - 1).abs().max())
    if negative < 0 or off > _SUM_TOLERANCE:
        raise ValueError(
            "y_train must hold probabilities in its rows for loss='cross_entropy', such as one-hot labels: "
            f"its smallest entry is {negative:.3g}, and a row's sum differs from 1 by {off:.3g}; "
            "use torch.nn.functional.one_hot(labels).to(k_train_train)"
        )


def _signs(y: Tensor) -> None:
    wrong = y[y.abs() != 1]
    if len(wrong):
        raise ValueError(
            f"y_train must hold -1 and 1 for loss='logistic', got {float(wrong[0]):.6g}; "
            "labels 0 and 1 become 2 * y_train - 1"
        )


def _cross_entropy(f: Tensor, y: Tensor) -> Tensor:
    return -(torch.log_softmax(f, 1) * y).sum()


def _squared(f: Tensor, y: Tensor) -> Tensor:
    return 0.5 * (f - y).square().sum()


def _logistic(f: Tensor, y: Tensor) -> Tensor:
    return torch.nn.functional.softplus(-y * f).sum()


def _huber(f: Tensor, y: Tensor) -> Tensor:
    return torch.nn.functional.huber_loss(f, y, reduction="sum")


_NAMED: dict[str, tuple[Callable[[Tensor], None], LossFunction, LossFunction, float, bool]] = {
    "cross_entropy": (_probabilities, _cross_entropy, lambda f, y: torch.softmax(f, 1) - y, 0.5, True),
    "mse": (_any, _squared, lambda f, y: f - y, 1.0, False),
    "logistic": (_signs, _logistic, lambda f, y: -y * torch.sigmoid(-y * f), 0.25, False),
    "huber": (_any, _huber, lambda f, y: (f - y).clamp(-1, 1), 1.0, False),
}
