"""Kernel matrices: their entries, and their eigenvalues."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ntkbook.plotting.arrays import to_array
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

    Examples
    --------
    >>> import matplotlib.pyplot as plt, torch
    >>> from ntkbook import plotting
    >>> fig, ax = plt.subplots()
    >>> image = plotting.kernel(ax, torch.eye(3))
    >>> plt.close(fig)
    """
    values = matrix.detach().cpu().numpy() if hasattr(matrix, "detach") else np.asarray(matrix)
    limit = float(np.abs(values).max()) if diverging else None
    image = axes.imshow(
        values,
        cmap=DIVERGING if diverging else SEQUENTIAL,
        vmin=None if limit is None else -limit,
        vmax=limit,
        interpolation="nearest",
    )
    axes.figure.colorbar(image, ax=axes, label=label, shrink=0.85)
    return image


def spectrum(axes: Axes, eigenvalues: Any, *, label: str = "", **style: Any) -> Any:
    r"""Plot eigenvalues in descending order against their rank, both on logarithmic axes.

    A power law :math:`\lambda_k \sim k^{-a}` is then a straight line. Eigenvalues that are not positive have
    no logarithm: what rounding has made of a zero is left out, and the legend says how many were.

    Parameters
    ----------
    axes : matplotlib Axes
        Made logarithmic in both directions.
    eigenvalues : array_like, shape (n,) or (R, n)
        In any order. R draws are shown by their geometric mean with a band from the smallest to the largest
        of each rank; ranks at which any draw is not positive are left out.
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
        If no eigenvalue is positive.

    Examples
    --------
    >>> import matplotlib.pyplot as plt, torch
    >>> from ntkbook import plotting
    >>> fig, ax = plt.subplots()
    >>> x = torch.linspace(-1, 1, 20, dtype=torch.float64)
    >>> values = torch.linalg.eigvalsh(torch.exp(-(x[:, None] - x).abs()))
    >>> plotting.spectrum(ax, values, label="Laplace kernel").get_ydata().argmax()
    np.int64(0)
    >>> plt.close(fig)
    """
    values = -np.sort(-np.atleast_2d(to_array("eigenvalues", eigenvalues, ndim=(1, 2))), axis=1)
    positive = (values > 0).all(axis=0)
    if not positive.any():
        raise ValueError(f"no eigenvalue is positive, the largest is {values.max():.3g}")
    left_out = int((~positive).sum())
    note = f"{left_out} not positive" if left_out else ""
    text = f"{label} ({note})" if label and note else label or note
    rank, values = np.arange(1, values.shape[1] + 1)[positive], values[:, positive]
    options: dict[str, Any] = {"marker": "o", "markersize": 3, "linewidth": 1.0} | style
    (line,) = axes.plot(rank, np.exp(np.log(values).mean(axis=0)), label=text or None, **options)
    if len(values) > 1:
        low, high = values.min(axis=0), values.max(axis=0)
        axes.fill_between(rank, low, high, color=line.get_color(), alpha=0.2, linewidth=0)
    axes.set_xscale("log")
    axes.set_yscale("log")
    return line
