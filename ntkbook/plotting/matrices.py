"""Kernel matrices: their entries, and their eigenvalues."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ntkbook.plotting.arrays import check_axes, to_array
from ntkbook.plotting.style import DIVERGING, SEQUENTIAL

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def kernel(axes: Axes, matrix: Any, *, diverging: bool = False, label: str = "") -> Any:
    """Draw a kernel matrix as a heat map with square entries and a color bar.

    Parameters
    ----------
    axes : matplotlib Axes
    matrix : array_like, shape (N1, N2)
        A tensor or array of kernel values.
    diverging : bool
        Center the colors at 0, for matrices of both signs.
    label : str
        Of the color bar.

    Returns
    -------
    matplotlib.image.AxesImage

    Raises
    ------
    TypeError, ValueError
        If it is no matrix of finite real numbers.

    Examples
    --------
    >>> import matplotlib.pyplot as plt, torch
    >>> from ntkbook import plotting
    >>> fig, ax = plt.subplots()
    >>> image = plotting.kernel(ax, torch.eye(3))
    >>> plt.close(fig)
    """
    check_axes(axes)
    values = to_array("matrix", matrix, ndim=2)
    limit = float(np.abs(values).max()) if diverging else None
    image = axes.imshow(
        values,
        cmap=DIVERGING if diverging else SEQUENTIAL,
        vmin=None if limit is None else -limit,
        vmax=limit,
        interpolation="nearest",
    )
    # A color bar beside the axes would keep the height that they had before their entries became square.
    axes.figure.colorbar(image, cax=axes.inset_axes((1.03, 0.0, 0.05, 1.0)), label=label)
    return image


def _precision(values: Any) -> float:
    """Return the relative distance of neighbouring numbers in the precision of an array, tensor or list."""
    dtype = str(getattr(values, "dtype", "float64")).removeprefix("torch.")
    return float(np.finfo(dtype if dtype in ("float16", "float32") else "float64").eps)


def spectrum(axes: Axes, eigenvalues: Any, *, label: str = "", **style: Any) -> Any:
    r"""Plot eigenvalues in descending order against their rank, both on logarithmic axes.

    A power law :math:`\lambda_k \sim k^{-a}` is then a straight line. Eigenvalues that rounding cannot tell
    from 0, below :math:`n \varepsilon \lambda_1` in the precision of the input, are left out, and the legend
    says how many.

    Parameters
    ----------
    axes : matplotlib Axes
        Made logarithmic in both directions.
    eigenvalues : array_like, shape (n,) or (R, n)
        In any order. R draws are shown by their geometric mean with a band from the smallest to the largest
        of each rank, down to the rank where the first draw is lost in rounding.
    label : str
        For the legend.
    **style
        Passed to ``axes.plot``, for instance ``color`` or ``marker``.

    Returns
    -------
    matplotlib.lines.Line2D

    Raises
    ------
    ValueError
        If no eigenvalue of a draw is positive, or one is not finite.

    Examples
    --------
    >>> import matplotlib.pyplot as plt, torch
    >>> from ntkbook import plotting
    >>> fig, ax = plt.subplots()
    >>> x = torch.linspace(-1, 1, 20, dtype=torch.float64)
    >>> values = torch.linalg.eigvalsh(torch.exp(-(x[:, None] - x).abs()))
    >>> line = plotting.spectrum(ax, values, label="Laplace kernel")
    >>> line.get_ydata().argmax().item()
    0
    >>> plt.close(fig)
    """
    check_axes(axes)
    values = -np.sort(-np.atleast_2d(to_array("eigenvalues", eigenvalues, ndim=(1, 2))), axis=1)
    n = values.shape[1]
    if values[:, 0].min() <= 0:
        raise ValueError(
            "eigenvalues must have a positive one in each draw, but the largest of one is "
            f"{values[:, 0].min():.3g}; a logarithmic axis shows no others"
        )
    known = (values > n * _precision(eigenvalues) * values[:, :1].clip(min=0)).all(axis=0)
    lost = int((~known).sum())
    text = f"{label} ({lost} of {n} lost in rounding)".strip() if lost else label
    rank, values = np.arange(1, n + 1)[known], values[:, known]
    options: dict[str, Any] = {"marker": "o", "markersize": 3, "linewidth": 1.0} | style
    (line,) = axes.plot(rank, np.exp(np.log(values).mean(axis=0)), label=text or None, **options)
    if len(values) > 1:
        low, high = values.min(axis=0), values.max(axis=0)
        axes.fill_between(rank, low, high, color=line.get_color(), alpha=0.2, linewidth=0)
    axes.set_xscale("log")
    axes.set_yscale("log")
    return line
