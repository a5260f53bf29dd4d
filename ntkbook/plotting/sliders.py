"""Charts with sliders that a page can carry: precomputed curves, a still picture where scripts do not run."""

from __future__ import annotations

import html
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray

from ntkbook._validation import check_choice
from ntkbook.plotting.arrays import check_ascending, to_array
from ntkbook.plotting.embedding import base64_text, check_alt, data_uri, script_data
from ntkbook.plotting.style import COLORS

# What one chart may add to a page, its still picture included.
_MOST_BYTES = 250_000

_STYLES = {"line": "-", "dashed": "--", "dots": "o"}


@dataclass(frozen=True)
class Explorer:
    """Curves that depend on sliders; the value of a notebook cell shows them.

    Attributes
    ----------
    content : dict
        What the page's script reads: the curves for every position of the sliders, and the axes.
    still : bytes
        A PNG image of the curves where the sliders start, or at the chosen positions side by side.
    alt : str
        What there is to see.
    width : int
        Of the still picture, in pixels of the screen.
    """

    content: dict[str, Any]
    still: bytes
    alt: str
    width: int

    def to_html(self) -> str:
        """Return the data and the still picture as HTML; the book's pages turn them into a chart."""
        return (
            f'<div class="ntk-explorer"><img src="{data_uri(self.still, "png")}" '
            f'alt="{html.escape(self.alt)}" style="width: {self.width}px">'
            f'<script type="application/json">{script_data(self.content)}</script></div>'
        )

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        # Pages take the first, a printed book the second.
        return {"text/html": self.to_html(), "image/png": base64_text(self.still)}


def explorer(
    x: Any,
    curves: Mapping[str, Any],
    sliders: Mapping[str, Sequence[float | str]],
    *,
    alt: str,
    start: Mapping[str, float | str] | None = None,
    stills: Sequence[Mapping[str, float | str]] | None = None,
    styles: Mapping[str, str] | None = None,
    xlabel: str = "",
    ylabel: str = "",
    xscale: str = "linear",
    yscale: str = "linear",
    xlim: tuple[float, float] | None = None,
    ylim: tuple[float, float] | None = None,
) -> Explorer:
    """Return a chart whose curves a reader moves with sliders.

    Everything is computed beforehand, so the chart works without a network and without Python: by mouse, by
    touch, by keyboard and with a screen reader. Where scripts do not run, in print, and on Colab, the curves
    of the sliders' first position stand as a picture, or those of up to three positions side by side: what a
    text says about moving the sliders can then be seen on paper, too.

    In a chapter the call is the value of its cell, which has the metadata of any other figure:
    ``mystnb.figure`` with caption and name, and ``mystnb.image.alt`` for the picture in print.

    Parameters
    ----------
    x : array_like, shape (M,)
        Ascending.
    curves : mapping of str to array_like
        From the name in the legend to values, shape (S1, ..., Sn, M) with one axis per slider in order, or
        (M,) for a curve that stands still. Where dots have no value they hold NaN.
    sliders : mapping of str to sequence
        From the name beside the slider to the values it runs through, 1 to 3 sliders of 2 to 40 values. Names
        are plain text; letters such as η need no TeX.
    alt : str
        What there is to see and what the sliders do to it, for those who cannot see it.
    start : mapping of str to value, optional
        Where sliders stand at first, by default at their first value.
    stills : sequence of mappings, optional
        The 1 to 3 positions that the picture shows. Sliders that a position leaves out stand as in ``start``.
    styles : mapping of str to {"line", "dashed", "dots"}, optional
        How curves are drawn, by default as lines.
    xlabel, ylabel : str
        Plain text.
    xscale, yscale : {"linear", "log"}
    xlim, ylim : (float, float), optional
        By default what all curves at all positions need, so that the axes stand still.

    Returns
    -------
    Explorer

    Raises
    ------
    ValueError
        If a shape, a name or a limit does not fit, a value is not finite or not positive on a logarithmic
        axis, or the chart exceeds 250 kB; the message says how to make it smaller.

    Notes
    -----
    Values are kept with four digits. A hundred points of one curve take about 0.7 kB for each position of the
    sliders.

    Examples
    --------
    >>> import numpy as np
    >>> from ntkbook import plotting
    >>> t, rates = np.linspace(0, 5, 50), [0.5, 1.0, 2.0]
    >>> chart = plotting.explorer(
    ...     t, {"loss": np.exp(-2 * np.outer(rates, t))}, {"rate λ": rates},
    ...     xlabel="time t", ylabel="loss",
    ...     alt="The loss falls exponentially in time; the slider sets the rate.")
    >>> chart.content["sliders"]
    [{'name': 'rate λ', 'values': ['0.5', '1.0', '2.0'], 'start': 0}]
    """
    place = to_array("x", x, ndim=1)
    check_ascending("x", place)
    check_alt(alt, "what the sliders do")
    for argument, mapping in (("curves", curves), ("sliders", sliders)):
        if not isinstance(mapping, Mapping):
            raise TypeError(
                f"{argument} must be a mapping, got {type(mapping).__name__}; pass {{name: values}}"
            )
    controls = _sliders(sliders, start or {})
    shown = _positions(stills, sliders, start or {})
    shape = tuple(len(one["values"]) for one in controls)
    if not curves:
        raise ValueError("curves is empty: pass {name: values}")
    for name in styles or {}:
        if name not in curves:
            raise ValueError(f"styles names {name!r}, which is not among the curves {list(curves)}")
    drawn = {name: check_choice("style", (styles or {}).get(name, "line"), tuple(_STYLES)) for name in curves}
    values = {
        name: _values(name, given, shape, len(place), gaps=drawn[name] == "dots")
        for name, given in curves.items()
    }
    axes = {
        "x": _axis("x", xlabel, xscale, xlim, place, margin=0.0),
        "y": _axis(
            "y", ylabel, yscale, ylim, np.concatenate([v.ravel() for v in values.values()]), margin=0.04
        ),
    }
    colors = dict(zip(values, cycle(COLORS), strict=False))
    content = {
        "x": _short(place),
        "curves": [
            {
                "name": name,
                "color": colors[name],
                "style": drawn[name],
                "values": [_short(row) for row in rows],
            }
            for name, rows in values.items()
        ],
        "sliders": controls,
        "axes": axes,
        "alt": alt,
    }
    still, width = _still(place, values, shown, axes, drawn, colors)
    made = Explorer(content, still, alt, width)
    size = len(made.to_html().encode())
    if size > _MOST_BYTES:
        raise ValueError(
            f"the chart takes {size / 1000:.0f} kB of the page, more than {_MOST_BYTES / 1000:.0f}: take "
            f"fewer than {len(place)} points, fewer positions than {' x '.join(map(str, shape))}, or fewer "
            "curves"
        )
    return made


def _sliders(
    sliders: Mapping[str, Sequence[float | str]], start: Mapping[str, float | str], argument: str = "start"
) -> list[dict[str, Any]]:
    if not 1 <= len(sliders) <= 3:
        raise ValueError(f"sliders must name 1 to 3 sliders, got {len(sliders)}")
    for name in start:
        if name not in sliders:
            raise ValueError(f"{argument} names {name!r}, which is not among the sliders {list(sliders)}")
    found = []
    for name, given in sliders.items():
        choices = list(given)
        if not 2 <= len(choices) <= 40:
            raise ValueError(f"the slider {name!r} must have 2 to 40 values, got {len(choices)}")
        first = start.get(name, choices[0])
        if first not in choices:
            raise ValueError(f"{argument}[{name!r}] is {first!r}, not one of the slider's values {choices}")
        found.append({"name": name, "values": [str(v) for v in choices], "start": choices.index(first)})
    return found


def _positions(
    stills: Sequence[Mapping[str, float | str]] | None,
    sliders: Mapping[str, Sequence[float | str]],
    start: Mapping[str, float | str],
) -> list[list[dict[str, Any]]]:
    """Return the sliders at each position that the picture shows."""
    if stills is None:
        return [_sliders(sliders, start)]
    if not isinstance(stills, list | tuple) or not all(isinstance(one, Mapping) for one in stills):
        raise TypeError(f"stills must be a list of mappings, got {stills!r}; pass [{{slider: value}}, ...]")
    if not 1 <= len(stills) <= 3:
        raise ValueError(f"stills must hold 1 to 3 positions of the sliders, got {len(stills)}")
    return [_sliders(sliders, {**start, **one}, f"stills[{k}]") for k, one in enumerate(stills)]


def _values(name: str, given: Any, shape: tuple[int, ...], length: int, *, gaps: bool) -> NDArray[np.float64]:
    """Return the curve as (positions, M), one row if it stands still."""
    array = to_array(f"curves[{name!r}]", given, gaps=gaps)
    if array.shape not in ((length,), (*shape, length)):
        raise ValueError(
            f"curves[{name!r}] has shape {array.shape}; with these sliders and x it must be "
            f"{(*shape, length)}, or {(length,)} for a curve that stands still"
        )
    return array.reshape(-1, length)


def _axis(
    which: str,
    label: str,
    scale: str,
    limits: tuple[float, float] | None,
    values: NDArray[np.float64],
    margin: float,
) -> dict[str, Any]:
    log = check_choice(f"{which}scale", scale, ("linear", "log")) == "log"
    if limits is not None and not (isinstance(limits, Sequence) and len(limits) == 2):
        raise ValueError(f"{which}lim must be two finite numbers in ascending order, got {limits}")
    least = float(np.nanmin(values))
    low, high = (least, float(np.nanmax(values))) if limits is None else limits
    if log and min(low, least) <= 0:
        raise ValueError(f"{which}scale='log' needs positive numbers, the least is {min(low, least):.3g}")
    if not (np.isfinite(low) and np.isfinite(high)) or (limits is not None and low >= high):
        raise ValueError(f"{which}lim must be two finite numbers in ascending order, got {limits}")
    if limits is None:
        if log:
            low, high = np.log(low), np.log(high)
        room = margin * (high - low) or (0.0 if high > low else 0.5)
        low, high = low - room, high + room
        if log:
            low, high = np.exp(low), np.exp(high)
    return {"label": label, "log": log, "limits": _short(np.array([low, high]))}


def _short(values: NDArray[np.float64]) -> list[float | None]:
    """Round to four digits; whole numbers stay short, and JSON has no NaN."""
    rounded = [None if np.isnan(v) else float(f"{v:.4g}") for v in values]
    return [int(v) if v is not None and v.is_integer() and abs(v) < 1e6 else v for v in rounded]


def _still(
    x: NDArray[np.float64],
    values: Mapping[str, NDArray[np.float64]],
    positions: Sequence[Sequence[Mapping[str, Any]]],
    axes: Mapping[str, Any],
    styles: Mapping[str, str],
    colors: Mapping[str, str],
) -> tuple[bytes, int]:
    """Draw the chart at positions of the sliders; return a PNG image and its width on the screen."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    alone = len(positions) == 1
    fig = Figure(figsize=(6.6, 3.6) if alone else (7.2, 3.4), layout="constrained")
    FigureCanvasAgg(fig)
    panels = fig.subplots(1, len(positions), sharey=True, squeeze=False)[0]
    for ax, sliders in zip(panels, positions, strict=True):
        at = int(np.ravel_multi_index([s["start"] for s in sliders], [len(s["values"]) for s in sliders]))
        for name, rows in values.items():
            row = rows[at if len(rows) > 1 else 0]
            ax.plot(x, row, _STYLES[styles[name]], color=colors[name], label=_typeset(name))
        ax.set(
            xscale="log" if axes["x"]["log"] else "linear",
            yscale="log" if axes["y"]["log"] else "linear",
            xlim=axes["x"]["limits"],
            ylim=axes["y"]["limits"],
            title=(", " if alone else "\n").join(
                f"{_typeset(one['name'])} = {one['values'][one['start']]}" for one in sliders
            ),
        )
        if not alone:  # else titles and the numbers at the ends of the axes meet those of the next panel
            ax.title.set_fontsize(8.5)
            if not axes["x"]["log"]:
                ax.locator_params(axis="x", nbins=4)
    panels[0].set_ylabel(_typeset(axes["y"]["label"]))
    fig.supxlabel(_typeset(axes["x"]["label"]), fontsize=panels[0].xaxis.label.get_fontsize())
    if alone:
        panels[0].legend()
    else:  # above the panels, where it hides no curve of any of them
        fig.legend(*panels[0].get_legend_handles_labels(), loc="outside upper left", ncols=4)
    stream = io.BytesIO()
    dpi = float(mpl.rcParams["figure.dpi"])
    fig.savefig(stream, format="png", dpi=1.5 * dpi)
    return stream.getvalue(), round(fig.get_figwidth() * dpi)


def _typeset(text: str) -> str:
    """Lower and raise what stands behind ``_`` and ``^`` in plain text: σ_w, (n/64)^p."""
    return re.sub(r"(?<![^\W_]{2})([_^])(\w+)", r"$\1{\\mathrm{\2}}$", text)
