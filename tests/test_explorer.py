"""Charts with sliders: what the page's script gets is what was passed, and bad input is named."""

from __future__ import annotations

import base64
import io
import json
import re

import numpy as np
import pytest
from matplotlib.axes import Axes
from PIL import Image

from ntkbook import plotting
from ntkbook.plotting import sliders as module

X = np.linspace(0, 1, 5)
ALT = "Two curves that the sliders move up and down."


def chart(**changes):
    a, b = np.arange(3.0), np.arange(2.0)
    curves = {
        "moving": 100 * a[:, None, None] + 10 * b[:, None] + X,
        "standing": X**2,
    }
    options = {"alt": ALT, "styles": {"standing": "dashed"}, "start": {"b": "high"}} | changes
    x, given = options.pop("x", X), options.pop("curves", curves)
    sliders = options.pop("sliders", {"a": [1, 2, 4], "b": ["low", "high"]})
    return plotting.explorer(x, given, sliders, **options)


def test_the_last_slider_runs_fastest_and_a_standing_curve_has_one_row():
    moving, standing = chart().content["curves"]
    assert len(moving["values"]) == 6
    for i in range(3):
        for k in range(2):
            np.testing.assert_allclose(moving["values"][2 * i + k], 100 * i + 10 * k + X, rtol=5e-4)
    assert len(standing["values"]) == 1
    assert (moving["style"], standing["style"]) == ("line", "dashed")
    assert moving["color"] != standing["color"]


def test_dots_may_have_gaps_and_lines_may_not():
    gaps = np.where(X > 0.4, X, np.nan)
    assert chart(curves={"c": gaps}, styles={"c": "dots"}).content["curves"][0]["values"] == [
        [None, None, 0.5, 0.75, 1]
    ]
    with pytest.raises(ValueError, match=r"curves\['c'\] holds 2 entries that are NaN"):
        chart(curves={"c": gaps}, styles=None)


def test_sliders_tell_their_values_and_where_they_start():
    assert chart().content["sliders"] == [
        {"name": "a", "values": ["1", "2", "4"], "start": 0},
        {"name": "b", "values": ["low", "high"], "start": 1},
    ]


def test_the_axes_hold_every_curve_at_every_position():
    axes = chart().content["axes"]
    assert axes["x"]["limits"] == [0, 1]
    low, high = axes["y"]["limits"]
    assert low < 0
    assert 211 < high < 230
    constant = chart(curves={"c": np.full(5, 100.0)}, styles=None, yscale="log")
    low, high = constant.content["axes"]["y"]["limits"]
    assert low < 100 < high
    assert chart(ylim=(-1, 5)).content["axes"]["y"]["limits"] == [-1, 5]


def test_the_html_holds_the_data_and_the_picture():
    made = chart(ylabel="</script>")
    data = re.search(r'<script type="application/json">(.*?)</script>', made.to_html(), re.DOTALL)
    assert json.loads(data[1]) == made.content
    bundle = made._repr_mimebundle_()
    assert bundle["text/html"] == made.to_html()
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(bundle["image/png"]))))
    assert picture.shape[1] >= made.width  # sharp on the screen
    assert picture.std() > 0


def test_the_picture_shows_where_the_sliders_start():
    assert chart(start={"a": 4}).still != chart(start={"a": 1}).still


def test_the_picture_draws_the_curves_of_that_position(monkeypatch):
    drawn, plot = {}, Axes.plot

    def recorded(self, x, y, *style, **options):
        drawn[options["label"]] = y
        return plot(self, x, y, *style, **options)

    monkeypatch.setattr(Axes, "plot", recorded)
    chart(start={"a": 4, "b": "high"})
    np.testing.assert_array_equal(drawn["moving"], 210 + X)
    np.testing.assert_array_equal(drawn["standing"], X**2)


def test_the_picture_shows_chosen_positions_side_by_side(monkeypatch):
    panels, titles, plot, title = {}, [], Axes.plot, Axes.set_title

    def recorded(self, x, y, *style, **options):
        panels.setdefault(id(self), []).append(y)
        return plot(self, x, y, *style, **options)

    monkeypatch.setattr(Axes, "plot", recorded)
    monkeypatch.setattr(Axes, "set_title", lambda self, text: (titles.append(text), title(self, text))[1])
    made = chart(stills=[{"a": 4}, {"a": 2, "b": "low"}, {}])
    assert titles == ["a = 4\nb = high", "a = 2\nb = low", "a = 1\nb = high"]
    for level, (moving, standing) in zip((210, 100, 10), panels.values(), strict=True):
        np.testing.assert_array_equal(moving, level + X)
        np.testing.assert_array_equal(standing, X**2)
    assert made.content == chart().content  # the page's chart starts where it did


def test_plain_text_is_set_with_indices_and_powers_in_the_picture(monkeypatch):
    titles, title = [], Axes.set_title
    monkeypatch.setattr(Axes, "set_title", lambda self, text: (titles.append(text), title(self, text))[1])
    made = chart(curves={"c": X}, styles=None, start=None, sliders={"weights σ_w": [1, 2]})
    assert titles == [r"weights σ$_{\mathrm{w}}$ = 1"]
    assert made.content["sliders"][0]["name"] == "weights σ_w"
    assert module._typeset("η (n/64)^p of last_layer") == r"η (n/64)$^{\mathrm{p}}$ of last_layer"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x": [0.0, 2.0, 1.0, 3.0, 4.0]}, "x must hold 2 or more numbers in ascending order"),
        ({"x": X[:4]}, r"curves\['moving'\] has shape \(3, 2, 5\).*\(3, 2, 4\)"),
        ({"curves": {"c": np.zeros((2, 3, 5))}, "styles": None}, r"must be \(3, 2, 5\), or \(5,\)"),
        ({"curves": {"c": [1.0, np.nan, 1, 1, 1]}, "styles": None}, "holds 1 entries that are NaN"),
        ({"curves": {}}, "curves is empty"),
        ({"sliders": {}}, "1 to 3 sliders, got 0"),
        ({"sliders": {"a": [1]}, "start": None}, "the slider 'a' must have 2 to 40 values, got 1"),
        ({"start": {"c": 1}}, "start names 'c'"),
        ({"start": {"a": 3}}, r"start\['a'\] is 3, not one of"),
        ({"stills": []}, "stills must hold 1 to 3 positions of the sliders, got 0"),
        ({"stills": [{}] * 4}, "1 to 3 positions of the sliders, got 4"),
        ({"stills": [{}, {"c": 1}]}, r"stills\[1\] names 'c'"),
        ({"stills": [{"a": 3}]}, r"stills\[0\]\['a'\] is 3, not one of"),
        ({"styles": {"moved": "line"}}, "styles names 'moved'"),
        ({"styles": {"moving": "wavy"}}, "style must be one of 'line', 'dashed', 'dots'"),
        ({"yscale": "log"}, "yscale='log' needs positive numbers"),
        ({"ylim": (2, 1)}, r"ylim must be two finite numbers in ascending order, got \(2, 1\)"),
        ({"alt": "curves"}, "alt must describe"),
    ],
)
def test_bad_input_is_named(changes, message):
    with pytest.raises(ValueError, match=message):
        chart(**changes)


def test_a_chart_too_large_for_a_page_says_what_to_leave_out(monkeypatch):
    monkeypatch.setattr(module, "_MOST_BYTES", 10_000)
    with pytest.raises(ValueError, match=r"takes \d+ kB of the page, more than 10: take fewer than 5 points"):
        chart()
