"""What plots, animations and charts refuse."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from refusal import NAN, Refusal

from ntkbook import plotting

mpl.use("Agg")
T, RUNS = np.linspace(0, 1, 5), np.arange(15.0).reshape(3, 5)
COVARIANCE = np.eye(5)
ALT = "A curve that falls, and a slider that sets its rate."


def with_axes(draw: Callable[[Axes], object]) -> object:
    """Call with fresh axes, and close their figure whatever happens."""
    fig, axes = plt.subplots()
    try:
        return draw(axes)
    finally:
        plt.close(fig)


def trajectories(*, times: Any = T, values: Any = RUNS, **options: Any) -> object:
    return with_axes(lambda axes: plotting.trajectories(axes, times, values, **options))


def posterior(*, x: Any = T, mean: Any = T, covariance: Any = COVARIANCE, **options: Any) -> object:
    return with_axes(lambda axes: plotting.posterior(axes, x, mean, covariance, **options))


def explorer(**changes: Any) -> object:
    good: dict[str, Any] = {
        "x": T,
        "curves": {"loss": np.exp(-np.outer([1, 2], T))},
        "sliders": {"rate": [1, 2]},
        "alt": ALT,
    }
    arguments = good | changes
    return plotting.explorer(
        arguments.pop("x"), arguments.pop("curves"), arguments.pop("sliders"), **arguments
    )


def animation(**changes: Any) -> object:
    fig, _ = plt.subplots()
    good: dict[str, Any] = {"fig": fig, "update": lambda k: None, "n_frames": 2, "alt": ALT}
    arguments = good | changes
    try:
        return plotting.animation(
            arguments.pop("fig"), arguments.pop("update"), arguments.pop("n_frames"), **arguments
        )
    finally:
        plt.close(fig)


def on_axes(draw: Callable[..., object], *arguments: Any, **options: Any) -> object:
    return with_axes(lambda axes: draw(axes, *arguments, **options))


ROWS: list[tuple[str, str, Callable[[], object], type[Exception], str, str]] = [
    ("trajectories", "axes", lambda: plotting.trajectories(plt, T, RUNS), TypeError, "module", "fig, ax = "),
    ("trajectories", "times", lambda: trajectories(times=RUNS), ValueError, "(3, 5)", "1 axes"),
    ("trajectories", "times", lambda: trajectories(times=["now"] * 5), TypeError, "<U3", "numbers"),
    (
        "trajectories",
        "times",
        lambda: trajectories(times=T[::-1]),
        ValueError,
        "1 is followed by 0.75",
        "sort it",
    ),
    ("trajectories", "values", lambda: trajectories(values=T), ValueError, "(5,)", "2 axes"),
    (
        "trajectories",
        "values",
        lambda: trajectories(values=RUNS[:1]),
        ValueError,
        "(1, 5)",
        "2 networks or more",
    ),
    ("trajectories", "values", lambda: trajectories(values=RUNS[:, :1]), ValueError, "(3, 1)", "as long"),
    (
        "trajectories",
        "values",
        lambda: trajectories(values=RUNS * NAN),
        ValueError,
        "15 entries",
        "leave them out",
    ),
    ("trajectories", "prediction", lambda: trajectories(prediction=T[:1]), ValueError, "(1,)", "as long"),
    (
        "trajectories",
        "spread",
        lambda: trajectories(spread=T),
        ValueError,
        "prediction",
        "pass the prediction",
    ),
    ("trajectories", "spread", lambda: trajectories(prediction=T, spread=-T), ValueError, "-1", "a standard"),
    ("trajectories", "band", lambda: trajectories(band=0), ValueError, "got 0", "finite and positive"),
    ("trajectories", "of", lambda: trajectories(of="median"), ValueError, "'median'", "'networks', 'mean'"),
    (
        "posterior",
        "axes",
        lambda: plotting.posterior(None, T, T, COVARIANCE),
        TypeError,
        "NoneType",
        "fig, ax",
    ),
    ("posterior", "x", lambda: posterior(x=RUNS), ValueError, "(3, 5)", "(M,) or (M, 1)"),
    ("posterior", "mean", lambda: posterior(mean=T[:1]), ValueError, "(1,)", "as long"),
    (
        "posterior",
        "covariance",
        lambda: posterior(covariance=COVARIANCE[:4]),
        ValueError,
        "(4, 5)",
        "as long",
    ),
    ("posterior", "covariance", lambda: posterior(covariance=-T), ValueError, "-1", "a covariance"),
    (
        "posterior",
        "covariance",
        lambda: posterior(covariance=1 - 2 * np.eye(5), samples=1),
        ValueError,
        "-1",
        "a cov",
    ),
    ("posterior", "data", lambda: posterior(data=(T, T[:1])), ValueError, "(1,)", "as long"),
    ("posterior", "data", lambda: posterior(data=T), ValueError, "(5,)", "(inputs, targets)"),
    ("posterior", "samples", lambda: posterior(samples=-1), ValueError, "got -1", "or functions (S, M)"),
    ("posterior", "samples", lambda: posterior(samples=RUNS[:, :2]), ValueError, "(3, 2)", "as long"),
    ("posterior", "samples", lambda: posterior(samples=2, covariance=T), ValueError, "variances", "(M, M)"),
    ("posterior", "samples", lambda: posterior(samples=True), TypeError, "True", "a number of functions"),
    ("posterior", "band", lambda: posterior(band=-1.0), ValueError, "got -1.0", "finite and positive"),
    ("posterior", "seed", lambda: posterior(samples=1, seed=-1), ValueError, "got -1", "at least 0"),
    ("kernel", "axes", lambda: plotting.kernel(plt, COVARIANCE), TypeError, "module", "fig, ax"),
    ("kernel", "matrix", lambda: on_axes(plotting.kernel, T), ValueError, "(5,)", "2 axes"),
    (
        "kernel",
        "matrix",
        lambda: on_axes(plotting.kernel, COVARIANCE * NAN),
        ValueError,
        "25 entries",
        "leave",
    ),
    (
        "kernel",
        "matrix",
        lambda: on_axes(plotting.kernel, COVARIANCE[:0]),
        ValueError,
        "(0, 5)",
        "at least one",
    ),
    (
        "kernel",
        "matrix",
        lambda: on_axes(plotting.kernel, COVARIANCE + 1j),
        TypeError,
        "complex",
        "real numbers",
    ),
    ("spectrum", "axes", lambda: plotting.spectrum(3, T), TypeError, "int", "fig, ax"),
    ("spectrum", "eigenvalues", lambda: on_axes(plotting.spectrum, -T), ValueError, "-0", "a positive one"),
    (
        "spectrum",
        "eigenvalues",
        lambda: on_axes(plotting.spectrum, RUNS[None]),
        ValueError,
        "(1, 3, 5)",
        "1 or 2",
    ),
    (
        "spectrum",
        "eigenvalues",
        lambda: on_axes(plotting.spectrum, [[1.0], [-1.0]]),
        ValueError,
        "-1",
        "draw",
    ),
    ("rate", "axes", lambda: plotting.rate(None, T, T), TypeError, "NoneType", "fig, ax"),
    ("rate", "x", lambda: on_axes(plotting.rate, T, T + 1), ValueError, "is 0", "positive"),
    ("rate", "x", lambda: on_axes(plotting.rate, T[1:3], T[1:3]), ValueError, "(2,)", "at least 4"),
    (
        "rate",
        "y",
        lambda: on_axes(plotting.rate, T + 1, T[:1] + 1),
        ValueError,
        "(1,)",
        "must have shape (5,)",
    ),
    (
        "rate",
        "y",
        lambda: on_axes(plotting.rate, T + 1, (T + 1).astype("f")),
        TypeError,
        "float32",
        ".double()",
    ),
    ("explorer", "x", lambda: explorer(x=T[::-1]), ValueError, "1 is followed by 0.75", "sort it"),
    ("explorer", "x", lambda: explorer(x=T[:1]), ValueError, "(1,)", "2 or more"),
    ("explorer", "curves", lambda: explorer(curves={}), ValueError, "empty", "{name: values}"),
    ("explorer", "curves", lambda: explorer(curves=RUNS), TypeError, "ndarray", "{name: values}"),
    ("explorer", "curves", lambda: explorer(curves={"loss": RUNS}), ValueError, "(3, 5)", "(2, 5)"),
    (
        "explorer",
        "curves",
        lambda: explorer(curves={"loss": T * NAN}),
        ValueError,
        "5 entries",
        "leave them out",
    ),
    ("explorer", "sliders", lambda: explorer(sliders={}), ValueError, "got 0", "1 to 3"),
    ("explorer", "sliders", lambda: explorer(sliders=[1, 2]), TypeError, "list", "{name: values}"),
    ("explorer", "sliders:rate", lambda: explorer(sliders={"rate": [1]}), ValueError, "got 1", "2 to 40"),
    ("explorer", "alt", lambda: explorer(alt="curve"), ValueError, "'curve'", "must describe"),
    ("explorer", "alt", lambda: explorer(alt=None), TypeError, "None", "must describe"),
    ("explorer", "start", lambda: explorer(start={"rate": 9}), ValueError, "9", "one of the slider's values"),
    ("explorer", "start", lambda: explorer(start={"speed": 1}), ValueError, "'speed'", "['rate']"),
    (
        "explorer",
        "stills",
        lambda: explorer(stills={"rate": 2}),
        TypeError,
        "{'rate': 2}",
        "[{slider: value}",
    ),
    ("explorer", "stills", lambda: explorer(stills=[]), ValueError, "got 0", "1 to 3 positions"),
    (
        "explorer",
        "stills",
        lambda: explorer(stills=[{"rate": 9}]),
        ValueError,
        "9",
        "one of the slider's values",
    ),
    ("explorer", "styles", lambda: explorer(styles={"gain": "line"}), ValueError, "'gain'", "['loss']"),
    (
        "explorer",
        "styles:style",
        lambda: explorer(styles={"loss": "wavy"}),
        ValueError,
        "'wavy'",
        "'dashed', 'dots'",
    ),
    ("explorer", "xscale", lambda: explorer(xscale="sqrt"), ValueError, "'sqrt'", "'linear', 'log'"),
    ("explorer", "xscale", lambda: explorer(xscale="log"), ValueError, "least is 0", "positive numbers"),
    ("explorer", "yscale", lambda: explorer(yscale="sqrt"), ValueError, "'sqrt'", "'linear', 'log'"),
    ("explorer", "xlim", lambda: explorer(xlim=(1.0, 0.0)), ValueError, "(1.0, 0.0)", "ascending order"),
    ("explorer", "ylim", lambda: explorer(ylim=(0.0, NAN)), ValueError, "nan", "two finite numbers"),
    ("explorer", "ylim", lambda: explorer(ylim=1.0), ValueError, "1.0", "two finite numbers"),
    ("animation", "fig", lambda: animation(fig=plt), TypeError, "module", "plt.subplots()"),
    ("animation", "update", lambda: animation(update=None), TypeError, "NoneType", "a function"),
    ("animation", "n_frames", lambda: animation(n_frames=1), ValueError, "got 1", "at least 2"),
    ("animation", "n_frames", lambda: animation(n_frames=2.0), TypeError, "got 2.0", "a whole number"),
    ("animation", "alt", lambda: animation(alt="moves"), ValueError, "'moves'", "must describe"),
    ("animation", "labels", lambda: animation(labels=["one"]), ValueError, "1 entries", "2 frames"),
    ("animation", "stills", lambda: animation(stills=[5]), ValueError, "[5]", "from 0 to 1"),
    ("animation", "stills", lambda: animation(stills=[0.5]), ValueError, "[0.5]", "from 0 to 1"),
    ("animation", "pause", lambda: animation(pause=0), ValueError, "got 0", "finite and positive"),
    ("animation", "pause", lambda: animation(pause="slow"), TypeError, "'slow'", "pass a float"),
    ("animation", "dpi", lambda: animation(dpi=-1), ValueError, "got -1", "finite and positive"),
]

REFUSALS = [Refusal(f"plotting.{of}", *row) for of, *row in ROWS]
