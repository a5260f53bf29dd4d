"""Class labels as regression targets."""

from __future__ import annotations

import torch
from torch import Tensor

from ntkbook._validation import check_count, check_dtype, check_positive


def one_hot(
    labels: Tensor,
    n_classes: int | None = None,
    *,
    centered: bool = False,
    scale: float = 1.0,
    dtype: torch.dtype = torch.float64,
) -> Tensor:
    r"""Turn class labels into targets: ``scale`` for the class, 0 for the others.

    With ``centered=True`` each row is moved so that it sums to zero,

    .. math::
        y_{ik} = s\,\bigl(\mathbb 1[k = c_i] - \tfrac1K\bigr),

    which for ten classes and :math:`s = 1` are the targets 0.9 and -0.1. The largest entry of a row is
    its class either way: ``y.argmax(1)`` gives the labels back.

    Parameters
    ----------
    labels : Tensor, shape (N,)
        Integers from 0 to K - 1, of any integer dtype.
    n_classes : int, optional
        K; without it, the largest label plus one.
    centered : bool
        Make each row sum to zero.
    scale : float
        The distance s between the class's entry and the others.
    dtype : torch.dtype
        Of the result.

    Returns
    -------
    Tensor, shape (N, K)
        On the device of ``labels``.

    Raises
    ------
    TypeError
        If ``labels`` is not a tensor of integers.
    ValueError
        If ``labels`` is not one-dimensional or is empty, or a label does not fit, with its value and
        place; if ``scale`` is not positive.

    Examples
    --------
    >>> import torch
    >>> from ntkbook import data
    >>> data.one_hot(torch.tensor([0, 2]), 3)
    tensor([[1., 0., 0.],
            [0., 0., 1.]], dtype=torch.float64)
    >>> data.one_hot(torch.tensor([0, 1]), 2, centered=True)
    tensor([[ 0.5000, -0.5000],
            [-0.5000,  0.5000]], dtype=torch.float64)
    """
    if not isinstance(labels, Tensor):
        raise TypeError(
            f"labels must be a torch.Tensor, got {type(labels).__name__}; use torch.as_tensor(labels)"
        )
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise TypeError(f"labels must be integers, got {labels.dtype}; use labels.to(torch.int64)")
    if labels.ndim != 1 or len(labels) == 0:
        raise ValueError(f"labels must have shape (N,) with N at least 1, got {tuple(labels.shape)}")
    check_positive("scale", scale)
    check_dtype("dtype", dtype)
    whole = labels.to(torch.int64)
    k = int(whole.max()) + 1 if n_classes is None else check_count("n_classes", n_classes)
    wrong = torch.nonzero((whole < 0) | (whole >= k))
    if len(wrong):
        place = int(wrong[0])
        raise ValueError(
            f"labels must lie between 0 and {k - 1}, got {int(whole[place])} at index {place}; number the "
            "classes from 0, or raise n_classes"
        )
    targets = torch.nn.functional.one_hot(whole, k).to(dtype)
    return scale * (targets - 1 / k) if centered else scale * targets
