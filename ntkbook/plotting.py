"""One visual style for the book, and the plots that more than one chapter draws."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from cycler import cycler

from ntkbook.verify.statistical import Fit, fit_exponent

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's palette, ordered so that neighbours also differ in lightness. It is told apart with
# every common form of colour blindness, and stays so when the dark theme inverts lightness.
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#b8860b", "#5f5f5f")

# For values that grow from 0, and for values of both signs. Both are readable in greyscale.
SEQUENTIAL = "viridis"
DIVERGING = "RdBu_r"

_STYLE: Any = {
    "figure.figsize": (7.2, 3.8),
    "figure.dpi": 110,
    "savefig.dpi": 200,
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
    "axes.facecolor": "none",
    "figure.constrained_layout.use": True,
    "axes.prop_cycle": cycler(color=COLORS),
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.labelsize": 10.5,
    "axes.grid": False,
    "font.size": 10.5,
    "legend.frameon": False,
    "legend.fontsize": 9.5,
    "lines.linewidth": 1.8,
    "lines.markersize": 5,
    "image.cmap": SEQUENTIAL,
    "mathtext.fontset": "cm",
}


def use_style() -> None:
    """Set the book's style for every figure that follows.

    Backgrounds are transparent: the page's own colour shows, and its dark theme inverts the
    lightness of the ink. In a notebook, figures are rendered at twice the screen's resolution.

    Examples
    --------
    >>> from ntkbook import plotting
    >>> plotting.use_style()
    """
    mpl.rcParams.update(_STYLE)
    from IPython import get_ipython

    shell = get_ipython()
    if shell is not None and hasattr(shell, "kernel"):
        from matplotlib_inline.backend_inline import set_matplotlib_formats

        # Without this the inline backend crops to an opaque white page.
        set_matplotlib_formats("retina", facecolor="none")


def rate(axes: Axes, x: Any, y: Any, label: str = "", **style: Any) -> Fit:
    r"""Plot a power law on logarithmic axes with its fitted exponent and interval in the legend.

    Parameters
    ----------
    axes : matplotlib Axes
        Made logarithmic in both directions.
    x : array_like, shape (n,)
    y : array_like, shape (n,) or (n, R)
        R independent draws are shown by their geometric mean with bars of one standard deviation.
    label : str
        Comes before the exponent in the legend.
    **style
        Passed to ``axes.errorbar``, for instance ``color`` or ``marker``.

    Returns
    -------
    Fit
        What `ntkbook.verify.fit_exponent` found.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from ntkbook import plotting
    >>> fig, ax = plt.subplots()
    >>> round(plotting.rate(ax, [1.0, 2, 4, 8], [1.0, 4, 16, 64]).exponent, 9)
    2.0
    >>> plt.close(fig)
    """
    fit = fit_exponent(x, y)
    x = np.asarray(x, dtype=float)
    logs = np.log(np.asarray(y, dtype=float)).reshape(len(x), -1)
    mean = np.exp(logs.mean(axis=1))
    bars = None
    if logs.shape[1] > 1:
        spread = np.exp(logs.std(axis=1, ddof=1))
        bars = np.stack([mean - mean / spread, mean * spread - mean])
    options: dict[str, Any] = {"marker": "o", "linestyle": "none", "capsize": 2} | style
    text = f"{label} exponent {fit.exponent:.2f} ± {fit.half_width:.2f}".strip()
    drawn = axes.errorbar(x, mean, yerr=bars, label=text, **options)
    line = np.exp(fit.intercept) * x**fit.exponent
    axes.plot(x, line, color=drawn[0].get_color(), linewidth=1.0)
    axes.set_xscale("log")
    axes.set_yscale("log")
    return fit


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
