"""Mean and covariance of infinitely wide networks over their initializations, during and after training."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from ntkbook._validation import check_alike, check_choice, check_finite, check_positive, check_tensor
from ntkbook.dynamics.propagator import Propagator
from ntkbook.dynamics.spectrum import check_cross_kernel, check_outputs, decompose


class KernelPair(Protocol):
    """What a kernel function returns: a network's covariance and tangent kernel."""

    @property
    def nngp(self) -> Tensor:
        """(N1, N2)."""
        ...

    @property
    def ntk(self) -> Tensor:
        """(N1, N2)."""
        ...


KernelFunction = Callable[..., KernelPair]


class Gaussian(NamedTuple):
    """A Gaussian of K independent outputs with one covariance.

    Attributes
    ----------
    mean : Tensor, shape (M, K), or (T, M, K)
    covariance : Tensor, shape (M, M), or (T, M, M)
    """

    mean: Tensor
    covariance: Tensor


def ensemble(
    kernel: KernelFunction,
    x_train: Tensor,
    y_train: Tensor,
    x_test: Tensor | None,
    t: float | Tensor,
    train: str = "all",
    *,
    reduction: str = "mean",
    diag_reg: float = 0.0,
    learning_rate: float | None = None,
    momentum: float | None = None,
) -> Gaussian:
    r"""Return mean and covariance, over initializations, of a wide network trained on the squared loss.

    At initialization the outputs are Gaussian with mean 0 and covariance :math:`\mathcal K`, the NNGP
    kernel. Training acts on them linearly, so they stay Gaussian. With
    :math:`\mathcal M_t = \Theta^{-1}(I - e^{-c\Theta t})` on the training set X,

    .. math::
        \mu_t = \Theta(x, X)\,\mathcal M_t\,Y, \qquad
        \Sigma_t = \mathcal K(x, x') + A_t \mathcal K(X, X) A_t'^\top
            - A_t \mathcal K(X, x') - \mathcal K(x, X) A_t'^\top, \qquad A_t = \Theta(x, X)\,\mathcal M_t.

    Parameters
    ----------
    kernel : callable
        ``kernel(x)`` and ``kernel(x1, x2)`` return an object with ``nngp`` and ``ntk``, (N1, N2): such as
        ``ntkbook.infinite_width(net)``.
    x_train : Tensor
        N training inputs.
    y_train : Tensor, shape (N, K)
        Targets.
    x_test : Tensor, optional
        M test inputs. None: the training inputs themselves, M = N.
    t : float, Tensor of shape () or (T,)
        Times, ``math.inf`` included; whole numbers of steps with a learning rate.
    train : {"all", "last_layer"}
        ``"last_layer"`` trains the last layer's weights only, and :math:`\mathcal K` then takes the place of
        :math:`\Theta`. At infinite time this is :func:`nngp_posterior`: sampling from the
        posterior by training.
    reduction, learning_rate, momentum
        As in :class:`MSEFlow`.
    diag_reg : float
        This times the mean of the training kernel's diagonal is added to it, as in :class:`MSEFlow`. With
        ``train="last_layer"`` each network's targets also have noise of this variance drawn for them, so that
        infinite time remains the posterior, of a model with this noise.

    Returns
    -------
    Gaussian
        A named tuple ``(mean, covariance)``: (M, K) and (M, M), or (T, M, K) and (T, M, M) for T times. The K
        outputs are independent and share the covariance.

    Raises
    ------
    TypeError, ValueError
        If arguments do not fit each other; the message names the argument.

    Warns
    -----
    UserWarning
        If ``learning_rate`` is not below the stable limit.

    Notes
    -----
    Cost: the kernels, :math:`O(N^3)` once, and :math:`O(TN^2M + TNM^2)`. Float64 within.

    neural-tangents' ``gradient_descent_mse_ensemble(kernel_fn, x, y, diag_reg=...)`` is ``"all"`` with
    ``get="ntk"``, ``"last_layer"`` with ``get="nngp"``, in the same unit of time.

    Source: Lee et al. (2019), equations 15 and 16.

    Examples
    --------
    >>> import math, torch
    >>> from ntkbook import infinite_width, nn
    >>> from ntkbook.dynamics import ensemble
    >>> net = nn.mlp([1, 64, 1], activation=torch.nn.ReLU(), w_std=1.0)
    >>> x = torch.tensor([[-1.0], [1.0]], dtype=torch.float64)
    >>> times = torch.tensor([0.0, math.inf])
    >>> mean, covariance = ensemble(infinite_width(net), x, x.clone(), None, times)
    >>> mean.squeeze(2)
    tensor([[ 0.,  0.],
            [-1.,  1.]], dtype=torch.float64)
    >>> covariance[1].abs().max() < 1e-14
    tensor(True)
    """
    check_choice("train", train, ("all", "last_layer"))
    _check_inputs(kernel, x_train, x_test, optional=True)
    moves = "nngp" if train == "last_layer" else "ntk"
    train_pair = kernel(x_train)
    prior = _matrix(train_pair, "nngp").to(torch.float64)
    name, dynamics = f"kernel(x_train).{moves}", _matrix(train_pair, moves)
    spectrum = decompose(name, dynamics, diag_reg)
    check_outputs("y_train", y_train, dynamics, name)
    propagator = Propagator(spectrum, y_train.shape[1], reduction, learning_rate, momentum)
    remaining, gain = propagator.factors(t)
    vectors, targets = spectrum.eigenvectors, y_train.to(torch.float64)
    if train == "last_layer":
        prior = prior + spectrum.regularizer * torch.eye(len(prior), dtype=prior.dtype, device=prior.device)

    if x_test is None:
        decay = (vectors * remaining.unsqueeze(-2)) @ vectors.T  # (..., N, N)
        mean, covariance = targets - decay @ targets, decay @ prior @ decay.mT
    else:
        cross_pair = kernel(x_test, x_train)
        cross_dynamics = _matrix(cross_pair, moves)
        check_cross_kernel(f"kernel(x_test, x_train).{moves}", cross_dynamics, dynamics, name)
        test = _matrix(kernel(x_test), "nngp").to(torch.float64)
        _check_test_points(x_test, cross_dynamics, test)
        response = (spectrum.cross_modes(cross_dynamics) * gain.unsqueeze(-2)) @ vectors.T  # A_t: (..., M, N)
        mean = response @ targets
        mixed = response @ _matrix(cross_pair, "nngp").to(torch.float64).T
        covariance = test + response @ prior @ response.mT - mixed - mixed.mT
    return Gaussian(mean.to(y_train.dtype), _symmetric(covariance).to(y_train.dtype))


def nngp_posterior(
    kernel: KernelFunction,
    x_train: Tensor,
    y_train: Tensor,
    x_test: Tensor,
    noise: float = 0.0,
) -> Gaussian:
    r"""Return the posterior of the NNGP, a Bayesian network of infinite width, given noisy targets.

    .. math::
        \mu = \mathcal K(x, X)\,(\mathcal K + \sigma^2 I)^{-1}\,Y, \qquad
        \Sigma = \mathcal K(x, x') - \mathcal K(x, X)\,(\mathcal K + \sigma^2 I)^{-1}\,\mathcal K(X, x').

    Parameters
    ----------
    kernel : callable
        As for :func:`ensemble`; only ``nngp`` is used.
    x_train : Tensor
        N training inputs.
    y_train : Tensor, shape (N, K)
        Targets.
    x_test : Tensor
        M test inputs.
    noise : float
        :math:`\sigma^2`, the variance of independent Gaussian noise on the targets, in their units squared.

    Returns
    -------
    Gaussian
        A named tuple ``(mean, covariance)``: (M, K), and (M, M) of the function without the noise.

    Raises
    ------
    TypeError, ValueError
        If arguments do not fit each other; the message names the argument.

    Notes
    -----
    Cost: the kernels and :math:`O(N^3 + N^2M + NM^2)`. Without noise a singular kernel has its
    pseudo-inverse. Source: Rasmussen and Williams (2006), equations 2.23 and 2.24.

    Examples
    --------
    >>> import torch
    >>> from ntkbook import infinite_width, nn
    >>> from ntkbook.dynamics import nngp_posterior
    >>> net = nn.mlp([1, 64, 1], activation=torch.nn.ReLU(), w_std=1.0)
    >>> x = torch.tensor([[1.0], [2.0]], dtype=torch.float64)
    >>> kernel = infinite_width(net)
    >>> mean, covariance = nngp_posterior(kernel, x, x.clone(), 3 * x[:1], 0.1)
    >>> mean.item(), covariance.item()  # the function is linear on this side of 0
    (2.8846..., 0.1730...)
    """
    check_positive("noise", noise, zero_allowed=True)
    _check_inputs(kernel, x_train, x_test)
    k, k_test_train, k_test = (
        _matrix(kernel(*x), "nngp") for x in ((x_train,), (x_test, x_train), (x_test,))
    )
    spectrum = decompose("kernel(x_train).nngp", k)
    check_outputs("y_train", y_train, k, "kernel(x_train).nngp")
    check_cross_kernel("kernel(x_test, x_train).nngp", k_test_train, k, "kernel(x_train).nngp")
    _check_test_points(x_test, k_test_train, k_test)
    modes = spectrum.cross_modes(k_test_train)  # (M, N)
    noisy = spectrum.eigenvalues + noise
    weighted = modes * torch.where(noisy > 0, 1 / noisy, 0.0)
    mean = weighted @ (spectrum.eigenvectors.T @ y_train.to(torch.float64))
    covariance = k_test.to(torch.float64) - weighted @ modes.T
    return Gaussian(mean.to(y_train.dtype), _symmetric(covariance).to(y_train.dtype))


def _check_inputs(kernel: object, x_train: object, x_test: object, *, optional: bool = False) -> None:
    """Require a function and inputs that fit each other; what a tuple holds is for the function to check."""
    if not callable(kernel):
        raise TypeError(
            f"kernel must be a function of one or two batches, got {type(kernel).__name__}; pass "
            "ntkbook.infinite_width(net)"
        )
    for name, x in (("x_train", x_train), ("x_test", x_test)):
        if not isinstance(x, tuple) and not (optional and x is None):
            check_finite(name, check_tensor(name, x))
    if isinstance(x_train, Tensor) and isinstance(x_test, Tensor):
        check_alike("x_test", x_test, "x_train", x_train)
        if x_train.shape[1:] != x_test.shape[1:]:
            raise ValueError(
                f"x_test has shape {tuple(x_test.shape)} but x_train has shape {tuple(x_train.shape)}; only "
                "their first dimensions may differ"
            )


def _check_test_points(x_test: object, cross: Tensor, test: Tensor) -> None:
    """Require a row of both kernels for each test point, which nothing later would miss."""
    m = len(x_test[0] if isinstance(x_test, tuple) else x_test)  # type: ignore[arg-type]
    if cross.shape[0] != m or test.shape != (m, m):
        raise ValueError(
            f"kernel must return matrices ({m}, {cross.shape[1]}) of x_test and x_train and ({m}, {m}) of "
            f"x_test, got {tuple(cross.shape)} and {tuple(test.shape)}; give each point its row"
        )


def _matrix(pair: KernelPair, which: str) -> Tensor:
    if not hasattr(pair, which):
        raise TypeError(
            f"kernel must return an object with nngp and ntk, got {type(pair).__name__}; pass "
            "ntkbook.infinite_width(net)"
        )
    return check_finite(
        f"the kernel's {which}", check_tensor(f"the kernel's {which}", getattr(pair, which), ndim=2)
    )


def _symmetric(covariance: Tensor) -> Tensor:
    """Undo what rounding did to symmetry, and to the sign of a variance that should be 0."""
    covariance = (covariance + covariance.mT) / 2
    variance = covariance.diagonal(dim1=-2, dim2=-1)
    return covariance - torch.diag_embed(variance.clamp(max=0.0))
