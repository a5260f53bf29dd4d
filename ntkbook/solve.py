"""Linear systems with a Gram matrix: by Cholesky in memory, by conjugate gradients on disk."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.linalg import LinAlgError  # type: ignore[attr-defined]

from ntkbook._gram_store import StoredGram
from ntkbook._validation import check_choice, check_count, check_finite, check_positive, check_tensor
from ntkbook._warn import warn

_JITTERS = {torch.float32: (1e-7, 1e-6, 1e-5, 1e-4), torch.float64: (1e-14, 1e-12, 1e-10, 1e-8)}


class JitterWarning(UserWarning):
    """A Gram matrix was singular in its precision; the message says how much was added to its diagonal."""


def solve(
    gram: Tensor | StoredGram,
    targets: Tensor,
    diag_reg: float = 0.0,
    *,
    method: str = "auto",
    tolerance: float = 1e-8,
    max_iterations: int = 1000,
    rank: int = 100,
) -> Tensor:
    r"""Solve for kernel regression's coefficients.

    .. math::

        (G + \lambda\, \overline{G_{ii}}\, I)\, \alpha = Y

    Parameters
    ----------
    gram : Tensor or StoredGram, (N, N)
        A symmetric positive semi-definite matrix.
    targets : Tensor, (N,) or (N, K)
        The right-hand sides, real floating point.
    diag_reg : float
        :math:`\lambda`, in units of the mean of the diagonal.
    method : {"auto", "cholesky", "cg"}
        ``"auto"`` takes Cholesky for tensors and conjugate gradients for stored matrices, which are then
        never in memory.
    tolerance : float
        Conjugate gradients stop when every residual is this small, relative to its target.
    max_iterations : int
        The most iterations of conjugate gradients; each reads the matrix once.
    rank : int
        The rank of the preconditioner of conjugate gradients.

    Returns
    -------
    Tensor
        :math:`\alpha`, of the shape of ``targets``; of the dtype of ``gram``, or float64 by conjugate
        gradients; on the device of ``gram``, which is the CPU for a stored matrix.

    Raises
    ------
    torch.linalg.LinAlgError
        If the matrix is not positive definite even with the largest jitter, or
        conjugate gradients meet a direction of negative curvature or do not converge.

    Warns
    -----
    JitterWarning
        If Cholesky succeeds only with jitter on the diagonal, with the amount.

    Notes
    -----
    Cholesky: :math:`N^3/3` operations and a copy of the matrix. Conjugate gradients: one pass over the matrix
    for the preconditioner and one per iteration, memory :math:`O(N(\text{rank} + K))`. The preconditioner is
    the randomized Nystrom approximation of Frangella, Tropp and Udell (2021), algorithms 2.1 and 5.1: it
    takes ``rank`` leading eigenvalues out of the condition number, which decides for kernels, whose spectra
    fall fast.

    Examples
    --------
    >>> import torch, ntkbook
    >>> k = torch.tensor([[2.0, 1.0], [1.0, 2.0]])
    >>> ntkbook.solve(k, torch.tensor([3.0, 0.0])).round(decimals=4)
    tensor([ 2., -1.])
    """
    check_choice("method", method, ("auto", "cholesky", "cg"))
    check_positive("diag_reg", diag_reg, zero_allowed=True)
    check_positive("tolerance", tolerance)
    check_count("max_iterations", max_iterations)
    check_count("rank", rank)
    check_finite("targets", check_tensor("targets", targets, ndim=(1, 2)))
    if not isinstance(gram, StoredGram):
        check_finite("gram", check_tensor("gram", gram))
    if len(gram.shape) != 2 or gram.shape[0] != gram.shape[1]:
        raise ValueError(
            f"gram must be a square matrix (N, N), got shape {tuple(gram.shape)}; for several outputs solve "
            "with the kernel of one, or of the mean over outputs"
        )
    if len(targets) != gram.shape[0]:
        raise ValueError(
            f"targets must have {gram.shape[0]} rows like gram, got shape {tuple(targets.shape)}"
        )
    if isinstance(gram, Tensor):
        _check_symmetric(gram)
    columns = targets if targets.ndim == 2 else targets[:, None]
    if method == "cg" or (method == "auto" and isinstance(gram, StoredGram)):
        device = "cpu" if isinstance(gram, StoredGram) else gram.device
        columns = columns.to(device, torch.float64)
        solution = _conjugate_gradients(gram, columns, diag_reg, tolerance, max_iterations, rank)
    else:
        matrix = gram.tensor() if isinstance(gram, StoredGram) else gram
        solution = _cholesky(matrix, columns.to(matrix), diag_reg)
    return solution if targets.ndim == 2 else solution[:, 0]


def _check_symmetric(gram: Tensor) -> None:
    asymmetry = float((gram - gram.mT).abs().max())
    if asymmetry > 1e-3 * abs(float(gram.diagonal().mean())):
        raise ValueError(
            f"gram must be symmetric, but entries differ from their mirror images by up to {asymmetry:.3g}; "
            "pass the kernel of one set of points with itself"
        )


def _cholesky(gram: Tensor, targets: Tensor, diag_reg: float) -> Tensor:
    """Solve by Cholesky; where rounding has made the matrix indefinite, with the least jitter that helps."""
    scale = float(gram.diagonal().mean())
    jitters = _JITTERS.get(gram.dtype)
    if jitters is None:
        raise TypeError(
            f"gram must be float32 or float64 to be factorized, got {gram.dtype}; use gram.double()"
        )
    for jitter in (0.0, *jitters):
        matrix = gram.clone()
        matrix.diagonal().add_((diag_reg + jitter) * scale)
        factor, info = torch.linalg.cholesky_ex(matrix)
        if int(info) == 0:
            if jitter:
                warn(
                    f"the Gram matrix is not positive definite in {gram.dtype}; added {jitter * scale:.3g} "
                    f"to its diagonal, {jitter:g} times its mean. Pass diag_reg, or work in float64",
                    JitterWarning,
                )
            return torch.cholesky_solve(targets, factor)
    raise LinAlgError(
        f"the Gram matrix is not positive definite, not even with {jitters[-1]:g} times its mean diagonal "
        f"{scale:.3g} added: it is no kernel matrix, or is dominated by rounding. Pass a larger diag_reg"
    )


def _conjugate_gradients(
    gram: Tensor | StoredGram,
    targets: Tensor,
    diag_reg: float,
    tolerance: float,
    max_iterations: int,
    rank: int,
) -> Tensor:
    """Solve all right-hand sides side by side, so that each iteration reads the matrix once."""
    shift = diag_reg * float(gram.diagonal().double().mean())

    def product(vectors: Tensor) -> Tensor:
        return (gram if isinstance(gram, StoredGram) else gram.double()) @ vectors + shift * vectors

    basis, eigenvalues = _nystrom(gram, min(rank, len(targets)))
    floor = eigenvalues[-1] + shift

    def precondition(vectors: Tensor) -> Tensor:
        inside = basis.mT @ vectors
        return vectors + basis @ ((floor / (eigenvalues + shift) - 1)[:, None] * inside)

    size = targets.norm(dim=0)
    size = torch.where(size > 0, size, 1.0)
    solution, residual = torch.zeros_like(targets), targets.clone()
    worst = float((residual.norm(dim=0) / size).max())
    if worst <= tolerance:
        return solution
    search = preconditioned = precondition(residual)
    weight = (residual * preconditioned).sum(0)
    for _ in range(max_iterations):
        image = product(search)
        curvature = (search * image).sum(0)
        active = weight > 0
        if bool((curvature[active] <= 0).any()):
            raise LinAlgError(
                "the Gram matrix is not positive definite: conjugate gradients met a direction of curvature "
                f"{float(curvature[active].min()):.3g}. Pass a larger diag_reg"
            )
        step = torch.where(active, weight / torch.where(active, curvature, 1.0), 0.0)
        solution = solution + step * search
        residual = residual - step * image
        worst = float((residual.norm(dim=0) / size).max())
        if worst <= tolerance:
            return solution
        preconditioned = precondition(residual)
        weight_next = (residual * preconditioned).sum(0)
        search = (
            preconditioned + torch.where(active, weight_next / torch.where(active, weight, 1.0), 0.0) * search
        )
        weight = weight_next
    raise LinAlgError(
        f"conjugate gradients reached a relative residual of {worst:.3g}, not {tolerance:g}, in "
        f"{max_iterations} iterations. Pass a larger diag_reg, rank or max_iterations"
    )


def _nystrom(gram: Tensor | StoredGram, rank: int) -> tuple[Tensor, Tensor]:
    """Return (basis (N, r), eigenvalues (r,) falling) of the randomized Nystrom approximation; one pass."""
    generator = torch.Generator().manual_seed(0)
    test = torch.randn(gram.shape[0], rank, generator=generator, dtype=torch.float64)
    test = torch.linalg.qr(test).Q
    if isinstance(gram, Tensor):
        test = test.to(gram.device)
        image = gram.double() @ test
    else:
        image = gram @ test
    nudge = torch.finfo(torch.float64).eps * image.norm() * gram.shape[0] ** 0.5
    image = image + nudge * test
    core = test.mT @ image
    values, vectors = torch.linalg.eigh((core + core.mT) / 2)
    root = vectors * values.clamp_min(nudge).rsqrt()  # core^(-1/2), up to a rotation
    left, singular, _ = torch.linalg.svd(image @ root, full_matrices=False)
    return left, (singular.square() - nudge).clamp_min(nudge)
