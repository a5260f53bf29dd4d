"""The validated eigendecomposition of a training kernel, which all of this package's formulas stand on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ntkbook._validation import as_float, check_alike, check_finite, check_positive, check_tensor, has_values

# Rounding of the kernel's entries moves its eigenvalues by at most eps/2 times its Frobenius norm; the
# rest of the factor allows for the arithmetic that made the entries. Below this an eigenvalue is 0.
_ROUNDING = 8.0


@dataclass(frozen=True)
class Spectrum:
    """Eigenvalues and eigenvectors of a kernel on N training points.

    Attributes
    ----------
    eigenvalues : Tensor, shape (N,)
        Of the kernel with its regularization, ascending, float64; those that rounding cannot tell from 0
        are 0.
    eigenvectors : Tensor, shape (N, N)
        In the columns, float64.
    noise : Tensor, shape ()
        What rounding may have done to an eigenvalue.
    regularizer : Tensor, shape ()
        What was added to the kernel's diagonal.
    like : Tensor
        The kernel itself, whose dtype and device all results follow.
    """

    eigenvalues: Tensor
    eigenvectors: Tensor
    noise: Tensor
    regularizer: Tensor
    like: Tensor

    def cross_modes(self, k_test_train: Tensor) -> Tensor:
        """Return the kernel between test and training points in the eigenbasis: (M, N), float64."""
        k = k_test_train.to(torch.float64)
        modes = k @ self.eigenvectors  # (M, N)
        # A kernel's row has no component in the null space; what rounding left there would grow with t.
        left_over = _ROUNDING * torch.finfo(self.like.dtype).eps * math.sqrt(len(self.eigenvalues))
        left_over = left_over * torch.linalg.vector_norm(k, dim=1, keepdim=True)
        return torch.where((self.eigenvalues == 0) & (modes.abs() <= left_over), 0.0, modes)


def at_all_times(modes: Tensor, coefficients: Tensor) -> Tensor:
    """Return ``modes @ coefficients``, (..., M, K), for coefficients (..., N, K).

    One product with a matrix of all times' columns, where ``@`` would make a narrow one for each time: six
    times faster for 100 times.
    """
    return torch.einsum("mn,...nk->...mk", modes, coefficients)


def decompose(name: str, k: Tensor, diag_reg: float = 0.0) -> Spectrum:
    """Check a kernel between training points and diagonalize it.

    Parameters
    ----------
    name : str
        The argument's name, for messages.
    k : Tensor, shape (N, N)
        The kernel.
    diag_reg : float
        This times the mean of the diagonal is added to the diagonal.

    Raises
    ------
    TypeError
        If the kernel is not a floating-point tensor.
    ValueError
        If it is not square, finite, symmetric and positive semi-definite; the message says by how much.
    """
    check_positive("diag_reg", diag_reg, zero_allowed=True)
    if check_tensor(name, k).ndim == 4:
        raise ValueError(
            f"{name} must have 2 dimensions, got shape {tuple(k.shape)}; one with output indices, (N, N, K, "
            "K), becomes k.permute(0, 2, 1, 3).reshape(N * K, N * K)"
        )
    check_tensor(name, k, ndim=2)
    if k.shape[0] != k.shape[1]:
        raise ValueError(f"{name} must be square, one row for each training point, got {tuple(k.shape)}")
    check_finite(name, k)
    _check_symmetric(name, k)
    k64 = k.to(torch.float64)
    # In units of a power of 2 near the largest entry, so that no square of an entry overflows or vanishes.
    size = 2.0 ** (math.frexp(float(k64.abs().max()))[1] - 1) if has_values(k64) else 1.0
    eigenvalues, eigenvectors = torch.linalg.eigh((k64 / size + k64.T / size) / 2)
    norm, eigenvalues = size * torch.linalg.matrix_norm(k64 / size), size * eigenvalues
    regularizer = diag_reg * size * (k64 / size).diagonal().mean()
    largest = eigenvalues.amax() + regularizer
    if has_values(k64) and not bool(torch.isfinite(norm) & torch.isfinite(largest)):
        raise ValueError(
            f"{name} has entries beyond {size:.3g}, so that its eigenvalues exceed float64; divide the "
            "kernel by a number"
        )
    _check_semidefinite(name, eigenvalues, regularizer, k.dtype)
    noise = _ROUNDING * torch.finfo(k.dtype).eps * norm
    # A negative eigenvalue that passed is noise as well; there are about as large ones above 0.
    noise = torch.maximum(noise, -2 * eigenvalues.amin())
    if diag_reg == 0:
        eigenvalues = torch.where(eigenvalues > noise, eigenvalues, 0.0)
    else:
        eigenvalues = eigenvalues.clamp(min=0.0) + regularizer
    return Spectrum(eigenvalues, eigenvectors, noise, regularizer, k)


def check_outputs(
    name: str, value: Tensor, k: Tensor, k_name: str = "k_train_train", *, columns: int | None = None
) -> None:
    """Require a row for each training point, and the dtype and device of their kernel ``k``."""
    check_tensor(name, value, ndim=2)
    if value.shape[0] != k.shape[0] or columns not in (None, value.shape[1]):
        raise ValueError(
            f"{name} has shape {tuple(value.shape)}, expected ({k.shape[0]}, {columns or 'K'}): "
            f"a row for each of the {k.shape[0]} training points, a column for each output"
        )
    check_alike(name, value, k_name, k)
    check_finite(name, value)


def check_cross_kernel(name: str, value: Tensor, k: Tensor, k_name: str = "k_train_train") -> None:
    """Require a column for each training point, and the dtype and device of their kernel ``k``."""
    check_tensor(name, value, ndim=2)
    if value.shape[1] != k.shape[0]:
        raise ValueError(
            f"{name} has shape {tuple(value.shape)} but there are {k.shape[0]} training points; "
            f"it must be (M, {k.shape[0]}), test points in the rows"
        )
    check_alike(name, value, k_name, k)
    check_finite(name, value)


def check_test_outputs(name: str, value: Tensor, k_test_train: Tensor, columns: int) -> None:
    """Require a row for each test point and a column for each output."""
    check_tensor(name, value, ndim=2)
    wanted = (k_test_train.shape[0], columns)
    if tuple(value.shape) != wanted:
        raise ValueError(
            f"{name} has shape {tuple(value.shape)}, expected {wanted}: "
            "a row for each row of k_test_train, a column for each output"
        )
    check_alike(name, value, "k_test_train", k_test_train)
    check_finite(name, value)


def check_times(t: float | Tensor) -> tuple[Tensor, list[float]]:
    """Return times as a float64 tensor of shape () or (T,), on the CPU or where they were, and as a list."""
    if isinstance(t, Tensor) and (t.is_complex() or t.ndim > 1 or t.numel() == 0):
        kind = TypeError if t.is_complex() else ValueError
        raise kind(
            "t must be a number or a tensor of shape (T,), real and with at least one entry, got "
            f"{t.dtype} of shape {tuple(t.shape)}"
        )
    if isinstance(t, Sequence) and not isinstance(t, str):
        raise TypeError(f"t must be a number or a tensor of shape (T,), got {t!r}; use torch.tensor(t)")
    times = (
        t.to(torch.float64) if isinstance(t, Tensor) else torch.tensor(as_float("t", t), dtype=torch.float64)
    )
    values: list[float] = times.flatten().tolist()
    for value in values:
        if not value >= 0:
            raise ValueError(f"t must not be negative or NaN, got {value}")
    return times, values


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
