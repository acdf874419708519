"""Membership audits of real runs: what learns by heart is found, what never sees an image is not."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from experiments.audit.membership import audit, shadow_table
from experiments.audit.membership_page import HEADINGS, lines, plain, write
from experiments.table.spec import Table
from fgl_flower.config import RunConfig
from fgl_flower.data.rows import column
from fgl_flower.data.sources import load_source
from fgl_flower.errors import ConfigError
from fgl_flower.records.reading import Run, read_run
from tests.commands import fgl
from tests.whole_runs import served, small

TABLE = """
title = "Who?"
seeds = [0]
[base]
private-images = 60
validation-images = 30
test-images = 30
canaries = 6
device = "cpu"
server-epochs = 1
[axes.method.centralised]
method = "centralised"
[axes.method.names]
prompt-level = "names"
client-evaluation = false
images-per-class = 4
"""


def test_halves_share_out_the_images_and_canaries_stay() -> None:
    whole = RunConfig(private_images=100, canaries=10)
    one, other = (load_source(whole.model_copy(update={"private_half": half})).private for half in (1, 2))
    both = sorted([*one["caption"], *other["caption"]])
    assert both == sorted(load_source(whole).private["caption"])
    assert len(one) == len(other) == 50
    true = load_source(RunConfig(private_images=100)).private
    given = load_source(whole).private
    assert (column(true, "label") != column(given, "label")).sum() == 10
    assert true.features == given.features
    assert true["caption"] == given["caption"]


def test_nodes_own_images_cannot_be_halved() -> None:
    with pytest.raises(ConfigError, match="private-half"):
        RunConfig.parse({"dataset": "nodes", "classes": "cat, dog", "private-half": 1})


def _runs(folder: Path, models: int, method: str, **changes: object) -> list[Run]:
    return [
        read_run(served(small(folder, method, "miniature-fast", private_half=half, **changes)))
        for half in range(1, models + 1)
    ]


def test_learning_by_heart_is_found(tmp_path: Path) -> None:
    runs = _runs(tmp_path, 6, "centralised", server_epochs=40, canaries=30, selection="validation")
    [found] = audit("centralised", runs)
    assert not found.unchanged
    assert found.rates["RMIA", "all"].auc > 0.6
    assert found.rates["RMIA", "all"].members == found.rates["RMIA", "all"].others == 6 * 45
    assert found.rates["RMIA", "canaries"].members == 6 * 15


def test_a_curious_server_sees_the_models_of_rounds(tmp_path: Path) -> None:
    runs = _runs(tmp_path, 6, "fedavg", rounds=2, keep_models=1)
    assert sorted(p.name for p in (runs[0].path / "models").iterdir()) == [
        "round-0001.safetensors",
        "round-0002.safetensors",
    ]
    last = (runs[0].path / "models" / "round-0002.safetensors").read_bytes()
    assert last == (runs[0].path / "model.safetensors").read_bytes()
    assert [one.models for one in audit("fedavg", runs)] == ["the final one", "those of 2 rounds"]


def test_keeping_models_needs_rounds() -> None:
    with pytest.raises(ConfigError, match="keep-models"):
        RunConfig.parse({"method": "fgl", "rounds": 0, "keep-models": 1})


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "who.toml").write_text(TABLE)
    arguments = ("audit", "membership", tmp_path / "who.toml", "--models", "6", "--jobs", "1", "--runs-dir", tmp_path)
    assert fgl(monkeypatch, *arguments) == 0
    assert "all 6 runs gave the same model to the bit" in " ".join(capsys.readouterr().out.split())
    kept = json.loads((tmp_path / "who-audit" / "membership.json").read_text())["methods"]
    assert set(kept) == {"names", "centralised"}
    assert {rate["auc"] for rate in kept["names"][0]["rates"]} == {0.5}
    [run] = {path.parent for path in (tmp_path / "cells").glob("names_1_*/audit.json")}
    assert "0.00 % (0.00 to" in (run / "report.html").read_text()
    page = (tmp_path / "who-audit" / "membership.html").read_text()
    assert "Canaries" in page and "names" in page and "<svg" in page  # noqa: PT018
    assert len((tmp_path / "who-audit" / "membership.csv").read_text().splitlines()) == 1 + 2 * 3 * 3


def test_too_few_models_and_methods_without_one_are_refused(tmp_path: Path) -> None:
    (tmp_path / "who.toml").write_text(TABLE)
    table = Table.load(tmp_path / "who.toml")
    for models in (4, 7):
        with pytest.raises(ConfigError, match="--models"):
            shadow_table(table, [{}, {}], models)
    with pytest.raises(ConfigError, match="seeds"):
        shadow_table(replace(table, seeds=(0, 1)), [{}, {}], 6)
    local = Table.load(tmp_path / "who.toml", {"method": "local", "rounds": 1})
    with pytest.raises(ConfigError, match="local"):
        shadow_table(local, [{}, {}], 6)


def test_every_line_has_every_figure(tmp_path: Path) -> None:
    runs = _runs(tmp_path, 6, "centralised", canaries=6)
    found = audit("a <b>", runs)
    shown = lines([plain(one) for one in found], "all")
    assert np.shape(shown) == (3, len(HEADINGS))
    write([replace(found[0], method="other keys")], tmp_path / "page", "title", "another command")
    page = write(found, tmp_path / "page", "title", "command").read_text()
    assert "other keys" not in page
    more = write([replace(found[0], method="another method")], tmp_path / "page", "title", "command").read_text()
    assert "another method" in more and "a &lt;b&gt;" in more  # noqa: PT018
    assert "a &lt;b&gt;" in page and "a <b>" not in page  # noqa: PT018
