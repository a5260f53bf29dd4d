"""Moving pictures that a page can carry: a small player where scripts run, a still picture where not."""

from __future__ import annotations

import hashlib
import html
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray

from ntkbook._validation import check_count, check_positive
from ntkbook.plotting.embedding import base64_text, check_alt, data_uri, script_data

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# What one animation may add to a page, as it stands in it. A picture of a page has some 50 kB.
_MOST_BYTES = 1_500_000

# The card that the theme puts behind HTML in the dark is taken away; the image is inverted like any other.
_STYLE = """
.bd-content div.cell_output .text_html:has(> .ntk-animation) {
  background: none !important; color: inherit !important; padding: 0 !important;
}
.ntk-animation { max-width: 100%; }
.ntk-animation img { display: block; max-width: 100%; height: auto; margin: 0 auto; }
.ntk-animation-bar:not([hidden]) {
  display: flex; align-items: center; gap: .6rem; max-width: 34rem; margin: .3rem auto; font-size: .85rem;
}
.ntk-animation-bar button {
  flex: none; min-width: 4.2rem; padding: .2rem .6rem; font: inherit; color: inherit;
  background: none; border: 1px solid currentColor; border-radius: .25rem; cursor: pointer;
}
.ntk-animation-bar input { flex: 1 1 auto; min-width: 0; accent-color: currentColor; }
.ntk-animation-bar span { flex: none; font-variant-numeric: tabular-nums; }
"""

# The bar appears only where this runs. Nothing moves before the reader asks for it.
_SCRIPT = """
(() => {
  const root = document.getElementById("%s");
  const data = root.querySelector("script[type='application/json']");
  const { frames, labels, pause } = JSON.parse(data.textContent);
  const image = root.querySelector("img"), bar = root.querySelector(".ntk-animation-bar");
  const [button, slider, text] = bar.children;
  let timer = null;
  const show = (k) => {
    image.src = frames[k];
    slider.value = k;
    slider.setAttribute("aria-valuetext", labels[k]);
    text.textContent = labels[k];
  };
  const stop = () => { clearInterval(timer); timer = null; button.textContent = "Play"; };
  const next = () => {
    const k = Number(slider.value) + 1;
    if (k < frames.length) show(k);
    if (k >= frames.length - 1) stop();
  };
  button.addEventListener("click", () => {
    if (timer) { stop(); return; }
    if (Number(slider.value) === frames.length - 1) show(0);
    timer = setInterval(next, pause);
    button.textContent = "Pause";
  });
  slider.addEventListener("input", () => { stop(); show(Number(slider.value)); });
  bar.hidden = false;
  show(0);
})();
"""


@dataclass(frozen=True)
class Animation:
    """Pictures in a row; the value of a notebook cell shows them.

    Attributes
    ----------
    frames : tuple of bytes
        WebP images, without loss.
    labels : tuple of str
        One for each frame.
    still : bytes
        A PNG image of some of the frames: wide ones below one another, others side by side.
    alt : str
        What there is to see.
    width : int
        In pixels of the screen.
    pause : int
        Milliseconds from one frame to the next.
    """

    frames: tuple[bytes, ...]
    labels: tuple[str, ...]
    still: bytes
    alt: str
    width: int
    pause: int

    def to_html(self) -> str:
        """Return the player as HTML that depends on nothing else."""
        name = "ntk-animation-" + hashlib.sha256(b"".join(self.frames)).hexdigest()[:12]
        content = {
            "frames": [data_uri(frame, "webp") for frame in self.frames],
            "labels": self.labels,
            "pause": self.pause,
        }
        data = script_data(content)
        still = data_uri(self.still, "png")
        return (
            f'<div class="ntk-animation" id="{name}"><style>{_STYLE}</style>'
            f'<img src="{still}" alt="{html.escape(self.alt)}" style="width: {self.width}px">'
            '<div class="ntk-animation-bar" hidden><button type="button">Play</button>'
            f'<input type="range" min="0" max="{len(self.frames) - 1}" value="0" aria-label="Frame">'
            f'<span aria-hidden="true"></span></div><script type="application/json">{data}</script>'
            f"<script>{_SCRIPT % name}</script></div>"
        )

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        # Pages take the first, a printed book the second.
        return {"text/html": self.to_html(), "image/png": base64_text(self.still)}


def animation(
    fig: Figure,
    update: Callable[[int], object],
    n_frames: int,
    *,
    alt: str,
    labels: Sequence[str] | None = None,
    stills: Sequence[int] | None = None,
    pause: float = 0.15,
    dpi: float = 100,
) -> Animation:
    """Draw a figure again and again, and return what shows it as an animation.

    The page gets a player with a button, a slider and a label, which works without a network, by keyboard
    and with a screen reader; nothing moves before the reader asks. Where scripts do not run, in print, and
    in the preview of a reference, some frames stand one below the other; side by side if their height is
    more than three quarters of their width, since a page would not hold a column of them. The dark theme
    inverts the frames as it does with every figure.

    In a chapter, one cell makes the figure, defines ``update`` and ends in the call. It has the same metadata
    as the cell of another figure: ``mystnb.figure`` with caption and name, and ``mystnb.image.alt``, which
    describes the still picture in print as ``alt`` describes the moving one.

    Parameters
    ----------
    fig : matplotlib Figure
        With everything that stands still; the layout is that of the first frame. It is closed.
    update : callable
        ``update(k)`` changes the figure into its frame k; setting the data of what is drawn is faster than
        drawing it anew. What it returns is ignored.
    n_frames : int
        How many frames, from 2 to 40.
    alt : str
        What there is to see and how it moves, for those who cannot see it.
    labels : sequence of str, optional
        One for each frame, for instance ``[f"step {s}" for s in steps]``; by default the frame's number.
    stills : sequence of int, optional
        The frames of the still picture; by default the first, one in the middle and the last.
    pause : float
        Seconds from one frame to the next.
    dpi : float
        Resolution of the frames. Text is legible from 80 on.

    Returns
    -------
    Animation

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit, or the player exceeds 1.5 MB; the message says how to make it smaller.

    Notes
    -----
    A frame takes some 0.1 s to draw, and 5 to 25 kB: lines and few squares compress well, noise does not.

    Examples
    --------
    >>> import matplotlib.pyplot as plt, numpy as np
    >>> from ntkbook import plotting
    >>> fig, ax = plt.subplots()
    >>> x = np.linspace(0, 6, 100)
    >>> (line,) = ax.plot(x, np.sin(x))
    >>> moving = plotting.animation(
    ...     fig, lambda k: line.set_ydata(np.sin(x + k / 2)), 5,
    ...     alt="A sine wave that moves to the left.")
    >>> len(moving.frames), moving.labels[-1]
    (5, '5 of 5')
    """
    from matplotlib import pyplot as plt
    from matplotlib.figure import Figure

    if not isinstance(fig, Figure):
        raise TypeError(
            f"fig must be a matplotlib Figure, got {type(fig).__name__}; make one: fig, ax = plt.subplots()"
        )
    if not callable(update):
        raise TypeError(f"update must be a function of the frame's number, got {type(update).__name__}")
    if check_count("n_frames", n_frames, 2) > 40:
        raise ValueError(f"n_frames must be a whole number from 2 to 40, got {n_frames!r}")
    names = (
        [f"{k + 1} of {n_frames}" for k in range(n_frames)] if labels is None else [str(s) for s in labels]
    )
    if len(names) != n_frames:
        raise ValueError(f"labels has {len(names)} entries for {n_frames} frames")
    shown = sorted({0, n_frames // 2, n_frames - 1}) if stills is None else list(stills)
    if not shown or not all(isinstance(k, int) and 0 <= k < n_frames for k in shown):
        raise ValueError(f"stills must name frames from 0 to {n_frames - 1}, got {shown}")
    check_alt(alt, "how it moves")
    check_positive("pause", pause)
    check_positive("dpi", dpi)
    fine = float(mpl.rcParams["savefig.dpi"]) if mpl.rcParams["savefig.dpi"] != "figure" else 2 * dpi
    beside = len(shown) > 1 and fig.get_figheight() > 0.75 * fig.get_figwidth()
    frames: list[bytes] = []
    large: dict[int, NDArray[np.uint8]] = {}
    for k in range(n_frames):
        update(k)
        frames.append(_encode(_pixels(fig, dpi), "WEBP", lossless=True, quality=60, method=4))
        fig.set_layout_engine("none")  # of the first frame: axes that move would be read as data that moves
        if k in shown:
            heading = _heading(names[k], fig.get_figwidth(), fine, scale=1.5 if beside else 1.0)
            large[k] = np.concatenate([heading, _pixels(fig, fine)])
    plt.close(fig)
    still = _encode(np.concatenate([large[k] for k in shown], axis=int(beside)), "PNG", optimize=True)
    width = round(fig.get_figwidth() * float(mpl.rcParams["figure.dpi"]))
    made = Animation(tuple(frames), tuple(names), still, alt, width, round(1000 * pause))
    size = len(made.to_html())
    if size > _MOST_BYTES:
        raise ValueError(
            f"the animation takes {size / 1e6:.1f} MB of the page, more than {_MOST_BYTES / 1e6} MB: take "
            f"fewer frames than {n_frames}, a dpi below {dpi:g}, fewer stills, or smaller matrices"
        )
    return made


def _heading(text: str, width: float, dpi: float, scale: float) -> NDArray[np.uint8]:
    """Return a strip of a width, in inches, with a line of text."""
    from matplotlib.figure import Figure

    strip = Figure(figsize=(width, 0.35 * scale), facecolor="none")
    strip.set_layout_engine("none")
    strip.text(0.01, 0.35, text, weight="bold", size=scale * float(mpl.rcParams["font.size"]))
    return _pixels(strip, dpi)


def _pixels(fig: Figure, dpi: float) -> NDArray[np.uint8]:
    """Return the figure as it is drawn now, (height, width, 4)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    fig.set_dpi(dpi)
    canvas: Any = FigureCanvasAgg(fig)
    canvas.draw()
    return np.array(canvas.buffer_rgba())


def _encode(pixels: NDArray[np.uint8], kind: str, **options: Any) -> bytes:
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind, **options)
    return stream.getvalue()
