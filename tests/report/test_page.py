"""The page: self-contained, escaped, complete for one run and for several, whatever the runs left out."""

import math
import re
from pathlib import Path

import pytest

from fgl_flower.config import RunConfig
from fgl_flower.records.run_folder import RunFolder
from fgl_flower.report.formatting import human_bytes, human_seconds, percent, percent_interval, points_interval
from fgl_flower.report.intervals import Interval
from fgl_flower.report.page import write_report
from tests.drawings import lines
from tests.made_runs import made_run
from tests.pages import HOSTILE, Page


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
    text = (runs[1] / "report.html").read_text(encoding="utf-8")
    assert "Accuracy over rounds" in text
    over_rounds, over_bytes = re.findall(r'<svg[^>]*aria-label="accuracy over .*?</svg>', text, flags=re.DOTALL)
    assert len(lines(over_rounds, "fedavg")[0]) == len(lines(over_bytes, "fedavg")[0]) == 5


def test_a_failed_run_has_a_page_with_the_reason(tmp_path: Path) -> None:
    folder = RunFolder.create(RunConfig.parse({"runs-dir": str(tmp_path)}))
    folder.fail("no client answered <b>")
    text = write_report([folder.path]).read_text(encoding="utf-8")
    assert "no client answered &lt;b&gt;" in text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0 B"), (812, "812 B"), (999, "999 B"), (1000, "1 kB"), (42_700_000, "42.7 MB"), (3.2e9, "3.2 GB")],
)
def test_bytes_as_people_read_them(value: float, text: str) -> None:
    assert human_bytes(value) == text


def test_durations_and_shares_as_people_read_them() -> None:
    assert [human_seconds(s) for s in (4.21, 59.99, 200, 7500)] == ["4.2 s", "60.0 s", "3 min 20 s", "2 h 5 min"]
    assert [percent(share) for share in (None, 0, 0.8349, 1)] == ["–", "0.0 %", "83.5 %", "100.0 %"]


def test_intervals_as_people_read_them() -> None:
    one, none = Interval(0.924, math.nan, 1), Interval(-0.00001, 0.01, 3)
    assert [percent_interval(i) for i in (None, one, Interval(0.924, 0.0061, 3))] == ["–", "92.4 %", "92.4 ± 0.6 %"]
    assert [points_interval(i) for i in (None, one, none)] == ["–", "+92.4", "0.0 ± 1.0"]


def test_a_deployment_s_page_names_what_the_protocol_adds_to_its_bytes(tmp_path: Path) -> None:
    page = write_report([made_run(tmp_path, "fgl", requests_per_client=180.0)], tmp_path / "page.html").read_text()
    assert "about 229 kB up and 66.6 kB down" in page
    assert "(180 requests)" in page
    assert "requests)" not in write_report([made_run(tmp_path, "centralised")], tmp_path / "other.html").read_text()
