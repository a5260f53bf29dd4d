"""Power laws on logarithmic axes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ntkbook.plotting.arrays import check_axes, to_array
from ntkbook.verify.statistical import Fit, fit_exponent

if TYPE_CHECKING:
    from matplotlib.axes import Axes


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
        What :func:`ntkbook.verify.fit_exponent` found.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from ntkbook import plotting
    >>> fig, ax = plt.subplots()
    >>> round(plotting.rate(ax, [1.0, 2, 4, 8], [1.0, 4, 16, 64]).exponent, 9)
    2.0
    >>> plt.close(fig)
    """
    check_axes(axes)
    fit = fit_exponent(x, y)
    x = to_array("x", x)
    logs = np.log(to_array("y", y)).reshape(len(x), -1)
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
