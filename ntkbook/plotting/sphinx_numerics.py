"""Sphinx extension: ``{numerics-map}`` and ``{numerics-table}``, the measured errors of all kernels.

Both read ``numerics.json`` beside the pages, which ``benchmarks/numerics.py`` writes.
"""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docutils import nodes
from docutils.parsers.rst import directives
from docutils.statemachine import StringList
from sphinx.util.docutils import SphinxDirective

from ntkbook._validation import check_choice

if TYPE_CHECKING:
    from sphinx.application import Sphinx

FILE_NAME = "numerics.json"
PICTURE = "numerics-map.png"
KERNELS = {"nngp": 0, "ntk": 1, "ratio": 2}
PRECISIONS = {"float64": "double precision", "float32": "single precision"}
_MEASURES = {
    "nngp": "the error of the NNGP kernel",
    "ntk": "the error of the tangent kernel",
    "ratio": "the error in units of what rounding may do, for the worse kernel",
}
_DISTANCES = [f"1e-{k:02d}" for k in range(3, 9)]
_DEPTHS = {10: (3, 10), 100: (30, 100)}

# Columns of the tables, and the regimes of which each shows the worst.
COLUMNS: dict[str, tuple[str, ...]] = {
    "generic": ("generic",),
    "equal": ("coincident",),
    **{f"1e−{d[-1]}": (f"{d} apart",) for d in _DISTANCES},
    "opposite": ("antipodal", "1e-04 from antipodal", "1e-08 from antipodal"),
    "zero": ("zero",),
    "norm 1e−6": ("norm 1e-6",),
    "norm 1e6": ("norm 1e6", "norm 1e6, 1e-4 apart"),
    **{
        f"depth ≤ {most}": tuple(f"depth {d}, {kind}" for d in depths for kind in ("generic", "coincident"))
        for most, depths in _DEPTHS.items()
    },
    **{
        f"depth ≤ {most}, 1e−4": tuple(f"depth {d}, 1e-04 apart" for d in depths)
        for most, depths in _DEPTHS.items()
    },
}


def number(value: float, *, is_ratio: bool = False) -> str:
    """Return an error as the tables print it, with one digit; a ratio without an exponent up to four digits.

    Examples
    --------
    >>> number(2.6e-13), number(0.0), number(0.31)
    ('3e−13', '0', '3e−1')
    >>> number(91.2, is_ratio=True), number(3_141_592.0, is_ratio=True)
    ('91', '3e6')
    """
    if is_ratio and value < 1e4:
        return f"{value:.0f}"
    if value == 0:
        return "0"
    mantissa, exponent = f"{value:.0e}".split("e")
    return f"{mantissa}e{int(exponent)}".replace("-", "−")


def title(report: dict[str, Any], name: str) -> str:
    """Return a row's name: the engine's, or the module's without the names of its arguments.

    Examples
    --------
    >>> title({"modules": {"ab_relu": "ABReLU(a=-0.5, b=2.0)", "relu": "ReLU()"}}, "ab_relu")
    'ABReLU(-0.5, 2.0)'
    """
    module: str = report["modules"].get(name, name)
    short = re.sub(r"\b(?!fn=)\w+=", "", module).removesuffix("()")
    return re.sub(r"\d+\.\d{3,}", lambda m: f"{float(m[0]):.3g}", short)


def shade(value: float, precision: str) -> str:
    """Return the class of a cell: how much of the precision's digits are lost, in quarters.

    Examples
    --------
    >>> shade(1e-16, "float64"), shade(1e-8, "float64"), shade(0.5, "float32")
    ('ntk-loss-0', 'ntk-loss-2', 'ntk-loss-4')
    """
    digits = 16.0 if precision == "float64" else 7.2
    kept = digits if value == 0 else min(max(-math.log10(value), 0.0), digits)
    return f"ntk-loss-{min(4, round(4 * (1 - kept / digits)))}"


def worst(row: dict[str, Any], regimes: tuple[str, ...], kernel: str) -> float | str | None:
    """Return the largest number of some regimes: "refused" if none came, None if none was asked for."""
    cells = [row[name] for name in regimes if name in row]
    values = [cell[KERNELS[kernel]] for cell in cells if cell is not None]
    return max(values) if values else ("refused" if cells else None)


class NumericsTable(SphinxDirective):
    """``{numerics-table} activations float64 ntk``: errors of one kernel in one precision, with a title."""

    required_arguments = 3

    def run(self) -> list[nodes.Node]:
        """Build the table."""
        part, precision, kernel = self.arguments
        check_choice("part", part, ("activations", "engines"))
        check_choice("precision", precision, tuple(PRECISIONS))
        check_choice("kernel", kernel, tuple(KERNELS))
        report = load(self)
        head = nodes.row("", *(_cell(text) for text in ("", *COLUMNS)))
        body = [
            nodes.row("", _cell(title(report, name)), *_cells(rows[precision], precision, kernel))
            for name, rows in report[part].items()
        ]
        group = nodes.tgroup("", cols=len(COLUMNS) + 1)
        group += [nodes.colspec("", colwidth=width) for width in (4, *[1] * len(COLUMNS))]
        group += [nodes.thead("", head), nodes.tbody("", *body)]
        table = nodes.table("", group, classes=["ntk-errors"])
        heading = nodes.strong(text=f"{part.capitalize()}, {PRECISIONS[precision]}: {_MEASURES[kernel]}")
        above = nodes.paragraph("", "", _tex(r"\normalsize"), heading, _tex(r"\scriptsize"))
        return [nodes.container("", above, table, classes=["ntk-wide"])]


def _tex(text: str) -> nodes.raw:
    return nodes.raw("", f"{text} ", format="latex")


def _cell(text: str, *classes: str) -> nodes.entry:
    return nodes.entry("", nodes.paragraph("", text), classes=list(classes))


def _cells(row: dict[str, Any], precision: str, kernel: str) -> list[nodes.entry]:
    found = []
    for regimes in COLUMNS.values():
        value = worst(row, regimes, kernel)
        if isinstance(value, float | int):
            text = number(value, is_ratio=kernel == "ratio")
            # A ratio is shaded by its own digits: 1 is the best, and 1e8 all that a double can lose.
            shaded = (
                shade(max(value, 1.0) * 2.0**-53, "float64") if kernel == "ratio" else shade(value, precision)
            )
            found.append(_cell(text, shaded))
        else:
            found.append(_cell(value or "–"))
    return found


class NumericsMap(SphinxDirective):
    """``{numerics-map}``: a picture of all errors; options and caption are those of a figure."""

    has_content = True
    option_spec = {"name": directives.unchanged_required, "alt": directives.unchanged_required}  # noqa: RUF012

    def run(self) -> list[nodes.Node]:
        """Draw it beside the pages, and insert a figure."""
        report = load(self)
        draw(report, Path(self.env.srcdir) / PICTURE)
        lines = [f"```{{figure}} {PICTURE}", *(f":{key}: {value}" for key, value in self.options.items())]
        box = nodes.container()
        self.state.nested_parse(
            StringList([*lines, "", *self.content, "```"], FILE_NAME), self.content_offset, box
        )
        found: list[nodes.Node] = box.children
        return found


def load(directive: SphinxDirective) -> dict[str, Any]:
    """Read the measurements, and have the page made again when they change."""
    path = Path(directive.env.srcdir) / FILE_NAME
    directive.env.note_dependency(str(path))
    report: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return report


def draw(report: dict[str, Any], path: Path) -> None:
    """Draw the errors in double precision, and their ratios to what rounding may do, side by side."""
    import matplotlib as mpl
    import numpy as np
    from matplotlib.figure import Figure

    from ntkbook.plotting.style import use_style

    rows = {**report["activations"], **report["engines"]}
    grids = np.full((2, len(rows), len(COLUMNS)), np.nan)
    for i, row in enumerate(rows.values()):
        for j, regimes in enumerate(COLUMNS.values()):
            cells = (worst(row["float64"], regimes, kernel) for kernel in KERNELS)
            numbers = [cell for cell in cells if isinstance(cell, float | int)]
            if len(numbers) == len(KERNELS):
                nngp, ntk, ratio = numbers
                grids[:, i, j] = max(nngp, ntk, 1e-17), max(ratio, 1.0)
    with mpl.rc_context():
        use_style()
        # As wide as a printed page: what is drawn wider gets letters that are too small.
        figure = Figure(figsize=(6.4, 0.13 * len(rows) + 2.1))
        axes = figure.subplots(1, 2, sharey=True)
        headings = "error, log10", "error / rounding, log10"
        for axis, grid, heading, limits in zip(axes, grids, headings, ((-16, 0), (0, 8)), strict=True):
            image = axis.imshow(np.log10(grid), aspect="auto", vmin=limits[0], vmax=limits[1])
            axis.set_title(heading)
            axis.set_xticks(range(len(COLUMNS)), list(COLUMNS), rotation=90, fontsize=7.5)
            axis.axhline(len(report["activations"]) - 0.5, color="black", linewidth=0.8)
            figure.colorbar(image, ax=axis, location="bottom", shrink=0.9, aspect=30)
        axes[0].set_yticks(range(len(rows)), [title(report, n) for n in rows], fontsize=7.5)
        figure.savefig(path)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the extension with Sphinx."""
    app.add_directive("numerics-table", NumericsTable)
    app.add_directive("numerics-map", NumericsMap)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
