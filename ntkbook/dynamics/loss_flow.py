"""Gradient flow with a constant kernel on any differentiable loss, with or without momentum, as an ODE."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from ntkbook._validation import check_number, check_positive
from ntkbook._warn import warn
from ntkbook.dynamics.losses import LossFunction, make_loss, refuse_labels
from ntkbook.dynamics.ode import Array, System
from ntkbook.dynamics.propagator import check_momentum
from ntkbook.dynamics.spectrum import (
    at_all_times,
    check_cross_kernel,
    check_outputs,
    check_test_outputs,
    check_times,
    decompose,
)


class LossFlow:
    r"""Predict the outputs during training on any loss, by solving the differential equation.

    With a constant kernel :math:`\Theta` and a loss :math:`\mathcal L` of the training outputs,

    .. math::
        \dot f_t(X) = -\eta\,\Theta\,\nabla\mathcal L(f_t(X)), \qquad
        \dot f_t(x) = -\eta\,\Theta(x, X)\,\nabla\mathcal L(f_t(X)).

    Time is measured in steps of gradient descent with learning rate :math:`\eta`, which this equation
    follows as long as :math:`\eta` is small; :math:`\eta t` alone matters. With momentum :math:`\beta` the
    equation is

    .. math::
        \ddot f_t + (1 - \beta)\,\dot f_t = -\eta\,\Theta\,\nabla\mathcal L(f_t(X)), \qquad \dot f_0 = 0,

    which is :math:`f_{k+1} - f_k = \beta\,(f_k - f_{k-1}) - \eta\,\Theta\,\nabla\mathcal L(f_k)` with its
    differences replaced by derivatives. Here :math:`\eta` and t do not enter by their product.

    Parameters
    ----------
    k_train_train : Tensor, shape (N, N)
        Symmetric, positive semi-definite; it may be singular. A kernel with output indices, (N, N, K, K), is
        used as ``k.permute(0, 2, 1, 3).reshape(N * K, N * K)`` with targets ``y.reshape(N * K, 1)`` and a
        callable that reshapes both to (N, K).
    y_train : Tensor, shape (N, K)
        Targets.
    loss : {"cross_entropy", "mse", "logistic", "huber"} or callable
        ``"cross_entropy"``: softmax, targets one-hot or rows of probabilities. ``"mse"``: half the squares,
        as in `MSEFlow`. ``"logistic"``: :math:`\log(1 + e^{-yf})`, targets -1 and 1. ``"huber"``: half the
        square for errors below 1, linear beyond. A callable takes outputs and targets, (N, K) in float64 on
        the kernel's device, and returns a scalar that autograd can differentiate in the first.
    momentum : float, optional
        :math:`\beta` in [0, 1). None is gradient flow. 0 is not: the equation then still has inertia.
    learning_rate : float
        :math:`\eta`, the unit of time. Any value but 1 is taken to be that of steps in mind.
    reduction : {"mean", "sum"}
        Of the named losses, as in ``torch.nn.functional``: ``"mean"`` divides the cross-entropy by N and the
        others by NK. Has no effect on a callable.
    tolerance : float
        Error of the outputs that is aimed at, relative to how far they have moved where that is more than 1.

    Raises
    ------
    TypeError
        If an argument is not a floating-point tensor.
    ValueError
        If shapes, dtypes or devices do not fit, an entry is NaN or infinite, targets are none of the loss's,
        or the kernel is asymmetric or has a negative eigenvalue.

    Warns
    -----
    UserWarning
        If ``learning_rate`` is not 1, and not below :math:`2 (1 + \beta) / (h\lambda_{\max})`, where h is the
        largest curvature of a named loss: with ``reduction="sum"`` 1 for ``"mse"`` and ``"huber"``, 1/2 for
        ``"cross_entropy"``, 1/4 for ``"logistic"``. Descent can then diverge where the flow does not.

    Notes
    -----
    The state is :math:`u = \Lambda^{1/2} V^\top\alpha` with :math:`\Theta = V\Lambda V^\top` and
    :math:`\dot\alpha = -\eta\nabla\mathcal L`, so that :math:`f_t = f_0 + V\Lambda^{1/2}u` and
    :math:`\lVert u\rVert` is the distance moved in the kernel's Hilbert space: an error of u bounds that of
    every output, at test points as well, which do not enlarge the system.

    Up to 400 unknowns (NK, or 2NK with momentum) the solver is SciPy's LSODA, which copes with stiffness by
    dense linear algebra. Above, it is CVODE of SUNDIALS with GMRES if scikit-sundae is installed
    (``pip install 'ntkbook[ode]'``), else SciPy's DOP853, which gives up where it needs too many
    steps. An evaluation of the velocity costs :math:`2N^2K` multiplications on the kernel's device; the
    solver itself runs on the CPU.

    A call of :meth:`test` after :meth:`train` with the same times and start does not solve again. Results are
    not part of any autograd graph.

    neural-tangents' ``gradient_descent(loss, k, y, learning_rate, momentum)`` solves the same equations in
    the same unit of time. Its documentation averages the cross-entropy over all NK entries: that is
    ``learning_rate / K`` here.

    Source: Lee et al. (2019), section 2; for the momentum neural-tangents' ``gradient_descent``.

    Examples
    --------
    One point, two classes: the difference of the outputs grows like log t, without bound.

    >>> import torch
    >>> from ntkbook.dynamics import LossFlow
    >>> k = torch.ones(1, 1, dtype=torch.float64)
    >>> y = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    >>> f = LossFlow(k, y).train(torch.tensor([1e2, 1e4]), torch.zeros_like(y))
    >>> f[:, 0, 0] - f[:, 0, 1]
    tensor([5.2767, 9.9030], dtype=torch.float64)
    """

    @torch.no_grad()
    def __init__(
        self,
        k_train_train: Tensor,
        y_train: Tensor,
        loss: str | LossFunction = "cross_entropy",
        momentum: float | None = None,
        learning_rate: float = 1.0,
        *,
        reduction: str = "mean",
        tolerance: float = 1e-9,
    ) -> None:
        self._spectrum = decompose("k_train_train", k_train_train)
        if loss == "cross_entropy":
            refuse_labels(y_train)
        check_outputs("y_train", y_train, k_train_train)
        self._like = k_train_train
        self._y = y_train.to(torch.float64)
        self._loss = make_loss(loss, reduction, self._y)
        self._friction = None if momentum is None else 1 - check_momentum(momentum)
        self._learning_rate = check_positive("learning_rate", learning_rate)
        self._tolerance = check_positive("tolerance", tolerance)
        if learning_rate != 1:
            self._warn_if_unstable(momentum)
        eigenvalues = self._spectrum.eigenvalues
        # A mode that carries no output is integrated too, in units of 1: a cross kernel may see it.
        self._unit = torch.where(eigenvalues > 0, eigenvalues, 1.0).sqrt()  # (N,)
        self._moving = (eigenvalues > 0).to(torch.float64)  # (N,)
        self._basis = self._spectrum.eigenvectors * self._unit  # (N, N)
        self._outputs = self._spectrum.eigenvectors * eigenvalues  # (N, N)
        self._solved: tuple[list[float], Tensor, Tensor] | None = None

    @torch.no_grad()
    def train(self, t: float | Tensor, f0_train: Tensor) -> Tensor:
        r"""Predict the outputs on the training set.

        Parameters
        ----------
        t : float, Tensor of shape () or (T,)
            Times in any order, not negative, not necessarily whole. ``math.inf`` is refused: :class:`MSEFlow`
            has the limit of the squared loss, and a loss whose minimum lies at infinity has none.
        f0_train : Tensor, shape (N, K)
            The outputs at time 0.

        Returns
        -------
        Tensor, shape (N, K), or (T, N, K) for T times

        Raises
        ------
        ValueError
            If a time is negative or infinite.
        RuntimeError
            If the solver fails, with its reason.
        """
        coefficients = self._solve(t, f0_train)
        return (f0_train.to(torch.float64) + at_all_times(self._outputs, coefficients)).to(self._like.dtype)

    @torch.no_grad()
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
        check_cross_kernel("k_test_train", k_test_train, self._like)
        check_test_outputs("f0_test", f0_test, k_test_train, self._y.shape[1])
        moved = at_all_times(self._spectrum.cross_modes(k_test_train), self._solve(t, f0_train))
        return (f0_test.to(torch.float64) + moved).to(self._like.dtype)

    @torch.no_grad()
    def loss(self, t: float | Tensor, f0_train: Tensor) -> Tensor:
        """Return the training loss at the times: shape () or (T,), in float64.

        Parameters
        ----------
        t : float, Tensor of shape () or (T,)
            As for :meth:`train`.
        f0_train : Tensor, shape (N, K)
            Training outputs at time 0.
        """
        coefficients = self._solve(t, f0_train)
        f = f0_train.to(torch.float64) + at_all_times(self._outputs, coefficients)  # (..., N, K)
        values = [self._loss.value(one, self._y) for one in f.reshape(-1, *self._y.shape)]
        return torch.stack(values).reshape(f.shape[:-2])

    @torch.no_grad()
    def time_to_loss(self, level: float, f0_train: Tensor, horizon: float = 1e6) -> float:
        """Return the first time at which the training loss has fallen to ``level``.

        Parameters
        ----------
        level : float
            A value of the loss.
        f0_train : Tensor, shape (N, K)
            Training outputs at time 0.
        horizon : float
            Where to give up.

        Returns
        -------
        float
            ``inf`` if the loss does not fall to ``level`` before the horizon.

        Raises
        ------
        ValueError
            If ``level`` is not finite, or ``horizon`` not positive.
        RuntimeError
            If the solver fails, with its reason.
        """
        check_number("level", level)
        check_positive("horizon", horizon)
        check_outputs("f0_train", f0_train, self._like, columns=self._y.shape[1])
        f0, y = f0_train.to(torch.float64), self._y

        def excess(state: Array) -> float:
            return float(self._loss.value(f0 + self._moved(state[: y.numel()]), y)) - level

        return self._system(f0_train).first_zero(excess, horizon)

    def _solve(self, t: float | Tensor, f0_train: Tensor) -> Tensor:
        """Return V^T alpha at the times: (..., N, K), float64."""
        check_outputs("f0_train", f0_train, self._like, columns=self._y.shape[1])
        times, values = check_times(t)
        if math.inf in values:
            raise ValueError(
                f"t = inf is not for the solver of loss {self._loss.name}: pass a finite time, or MSEFlow "
                "for the squared loss; where the minimum lies at infinity, outputs grow without bound"
            )
        known = self._solved
        if known is None or known[0] != values or not torch.equal(known[1], f0_train):
            self._solved = known = (values, f0_train.clone(), self._integrate(values, f0_train))
        return known[2].reshape(*times.shape, *self._y.shape)

    def _integrate(self, values: list[float], f0_train: Tensor) -> Tensor:
        stops, place = np.unique(values, return_inverse=True)
        system = self._system(f0_train)
        states = np.zeros((len(stops), len(system.start)))
        if stops[-1] > 0:
            states[stops > 0] = system.at(stops[stops > 0])
        u = self._as_modes(states[place, : self._y.numel()])
        return (u / self._unit).mT

    def _warn_if_unstable(self, momentum: float | None) -> None:
        steepest = self._loss.curvature * float(self._spectrum.eigenvalues[-1])
        if self._learning_rate * steepest >= 2 * (1 + (momentum or 0.0)):
            limit = 2 * (1 + (momentum or 0.0)) / steepest
            warn(
                f"learning_rate={self._learning_rate:g} is not below {limit:.6g}, up to which descent on "
                f"loss {self._loss.name} is stable at any outputs: the equation need not describe its steps"
            )

    def _as_modes(self, state: Array) -> Tensor:
        """Return u as a tensor on the kernel's device: (K, N), or (T, K, N) for T states."""
        n, outputs = self._y.shape
        return torch.tensor(state, device=self._like.device).reshape(*state.shape[:-1], outputs, n)

    def _moved(self, u: Array) -> Tensor:
        """Return how far the training outputs have moved: (N, K)."""
        return (self._as_modes(u) * self._moving @ self._basis.T).mT

    def _system(self, f0_train: Tensor) -> System:
        f0, y = f0_train.to(torch.float64), self._y

        def force(u: Array) -> Array:
            gradient = self._loss.gradient(f0 + self._moved(u), y)
            # Products with few rows take half the time of those with few columns.
            result: Array = (-self._learning_rate * gradient.mT @ self._basis).reshape(-1).cpu().numpy()
            if not np.isfinite(result).all():
                raise RuntimeError(
                    f"the gradient of loss {self._loss.name} became NaN or infinite in training"
                )
            return result

        # An output is u times a feature vector, whose length is the root of the kernel's diagonal.
        longest = math.sqrt(max(float(self._like.diagonal().max()), 1e-300))
        if self._friction is None:
            return System(force, np.zeros(y.numel()), self._tolerance, self._tolerance / longest)
        friction = self._friction
        # An oscillation keeps its errors for about 1 / friction of time.
        tolerance = self._tolerance * max(friction, 0.01)

        def with_inertia(state: Array) -> Array:
            u, v = np.split(state, 2)
            return np.concatenate([v, force(u) - friction * v])

        return System(with_inertia, np.zeros(2 * y.numel()), tolerance, tolerance / longest)
