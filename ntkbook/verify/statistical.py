"""Compare with randomness or asymptotics in between: fitted exponents and Monte Carlo means."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from ntkbook._validation import check_number
from ntkbook.verify.numeric import as_array

# A statistical check that is true may fail by chance; this is how often, over all its entries.
FALSE_ALARM = 1e-6


@dataclass(frozen=True)
class Fit:
    """A fitted exponent ``p`` in ``y = c * x**p``.

    Attributes
    ----------
    exponent : float
        Least-squares slope of log y against log x.
    half_width : float
        Half the width of its confidence interval.
    intercept : float
        log c.
    confidence : float
        Of the interval.
    """

    exponent: float
    half_width: float
    intercept: float
    confidence: float


def fit_exponent(x: Any, y: Any, confidence: float | None = None) -> Fit:
    r"""Fit :math:`y = c\,x^p` on logarithms, with a confidence interval for p.

    Parameters
    ----------
    x : array_like, shape (n,)
        Positive, at least 4 of them.
    y : array_like, shape (n,) or (n, R)
        Positive. With R columns each is an independent draw: the interval is Student's over the R
        slopes. A single curve has no draws; its interval, from the scatter about the line, says how
        straight the curve is.
    confidence : float, optional
        By default 1 - 1e-6 with draws and 0.95 for one curve.

    Raises
    ------
    TypeError, ValueError
        If there are fewer than 4 points, 2 to 4 draws, values that are not positive and finite, or points
        that are all the same.

    Examples
    --------
    >>> fit = fit_exponent([1.0, 2.0, 4.0, 8.0], [3.0, 12.0, 48.0, 192.0])
    >>> round(fit.exponent, 12)
    2.0
    """
    x, y = as_array("x", x), as_array("y", y)
    if x.ndim != 1 or len(x) < 4:
        raise ValueError(f"x must be one axis of at least 4 points, got shape {x.shape}")
    if y.ndim not in (1, 2) or len(y) != len(x):
        raise ValueError(f"y must have shape ({len(x)},) or ({len(x)}, draws), got {y.shape}")
    if (x <= 0).any() or (y <= 0).any():
        least = min(float(x.min()), float(y.min()))
        raise ValueError(
            f"x and y must be positive, but their least is {least:.3g}: an exponent is fitted on logarithms"
        )
    if np.ptp(x) == 0:
        raise ValueError(f"x must not be constant, but all are {x[0]:.3g}; take different points")
    if confidence is not None and not 0 < check_number("confidence", confidence) < 1:
        raise ValueError(f"confidence must lie between 0 and 1, got {confidence}")
    log_x = np.log(x) - np.log(x).mean()
    log_y = np.log(y).reshape(len(x), -1)  # (n, R)
    slopes = log_x @ log_y / (log_x @ log_x)  # (R,)
    intercept = float(log_y.mean() - slopes.mean() * np.log(x).mean())
    draws = y.shape[1] if y.ndim == 2 else 1
    if draws == 1:
        scatter = log_y[:, 0] - log_y[:, 0].mean() - slopes[0] * log_x
        error = np.sqrt(scatter @ scatter / (len(x) - 2) / (log_x @ log_x))
        level, freedom = confidence or 0.95, len(x) - 2
    else:
        if draws < 5:
            raise ValueError(f"y has {draws} draws; an interval over draws needs at least 5")
        error = slopes.std(ddof=1) / np.sqrt(draws)
        level, freedom = confidence or 1 - FALSE_ALARM, draws - 1
    half = float(stats.t.isf((1 - level) / 2, freedom) * error)
    return Fit(float(slopes.mean()), half, intercept, level)


@dataclass(frozen=True)
class Estimate:
    """A Monte Carlo mean with its standard error.

    Attributes
    ----------
    mean, standard_error : NDArray
        Of one shape.
    n_samples : int
        The number of independent draws.
    threshold : float
        How many standard errors the largest of all entries exceeds once in a million runs.
    """

    mean: NDArray[np.float64]
    standard_error: NDArray[np.float64]
    n_samples: int
    threshold: float

    def distance(self, value: Any) -> float:
        """Return the largest |mean - value| in standard errors."""
        return self.in_errors(self.mean - self._like_mean("value", value))

    def separation(self, first: Any, second: Any) -> float:
        """Return the largest distance of two values in standard errors: the power to tell them apart."""
        return self.in_errors(self._like_mean("first", first) - self._like_mean("second", second))

    def _like_mean(self, name: str, value: Any) -> NDArray[Any]:
        """Return a value of the mean's shape; nothing is broadcast."""
        array = as_array(name, value)
        if array.shape != self.mean.shape:
            raise ValueError(f"{name} must have the shape {self.mean.shape} of the mean, got {array.shape}")
        return array

    def in_errors(self, difference: Any) -> float:
        """Return the largest |difference| over the entries, in standard errors."""
        difference = as_array("difference", difference)
        if difference.shape not in ((), self.mean.shape):
            raise ValueError(
                f"difference must be a number or have the shape {self.mean.shape} of the mean, got "
                f"{difference.shape}"
            )
        # An entry that does not vary between draws still carries rounding errors.
        floor = 1e-13 * max(float(np.abs(self.mean).max()), 1e-300)
        return float((np.abs(difference) / np.maximum(self.standard_error, floor)).max())


def estimate_mean(samples: Any) -> Estimate:
    """Return the mean over the first axis of independent draws, shape (S, ...), S >= 30.

    Raises
    ------
    TypeError, ValueError
        If there are fewer than 30 draws, or values that are not finite numbers.
    """
    samples = as_array("samples", samples)
    if samples.ndim == 0 or len(samples) < 30:
        raise ValueError(f"samples needs at least 30 draws along its first axis, got shape {samples.shape}")
    n = len(samples)
    error = samples.std(axis=0, ddof=1) / np.sqrt(n)
    # Bonferroni over the entries: the chance that any of them strays this far is FALSE_ALARM.
    threshold = float(stats.t.isf(FALSE_ALARM / 2 / max(error.size, 1), n - 1))
    return Estimate(samples.mean(axis=0), error, n, threshold)
