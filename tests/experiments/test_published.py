"""Published figures beside a table's own, and the protocols that ship, told without their data."""

import re
from pathlib import Path

import datasets
import pytest
from PIL import Image

from experiments.cli.options import load_all
from experiments.planning.forecast import forecast
from experiments.planning.needs import look, look_all
from experiments.table.files import markdown
from experiments.table.spec import Table
from fgl_flower.config import RunConfig
from fgl_flower.data.sources import load_source
from fgl_flower.errors import ConfigError
from fgl_flower.report.table.page import render_table_page
from fgl_flower.report.table.rows import Row, TableReport
from tests.commands import fgl
from tests.made_runs import run_of

FOLDER = Path(__file__).parents[2] / "experiments"
PROTOCOLS = sorted(FOLDER.glob("reproduce/*.toml"))
TABLE = """
title = "Ours and theirs"
seeds = [0]
[base]
clients = 2
private-images = 60
validation-images = 60
test-images = 60
server-epochs = 1
[axes.method.centralised]
method = "centralised"
[axes.method.FedAvg]
method = "fedavg"
rounds = 1
[published]
source = "a paper <b>"
differs = ["other | epochs"]
percent.centralised = 91.25
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "theirs.toml"
    path.write_text(TABLE, encoding="utf-8")
    return path


def test_a_published_figure_belongs_to_its_cell(file: Path) -> None:
    table = Table.load(file)
    assert table.published is not None
    assert table.published.shares() == {("centralised",): 0.9125}


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("percent.centralised", "percent.central", "published.percent.central is no cell of the table"),
        ("= 91.25", "= 9125", "percent.centralised = 9125 is no percentage"),
        ("= 91.25", '= "high"', "percent.centralised = 'high' is no percentage"),
        ('source = "a paper <b>"', "", "published.source: field required"),
    ],
)
def test_a_figure_without_a_place_is_refused(file: Path, old: str, new: str, told: str) -> None:
    file.write_text(TABLE.replace(old, new), encoding="utf-8")
    with pytest.raises(ConfigError, match=re.escape(told)):
        Table.load(file)


def test_it_stands_beside_ours_in_markdown_and_page(file: Path) -> None:
    table = Table.load(file)
    assert table.published is not None
    rows = [Row(("centralised",), {0: run_of(0)}, {}, {}, 0.9125), Row(("FedAvg",), {0: run_of(0)}, {}, {})]
    text = markdown(table, rows, "fgl table theirs.toml")
    grid = text.split("Published, in percent (a paper <b>):")[1]
    assert "| centralised | 91.25 |" in grid
    assert "| FedAvg | – |" in grid
    assert "- differs here: other \\| epochs" in grid
    source, differs = table.published.source, tuple(table.published.differs)
    page = render_table_page(TableReport("t", "", ("method",), tuple(rows), "", {}, "", source, differs))
    assert page.count("published 91.25") == 1
    assert "a paper &lt;b&gt;" in page
    assert "other | epochs" in page
    bare = render_table_page(TableReport("t", "", ("method",), (Row(("FedAvg",), {0: run_of(0)}, {}, {}),), "", {}, ""))
    assert "ublished" not in bare


def test_the_table_prints_it_when_run(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("--runs-dir", tmp_path / "runs", "--jobs", "1", "--only", "method=centralised")
    assert fgl(monkeypatch, "table", file, *arguments) == 0
    shown = capsys.readouterr().out
    (line,) = [line for line in shown.splitlines() if "centralised" in line and "91.25" in line]
    assert re.search(r"\d+\.\d .* 91\.25", line)
    assert "differs here: other | epochs" in shown
    (summary,) = (tmp_path / "runs").glob("theirs/summary.csv")
    assert summary.read_text(encoding="utf-8").splitlines()[1].endswith(",0.9125")


@pytest.mark.parametrize("path", PROTOCOLS, ids=lambda path: path.stem)
def test_a_protocol_names_figures_and_what_differs(path: Path) -> None:
    table = Table.load(path)
    assert table.published is not None
    assert table.published.shares()
    assert len(table.published.differs) > 2
    cells = [cell for cell in table.cells if cell.names in table.published.shares()]
    assert len(cells) == len(table.published.shares())


@pytest.mark.parametrize("path", PROTOCOLS, ids=lambda path: path.stem)
def test_a_protocol_is_told_without_its_data(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is downloaded, nothing crashes: every data set and generator that is not here is named, with a remedy."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "none"))
    configs = load_all(path)
    missing = [item for item in look_all(configs, path) if item.fault]
    assert {item.need.name for item in missing if item.need.role == "data"} == {config.dataset for config in configs}
    assert {i.need.name for i in missing if i.need.role == "generator"} == {c.generator for c in configs if c.draws}
    assert all(item.remedy for item in missing)
    for config in configs:
        told = forecast(config, look(config, path))
        assert told.figures
        assert "unknown" in {figure.text() for figure in told.figures}
    assert fgl(monkeypatch, "table", path, "--dry-run") == 0
    shown = capsys.readouterr().out
    assert "differs here: " in shown
    assert f"fgl fetch {path}" in shown
    assert list(tmp_path.iterdir()) == []


def test_the_layout_that_the_files_ask_for_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Images and a metadata.csv of file_name, label, domain in train/ and test/, as fedbip.toml says."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.chdir(tmp_path)
    for split in ("train", "test"):
        folder = tmp_path / "data" / "few" / split
        folder.mkdir(parents=True)
        rows = ["file_name,label,domain"]
        for i in range(12):
            Image.new("RGB", (8, 8), (20 * i, 0, 0)).save(folder / f"{i}.png")
            rows.append(f"{i}.png,{'cat' if i % 2 else 'dog'},{'photo' if i % 3 else 'sketch'}")
        (folder / "metadata.csv").write_text("\n".join(rows), encoding="utf-8")
    source = load_source(RunConfig(dataset="hub:./data/few", method="fedavg", rounds=1))
    assert (source.classes, source.domains) == (("cat", "dog"), ("photo", "sketch"))
    assert len(source.test) == 12
