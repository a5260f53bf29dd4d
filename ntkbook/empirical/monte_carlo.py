"""The average kernel over random draws of a network, with its standard error."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from tqdm import tqdm

from ntkbook._validation import check_count, check_seed
from ntkbook.empirical.kernel import empirical_nngp, empirical_ntk


@dataclass(frozen=True)
class Estimate:
    """A mean over independent draws.

    Attributes
    ----------
    mean : Tensor
        (N1, N2).
    standard_error : Tensor
        (N1, N2): the sample standard deviation (divisor n - 1) over the square root of n.
    """

    mean: Tensor
    standard_error: Tensor


@dataclass(frozen=True)
class MonteCarloKernel:
    """Mean kernels over random draws of a network.

    Attributes
    ----------
    nngp, ntk : Estimate
        Mean and standard error of ``empirical_nngp`` and of ``empirical_ntk`` with ``outputs="mean"``.
    n_samples : int
        The number of draws.
    """

    nngp: Estimate
    ntk: Estimate
    n_samples: int


class _Welford:
    """Running mean and variance; each draw is seen once (Welford 1962)."""

    def __init__(self) -> None:
        self.count = 0
        self.mean: Tensor
        self.squares: Tensor

    def add(self, value: Tensor) -> None:
        value = value.double()
        if self.count == 0:
            self.mean, self.squares = torch.zeros_like(value), torch.zeros_like(value)
        self.count += 1
        step = value - self.mean
        self.mean += step / self.count
        self.squares += step * (value - self.mean)

    def estimate(self) -> Estimate:
        return Estimate(self.mean, (self.squares / (self.count - 1) / self.count).sqrt())


def monte_carlo_kernel(
    make_net: Callable[[], nn.Module],
    x1: Tensor,
    x2: Tensor | None = None,
    n_samples: int = 100,
    *,
    seed: int = 0,
    progress: bool = False,
) -> MonteCarloKernel:
    r"""Return the mean kernels of a random network over independent draws, with standard errors.

    .. math::

        \bar\Theta = \frac1n \sum_{s=1}^n \hat\Theta^{(s)}, \qquad
        \mathrm{SE}^2 = \frac{1}{n (n - 1)} \sum_{s=1}^n \big( \hat\Theta^{(s)} - \bar\Theta \big)^2

    entry by entry, and likewise for the covariance of outputs. Draws are streamed: memory does not grow with
    n.

    Parameters
    ----------
    make_net : callable
        Returns a newly drawn network, on the device and in the dtype of the inputs.
    x1, x2 : Tensor
        Batches (N1, ...) and (N2, ...); ``x2=None`` means ``x1``.
    n_samples : int
        n, at least 2.
    seed : int
        Draw s is made after ``torch.manual_seed(seed + s)``. The caller's random state is restored
        afterwards.
    progress : bool
        Show a progress bar with the time left.

    Returns
    -------
    MonteCarloKernel
        ``.nngp.mean``, ``.nngp.standard_error``, ``.ntk.mean``, ``.ntk.standard_error``: (N1, N2), float64.

    Raises
    ------
    TypeError
        If ``make_net`` cannot be called without arguments, or does not return a module.
    ValueError
        If ``n_samples`` is less than 2, or ``seed`` negative; otherwise as :func:`ntkbook.empirical_ntk`.

    Examples
    --------
    >>> import torch, ntkbook
    >>> from ntkbook import nn
    >>> x = torch.eye(3)
    >>> kernel = ntkbook.monte_carlo_kernel(
    ...     lambda: nn.Linear(3, 200), x, n_samples=20)
    >>> error = kernel.ntk.mean - torch.eye(3) / 3    # a linear network: not random
    >>> bool((error.abs() < 1e-6).all())
    True
    >>> bool((kernel.nngp.standard_error > 0).all())
    True
    """
    if isinstance(make_net, nn.Module) or not callable(make_net):
        raise TypeError(
            "make_net must be a function that returns a newly drawn network, got "
            f"{type(make_net).__name__}; write lambda: Net(...)"
        )
    check_count("n_samples", n_samples, 2)  # one has no standard error
    check_seed("seed", seed)
    nngp, ntk = _Welford(), _Welford()
    devices = [x1.device] if isinstance(x1, Tensor) and x1.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        for s in tqdm(range(n_samples), desc="draws", unit="net", disable=not progress):
            torch.manual_seed(seed + s)
            net = make_net()
            ntk.add(empirical_ntk(net, x1, x2, outputs="mean"))
            nngp.add(empirical_nngp(net, x1, x2))
    return MonteCarloKernel(nngp.estimate(), ntk.estimate(), n_samples)
