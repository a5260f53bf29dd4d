"""Learning rates of gradient descent on the squared loss: the largest stable one and the fastest."""

from __future__ import annotations

from torch import Tensor

from ntkbook._validation import check_count
from ntkbook.dynamics.propagator import check_momentum, loss_rate
from ntkbook.dynamics.spectrum import decompose


def max_learning_rate(
    k_train_train: Tensor, n_outputs: int = 1, reduction: str = "mean", momentum: float = 0.0
) -> float:
    r"""Return the edge of stability: below it gradient descent on the squared loss converges.

    .. math:: \eta_{\max} = \frac{2 (1 + \beta)}{c\,\lambda_{\max}},

    with :math:`c = 1` for ``reduction="sum"`` and :math:`c = 1/(NK)` for ``"mean"``, as in `MSEFlow`.

    Parameters
    ----------
    k_train_train : Tensor, shape (N, N)
        The tangent kernel on the training set. One with output indices, reshaped to (NK, NK), counts them
        already: ``n_outputs`` is then 1.
    n_outputs : int
        K, the number of outputs that share this kernel.
    reduction : {"mean", "sum"}
        The loss.
    momentum : float
        :math:`\beta` of the heavy ball, in [0, 1).

    Returns
    -------
    float
        ``inf`` for a kernel of zeros.

    Raises
    ------
    TypeError, ValueError
        If the kernel is no symmetric positive semi-definite matrix, or another argument is out of range.

    Notes
    -----
    Cost :math:`O(N^3)`. A mode's residual is multiplied by :math:`1 - \eta c\lambda` in each step; with
    momentum by matrices whose eigenvalues solve :math:`z^2 - (1 + \beta - \eta c\lambda) z + \beta = 0`, and
    these leave the unit circle at :math:`z = -1`.

    Source: neural-tangents' ``max_learning_rate`` for ``reduction="mean"``; Goh (2017) for the momentum.

    Examples
    --------
    >>> import torch
    >>> from ntkbook.dynamics import max_learning_rate
    >>> k = torch.diag(torch.tensor([4.0, 1.0]))
    >>> tripled = max_learning_rate(k, n_outputs=3, momentum=0.5)
    >>> max_learning_rate(k, reduction="sum"), tripled
    (0.5, 4.5)
    """
    largest = _eigenvalues(k_train_train)[-1]
    rate = _rate(k_train_train, n_outputs, reduction)
    return 2 * (1 + check_momentum(momentum)) / (rate * largest) if largest > 0 else float("inf")


def critical_learning_rate(k_train_train: Tensor, n_outputs: int = 1, reduction: str = "mean") -> float:
    r"""Return the learning rate whose slowest mode decays fastest.

    .. math:: \eta_{\mathrm{critical}} = \frac{2}{c\,(\lambda_{\min} + \lambda_{\max})}.

    There :math:`1 - \eta c\lambda` is the same for the smallest and the largest eigenvalue up to its sign.
    Above it the largest eigenvalue is the slowest mode, and :func:`max_learning_rate` is less than a factor
    of 2 away. For a singular kernel :math:`\lambda_{\min}` is the smallest eigenvalue that is not 0, since
    training moves nothing along the others.

    Parameters
    ----------
    k_train_train : Tensor, shape (N, N)
        The tangent kernel on the training set.
    n_outputs : int
        K, the number of outputs that share this kernel.
    reduction : {"mean", "sum"}
        The loss; c is as in :func:`max_learning_rate`.

    Returns
    -------
    float
        ``inf`` for a kernel of zeros.

    Raises
    ------
    TypeError, ValueError
        As for :func:`max_learning_rate`.

    Notes
    -----
    Cost :math:`O(N^3)`. Source: Lee et al. (2019), theorem 2.1, for ``reduction="sum"``.

    Examples
    --------
    >>> import torch
    >>> from ntkbook.dynamics import critical_learning_rate
    >>> k = torch.diag(torch.tensor([4.0, 1.0]))
    >>> critical_learning_rate(k, reduction="sum")
    0.4
    """
    moving = [value for value in _eigenvalues(k_train_train) if value > 0]
    rate = _rate(k_train_train, n_outputs, reduction)
    return 2 / (rate * (moving[0] + moving[-1])) if moving else float("inf")


def _eigenvalues(k: Tensor) -> list[float]:
    values: list[float] = decompose("k_train_train", k).eigenvalues.tolist()
    return values


def _rate(k: Tensor, n_outputs: int, reduction: str) -> float:
    check_count("n_outputs", n_outputs)
    return loss_rate(len(k), n_outputs, reduction)
