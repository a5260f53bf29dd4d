"""Steps of gradient descent on a list of tensors, whatever their gradient comes from."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Gradient = Callable[[Sequence[Tensor]], Sequence[Tensor]]


class Integrator:
    r"""Gradient descent with a rate for each tensor.

    .. math::
        \text{Euler:} \quad v \leftarrow \beta v + \nabla\mathcal L(\theta), \quad
        \theta \leftarrow \theta - \eta v, \qquad
        \text{midpoint:} \quad \theta \leftarrow
        \theta - \eta \nabla\mathcal L\big(\theta - \tfrac{\eta}{2} \nabla\mathcal L(\theta)\big)

    Euler's steps, with the velocity v = 0 at first, are those of ``torch.optim.SGD``. The midpoint rule
    follows gradient flow to second order in the learning rate.

    Parameters
    ----------
    rates : sequence of float
        The learning rate of each tensor of the state.
    momentum : float
        The factor beta; 0 with the midpoint rule.
    midpoint : bool
        Which of the two.
    """

    def __init__(self, rates: Sequence[float], momentum: float, midpoint: bool) -> None:
        self._rates, self._momentum, self._midpoint = rates, momentum, midpoint
        self._velocity: list[Tensor] = []

    def step(self, state: Sequence[Tensor], gradient: Gradient) -> None:
        """Take one step, in place."""
        slope = gradient(state)
        if self._midpoint:
            pairs = zip(state, slope, self._rates, strict=True)
            slope = gradient([value - rate / 2 * g for value, g, rate in pairs])
        elif self._momentum and not self._velocity:
            slope = self._velocity = list(slope)
        elif self._momentum:
            for v, g in zip(self._velocity, slope, strict=True):
                v.mul_(self._momentum).add_(g)
            slope = self._velocity
        with torch.no_grad():
            for value, g, rate in zip(state, slope, self._rates, strict=True):
                value.sub_(g, alpha=rate)
