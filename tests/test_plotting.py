"""The plots show what they were given: artists are read back and compared with NumPy's own numbers."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterator
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb
from numpy.typing import NDArray
from PIL import Image

from ntkbook import plotting
from ntkbook.plotting import player
from ntkbook.verify import fit_exponent

Array = NDArray[np.float64]


@pytest.fixture(autouse=True)
def _clean() -> Iterator[None]:
    with mpl.rc_context():
        mpl.use("Agg")
        plotting.use_style()
        yield
        plt.close("all")


@pytest.fixture
def axes() -> Any:
    return plt.subplots()[1]


def band(axes: Any, index: int = 0) -> tuple[Array, Array, Array]:
    """Return places, lower and upper edges of a filled band."""
    corners = axes.collections[index].get_paths()[0].vertices
    places = np.unique(corners[:, 0])
    edges = [corners[np.isclose(corners[:, 0], x), 1] for x in places]
    return places, np.array([e.min() for e in edges]), np.array([e.max() for e in edges])


def legend(axes: Any) -> list[str]:
    return [text.get_text() for text in axes.legend().get_texts()]


# What a person sees who lacks one of the three kinds of cones (Machado, Oliveira and Fernandes 2009).
VISION = {
    "full": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "tritanopia": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
}


def perceived(color: str, vision: Array) -> Array:
    """Return a colour's lightness and the two opponent axes of CIELAB, as a kind of vision has them."""
    rgb = np.array(to_rgb(color))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    linear = (vision @ linear).clip(0, 1)
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    f = np.cbrt(to_xyz @ linear / np.array([0.9505, 1.0, 1.089]))
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("vision", VISION)
def test_first_five_colours_are_told_apart_with_any_vision(vision: str) -> None:
    seen = [perceived(color, VISION[vision]) for color in plotting.COLORS[:5]]
    gaps = [np.linalg.norm(a - b) for i, a in enumerate(seen) for b in seen[:i]]
    assert min(gaps) > 15, "a difference of some 2.3 is just noticeable"


@pytest.mark.parametrize("name", [plotting.SEQUENTIAL, plotting.DIVERGING])
def test_colour_maps_are_ordered_by_lightness(name: str) -> None:
    lightness = np.array([perceived(mpl.colormaps[name](v)[:3], np.eye(3))[0] for v in np.linspace(0, 1, 41)])
    if name == plotting.DIVERGING:
        assert (np.diff(lightness[:21]) > 0).all()
        assert (np.diff(lightness[20:]) < 0).all()
    else:
        assert (np.diff(lightness) > 0).all()


def test_style_is_transparent_and_cycles_the_palette() -> None:
    figure, axes = plt.subplots()
    lines = [axes.plot([0, 1])[0] for _ in plotting.COLORS]
    assert [line.get_color() for line in lines] == list(plotting.COLORS)
    figure.canvas.draw()
    assert np.asarray(figure.canvas.buffer_rgba())[0, 0].tolist()[3] == 0


@pytest.mark.parametrize("draws", [1, 6])
def test_rate_shows_data_line_and_exponent(axes: Any, draws: int) -> None:
    rng = np.random.default_rng(0)
    x = np.array([1.0, 2.0, 4.0, 8.0, 16.0])
    y = 3 * x[:, None] ** -1.5 * np.exp(0.1 * rng.standard_normal((5, draws)))
    y = y[:, 0] if draws == 1 else y
    fit = plotting.rate(axes, torch.tensor(x), torch.tensor(y), "drift", color="C1")
    assert fit == fit_exponent(x, y)
    points, line = axes.lines[0], axes.lines[-1]
    np.testing.assert_allclose(points.get_ydata(), np.exp(np.log(y.reshape(5, -1)).mean(1)))
    np.testing.assert_allclose(np.diff(np.log(line.get_ydata())) / np.diff(np.log(x)), fit.exponent)
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert legend(axes) == [f"drift exponent {fit.exponent:.2f} ± {fit.half_width:.2f}"]
    if draws > 1:
        bars = axes.containers[0].lines[2][0].get_segments()
        spread = np.log(y).std(axis=1, ddof=1)
        np.testing.assert_allclose([np.log(b[1, 1] / b[0, 1]) for b in bars], 2 * spread)


def test_rate_takes_tensors_that_carry_a_graph(axes: Any) -> None:
    # Without a detour through .cpu() and .detach() NumPy refuses them, as it does those on a GPU.
    x = torch.tensor([1.0, 2.0, 4.0, 8.0], dtype=torch.float64, requires_grad=True)
    fit = plotting.rate(axes, x, 2 * x**2)
    np.testing.assert_allclose(fit.exponent, 2.0)
    np.testing.assert_allclose(axes.lines[0].get_ydata(), [2.0, 8.0, 32.0, 128.0])


@pytest.mark.parametrize("diverging", [False, True])
def test_kernel_is_shown_square_by_square(axes: Any, diverging: bool) -> None:
    matrix = torch.tensor([[1.0, -3.0, 0.5], [0.0, 2.0, 1.0]], requires_grad=True)
    image = plotting.kernel(axes, matrix, diverging=diverging, label="K")
    np.testing.assert_allclose(image.get_array(), matrix.detach().numpy())
    assert image.get_clim() == ((-3.0, 3.0) if diverging else (-3.0, 2.0))
    axes.figure.canvas.draw()
    assert image.colorbar.ax.get_ylabel() == "K"
    heights = [a.get_window_extent().height for a in (axes, image.colorbar.ax)]
    assert heights[0] == pytest.approx(heights[1], rel=0.01)


def test_spectrum_descends_and_says_what_it_leaves_out(axes: Any) -> None:
    line = plotting.spectrum(
        axes, torch.tensor([1e-3, 4.0, 1e-20, 1.0, -1e-18], dtype=torch.float64), label="K"
    )
    np.testing.assert_allclose(line.get_ydata(), [4.0, 1.0, 1e-3])
    assert line.get_xdata().tolist() == [1, 2, 3]
    assert legend(axes) == ["K (2 of 5 lost in rounding)"]
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")


def test_spectrum_knows_the_precision_of_its_input(axes: Any) -> None:
    values = [1.0, 1e-3, 1e-9]
    assert len(plotting.spectrum(axes, torch.tensor(values)).get_ydata()) == 2
    assert len(plotting.spectrum(axes, values).get_ydata()) == 3


def test_spectrum_of_draws(axes: Any) -> None:
    values = np.array([[1.0, 8.0, 1e-20], [2.0, 2.0, 0.5]])
    line = plotting.spectrum(axes, values)
    np.testing.assert_allclose(line.get_ydata(), [4.0, 2**0.5])
    _, low, high = band(axes)
    np.testing.assert_allclose(low, [2.0, 1.0])
    np.testing.assert_allclose(high, [8.0, 2.0])


@pytest.mark.parametrize("of", ["networks", "mean"])
def test_trajectories(axes: Any, of: str) -> None:
    rng = np.random.default_rng(0)
    t, runs = np.linspace(0, 2, 7), rng.standard_normal((9, 7))
    prediction, spread = np.exp(-t), 0.1 + t
    line = plotting.trajectories(
        axes,
        torch.tensor(t),
        torch.tensor(runs),
        prediction=prediction,
        spread=spread,
        band=1.5,
        of=of,
        label="trained",
        prediction_label="predicted",
        color="C2",
    )
    scale = 1.5 if of == "networks" else 0.5
    np.testing.assert_allclose(line.get_ydata(), runs.mean(0))
    places, low, high = band(axes)
    np.testing.assert_allclose(places, t)
    np.testing.assert_allclose(low, runs.mean(0) - scale * runs.std(0, ddof=1), atol=1e-12)
    np.testing.assert_allclose(high, runs.mean(0) + scale * runs.std(0, ddof=1), atol=1e-12)
    expected = [prediction, prediction - scale * spread, prediction + scale * spread]
    np.testing.assert_allclose([line.get_ydata() for line in axes.lines[1:]], expected)
    assert legend(axes) == ["trained", "predicted"]
    assert line.get_color() == "C2"


def test_posterior(axes: Any) -> None:
    x = torch.tensor([[1.0], [-1.0], [0.0]])
    mean, covariance = torch.tensor([[1.0], [2.0], [3.0]]), torch.diag(torch.tensor([4.0, 1.0, 0.0]))
    line = plotting.posterior(axes, x, mean, covariance, data=(x[:2], mean[:2]), band=3, label="NTK")
    assert line.get_xdata().tolist() == [-1, 0, 1]
    assert line.get_ydata().tolist() == [2, 3, 1]
    _, low, high = band(axes)
    assert low.tolist() == [-1, 3, -5]
    assert high.tolist() == [5, 3, 7]
    assert axes.lines[-1].get_xydata().tolist() == [[1, 1], [-1, 2]]
    assert legend(axes) == ["NTK"]


def test_posterior_samples_have_the_covariance(axes: Any) -> None:
    root = np.array([[1.0, 0.0], [2.0, 0.5], [0.0, 1.0]])
    covariance = root @ root.T  # singular
    before = np.random.get_state()[1].tolist()  # noqa: NPY002
    plotting.posterior(axes, [0, 1, 2], [5.0, 6.0, 7.0], covariance, samples=1000, seed=1)
    assert np.random.get_state()[1].tolist() == before  # noqa: NPY002
    draws = np.array([line.get_ydata() for line in axes.lines[1:]])
    assert draws.shape == (1000, 3)
    # The entries of the sample covariance stray by at most sqrt(2 / 1000) * 4.25 = 0.19, those of the mean by
    # sqrt(4.25 / 1000) = 0.065: five of these.
    np.testing.assert_allclose(np.cov(draws.T), covariance, atol=0.95)
    np.testing.assert_allclose(draws.mean(0), [5, 6, 7], atol=0.33)


def test_posterior_shows_given_functions_and_takes_variances(axes: Any) -> None:
    given = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    plotting.posterior(axes, [1, 0], [0.0, 0.0], [1.0, 1.0], samples=given)
    assert [line.get_ydata().tolist() for line in axes.lines[1:]] == [[2.0, 1.0], [4.0, 3.0]]


REFUSALS: list[tuple[str, dict[str, Any], str]] = [
    ("spectrum", {"eigenvalues": [-1.0, 0.0]}, "the largest of one is 0"),
    ("spectrum", {"eigenvalues": [1.0, np.nan]}, "eigenvalues holds 1 entries that are NaN"),
    ("spectrum", {"eigenvalues": np.ones((2, 2, 2))}, "eigenvalues must have 1 or 2 axes"),
    ("spectrum", {"eigenvalues": []}, "eigenvalues is empty"),
    ("trajectories", {"values": np.ones((4, 2))}, "values has shape .4, 2., but times has 3"),
    ("trajectories", {"values": np.ones((1, 3))}, "needs 2 networks or more"),
    ("trajectories", {"prediction": [1.0]}, "prediction has shape .1,., but times has 3"),
    ("trajectories", {"spread": [1.0] * 3}, "pass the prediction too"),
    ("trajectories", {"prediction": [1.0] * 3, "spread": [-1.0] * 3}, "its least entry is -1"),
    ("trajectories", {"of": "all"}, "of must be one of"),
    ("trajectories", {"band": 0}, "band must be finite and positive"),
    ("posterior", {"mean": [0.0]}, "mean has shape .1,., but x has 2"),
    ("posterior", {"x": np.ones((2, 2))}, "x must have shape"),
    ("posterior", {"covariance": np.ones((2, 3))}, "covariance has shape"),
    ("posterior", {"covariance": [1.0, -1.0]}, "negative variance, -1"),
    ("posterior", {"covariance": np.array([[1.0, 2.0], [2.0, 1.0]]), "samples": 1}, "eigenvalue -1"),
    ("posterior", {"covariance": [1.0, 1.0], "samples": 1}, "whole covariance"),
    ("posterior", {"samples": -1}, "samples must be a number of functions"),
    ("posterior", {"samples": np.ones((3, 3))}, "samples has shape"),
    ("posterior", {"data": ([1.0], [1.0, 2.0])}, r"data\[1\] has shape"),
]
COMPLETE: dict[str, dict[str, Any]] = {
    "spectrum": {},
    "trajectories": {"times": [0.0, 1.0, 2.0], "values": np.ones((4, 3))},
    "posterior": {"x": [0.0, 1.0], "mean": [0.0, 0.0], "covariance": np.eye(2)},
}


@pytest.mark.parametrize(("function", "changes", "message"), REFUSALS)
def test_bad_input_is_named(axes: Any, function: str, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        getattr(plotting, function)(axes, **(COMPLETE[function] | changes))


ALT = "A square whose colour changes from frame to frame."
RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)
CYCLE = (RED, GREEN, BLUE)


def colored(n_frames: int = 4, **options: Any) -> plotting.Animation:
    """Return frames filled with red, green, blue, red, ..."""
    fig = plt.figure(figsize=(2, 1), layout="constrained")
    arguments = {"alt": ALT, "dpi": 50} | options
    return plotting.animation(
        fig, lambda k: fig.patch.set_facecolor(np.array(CYCLE[k % 3]) / 255), n_frames, **arguments
    )


def pixels(image: bytes) -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(image)).convert("RGB"))


def test_animation_holds_every_frame_without_loss() -> None:
    moving = colored()
    assert [Image.open(io.BytesIO(frame)).size for frame in moving.frames] == [(100, 50)] * 4
    assert [tuple(pixels(frame)[25, 50]) for frame in moving.frames] == [RED, GREEN, BLUE, RED]
    assert moving.labels == ("1 of 4", "2 of 4", "3 of 4", "4 of 4")
    assert moving.width == 220
    assert plt.get_fignums() == []


def test_still_shows_the_chosen_frames_below_one_another() -> None:
    still = pixels(colored(labels=["a", "b", "c", "d"], stills=[1, 2]).still)
    height, heading = 200, 70
    assert still.shape == (2 * (height + heading), 400, 3)
    assert tuple(still[heading + 100, 200]) == GREEN
    assert tuple(still[2 * heading + height + 100, 200]) == BLUE


def test_still_shows_high_frames_side_by_side() -> None:
    fig = plt.figure(figsize=(2, 1.8))
    moving = plotting.animation(
        fig, lambda k: fig.patch.set_facecolor(np.array(CYCLE[k]) / 255), 3, alt=ALT, stills=[0, 2]
    )
    still = pixels(moving.still)
    height, heading = 360, 105  # the heading is larger: on paper two frames share the width of one
    assert still.shape == (height + heading, 2 * 400, 3)
    assert tuple(still[heading + 100, 200]) == RED
    assert tuple(still[heading + 100, 600]) == BLUE
    alone = pixels(colored(stills=[1]).still)
    assert alone.shape == (200 + 70, 400, 3)


def test_axes_stand_still_while_labels_change() -> None:
    fig, axes = plt.subplots(figsize=(3, 2))
    places = []

    def update(k: int) -> None:
        axes.set_ylim(0, 10**k)
        places.append(axes.get_position().bounds)

    plotting.animation(fig, update, 5, alt=ALT)
    assert len(set(places[1:])) == 1


def test_bundle_has_a_page_and_a_print_version() -> None:
    moving = colored(labels=["</script><b>", "b", "c", "d"])
    bundle = moving._repr_mimebundle_()
    assert set(bundle) == {"text/html", "image/png"}
    assert base64.b64decode(bundle["image/png"]) == moving.still
    text = bundle["text/html"]
    assert re.findall(r"https?:|(?:src|href)=\S(?!data:)", text) == [], "nothing is asked of another place"
    assert text.count("</script>") == 2
    assert text == colored(labels=["</script><b>", "b", "c", "d"]).to_html(), "the same each time"


ANIMATION_REFUSALS: list[tuple[dict[str, Any], str]] = [
    ({"n_frames": 1}, "n_frames must be at least 2, got 1"),
    ({"n_frames": 41}, "from 2 to 40, got 41"),
    ({"labels": ["a"]}, "labels has 1 entries for 4 frames"),
    ({"stills": [4]}, "stills must name frames from 0 to 3"),
    ({"stills": []}, "stills must name frames"),
    ({"alt": "A plot"}, "alt must describe"),
    ({"pause": 0}, "pause must be finite and positive, got 0"),
]


@pytest.mark.parametrize(("changes", "message"), ANIMATION_REFUSALS)
def test_unfit_animation_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        colored(**changes)


def test_animation_that_would_burden_the_page_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert player._MOST_BYTES == 1_500_000
    size = len(colored().to_html())
    monkeypatch.setattr(player, "_MOST_BYTES", size)
    colored()
    monkeypatch.setattr(player, "_MOST_BYTES", size - 1)
    with pytest.raises(
        ValueError, match=r"MB of the page, more than .* take fewer frames than 4, a dpi below 50"
    ):
        colored()


def shown(page: Any) -> tuple[int, ...]:
    """Return the colour in the middle of the picture."""
    page.locator("img").evaluate("image => image.decode()")
    image = Image.open(io.BytesIO(page.locator("img").screenshot())).convert("RGB")
    return image.getpixel((image.width // 2, image.height // 2))


@pytest.mark.browser
def test_player_by_keyboard_and_by_mouse(browser: Any) -> None:
    page = browser.new_page(viewport={"width": 400, "height": 600})
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.set_content(colored(pause=0.4, labels=["s0", "s1", "s2", "s3"]).to_html())
    slider, button = page.get_by_role("slider"), page.get_by_role("button")
    assert shown(page) == RED
    page.keyboard.press("Tab")
    assert button.evaluate("box => box === document.activeElement")
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowRight")
    assert (slider.input_value(), slider.get_attribute("aria-valuetext"), shown(page)) == ("1", "s1", GREEN)
    page.keyboard.press("End")
    assert (slider.input_value(), shown(page)) == ("3", RED)
    button.click()  # from the last frame it starts again
    page.wait_for_function("document.querySelector('input').value === '2'")
    page.wait_for_function("document.querySelector('button').textContent === 'Play'")
    assert slider.get_attribute("aria-valuetext") == "s3"
    button.click()
    page.wait_for_function("document.querySelector('input').value === '1'")
    button.click()
    stopped = slider.input_value()
    page.wait_for_timeout(600)
    assert slider.input_value() == stopped
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert faults == []
    page.close()


@pytest.mark.browser
def test_still_stands_where_no_script_runs(browser: Any) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.set_content(colored().to_html())
    assert page.get_by_role("img", name=ALT).is_visible()
    assert page.locator("button").is_hidden()
    natural = page.locator("img").bounding_box()
    assert natural["height"] / natural["width"] == pytest.approx(3 * 270 / 400, rel=0.02)
    context.close()
