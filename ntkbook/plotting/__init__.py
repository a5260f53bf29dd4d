"""One visual style for the book, and the plots that more than one chapter draws."""

from ntkbook.plotting.curves import posterior, trajectories
from ntkbook.plotting.matrices import kernel, spectrum
from ntkbook.plotting.player import Animation, animation
from ntkbook.plotting.rates import rate
from ntkbook.plotting.sliders import Explorer, explorer
from ntkbook.plotting.style import COLORS, DIVERGING, SEQUENTIAL, use_style

__all__ = [
    "COLORS",
    "DIVERGING",
    "SEQUENTIAL",
    "Animation",
    "Explorer",
    "animation",
    "explorer",
    "kernel",
    "posterior",
    "rate",
    "spectrum",
    "trajectories",
    "use_style",
]
