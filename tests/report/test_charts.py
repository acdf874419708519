"""The drawings: placed by value, self-contained, in the page's colours, the same for the same data."""

import math
import re
from collections.abc import Callable

import matplotlib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fgl_flower.report.charts import Curve, line_chart
from fgl_flower.report.cost_plot import Cost, cost_plot
from fgl_flower.report.dot_plot import Dot, dot_plot, scale_of
from fgl_flower.report.drawing import swatch
from fgl_flower.report.intervals import Interval, interval
from fgl_flower.report.partition_plot import partition_plot
from fgl_flower.report.style import CSS
from tests.drawings import dots, lines, texts, titles, tree

HOSTILE = '<b>"fill: #000001" $\\frac$ 中文'
CORNERS = Curve("corners", 0, ((0, 0.0), (10, 1.0)))
ROWS = [
    Dot("a", 0, (0.5, 0.7), interval([0.5, 0.7])),
    Dot(HOSTILE, 9, (), None),
    Dot("c", 1, (0.9,), interval([0.9])),
]
near = pytest.approx


def curves() -> str:
    band = ((0, 0.1, 0.3), (10, 0.4, 0.8))
    return line_chart(
        [CORNERS, Curve(HOSTILE, 9, ((0, 0.2), (10, 0.6)), band), Curve("once", 1, ((0, 0.5),))], "rounds"
    )


CHARTS: list[Callable[[], str]] = [
    curves,
    lambda: line_chart([Curve(HOSTILE, 2, ((1e5, 0.2), (3e7, 0.6)))], "bytes"),
    lambda: dot_plot(ROWS, (0, 100, 20)),
    lambda: cost_plot([Cost(HOSTILE, 3, 2e3, interval([0.5, 0.7])), Cost("b", 9, 0, interval([0.9]))]),
    lambda: partition_plot(np.array([[3, 0, 10_000], [0, 0, 2], [1, 4, 0]]), [HOSTILE, "ring", "star"]),
]


@pytest.mark.parametrize("chart", CHARTS)
def test_a_drawing_stands_alone_in_the_page_and_in_its_colours(chart: Callable[[], str]) -> None:
    svg = chart()
    root = tree(svg)
    assert root.attrib["role"] == "img"
    assert root.attrib["aria-label"]
    assert HOSTILE in titles(svg)
    for element in root.iter():
        assert element.tag in {"svg", "g", "title", "path", "text"}  # no metadata, style, use or clipPath
        assert set(element.attrib) <= {"viewBox", "role", "aria-label", "style", "d", "x", "y", "transform"}  # no id
        assert "font" not in element.get("style", "")
        for colour in re.findall(r"(?:fill|stroke): ([^;]+)", element.get("style", "")):
            assert colour == "none" or (variable := re.fullmatch(r"var\((--\w+)\)", colour))
            assert colour == "none" or CSS.count(f"{variable[1]}:") == 2  # for light and for dark


@pytest.mark.parametrize("chart", CHARTS)
def test_a_drawing_depends_on_its_data_alone(chart: Callable[[], str]) -> None:
    usual = chart()
    with matplotlib.rc_context({"text.usetex": True, "axes.grid": True, "svg.fonttype": "path", "font.size": 30}):
        of_the_user = dict(matplotlib.rcParams)
        assert chart() == usual
        assert dict(matplotlib.rcParams) == of_the_user


@pytest.mark.parametrize("chart", CHARTS)
def test_text_left_of_the_axis_lies_inside_the_drawing(chart: Callable[[], str]) -> None:
    """A phone writes at 16.5: a letter is at most 9 wide."""
    ends = [(t, float(e.attrib["x"])) for t, e in texts(chart()).items() if "text-anchor: end" in e.attrib["style"]]
    assert ends
    assert all(x >= 9 * len(text) or x == 480 for text, x in ends)


def test_curves_are_placed_by_value() -> None:
    svg = line_chart([CORNERS, Curve("a", 1, ((0, 0.25), (2, 1.0), (5, 0.0)))], "rounds")
    [[(left, bottom), (right, top)]] = lines(svg, "corners")
    assert 0 < left < right < 480
    assert 0 < top < bottom < 300
    [path] = lines(svg, "a")
    places = [((x - left) / (right - left), (bottom - y) / (bottom - top)) for x, y in path]
    assert places == [near(place, abs=1e-4) for place in ((0, 0.25), (0.2, 1), (0.5, 0))]
    assert dots(svg, "a") == [near(path[-1], abs=1e-3)]
    assert {"0 %", "100 %", "0", "10", "rounds"} <= texts(svg).keys()


def test_bytes_are_spread_by_powers_of_ten() -> None:
    svg = line_chart([Curve("a", 0, ((10, 0.5), (100, 0.5), (100_000, 0.5)))], "bytes")
    [[(left, _), (middle, _), (right, _)]] = lines(svg, "a")
    assert (middle - left) / (right - left) == near(0.25, abs=1e-4)
    assert [text for text in texts(svg) if text[0] == "1" and "%" not in text] == [
        "10 B",
        "100 B",
        "1 kB",
        "10 kB",
        "100 kB",
    ]


def test_a_long_run_keeps_every_point() -> None:
    svg = line_chart([Curve("a", 0, tuple((n, 0.5) for n in range(1000)))], "rounds")
    assert len(lines(svg, "a")[0]) == 1000


def test_a_band_goes_along_the_lows_and_back_along_the_highs() -> None:
    band = Curve("a", 1, ((0, 0.5), (10, 0.5)), band=((0, 0.25, 0.75), (10, 0.0, 1.0)))
    svg = line_chart([CORNERS, band], "rounds")
    [[(left, bottom), (right, top)]] = lines(svg, "corners")
    quarter = (bottom - top) / 4
    area, line = lines(svg, "a")
    assert area[:4] == [
        near(corner, abs=1e-3)
        for corner in ((left, bottom - quarter), (right, bottom), (right, top), (left, top + quarter))
    ]
    assert len(line) == 2


def test_a_single_point_is_a_dot_with_a_line_to_the_right() -> None:
    svg = line_chart([CORNERS, Curve("once", 1, ((4, 0.5),))], "rounds")
    right = lines(svg, "corners")[0][1][0]
    [[start, end]] = lines(svg, "once")
    assert dots(svg, "once") == [near(start, abs=1e-3)]
    assert end == near((right, start[1]))


def test_series_beyond_the_eighth_look_different() -> None:
    charts = [line_chart([Curve("a", n, ((0, 0.5), (10, 0.5)))], "rounds") for n in range(24)]
    assert len(set(charts)) == len({swatch(n) for n in range(24)}) == 24


def test_curves_survive_what_runs_produce() -> None:
    assert line_chart([], "rounds") == ""
    assert line_chart([Curve("a", 0, ((0, float("nan")),))], "rounds") == ""
    assert line_chart([Curve("a", 0, ((0, 0.5),))], "bytes") == ""
    assert len(dots(line_chart([Curve("a", 0, ((0, 0.5),))], "rounds"), "a")) == 1
    assert len(dots(line_chart([Curve("a", 0, ((7, 0.5),))], "bytes"), "a")) == 1
    one = Curve("a", 0, ((1, 0.5), (2, float("nan")), (3, 0.5)), band=((1, 0.4, 0.6), (2, float("nan"), 0.6)))
    [path] = lines(line_chart([one], "rounds"), "a")
    assert len(path) == 2


def test_the_partition_plot_stacks_the_classes_of_each_client() -> None:
    """Clients hold 3 + 0, 0 + 0 and 1 + 4 images: the highest bar is 5."""
    svg = partition_plot(np.array([[3, 0], [0, 0], [1, 4]]), ["<i>star", "ring"])
    assert "&lt;i&gt;star" in svg[: svg.index("<svg")]  # the legend
    [[a0, a1, c0, c1]], [[d0, d1]] = lines(svg, "<i>star"), lines(svg, "ring")
    unit = (c0[1] - d1[1]) / 5
    assert unit > 0
    assert [(low - high) / unit for (_, low), (_, high) in ((a0, a1), (c0, c1), (d0, d1))] == near([3, 1, 4], abs=1e-3)
    assert a0[1] == c0[1]
    assert d0 == c1
    assert c0[0] > a0[0]
    assert {"0", "1", "2", "client", "private images"} <= texts(svg).keys()
    assert partition_plot(np.zeros((3, 2), int), ["a", "b"]) == ""
    assert partition_plot(np.array([[3, 1], [0, 0]]), ["a", "b"]).count("<svg") == 1  # the last client holds nothing


def test_the_partition_plot_is_of_the_first_clients_and_names_few_classes() -> None:
    many = partition_plot(np.ones((500, 30), int), [f"class {n}" for n in range(30)], clients=20)
    assert [len(lines(many, f"class {n}")[0]) for n in range(30)] == [40] * 30  # two ends a client
    assert 'class="legend"' not in many


def test_dots_lie_on_the_axis_with_their_whiskers() -> None:
    """The mean of 0.5 and 0.7 is 0.6; its interval of two values is cut at 0 and 1."""
    assert scale_of(ROWS) == (0, 100, 20)
    assert scale_of([ROWS[2]]) == (70, 90, 10)
    assert scale_of([Dot("a", 0, (0.72,), Interval(0.72, 0.05, 3))]) == (60, 80, 10)
    svg = dot_plot(ROWS, (0, 100, 20))
    left, right = (float(texts(svg)[tick].attrib["x"]) for tick in ("0", "100 %"))
    [whisker], [mean, first, second] = lines(svg, "a"), dots(svg, "a")
    assert (min(x for x, _ in whisker), max(x for x, _ in whisker)) == near((left, right), abs=1e-3)
    places = [(x - left) / (right - left) for x, _ in (mean, first, second)]
    assert places == near([0.6, 0.5, 0.7], abs=1e-4)
    assert mean[1] < first[1] == second[1]  # the seeds lie below
    assert (lines(svg, "c"), lines(svg, HOSTILE), dots(svg, HOSTILE)) == ([], [], [])
    assert dots(svg, "c")[0][1] > mean[1]
    assert {"60.0", "–", "90.0"} <= texts(svg).keys()


@settings(max_examples=30, deadline=None)
@given(st.text(st.characters(exclude_categories=("Cc", "Cs", "Cn")), min_size=1))
def test_any_name_is_drawn_as_it_is(name: str) -> None:
    plain = " ".join(name.split())
    svg = dot_plot([Dot(name, 0, (0.5,), interval([0.5]))], (0, 100, 20))
    assert {plain or name} <= set(titles(svg))  # the label and the dot
    if 0 < len(plain) <= 22:
        assert plain in texts(svg)


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=5))
def test_the_axis_holds_every_dot_and_whisker(rows: list[tuple[float, float]]) -> None:
    low, high, step = scale_of([Dot("a", 0, (mean,), Interval(mean, half, 3)) for mean, half in rows])
    assert 0 <= low < high <= 100
    assert (high - low) % step == 0
    for mean, half in rows:
        assert low <= 100 * max(0, mean - half) + 1e-9
        assert 100 * min(1, mean + half) - 1e-9 <= high


def test_costs_lie_at_their_bytes_and_shares_and_nothing_sent_at_the_left_edge() -> None:
    whole = [
        Cost("prompts", 0, 1e3, Interval(0.5, 0.25, 3)),
        Cost("weights", 1, 1e7, Interval(1.0, math.nan, 1)),
        Cost("central", 2, 0, Interval(0.0, math.nan, 1)),
    ]
    svg = cost_plot(whole)
    (prompts,), (weights,), (central,) = (dots(svg, cost.name) for cost in whole)
    (whisker,) = lines(svg, "prompts")
    assert (weights[0] - prompts[0]) / 4 == near(prompts[0] - central[0], rel=1e-3)  # a decade is a decade
    assert central[0] < prompts[0]
    height = central[1] - weights[1]
    assert (central[1] - prompts[1]) / height == near(0.5, abs=1e-3)
    assert sorted((central[1] - y) / height for _, y in whisker) == near([0.25, 0.75], abs=1e-3)
    assert (lines(svg, "weights"), "0 B" in texts(svg)) == ([], True)
    assert "0 B" not in texts(cost_plot(whole[:2]))
    assert cost_plot(whole[2:]) == ""
