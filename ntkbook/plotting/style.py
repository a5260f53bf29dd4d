"""The look of every figure: colours, sizes, transparent backgrounds."""

from __future__ import annotations

from typing import Any

import matplotlib as mpl
from cycler import cycler

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
    "mathtext.fontset": "dejavusans",  # as heavy as the other letters; Computer Modern is thin in print
}


def use_style() -> None:
    """Set the book's style for every figure that follows.

    Backgrounds are transparent, so that the paper's colour shows, or the screen's, where a dark theme inverts
    the lightness of the ink. In a notebook, figures are rendered at twice the screen's resolution.

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
