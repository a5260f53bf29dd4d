"""The linearized networks' training, in the space of outputs."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ntkbook.training.integrator import Integrator
from ntkbook.training.losses import EnsembleLoss


class LinearDescent:
    r"""Gradient descent of linear models, by their outputs alone.

    The parameters' steps of a linear model move its outputs at any points X by

    .. math:: f(X) \leftarrow f(X) - \eta\, \Theta_0(X, X_\mathrm{train})\,
        \nabla_{f(X_\mathrm{train})} \mathcal L,

    and momentum and midpoints, linear in the gradient as they are, carry over. So the trajectory is that
    of the parameters, exactly, for any loss.

    Parameters
    ----------
    kernel : Tensor, shape (S, N + M, N, K, K)
        Between all points, training points first, and the training points.
    outputs : Tensor, shape (S, N + M, K)
        At initialization; overwritten.
    n_train : int
        How many inputs, N.
    loss : callable
        From outputs (S, N, K) to losses (S,).
    integrator : Integrator
        For a single tensor.
    """

    def __init__(
        self, kernel: Tensor, outputs: Tensor, n_train: int, loss: EnsembleLoss, integrator: Integrator
    ) -> None:
        s, n, k = outputs.shape
        self._kernel = kernel.permute(0, 1, 3, 2, 4).reshape(s, n * k, n_train * k)
        self._outputs, self._n, self._loss, self._integrator = outputs, n_train, loss, integrator

    def step(self) -> None:
        """Take one step."""
        self._integrator.step([self._outputs], self._gradient)

    def _gradient(self, state: Sequence[Tensor]) -> list[Tensor]:
        (outputs,) = state
        train = outputs[:, : self._n].detach().requires_grad_()
        with torch.enable_grad():
            (slope,) = torch.autograd.grad(self._loss(train).sum(), train)
        return [(self._kernel @ slope.flatten(1).unsqueeze(2)).reshape(outputs.shape)]

    @property
    def outputs(self) -> tuple[Tensor, Tensor | None]:
        """The outputs at training points (S, N, K) and test points (S, M, K), None without any."""
        train, test = self._outputs[:, : self._n], self._outputs[:, self._n :]
        return train.clone(), test.clone() if test.shape[1] else None
