r"""The public function: arguments in, an engine chosen, kernels out."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from typing import Literal, NamedTuple, overload

import torch
from torch import Tensor

from ntkbook._validation import (
    check_alike,
    check_choice,
    check_finite,
    check_positive,
    check_square,
    check_tensor,
)
from ntkbook.cntk import reference
from ntkbook.cntk.recursion import Recursion, arora, coincident, ntk_parameterization

# Kernels are of the order of a pixel's square, and their engines divide by it.
_LEAST_PIXEL = 1e-100
_Engine = Callable[..., Iterator[tuple[slice, slice, Tensor]]]


class CNTKPair(NamedTuple):
    """The two kernels of one network, each (N1, N2), or (D, N1, N2) for several depths."""

    ntk: Tensor
    nngp: Tensor


@overload
def cntk(
    x1: Tensor,
    x2: Tensor | None = None,
    *,
    depth: int | Sequence[int],
    readout: str = "gap",
    kernel_size: int = 3,
    dtype: torch.dtype | None = None,
    convention: str = "arora",
    w_std: float = math.sqrt(2.0),
    b_std: float = 0.0,
    trained: str = "all",
    return_nngp: Literal[False] = False,
) -> Tensor: ...
@overload
def cntk(
    x1: Tensor,
    x2: Tensor | None = None,
    *,
    depth: int | Sequence[int],
    readout: str = "gap",
    kernel_size: int = 3,
    dtype: torch.dtype | None = None,
    convention: str = "arora",
    w_std: float = math.sqrt(2.0),
    b_std: float = 0.0,
    trained: str = "all",
    return_nngp: Literal[True],
) -> CNTKPair: ...
def cntk(
    x1: Tensor,
    x2: Tensor | None = None,
    *,
    depth: int | Sequence[int],
    readout: str = "gap",
    kernel_size: int = 3,
    dtype: torch.dtype | None = None,
    convention: str = "arora",
    w_std: float = math.sqrt(2.0),
    b_std: float = 0.0,
    trained: str = "all",
    return_nngp: bool = False,
) -> Tensor | CNTKPair:
    r"""Convolutional neural tangent kernel of ``depth`` stride-1 convolutions with ReLUs, exactly.

    .. math::

        \Theta^{(h)}_{p,p'} = \sum_{a \in \text{patch}} \bigl[ \dot K^{(h)} \odot \Theta^{(h-1)}
            + K^{(h)} \bigr]_{p+a,\, p'+a}, \qquad
        K^{(h)} = \tfrac{c_\sigma}{q^2}\, \mathbb{E}[\phi(z)\phi(z')], \quad
        \dot K^{(h)} = \tfrac{c_\sigma}{q^2}\, \mathbb{E}[\dot\phi(z)\dot\phi(z')],

    with :math:`(z, z')` of covariance :math:`\Sigma^{(h-1)}`, the patch sum of :math:`K^{(h-1)}`, from
    :math:`\Theta^{(0)} = \Sigma^{(0)}` = the patch sum of :math:`x_p \cdot x'_{p'}`. At the last layer no
    patch is summed, and the readout takes the mean over all pairs of positions (``"gap"``) or the trace
    (``"flatten"``).

    Parameters
    ----------
    x1 : Tensor, (N1, C, P, Q)
        Images, real floating point. Zero padding keeps the size at every convolution.
    x2 : Tensor, (N2, C, P, Q), optional
        Images of the same shape, dtype and device; by default ``x1``, at half the cost.
    depth : int or sequence of int
        The number of convolutions L. Several depths come in one pass, at the cost of the deepest.
    readout : {"gap", "flatten"}
        Global average pooling or flattening before the last, dense layer.
    kernel_size : int
        The odd side q of the filters.
    dtype : torch.float32 or torch.float64, optional
        The dtype to work in and of the result. By default the result has the dtype of ``x1``; the work is
        done in it too, or in float32 for shorter ones, or in float64 for ``"flatten"``, which is cheap
        and where rounding has no other positions to average over.
    convention : {"arora", "ntk"}
        ``"arora"``: the formulas above, with :math:`c_\sigma = 2`, no bias, no division by channels or
        positions. ``"ntk"``: the network ``[Conv2d -> ReLU] x L -> GlobalAvgPool2d or Flatten -> Linear`` in
        the NTK parameterization, every layer with ``w_std`` and ``b_std``, weights divided by the root of
        their fan-in (:math:`Cq^2`, then :math:`nq^2`, last :math:`n` or :math:`nPQ`). At ``w_std = 2**0.5``,
        ``b_std = 0`` it is :math:`2/C` (pooling) or :math:`2/(CPQ)` (flattening) times the other; for
        flattening the last factor turns the trace into a mean.
    w_std, b_std : float
        Standard deviations of weights and biases, for ``convention="ntk"`` only.
    trained : {"all", "hidden"}
        ``"hidden"`` holds the first convolution and the last layer fixed: :math:`\Theta` starts from 0
        and the last :math:`K` is left out. The published CNTK-GAP figures use it.
    return_nngp : bool
        Return ``CNTKPair(ntk, nngp)``, the second being the last K under the same readout.

    Returns
    -------
    Tensor, (N1, N2), or (D, N1, N2) for a sequence of D depths; or a :class:`CNTKPair` of two.

    Raises
    ------
    TypeError, ValueError
        For images of the wrong rank, of different channels, sizes, dtypes or devices, or with NaN; pixels,
        ``w_std``, ``b_std`` or kernels out of range; an even ``kernel_size``; a depth below 1; ``w_std`` or
        ``b_std`` with ``convention="arora"``.

    Notes
    -----
    **Engine.** Compiled code by numba on a CPU (as many threads as ``torch.get_num_threads()``, which
    change no bit of the result), Triton 3.3 on CUDA; plain PyTorch where neither is installed, or where a
    gradient is wanted.

    **Cost.** Pairs times displacements times depth: an image pair has :math:`(PQ)^2` pairs of positions for
    pooling and :math:`PQ` for flattening, each visited L times at about 0.5 ns in float32 and 1.7 ns in
    float64 (one 2.6 GHz core with AVX-512). One :math:`32 \times 32` pair at :math:`L = 20` is 11 ms for
    pooling and 14 µs for flattening. *Extrapolated, not run*: all :math:`1.75\cdot10^9` pairs of CIFAR-10
    (50,000 to train and 10,000 to test) would take 220 core-days with pooling and 7 core-hours with
    flattening. Memory beyond inputs and result: under 20 MB.

    **Accuracy.** Relative to the kernel, float64 agrees with the formulas to :math:`10^{-14}` and float32 to
    :math:`10^{-6}` for images that differ. Equal images are recognized and exact. Where two *different*
    images have parallel patches, the correlation is 1 up to rounding, :math:`\epsilon`, and the derivative's
    moment is off by :math:`\sqrt\epsilon` there: up to :math:`10^{-8}` (float64) or :math:`2\cdot10^{-4}`
    (float32) of the affected entries' share. With pooling that share is small, so images :math:`10^{-3}`
    apart still agree to :math:`10^{-6}` in float32; ask for float64 where near-duplicates matter.

    References
    ----------
    S. Arora, S. S. Du, W. Hu, Z. Li, R. Salakhutdinov, R. Wang, *On exact computation with an infinitely wide
    neural net*, 2019, section 4 and appendix G.

    Examples
    --------
    >>> import torch, ntkbook
    >>> pixel = torch.ones(1, 1, 1, 1, dtype=torch.float64)
    >>> k = ntkbook.cntk(pixel, depth=(1, 3))[:, 0, 0]  # a layer: a ninth, one more term
    >>> (k * torch.tensor([9, 9**3])).round(decimals=9)
    tensor([2., 4.], dtype=torch.float64)
    >>> images = torch.rand(3, 3, 8, 8)
    >>> ntkbook.cntk(images, depth=(2, 5), readout="flatten").shape
    torch.Size([2, 3, 3])
    """
    _check_images(x1, x2)
    check_choice("convention", convention, ("arora", "ntk"))
    check_choice("readout", readout, ("gap", "flatten"))
    check_choice("trained", trained, ("all", "hidden"))
    depths = _check_depths(depth)
    _check_kernel_size(kernel_size)
    check_square("w_std", check_positive("w_std", w_std))
    check_square("b_std", check_positive("b_std", b_std, zero_allowed=True))
    distinct = sorted(set(depths))
    channels, positions = x1.shape[1], x1.shape[2] * x1.shape[3]
    if convention == "arora":
        if not math.isclose(w_std, math.sqrt(2.0)) or b_std != 0:
            raise ValueError(
                f"convention='arora' has w_std = sqrt(2) and b_std = 0, got w_std={w_std}, b_std={b_std}; "
                "use convention='ntk'"
            )
        recursion = arora(kernel_size, distinct, readout, positions, trained == "all")
    else:
        layers = [(w_std, b_std)] * max(depths)
        recursion = ntk_parameterization(
            layers, layers[0], kernel_size, distinct, readout, positions, channels, trained == "all"
        )
    nngp, ntk = _kernels(x1, x2, recursion, dtype, ("nngp", "ntk") if return_nngp else ("ntk",))
    for values in (nngp, ntk):
        if not bool(values.isfinite().all()):
            raise ValueError(
                f"the kernel of x1 and x2 exceeds {values.dtype}; divide the images by a number, or pass "
                "dtype=torch.float64"
            )
    select = distinct.index(depths[0]) if isinstance(depth, int) else [distinct.index(d) for d in depths]
    return CNTKPair(ntk[select], nngp[select]) if return_nngp else ntk[select]


def chain_kernels(
    x1: Tensor,
    x2: Tensor | None,
    *,
    convolutions: Sequence[tuple[float, float]],
    dense: tuple[float, float],
    kernel_size: int,
    readout: str,
) -> tuple[Tensor, Tensor]:
    """Return (nngp, ntk), each (N1, N2), of a chain of convolutions and ReLUs in the NTK parameterization.

    The network is ``[Conv2d -> ReLU] x L -> GlobalAvgPool2d ("gap") or Flatten ("flatten") -> Linear``, with
    stride 1 and zero padding that keeps the size.

    Parameters
    ----------
    x1, x2 : Tensor, (N1, C, P, Q) and (N2, C, P, Q)
        Images; ``None`` for the symmetric case. The result has their dtype.
    convolutions : sequence of (float, float)
        (w_std, b_std) of each convolution, the first one first.
    dense : (float, float)
        (w_std, b_std) of the dense layer.
    kernel_size, readout
        As in :func:`cntk`.

    Raises
    ------
    TypeError, ValueError
        As :func:`cntk`.
    """
    _check_images(x1, x2)
    check_choice("readout", readout, ("gap", "flatten"))
    _check_kernel_size(kernel_size)
    if not convolutions:
        raise ValueError("convolutions is empty; give (w_std, b_std) of at least one")
    for name, scales in (*(("convolutions", pair) for pair in convolutions), ("dense", dense)):
        if not isinstance(scales, Sequence) or len(scales) != 2:
            raise TypeError(f"{name} must be given as (w_std, b_std), got {scales!r}")
        for scale in scales:
            check_square(name, check_positive(name, scale, zero_allowed=True))
    positions, depth = x1.shape[2] * x1.shape[3], len(convolutions)
    recursion = ntk_parameterization(
        convolutions, dense, kernel_size, (depth,), readout, positions, x1.shape[1], train_ends=True
    )
    nngp, ntk = _kernels(x1, x2, recursion, None, ("nngp", "ntk"))
    return nngp[0], ntk[0]


def _kernels(
    x1: Tensor, x2: Tensor | None, recursion: Recursion, dtype: torch.dtype | None, wanted: Sequence[str]
) -> tuple[Tensor, Tensor]:
    """Return (nngp, ntk), each (D, N1, N2); one that is not wanted is empty."""
    symmetric = x2 is None or x2 is x1
    result_dtype = x1.dtype if dtype is None else dtype
    work_dtype = _work_dtype(x1, recursion.readout, dtype)
    first = x1.to(work_dtype)
    second = first if symmetric else x2.to(work_dtype)  # type: ignore[union-attr]
    same1, same2 = coincident(first, None if symmetric else second)
    shape = (len(recursion.depths), len(first), len(second))
    results = {
        name: x1.new_empty(shape if name in wanted else 0, dtype=result_dtype) for name in ("nngp", "ntk")
    }
    engine = _engine(first, second)
    for rows, columns, sums in engine(first, second, same1, same2, recursion, symmetric=symmetric):
        for name, block in zip(("nngp", "ntk"), recursion.finish(sums), strict=True):
            if name not in wanted:
                continue
            if symmetric and rows == columns:
                index = torch.arange(block.shape[-1], device=block.device)
                block = torch.where(index[:, None] > index, block.mT, block)
            results[name][:, rows, columns] = block.to(result_dtype)
            if symmetric and rows != columns:
                results[name][:, columns, rows] = block.mT.to(result_dtype)
    return results["nngp"], results["ntk"]


def _engine(first: Tensor, second: Tensor) -> _Engine:
    """Return the fastest engine that can do it: compiled code has no gradient."""
    if torch.is_grad_enabled() and (first.requires_grad or second.requires_grad):
        return reference.block_sums
    if first.device.type == "cpu" and find_spec("numba"):
        from ntkbook.cntk import cpu

        return cpu.block_sums
    if first.device.type == "cuda" and _has_triton():
        from ntkbook.cntk import gpu

        return gpu.block_sums
    return reference.block_sums


def _has_triton() -> bool:
    """Tell whether Triton is installed, and can gather in a block: from 3.3 on, which torch 2.7 brings."""
    if not find_spec("triton"):
        return False
    import triton.language

    return hasattr(triton.language, "gather")


def _work_dtype(x1: Tensor, readout: str, dtype: torch.dtype | None) -> torch.dtype:
    if dtype is not None:
        if dtype not in (torch.float32, torch.float64):
            raise ValueError(
                f"dtype must be torch.float32 or torch.float64, got {dtype}; convert the result instead"
            )
        return dtype
    return torch.float64 if readout == "flatten" or x1.dtype == torch.float64 else torch.float32


def _check_images(x1: Tensor, x2: Tensor | None) -> None:
    check_finite("x1", check_tensor("x1", x1, ndim=4))
    _check_pixels("x1", x1)
    if x2 is None or x2 is x1:
        return
    check_tensor("x2", x2, ndim=4)
    check_alike("x2", x2, "x1", x1)
    check_finite("x2", x2)
    _check_pixels("x2", x2)
    if x1.shape[1:] != x2.shape[1:]:
        raise ValueError(
            f"x1 and x2 must agree in channels, height and width, got shapes {tuple(x1.shape)} and "
            f"{tuple(x2.shape)}; images are (N, C, H, W)"
        )


def _check_pixels(name: str, x: Tensor) -> None:
    """Refuse pixels whose squares and products leave the range of float64."""
    largest = float(x.detach().abs().max())
    if largest != 0 and not _LEAST_PIXEL <= largest <= 1 / _LEAST_PIXEL:
        raise ValueError(
            f"{name} must have its largest pixel between {_LEAST_PIXEL:g} and {1 / _LEAST_PIXEL:g}, or be "
            f"zero, got {largest:.3g}; multiply the images by a number"
        )


def _check_kernel_size(kernel_size: object) -> None:
    whole = kernel_size if isinstance(kernel_size, int) and not isinstance(kernel_size, bool) else 0
    if whole < 1 or whole % 2 == 0:
        raise ValueError(
            f"kernel_size must be an odd positive integer, got {kernel_size!r}; padding needs a centre"
        )


def _check_depths(depth: int | Sequence[int]) -> tuple[int, ...]:
    depths = tuple(depth) if isinstance(depth, Sequence) else (depth,)
    if not depths:
        raise ValueError("depth is empty; give the number of convolutions, or several such numbers")
    for value in depths:
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"depth must be a positive number of convolutions, got {value!r}")
    return depths
