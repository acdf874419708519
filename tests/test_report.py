"""The page: self-contained, escaped, complete for one run and for several, whatever the runs left out."""

import math
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fgl_flower.config import RunConfig
from fgl_flower.records.run_folder import RunFolder
from fgl_flower.report.charts import Curve, line_chart
from fgl_flower.report.dot_plot import Dot, dot_plot, scale_of
from fgl_flower.report.formatting import human_bytes, human_seconds, percent, percent_interval, points_interval
from fgl_flower.report.intervals import Interval, interval
from fgl_flower.report.page import write_report
from fgl_flower.report.partition_plot import partition_plot
from tests.made_runs import made_run

HOSTILE = "<script>alert('x')</script>\"><img src=x onerror=alert(1)>"
VOID = {"meta", "img", "br", "line", "circle", "polyline", "path", "use", "stop", "rect"}


class Page(HTMLParser):
    """Collects tags and attributes and checks that tags close in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("runs")
    return [
        made_run(folder, "fgl", prompt=HOSTILE),
        made_run(folder, "fedavg", rounds=5, quarantined={HOSTILE: HOSTILE}),
        made_run(folder, "centralised"),
    ]


def test_what_clients_sent_is_escaped(runs: list[Path]) -> None:
    text = write_report(runs, runs[0].parent / "compare.html").read_text(encoding="utf-8")
    page = Page(text)
    assert page.open == []
    assert "script" not in page.tags
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert "&lt;script&gt;alert(" in text


@pytest.mark.parametrize("chosen", [slice(0, 1), slice(1, 2), slice(2, 3), slice(0, 3)])
def test_nothing_is_loaded_from_elsewhere(runs: list[Path], tmp_path: Path, chosen: slice) -> None:
    text = write_report(runs[chosen], tmp_path / "page.html").read_text(encoding="utf-8")
    page = Page(text)
    assert page.open == []
    assert not {"link", "iframe", "object", "base"} & set(page.tags)
    sources = [value for name, value in page.attributes if name in {"src", "srcset", "href", "xlink:href"}]
    assert all(value.startswith(("data:image/png;base64,", "#")) for value in sources)
    assert re.search(r"url\((?!#)", text) is None
    assert "default-src 'none'" in text


def test_the_page_shows_what_a_run_left(runs: list[Path]) -> None:
    text = (runs[0] / "report.html").read_text(encoding="utf-8")
    for part in ("83.0 %", "812 B", "2,400", "1 min 25 s", "sketch", "triangle", "fgl run fgl.toml", "miniature-fast"):
        assert part in text, part
    assert text.count("data:image/png") == 120  # ten classes, six drawn and six real
    assert "No client failed or was quarantined" in text
    assert "Accuracy over rounds" not in text
    assert "Accuracy over rounds" in (runs[1] / "report.html").read_text(encoding="utf-8")


def test_a_failed_run_has_a_page_with_the_reason(tmp_path: Path) -> None:
    folder = RunFolder.create(RunConfig.parse({"runs-dir": str(tmp_path)}))
    folder.fail("no client answered <b>")
    text = write_report([folder.path]).read_text(encoding="utf-8")
    assert "no client answered &lt;b&gt;" in text


def test_curves_are_placed_by_value() -> None:
    """A chart of 480 x 300 with margins left 60, right 26, top 12, bottom 52: x spans 394, y spans 236."""
    chart = line_chart([Curve("a", 0, ((0, 0.0), (10, 1.0)))], x_label="rounds")
    assert 'points="60.0,248.0 454.0,12.0"' in chart
    logarithmic = line_chart([Curve("a", 0, ((10, 0.5), (1000, 0.5)))], x_label="bytes", log_x=True)
    assert 'points="60.0,130.0 454.0,130.0"' in logarithmic


def test_a_band_goes_along_the_lows_and_back_along_the_highs() -> None:
    chart = line_chart([Curve("a", 0, ((0, 0.5), (10, 0.5)), band=((0, 0.25, 0.75), (10, 0.0, 1.0)))], x_label="rounds")
    assert 'points="60.0,189.0 454.0,248.0 454.0,12.0 60.0,71.0"' in chart


@pytest.mark.parametrize("dashed", [False, True])
def test_series_beyond_the_eighth_look_different(dashed: bool) -> None:
    charts = [line_chart([Curve("a", n, ((0, 0.5), (10, 0.5)), dashed)], x_label="rounds") for n in range(24)]
    assert len(set(charts)) == (16 if dashed else 24)  # a second line has one dash; its end is a disc or a ring


def test_text_left_of_the_axis_lies_inside_the_drawing() -> None:
    """The longest label, "100 %", ends 8 left of the axis; a phone writes it at 16.5, where it is 47 wide."""
    chart = line_chart([Curve("a", 0, ((0, 0.0), (10, 1.0)))], x_label="rounds")
    ends = [float(x) for x in re.findall(r'<text x="([\d.]+)" y="[\d.]+" text-anchor="end">', chart)]
    assert len(ends) == 6
    assert min(ends) >= 47


def test_curves_survive_what_runs_produce() -> None:
    assert line_chart([], x_label="rounds") == ""
    assert line_chart([Curve("a", 0, ((0, float("nan")),))], x_label="rounds") == ""
    assert "<circle" in line_chart([Curve("a", 0, ((0, 0.5),))], x_label="rounds")
    assert "&lt;b&gt;" in line_chart([Curve("<b>", 0, ((1, 0.5), (2, 0.5)))], x_label="bytes", log_x=True)
    assert line_chart([Curve("a", 0, ((0, 0.5),))], x_label="bytes", log_x=True) == ""


def test_the_partition_plot_has_a_bar_a_client_and_follows_the_colour_scheme() -> None:
    svg = partition_plot(np.array([[3, 0], [0, 0], [1, 4]]), ["<i>star", "ring"])
    assert "&lt;i&gt;star" in svg
    assert "var(--soft)" in svg
    assert "#010203" not in svg
    assert partition_plot(np.zeros((3, 2), int), ["a", "b"]) == ""
    assert partition_plot(np.array([[3, 1], [0, 0]]), ["a", "b"]).count("<svg") == 1  # the last client holds nothing
    assert partition_plot(np.ones((500, 2), int), ["a", "b"], clients=20).count("<svg") == 1


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0 B"), (812, "812 B"), (999, "999 B"), (1000, "1 kB"), (42_700_000, "42.7 MB"), (3.2e9, "3.2 GB")],
)
def test_bytes_as_people_read_them(value: float, text: str) -> None:
    assert human_bytes(value) == text


def test_durations_and_shares_as_people_read_them() -> None:
    assert [human_seconds(s) for s in (4.21, 59.99, 200, 7500)] == ["4.2 s", "60.0 s", "3 min 20 s", "2 h 5 min"]
    assert [percent(share) for share in (None, 0, 0.8349, 1)] == ["–", "0.0 %", "83.5 %", "100.0 %"]


def test_dots_lie_on_the_axis_with_their_whiskers() -> None:
    dots = [
        Dot("a", 0, (0.5, 0.7), interval([0.5, 0.7])),
        Dot("<b>", 9, (), None),
        Dot("c", 1, (0.9,), interval([0.9])),
    ]
    assert scale_of(dots) == (0, 100, 20)
    assert scale_of([dots[2]]) == (70, 90, 10)
    assert scale_of([Dot("a", 0, (0.72,), Interval(0.72, 0.05, 3))]) == (60, 80, 10)
    chart = dot_plot(dots, (0, 100, 20))
    assert "&lt;b&gt;" in chart
    assert chart.count("<path") == 1  # one row has several values
    # left 3 x 9 + 16 = 43, right 68: 369 wide; the mean 0.6 lies at 264.4, its whiskers reach both ends
    assert '<circle cx="264.4"' in chart
    assert 'd="M43.0 20.0H412.0' in chart


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=5))
def test_the_axis_holds_every_dot_and_whisker(rows: list[tuple[float, float]]) -> None:
    low, high, step = scale_of([Dot("a", 0, (mean,), Interval(mean, half, 3)) for mean, half in rows])
    assert 0 <= low < high <= 100
    assert (high - low) % step == 0
    for mean, half in rows:
        assert low <= 100 * max(0, mean - half) + 1e-9
        assert 100 * min(1, mean + half) - 1e-9 <= high


def test_intervals_as_people_read_them() -> None:
    one, none = Interval(0.924, math.nan, 1), Interval(-0.00001, 0.01, 3)
    assert [percent_interval(i) for i in (None, one, Interval(0.924, 0.0061, 3))] == ["–", "92.4 %", "92.4 ± 0.6 %"]
    assert [points_interval(i) for i in (None, one, none)] == ["–", "+92.4", "0.0 ± 1.0"]
