"""How the kernel moves during training: drift, alignment with the target, spectrum."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from tqdm import tqdm

from ntkbook._validation import check_count, check_finite, check_tensor
from ntkbook.empirical.kernel import Method, empirical_ntk


@dataclass(frozen=True)
class NTKHistory:
    r"""The kernel at T moments of training; :math:`\hat\Theta_t` is the mean over outputs, (N, N).

    Attributes
    ----------
    steps : Tensor
        (T,), steps taken before each record.
    drift : Tensor
        (T,), :math:`\lVert \hat\Theta_t - \hat\Theta_0 \rVert_F / \lVert \hat\Theta_0 \rVert_F`.
    alignment : Tensor or None
        (T,), the cosine :math:`\langle \hat\Theta_t, y y^\top \rangle_F /
        (\lVert \hat\Theta_t \rVert_F \lVert y y^\top \rVert_F)`; None without targets.
    eigenvalues : Tensor
        (T, n), the largest n, in descending order.
    first, last : Tensor
        (N, N), the kernels before the first and after the last step.
    """

    steps: Tensor
    drift: Tensor
    alignment: Tensor | None
    eigenvalues: Tensor
    first: Tensor
    last: Tensor


def track_ntk(
    net: nn.Module,
    x: Tensor,
    y: Tensor | None = None,
    *,
    train_step: Callable[[int], object],
    n_steps: int,
    every: int = 1,
    n_eigenvalues: int = 10,
    method: Method = "auto",
    progress: bool = False,
) -> NTKHistory:
    r"""Train a module and record its tangent kernel on the way.

    Parameters
    ----------
    net : torch.nn.Module
        The network. For each record it is put into eval mode, and each of its layers back into its own mode
        after.
    x : Tensor
        The points (N, ...) at which the kernel is taken.
    y : Tensor, optional
        Their targets (N,) or (N, K), for the alignment.
    train_step : callable
        ``train_step(step)`` takes one step of training, numbered from 0; what it returns is ignored.
    n_steps : int
        How many steps to take.
    every : int
        Record before the first step, then after each ``every`` steps, and after the last.
    n_eigenvalues : int
        How many eigenvalues to keep; all N if there are fewer.
    method : {"auto", "jacobian", "vector_product", "structured"}
        As in :func:`ntkbook.empirical_ntk`.
    progress : bool
        Show a progress bar.

    Returns
    -------
    NTKHistory
        Drift, alignment and spectrum at each record.

    Raises
    ------
    TypeError, ValueError
        As :func:`ntkbook.empirical_ntk`; also if a count is not at least 1, or ``y`` does not have N rows.

    Notes
    -----
    The alignment is that of Cristianini, Shawe-Taylor, Elisseeff and Kandola, "On Kernel-Target Alignment",
    NeurIPS 14 (2002), definition 1, without centring.

    Examples
    --------
    >>> import torch, ntkbook
    >>> _ = torch.manual_seed(0)
    >>> net = torch.nn.Sequential(
    ...     torch.nn.Linear(2, 16), torch.nn.Tanh(), torch.nn.Linear(16, 1))
    >>> x, y = torch.randn(8, 2), torch.randn(8, 1)
    >>> optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    >>> def train_step(step):
    ...     optimizer.zero_grad()
    ...     (0.5 * (net(x) - y) ** 2).mean().backward()
    ...     optimizer.step()
    >>> history = ntkbook.track_ntk(
    ...     net, x, y, train_step=train_step, n_steps=20, every=10)
    >>> history.steps.tolist(), history.eigenvalues.shape, float(history.drift[0])
    ([0, 10, 20], torch.Size([3, 8]), 0.0)
    """
    for name, count in (("n_steps", n_steps), ("every", every), ("n_eigenvalues", n_eigenvalues)):
        check_count(name, count)
    if not isinstance(net, nn.Module):
        raise TypeError(f"net must be a torch.nn.Module, got {type(net).__name__}")
    if not callable(train_step):
        raise TypeError(
            f"train_step must be a function of the step's number, got {type(train_step).__name__}"
        )
    first = last = _kernel_in_eval_mode(net, x, method)
    target = None if y is None else _target(x, y)
    scale = torch.linalg.matrix_norm(first)
    rows: list[tuple[int, Tensor, Tensor | None, Tensor]] = []

    def record(step: int, kernel: Tensor) -> None:
        drift = torch.linalg.matrix_norm(kernel - first) / scale
        alignment = None if target is None else (kernel * target).sum() / torch.linalg.matrix_norm(kernel)
        rows.append((step, drift, alignment, torch.linalg.eigvalsh(kernel).flip(0)[:n_eigenvalues]))

    record(0, first)
    for step in tqdm(range(n_steps), desc="training", unit="step", disable=not progress):
        train_step(step)
        if (step + 1) % every == 0 or step + 1 == n_steps:
            last = _kernel_in_eval_mode(net, x, method)
            record(step + 1, last)
    alignments = [a for _, _, a, _ in rows if a is not None]
    return NTKHistory(
        steps=torch.tensor([step for step, _, _, _ in rows]),
        drift=torch.stack([drift for _, drift, _, _ in rows]),
        alignment=torch.stack(alignments) if alignments else None,
        eigenvalues=torch.stack([values for _, _, _, values in rows]),
        first=first,
        last=last,
    )


def _target(x: Tensor, y: Tensor) -> Tensor:
    """Return y y^T of unit norm."""
    check_tensor("y", y, ndim=(1, 2))
    if len(y) != len(x):
        raise ValueError(f"y has {len(y)} rows but x has {len(x)} samples; pass one target for each sample")
    rows = check_finite("y", y).reshape(len(y), -1)
    gram = rows @ rows.T
    norm = torch.linalg.matrix_norm(gram)
    if not bool(norm > 0):
        raise ValueError("y is zero everywhere, so an alignment with it is not defined; leave y out")
    target: Tensor = gram / norm
    return target


def _kernel_in_eval_mode(net: nn.Module, x: Tensor, method: Method) -> Tensor:
    modes = [(module, module.training) for module in net.modules()]
    net.eval()
    try:
        kernel: Tensor = empirical_ntk(net, x, outputs="mean", method=method)
        return kernel
    finally:
        for module, training in modes:
            module.training = training
