"""Gradient flow, and gradient descent, on the squared loss with a constant kernel: the closed form."""

from __future__ import annotations

import math
import warnings

import torch
from torch import Tensor

from ntkbook._validation import check_alike, check_choice, check_finite, check_positive, check_tensor

# Rounding of the kernel's entries moves its eigenvalues by at most eps/2 times its Frobenius norm; the
# rest of the factor allows for the arithmetic that made the entries. Below this an eigenvalue is 0.
_ROUNDING = 8.0


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
        points only. At infinite time `test` is then kernel ridge regression; `train` follows the
        regularized kernel and reaches the targets.
    learning_rate : float, optional
        If given, `t` counts steps of gradient descent with this rate, and the exact discrete formulas
        are used: :math:`e^{-c\lambda t}` becomes :math:`(1 - \eta c\lambda)^t` everywhere above.

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
        If ``learning_rate`` is not below the stable limit :math:`2 / (c\lambda_{\max})`.

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
    >>> flow.test(times, x_test @ x.T, torch.zeros(1, 1, dtype=torch.float64), torch.zeros_like(y)).shape
    torch.Size([3, 1, 1])
    """

    def __init__(
        self,
        k_train_train: Tensor,
        y_train: Tensor,
        reduction: str = "mean",
        diag_reg: float = 0.0,
        *,
        learning_rate: float | None = None,
    ) -> None:
        check_choice("reduction", reduction, ("mean", "sum"))
        check_positive("diag_reg", diag_reg, zero_allowed=True)
        if learning_rate is not None:
            check_positive("learning_rate", learning_rate)
        _check_kernel("k_train_train", k_train_train)
        _check_outputs("y_train", y_train, k_train_train)

        self._like = k_train_train
        self._y = y_train.to(torch.float64)
        self._rate = 1.0 if reduction == "sum" else 1.0 / y_train.numel()
        self._learning_rate = learning_rate

        k = k_train_train.to(torch.float64)
        eigenvalues, self.eigenvectors = torch.linalg.eigh((k + k.T) / 2)
        regularizer = diag_reg * k.diagonal().mean()
        noise = _ROUNDING * torch.finfo(k_train_train.dtype).eps * torch.linalg.matrix_norm(k)
        _check_semidefinite("k_train_train", eigenvalues, regularizer, k_train_train.dtype)
        # A negative eigenvalue that passed is noise as well; there are about as large ones above 0.
        noise = torch.maximum(noise, -2 * eigenvalues.amin())
        if diag_reg == 0:
            self.eigenvalues = torch.where(eigenvalues > noise, eigenvalues, 0.0)
        else:
            self.eigenvalues = eigenvalues.clamp(min=0.0) + regularizer
        if learning_rate is not None:
            _warn_if_unstable(learning_rate, self._rate * self.eigenvalues.amax())

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
        _check_outputs("f0_train", f0_train, self._like, columns=self._y.shape[1])
        remaining, _ = self._factors(self._times(t))
        residual = self.eigenvectors.T @ (f0_train.to(torch.float64) - self._y)  # (N, K)
        outputs: Tensor = self._y + self.eigenvectors @ (remaining.unsqueeze(-1) * residual)
        return outputs.to(self._like.dtype)

    def test(self, t: float | Tensor, k_test_train: Tensor, f0_test: Tensor, f0_train: Tensor) -> Tensor:
        r"""Predict the outputs at test points.

        Parameters
        ----------
        t : float, Tensor of shape () or (T,)
            As for `train`.
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
        _check_outputs("f0_train", f0_train, self._like, columns=self._y.shape[1])
        check_tensor("k_test_train", k_test_train, ndim=2)
        if k_test_train.shape[1] != len(self._y):
            raise ValueError(
                f"k_test_train has shape {tuple(k_test_train.shape)} but there are {len(self._y)} training "
                f"points; it must be (M, {len(self._y)}), test points in the rows"
            )
        check_alike("k_test_train", k_test_train, "k_train_train", self._like)
        check_finite("k_test_train", k_test_train)
        check_tensor("f0_test", f0_test, ndim=2)
        wanted = (k_test_train.shape[0], self._y.shape[1])
        if tuple(f0_test.shape) != wanted:
            raise ValueError(
                f"f0_test has shape {tuple(f0_test.shape)}, expected {wanted}: "
                "a row for each row of k_test_train, a column for each output"
            )
        check_alike("f0_test", f0_test, "k_train_train", self._like)
        check_finite("f0_test", f0_test)

        _, gain = self._factors(self._times(t))
        k = k_test_train.to(torch.float64)
        modes = k @ self.eigenvectors  # (M, N)
        # A kernel's row has no component in the null space; what rounding left there would grow with t.
        left_over = _ROUNDING * torch.finfo(self._like.dtype).eps * math.sqrt(len(self._y))
        left_over = left_over * torch.linalg.vector_norm(k, dim=1, keepdim=True)
        modes = torch.where((self.eigenvalues == 0) & (modes.abs() <= left_over), 0.0, modes)
        residual = self.eigenvectors.T @ (self._y - f0_train.to(torch.float64))  # (N, K)
        outputs: Tensor = f0_test.to(torch.float64) + modes @ (gain.unsqueeze(-1) * residual)
        return outputs.to(self._like.dtype)

    def _factors(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Return each mode's remaining fraction of its residual, and (1 - that) / eigenvalue: (..., N)."""
        still = self.eigenvalues == 0
        t = t.unsqueeze(-1)  # (..., 1)
        # Any number serves in place of the eigenvalue 0; the limit is put in below.
        speed = self._rate * torch.where(still, 1.0, self.eigenvalues)  # (N,)
        if self._learning_rate is None:
            elapsed, remaining, done = t, torch.exp(-speed * t), -torch.expm1(-speed * t)
        else:
            elapsed, step = self._learning_rate * t, self._learning_rate * speed
            remaining, done = (1 - step) ** t, _done_by_steps(step, t)
        limit = torch.where(torch.isinf(t), 0.0, self._rate * elapsed)
        return torch.where(still, 1.0, remaining), torch.where(still, limit, self._rate * done / speed)

    def _times(self, t: float | Tensor) -> Tensor:
        """Return the times as a float64 tensor of shape () or (T,) on the kernel's device."""
        times = t.to(torch.float64) if isinstance(t, Tensor) else torch.tensor(float(t), dtype=torch.float64)
        if times.ndim > 1:
            raise ValueError(f"t must be a number or a tensor of shape (T,), got shape {tuple(times.shape)}")
        values = times.flatten().tolist() if isinstance(t, Tensor) else [float(t)]
        _check_times(values, steps=self._learning_rate is not None)
        if self._learning_rate is not None and math.inf in values:
            _check_limit_exists(self._learning_rate, self._rate * self.eigenvalues.amax())
        return times.to(self._like.device)


def _done_by_steps(step: Tensor, t: Tensor) -> Tensor:
    # log1p keeps the digits of a slow mode; from a step of 1 on, the residual changes its sign.
    slow = torch.where(step < 0.5, step, 0.5)
    return torch.where(step < 0.5, -torch.expm1(t * torch.log1p(-slow)), 1 - (1 - step) ** t)


def _check_kernel(name: str, k: Tensor) -> None:
    check_tensor(name, k, ndim=2)
    if k.shape[0] != k.shape[1]:
        raise ValueError(f"{name} must be square, one row for each training point, got {tuple(k.shape)}")
    check_finite(name, k)
    _check_symmetric(name, k)


def _check_symmetric(name: str, k: Tensor) -> None:
    gap, size = float((k - k.T).abs().max()), float(k.abs().max())
    if gap > math.sqrt(torch.finfo(k.dtype).eps) * size:
        raise ValueError(
            f"{name} is not symmetric: entries differ from their mirror images by up to {gap:.3g}, where the "
            f"largest is {size:.3g}; pass the kernel of one set of points with itself"
        )


def _check_semidefinite(name: str, eigenvalues: Tensor, regularizer: Tensor, dtype: torch.dtype) -> None:
    smallest, largest, added = (float(v) for v in (eigenvalues.amin(), eigenvalues.amax(), regularizer))
    if smallest + added < -math.sqrt(torch.finfo(dtype).eps) * max(largest, -smallest):
        raise ValueError(
            f"{name} is not positive semi-definite: its smallest eigenvalue is {smallest:.3g}, its largest "
            f"{largest:.3g}; compute the kernel in higher precision, or add {-smallest:.3g} or more to its "
            "diagonal with diag_reg"
        )


def _check_outputs(name: str, value: Tensor, k: Tensor, *, columns: int | None = None) -> None:
    check_tensor(name, value, ndim=2)
    if value.shape[0] != k.shape[0] or columns not in (None, value.shape[1]):
        raise ValueError(
            f"{name} has shape {tuple(value.shape)}, expected ({k.shape[0]}, {columns or 'K'}): "
            f"a row for each of the {k.shape[0]} training points, a column for each output"
        )
    check_alike(name, value, "k_train_train", k)
    check_finite(name, value)


def _check_times(values: list[float], *, steps: bool) -> None:
    for value in values:
        if not value >= 0:
            raise ValueError(f"t must not be negative or NaN, got {value}")
        if steps and value != math.inf and value != math.floor(value):
            raise ValueError(f"t counts steps where learning_rate is given: a whole number, not {value}")


def _check_limit_exists(learning_rate: float, fastest: Tensor) -> None:
    if learning_rate * float(fastest) >= 2:
        raise ValueError(
            f"there is no limit at t = inf: learning_rate={learning_rate:g} is not below "
            f"{2 / float(fastest):.6g}, so the residual does not decay"
        )


def _warn_if_unstable(learning_rate: float, fastest: Tensor) -> None:
    if learning_rate * float(fastest) >= 2:
        warnings.warn(
            f"learning_rate={learning_rate:g} is not below the stable limit {2 / float(fastest):.6g}: "
            "the predicted residual does not decay",
            UserWarning,
            stacklevel=3,
        )
