"""What time does to each eigenmode of a constant kernel under the squared loss."""

from __future__ import annotations

import math
from bisect import bisect_left

import torch
from scipy.optimize import brentq
from torch import Tensor

from ntkbook._validation import as_float, check_choice, check_positive
from ntkbook._warn import warn
from ntkbook.dynamics.heavy_ball import free_flight, heavy_ball_rate, heavy_ball_steps
from ntkbook.dynamics.spectrum import Spectrum, check_times


class Propagator:
    r"""The factors by which gradient flow, or gradient descent, shrinks each mode's residual.

    Parameters
    ----------
    spectrum : Spectrum
        Of the kernel between training points.
    n_outputs : int
        K, which enters the rate c = 1/(NK) of the mean loss.
    reduction : {"mean", "sum"}
        The loss.
    learning_rate : float, optional
        If given, t counts steps.
    momentum : float, optional
        Of the heavy ball; needs a learning rate.
    """

    def __init__(
        self,
        spectrum: Spectrum,
        n_outputs: int,
        reduction: str,
        learning_rate: float | None,
        momentum: float | None,
    ) -> None:
        self.spectrum = spectrum
        self.rate = loss_rate(len(spectrum.eigenvalues), n_outputs, reduction)
        self.learning_rate = learning_rate
        if learning_rate is not None:
            check_positive("learning_rate", learning_rate)
        self.momentum = check_momentum(momentum)
        if learning_rate is None and momentum is not None:
            raise ValueError(
                f"momentum={momentum:g} needs a learning_rate, for steps; "
                "for the differential equation with momentum use LossFlow with loss='mse'"
            )
        if learning_rate is not None:
            _warn_if_unstable(learning_rate, self.limit())

    def limit(self) -> Tensor:
        """Return the learning rate from which on the fastest mode does not decay."""
        return 2 * (1 + self.momentum) / (self.rate * self.spectrum.eigenvalues.amax())

    def factors(self, t: float | Tensor) -> tuple[Tensor, Tensor]:
        """Return each mode's remaining fraction of its residual, and (1 - that) / eigenvalue: (..., N).

        The leading dimension is that of ``t``: none for a number, T for a tensor of shape (T,).
        """
        times, values = check_times(t)
        if self.learning_rate is not None:
            self._check_steps(self.learning_rate, values)
        times = times.to(self.spectrum.like.device).unsqueeze(-1)  # (..., 1)
        eigenvalues = self.spectrum.eigenvalues
        still = eigenvalues == 0
        # Any number serves in place of the eigenvalue 0; the limit is put in below.
        speed = self.rate * torch.where(still, 1.0, eigenvalues)  # (N,)
        if self.learning_rate is None:
            elapsed, remaining, done = times, torch.exp(-speed * times), -torch.expm1(-speed * times)
        elif self.momentum == 0:
            elapsed = self.learning_rate * times
            remaining, done = _descent(self.learning_rate * speed, times)
        else:
            elapsed = self.learning_rate * free_flight(self.momentum, times)
            shape = (*times.shape[:-1], len(speed))
            both = heavy_ball_steps(self.learning_rate * speed, self.momentum, values)
            remaining, done = (factor.reshape(shape) for factor in both)
        limit = torch.where(torch.isinf(times), 0.0, self.rate * elapsed)
        return torch.where(still, 1.0, remaining), torch.where(still, limit, self.rate * done / speed)

    def time_to_loss(self, level: float, mode_losses: Tensor) -> float:
        """Return the first time at which the modes' losses, (N,) at time 0, add up to ``level`` at most."""
        if self.momentum:
            raise ValueError(
                "with momentum the loss may rise and fall; evaluate loss(t, f0_train) on a grid instead"
            )
        if self.learning_rate is not None and self.learning_rate >= float(self.limit()):
            raise ValueError(
                f"learning_rate={self.learning_rate:g} is not below the stable limit "
                f"{float(self.limit()):.6g}: the loss does not decrease"
            )

        def excess(t: float) -> float:
            remaining, _ = self.factors(t)
            return float(remaining.square() @ mode_losses) - level

        if excess(0.0) <= 0:
            return 0.0
        if excess(math.inf) > 0:
            return math.inf
        late = 1.0
        while excess(late) > 0:
            late *= 2
        if self.learning_rate is None:
            return float(brentq(excess, 0.0, late, xtol=1e-14 * late, rtol=1e-14))
        # The smallest whole number of steps that is enough.
        return float(bisect_left(range(int(late)), True, key=lambda steps: excess(float(steps)) <= 0))

    def decay_rates(self) -> Tensor:
        """Return the rate at which each mode's residual decays, per unit of time or per step: (N,)."""
        speed = self.rate * self.spectrum.eigenvalues
        if self.learning_rate is None:
            return speed
        return heavy_ball_rate(self.learning_rate * speed, self.momentum)

    def _check_steps(self, learning_rate: float, values: list[float]) -> None:
        for value in values:
            if value != math.inf and value != math.floor(value):
                raise ValueError(f"t counts steps where learning_rate is given: a whole number, not {value}")
        if math.inf in values and learning_rate >= float(self.limit()):
            raise ValueError(
                f"there is no limit at t = inf: learning_rate={learning_rate:g} is not below "
                f"{float(self.limit()):.6g}, so the residual does not decay"
            )


def loss_rate(n_points: int, n_outputs: int, reduction: str) -> float:
    """Return c of the squared loss: the residual times c is the loss's gradient."""
    check_choice("reduction", reduction, ("mean", "sum"))
    return 1.0 if reduction == "sum" else 1.0 / (n_points * n_outputs)


def check_momentum(momentum: float | None) -> float:
    """Return the momentum, 0 for None, if it lies in [0, 1)."""
    if momentum is None:
        return 0.0
    if not 0 <= as_float("momentum", momentum) < 1:
        raise ValueError(f"momentum must be at least 0 and less than 1, got {momentum}")
    return float(momentum)


def _descent(step: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """Return (1 - step)^t and 1 minus that."""
    # log1p keeps the digits of a slow mode; from a step of 1 on, the residual changes its sign.
    slow = t * torch.log1p(-torch.where(step < 0.5, step, 0.5))
    fast = (1 - step) ** t
    return torch.where(step < 0.5, torch.exp(slow), fast), torch.where(
        step < 0.5, -torch.expm1(slow), 1 - fast
    )


def _warn_if_unstable(learning_rate: float, limit: Tensor) -> None:
    if learning_rate >= float(limit):
        warn(
            f"learning_rate={learning_rate:g} is not below the stable limit {float(limit):.6g}: "
            "the predicted residual does not decay"
        )
