"""Gradient flow, and gradient descent, on the squared loss with a constant kernel: the closed form."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ntkbook._validation import check_number
from ntkbook.dynamics.propagator import Propagator
from ntkbook.dynamics.spectrum import (
    at_all_times,
    check_cross_kernel,
    check_outputs,
    check_test_outputs,
    decompose,
)


class Modes(NamedTuple):
    """The eigenmodes of training, the fastest first: see :meth:`MSEFlow.modes`."""

    eigenvalues: Tensor
    shares: Tensor
    time_constants: Tensor


class MSEFlow:
    r"""Predict the outputs during training on the squared loss, for all times from one eigendecomposition.

    With a constant kernel :math:`\Theta` the outputs on the training set and at a test point obey

    .. math::
        \dot f_t(X) = -c\,\Theta\,(f_t(X) - Y), \qquad \dot f_t(x) = -c\,\Theta(x, X)\,(f_t(X) - Y),

    with :math:`c = 1` for ``reduction="sum"``, the loss :math:`\frac12\sum_{ik}(f_{ik}-y_{ik})^2`, and
    :math:`c = 1/(NK)` for ``reduction="mean"``, half the mean over all entries. Their solution is

    .. math::
        f_t(X) = Y + e^{-c\Theta t}\,(f_0(X) - Y), \qquad
        f_t(x) = f_0(x) + \Theta(x, X)\,\varphi_t(\Theta)\,(Y - f_0(X)), \qquad
        \varphi_t(\lambda) = \frac{1 - e^{-c\lambda t}}{\lambda}.

    No inverse is needed: :math:`\varphi_t(0) = ct`, and at :math:`t = \infty` the function becomes the
    pseudo-inverse, :math:`\varphi_\infty(0) = 0`. A singular kernel leaves the residual's component in
    its null space where it was.

    Parameters
    ----------
    k_train_train : Tensor, shape (N, N)
        Symmetric, positive semi-definite. A kernel with output indices, (N, N, K, K), is used as
        ``k.permute(0, 2, 1, 3).reshape(N * K, N * K)`` with targets ``y.reshape(N * K, 1)``.
    y_train : Tensor, shape (N, K)
        Targets.
    reduction : {"mean", "sum"}
        The loss, see above; every output coordinate evolves with the same kernel.
    diag_reg : float
        ``diag_reg`` times the mean of the kernel's diagonal is added to its diagonal, between training
        points only. At infinite time :meth:`test` is then kernel ridge regression; :meth:`train` follows
        the regularized kernel and reaches the targets.
    learning_rate : float, optional
        If given, ``t`` counts steps of gradient descent with this rate, and the exact discrete formulas
        are used: :math:`e^{-c\lambda t}` becomes :math:`(1 - \eta c\lambda)^t` everywhere above.
    momentum : float, optional
        :math:`\beta` of the heavy ball, ``torch.optim.SGD``'s, in [0, 1); needs a learning rate. Each
        mode's factor becomes what ``t`` steps of :math:`v_{k+1} = \beta v_k - \eta c\lambda r_k`,
        :math:`r_{k+1} = r_k + v_{k+1}` from rest leave of its residual.

    Attributes
    ----------
    eigenvalues : Tensor, shape (N,)
        Of the kernel with its regularization, ascending, float64; those that rounding cannot tell
        from 0 are 0.
    eigenvectors : Tensor, shape (N, N)
        In the columns, float64.

    Raises
    ------
    TypeError
        If an argument is not a floating-point tensor.
    ValueError
        If shapes, dtypes or devices do not fit, an entry is NaN or infinite, or the kernel is
        asymmetric or has a negative eigenvalue; the message says by how much.

    Warns
    -----
    UserWarning
        If ``learning_rate`` is not below the stable limit :math:`2 (1 + \beta) / (c\lambda_{\max})`.

    Notes
    -----
    Cost :math:`O(N^3)` once, then :math:`O(TN(N+M)K)` for T times and M test points. The work is done in
    float64 on the kernel's device, results come back in the kernel's dtype.

    Source: Lee et al. (2019), section 2.2, which states the formulas for an invertible kernel.

    Examples
    --------
    Two points far apart and one repeated with another label: the repeated pair can only reach its mean.

    >>> import math, torch
    >>> from ntkbook.dynamics import MSEFlow
    >>> x = torch.tensor([[1.0, 0.0], [0.0, 2.0], [0.0, 2.0]], dtype=torch.float64)
    >>> y = torch.tensor([[1.0], [0.0], [1.0]], dtype=torch.float64)
    >>> flow = MSEFlow(x @ x.T, y, reduction="sum")
    >>> flow.train(math.inf, torch.zeros_like(y)).squeeze(1)
    tensor([1.0000, 0.5000, 0.5000], dtype=torch.float64)
    >>> x_test = torch.tensor([[1.0, 1.0]], dtype=torch.float64)
    >>> times = torch.tensor([0.0, 1.0, math.inf])
    >>> zero = torch.zeros(1, 1, dtype=torch.float64)
    >>> flow.test(times, x_test @ x.T, zero, torch.zeros_like(y)).shape
    torch.Size([3, 1, 1])
    >>> flow.modes().time_constants
    tensor([0.1250, 1.0000,    inf], dtype=torch.float64)
    >>> steps = MSEFlow(x @ x.T, y, "sum", learning_rate=0.1, momentum=0.5)
    >>> steps.train(2, torch.zeros_like(y)).squeeze(1)
    tensor([0.2400, 0.6800, 0.6800], dtype=torch.float64)
    """

    def __init__(
        self,
        k_train_train: Tensor,
        y_train: Tensor,
        reduction: str = "mean",
        diag_reg: float = 0.0,
        *,
        learning_rate: float | None = None,
        momentum: float | None = None,
    ) -> None:
        self._spectrum = decompose("k_train_train", k_train_train, diag_reg)
        check_outputs("y_train", y_train, k_train_train)
        self._like = k_train_train
        self._y = y_train.to(torch.float64)
        self._propagator = Propagator(self._spectrum, y_train.shape[1], reduction, learning_rate, momentum)
        self.eigenvalues, self.eigenvectors = self._spectrum.eigenvalues, self._spectrum.eigenvectors

    def train(self, t: float | Tensor, f0_train: Tensor) -> Tensor:
        r"""Predict the outputs on the training set.

        Parameters
        ----------
        t : float, Tensor of shape () or (T,)
            Times, not negative, ``math.inf`` included; whole numbers of steps with a learning rate.
            A tensor may have any real dtype and live on any device.
        f0_train : Tensor, shape (N, K)
            The outputs at time 0.

        Returns
        -------
        Tensor, shape (N, K), or (T, N, K) for T times
        """
        check_outputs("f0_train", f0_train, self._like, columns=self._y.shape[1])
        remaining, _ = self._propagator.factors(t)
        residual = self.eigenvectors.T @ (f0_train.to(torch.float64) - self._y)  # (N, K)
        outputs = self._y + at_all_times(self.eigenvectors, remaining.unsqueeze(-1) * residual)
        return outputs.to(self._like.dtype)

    def test(self, t: float | Tensor, k_test_train: Tensor, f0_test: Tensor, f0_train: Tensor) -> Tensor:
        r"""Predict the outputs at test points.

        Parameters
        ----------
        t : float, Tensor of shape () or (T,)
            As for :meth:`train`.
        k_test_train : Tensor, shape (M, N)
            The kernel between test and training points.
        f0_test : Tensor, shape (M, K)
            Test outputs at time 0.
        f0_train : Tensor, shape (N, K)
            Training outputs at time 0.

        Returns
        -------
        Tensor, shape (M, K), or (T, M, K) for T times
        """
        check_outputs("f0_train", f0_train, self._like, columns=self._y.shape[1])
        check_cross_kernel("k_test_train", k_test_train, self._like)
        check_test_outputs("f0_test", f0_test, k_test_train, self._y.shape[1])
        _, gain = self._propagator.factors(t)
        residual = self.eigenvectors.T @ (self._y - f0_train.to(torch.float64))  # (N, K)
        moved = at_all_times(self._spectrum.cross_modes(k_test_train), gain.unsqueeze(-1) * residual)
        outputs: Tensor = f0_test.to(torch.float64) + moved
        return outputs.to(self._like.dtype)

    def loss(self, t: float | Tensor, f0_train: Tensor) -> Tensor:
        r"""Return the training loss.

        .. math:: \mathcal L_t = \frac c2 \sum_{ik} (f_{t,ik} - y_{ik})^2

        Parameters
        ----------
        t : float, Tensor of shape () or (T,)
            As for :meth:`train`.
        f0_train : Tensor, shape (N, K)
            Training outputs at time 0.

        Returns
        -------
        Tensor, shape () or (T,), float64
        """
        remaining, _ = self._propagator.factors(t)
        return remaining.square() @ self._mode_losses(f0_train)

    def time_to_loss(self, level: float, f0_train: Tensor) -> float:
        """Return the first time, or number of steps, at which the training loss is at most ``level``.

        Parameters
        ----------
        level : float
            A value of :meth:`loss`.
        f0_train : Tensor, shape (N, K)
            Training outputs at time 0.

        Returns
        -------
        float
            ``inf`` if the loss stays above ``level``, as the part of the targets that a singular kernel
            cannot reach may make it.

        Raises
        ------
        ValueError
            If ``level`` is not finite; with momentum, where the loss may rise and fall; or if the learning
            rate is not stable.
        """
        return self._propagator.time_to_loss(check_number("level", level), self._mode_losses(f0_train))

    def modes(self, f0_train: Tensor | None = None) -> Modes:
        r"""Return how fast each eigenmode is learned, and how much of the task it carries.

        Parameters
        ----------
        f0_train : Tensor, shape (N, K), optional
            Training outputs at time 0; zero if not given.

        Returns
        -------
        Modes
            A named tuple of tensors (N,), float64, the fastest mode of the flow first. ``eigenvalues``:
            :math:`\lambda_i`, regularization included. ``shares``:
            :math:`\lVert v_i^\top(Y - f_0)\rVert^2 / \lVert Y - f_0\rVert^2`, which sum to 1.
            ``time_constants``: the time, or number of steps, in which a mode's residual falls by a factor e;
            :math:`1/(c\lambda_i)` for the flow, ``inf`` for a mode that does not decay.
        """
        f0 = torch.zeros_like(self._y).to(self._like.dtype) if f0_train is None else f0_train
        losses = self._mode_losses(f0)
        rates = self._propagator.decay_rates()
        return Modes(
            self.eigenvalues.flip(0),
            (losses / losses.sum().clamp(min=1e-300)).flip(0),
            torch.where(rates > 0, 1 / rates, math.inf).flip(0),
        )

    def _mode_losses(self, f0_train: Tensor) -> Tensor:
        """Return each mode's part of the loss at time 0: (N,)."""
        check_outputs("f0_train", f0_train, self._like, columns=self._y.shape[1])
        residual = self.eigenvectors.T @ (f0_train.to(torch.float64) - self._y)  # (N, K)
        return 0.5 * self._propagator.rate * residual.square().sum(1)
