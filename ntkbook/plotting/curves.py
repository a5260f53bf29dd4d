"""Curves with bands: training runs beside their prediction, and Gaussian processes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ntkbook._validation import check_choice, check_positive, check_seed
from ntkbook.plotting.arrays import check_ascending, check_axes, check_length, to_array

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Variances below 0 by less than this, relative to the largest, are rounding.
_ROUNDING = 1e-6


def trajectories(
    axes: Axes,
    times: Any,
    values: Any,
    *,
    prediction: Any = None,
    spread: Any = None,
    band: float = 2.0,
    of: str = "networks",
    label: str = "",
    prediction_label: str = "",
    **style: Any,
) -> Any:
    r"""Plot an ensemble's mean and band over time, and the predicted mean and band on top of them.

    Parameters
    ----------
    axes : matplotlib Axes
    times : array_like, shape (T,)
        In ascending order.
    values : array_like, shape (S, T)
        One number of each of S networks, for instance ``run.outputs_test[:, :, i, 0]``: a line at the mean,
        a filled band around it.
    prediction : array_like, shape (T,), optional
        The predicted mean, drawn as a dashed line.
    spread : array_like, shape (T,), optional
        The predicted standard deviation; dotted lines mark the edges of the band that it predicts.
    band : float
        The bands' half width, in standard deviations.
    of : {"networks", "mean"}
        Whether standard deviations are those of a network, or of the mean of S networks: the first band
        shows how networks differ, the second how well their mean is known.
    label, prediction_label : str
        For the legend.
    **style
        Passed to ``axes.plot`` for all lines, for instance ``color``.

    Returns
    -------
    matplotlib.lines.Line2D
        The line of the mean.

    Raises
    ------
    ValueError
        If shapes do not fit, there is one network where a band is asked for, a predicted standard deviation
        is negative or comes without a prediction, or an entry is not finite.

    Examples
    --------
    >>> import matplotlib.pyplot as plt, torch
    >>> from ntkbook import plotting
    >>> fig, ax = plt.subplots()
    >>> t = torch.linspace(0, 3, 50)
    >>> runs = (1 + 0.1 * torch.randn(20, 1)) * torch.exp(-t)
    >>> theory = torch.exp(-t)
    >>> line = plotting.trajectories(
    ...     ax, t, runs, prediction=theory, spread=0.1 * theory)
    >>> len(ax.lines), len(ax.collections)
    (4, 1)
    >>> plt.close(fig)
    """
    check_axes(axes)
    check_choice("of", of, ("networks", "mean"))
    check_positive("band", band)
    t, runs = to_array("times", times, ndim=1), to_array("values", values, ndim=2)
    check_ascending("times", t)
    check_length("values", runs, 1, "times", len(t))
    if len(runs) < 2:
        raise ValueError(
            f"values has shape {runs.shape}: a band needs 2 networks or more; draw one with axes.plot"
        )
    if spread is not None and prediction is None:
        raise ValueError("spread is the predicted standard deviation: pass the prediction too")
    scale = band / np.sqrt(len(runs)) if of == "mean" else band
    mean, reach = runs.mean(axis=0), scale * runs.std(axis=0, ddof=1)
    (line,) = axes.plot(t, mean, label=label or None, **style)
    color = line.get_color()
    axes.fill_between(t, mean - reach, mean + reach, color=color, alpha=0.25, linewidth=0)
    if prediction is not None:
        center = to_array("prediction", prediction, ndim=1)
        check_length("prediction", center, 0, "times", len(t))
        # Dark on its own colour: the two lines are meant to lie on top of each other.
        options = style | {"color": "0.15", "linestyle": (0, (4, 3)), "linewidth": 1.2}
        axes.plot(t, center, label=prediction_label or None, **options)
        if spread is not None:
            deviation = to_array("spread", spread, ndim=1)
            check_length("spread", deviation, 0, "times", len(t))
            if (deviation < 0).any():
                raise ValueError(
                    f"spread is a standard deviation, but its least entry is {deviation.min():.3g}"
                )
            for edge in (center - scale * deviation, center + scale * deviation):
                axes.plot(t, edge, **(options | {"linestyle": ":", "linewidth": 1.0}))
    return line


def posterior(
    axes: Axes,
    x: Any,
    mean: Any,
    covariance: Any,
    *,
    data: tuple[Any, Any] | None = None,
    samples: Any = 0,
    band: float = 2.0,
    seed: int = 0,
    label: str = "",
    **style: Any,
) -> Any:
    r"""Plot a Gaussian process of one input: its mean, a band, sample functions and the data.

    Parameters
    ----------
    axes : matplotlib Axes
    x : array_like, shape (M,) or (M, 1)
        Inputs, in any order.
    mean : array_like, shape (M,) or (M, 1)
    covariance : array_like, shape (M, M) or (M,)
        Between the points, or the variances alone.
    data : (array_like, array_like), optional
        Inputs and targets that were conditioned on, (N,) or (N, 1) each, drawn as dots.
    samples : int or array_like, shape (S, M)
        How many functions to draw from the process; or functions to show, for instance trained networks.
    band : float
        The band's half width, in standard deviations.
    seed : int
        Of the draws. The global random state is not touched.
    label : str
        For the legend.
    **style
        Passed to ``axes.plot``, for instance ``color``.

    Returns
    -------
    matplotlib.lines.Line2D
        The line of the mean.

    Raises
    ------
    ValueError
        If shapes do not fit, an entry is not finite, a variance is negative by more than rounding, or
        samples are asked for without a covariance.

    Examples
    --------
    >>> import matplotlib.pyplot as plt, torch
    >>> from ntkbook import plotting
    >>> fig, ax = plt.subplots()
    >>> x = torch.linspace(-2, 2, 50)
    >>> prior = torch.exp(-((x[:, None] - x) ** 2))
    >>> line = plotting.posterior(ax, x, torch.zeros(50), prior, samples=3)
    >>> plt.close(fig)
    """
    check_axes(axes)
    check_positive("band", band)
    check_seed("seed", seed)
    if data is not None and not (isinstance(data, tuple | list) and len(data) == 2):
        got = getattr(data, "shape", type(data).__name__)
        raise ValueError(f"data must be a pair of inputs and targets, got {got}; pass (inputs, targets)")
    place = _column("x", x)
    center, spread = _column("mean", mean), to_array("covariance", covariance, ndim=(1, 2))
    check_length("mean", center, 0, "x", len(place))
    for axis in range(spread.ndim):
        check_length("covariance", spread, axis, "x", len(place))
    variance = spread if spread.ndim == 1 else spread.diagonal()
    if variance.min() < -_ROUNDING * np.abs(variance).max():
        raise ValueError(f"covariance holds a negative variance, {variance.min():.3g}; is it a covariance?")
    order = np.argsort(place, kind="stable")
    reach = band * np.sqrt(variance.clip(min=0))
    (line,) = axes.plot(place[order], center[order], label=label or None, **style)
    color = line.get_color()
    low, high = center - reach, center + reach
    axes.fill_between(place[order], low[order], high[order], color=color, alpha=0.2, linewidth=0)
    for one in _functions(samples, center, spread, seed):
        axes.plot(place[order], one[order], color=color, linewidth=0.8, alpha=0.7)
    if data is not None:
        inputs, targets = _column("data[0]", data[0]), _column("data[1]", data[1])
        check_length("data[1]", targets, 0, "data[0]", len(inputs))
        axes.plot(inputs, targets, "o", color="0.15", markersize=5, zorder=3)
    return line


def _column(name: str, value: Any) -> NDArray[np.float64]:
    array = to_array(name, value, ndim=(1, 2))
    if array.ndim == 2 and array.shape[1] != 1:
        raise ValueError(f"{name} must have shape (M,) or (M, 1), got {array.shape}")
    return array.reshape(-1)


def _functions(
    samples: Any, mean: NDArray[np.float64], covariance: NDArray[np.float64], seed: int
) -> NDArray[np.float64]:
    """Return the functions to draw, (S, M)."""
    if isinstance(samples, bool):
        raise TypeError(f"samples must be a number of functions, or functions (S, M), got {samples}")
    if not isinstance(samples, int | np.integer):
        given = to_array("samples", samples, ndim=2)
        check_length("samples", given, 1, "x", len(mean))
        return given
    if samples < 0:
        raise ValueError(f"samples must be a number of functions, or functions (S, M), got {samples}")
    if samples and covariance.ndim == 1:
        raise ValueError("samples need the whole covariance (M, M), got the variances alone")
    if not samples:
        return np.empty((0, len(mean)))
    # A posterior covariance is singular at the data, where Cholesky fails.
    eigenvalues, eigenvectors = np.linalg.eigh((covariance + covariance.T) / 2)
    if eigenvalues[0] < -_ROUNDING * eigenvalues[-1]:
        raise ValueError(
            f"covariance is not positive semi-definite: it has the eigenvalue {eigenvalues[0]:.3g}"
        )
    draws = np.random.default_rng(seed).standard_normal((int(samples), len(mean)))
    functions: NDArray[np.float64] = mean + draws * np.sqrt(eigenvalues.clip(min=0)) @ eigenvectors.T
    return functions
