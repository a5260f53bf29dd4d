"""Gradient descent with momentum on one eigenmode, any number of steps at once."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def heavy_ball_steps(step: Tensor, momentum: float, counts: Sequence[float]) -> tuple[Tensor, Tensor]:
    r"""Return what heavy-ball descent leaves of each mode's residual, and 1 minus that.

    From rest, with :math:`s = \eta c\lambda`, a mode's residual obeys

    .. math::
        v_{k+1} = \beta v_k - s\,r_k, \qquad r_{k+1} = r_k + v_{k+1}, \qquad v_0 = 0,

    and with :math:`x = (1 + \beta - s) / (2\sqrt\beta)` and Chebyshev polynomials of the second kind

    .. math:: r_k / r_0 = \beta^{k/2}\,[U_k(x) - \sqrt\beta\,U_{k-1}(x)].

    Both roots of :math:`z^2 - (1 + \beta - s) z + \beta` meet at critical damping, :math:`x = 1`, where
    formulas with their difference in a denominator lose digits. So the power of the step's matrix M is
    built by repeated squaring instead, as :math:`M^k - I = a_k I + b_k N` with :math:`N = M - I` and
    :math:`N^2 = (\beta - 1 - s) N - s I`. Then :math:`1 - r_k / r_0 = s\,b_k - a_k`, a sum of positive terms
    for a slow mode, which therefore keeps its digits.

    Parameters
    ----------
    step : Tensor, shape (N,)
        s of each mode, float64.
    momentum : float
        :math:`\beta` in [0, 1).
    counts : sequence of float
        T numbers of steps, whole or ``inf``; the limit is taken to be 0.

    Returns
    -------
    remaining, done : Tensor, shape (T, N)
    """
    trace = momentum - 1 - step

    def product(a1: Tensor, b1: Tensor, a2: Tensor, b2: Tensor) -> tuple[Tensor, Tensor]:
        both = b1 * b2
        return a1 + a2 + a1 * a2 - step * both, b1 + b2 + a1 * b2 + a2 * b1 + trace * both

    def column(entries: list[bool]) -> Tensor:
        return torch.tensor(entries, device=step.device).unsqueeze(-1)  # (T, 1)

    a = b = torch.zeros(len(counts), len(step), dtype=step.dtype, device=step.device)
    square_a, square_b = torch.zeros_like(step), torch.ones_like(step)  # of M to the power 2^bit
    whole = [0 if math.isinf(count) else int(count) for count in counts]
    for bit in range(max(whole).bit_length()):
        used = column([count >> bit & 1 == 1 for count in whole])
        more_a, more_b = product(a, b, square_a, square_b)
        a, b = torch.where(used, more_a, a), torch.where(used, more_b, b)
        square_a, square_b = product(square_a, square_b, square_a, square_b)
    done = torch.where(column([math.isinf(count) for count in counts]), 1.0, step * b - a)
    return 1 - done, done


def heavy_ball_rate(step: Tensor, momentum: float) -> Tensor:
    r"""Return the rate at which each mode's residual decays per step, after the first few: (N,).

    It is :math:`-\log|z|` for the larger root of :math:`z^2 - (1 + \beta - s) z + \beta`, negative where the
    mode grows.
    """
    edge = math.sqrt(momentum)
    low, high = step - (1 - edge) ** 2, step - (1 + edge) ** 2
    root = (low * high).clamp(min=0.0).sqrt()  # the difference of two real roots
    slow = 2 * step / (1 - momentum + step + root)  # 1 - z, in a form that keeps its digits for small s
    overdamped, flipping = -torch.log1p(-slow.clamp(max=1.0)), -torch.log((step - 1 - momentum + root) / 2)
    oscillating = torch.full_like(step, -0.5 * math.log(momentum) if momentum else math.inf)
    return torch.where(low <= 0, overdamped, torch.where(high >= 0, flipping, oscillating))


def free_flight(momentum: float, t: Tensor) -> Tensor:
    r"""Return the limit of :math:`(1 - r_k / r_0) / s` at s = 0, a mode whose gradient stays what it was."""
    return (t - momentum * (1 - momentum**t) / (1 - momentum)) / (1 - momentum)
