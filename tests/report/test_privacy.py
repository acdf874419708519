"""The privacy section: what left the clients, the promise, what audits found."""

import json
from pathlib import Path

import pytest

from fgl_flower.errors import ConfigError
from fgl_flower.extension_points import PROMPT_LEVEL
from fgl_flower.records.audits import add_audit, read_audits
from fgl_flower.records.reading import read_run
from fgl_flower.report.page import write_report
from fgl_flower.report.privacy import _LEAVES, privacy_rows, promise
from tests.made_runs import made_run
from tests.pages import HOSTILE, Page

PROMISED = {"epsilon": 2.0, "delta": 1e-3, "spent": 1.98, "releases": 3.0, "noise": 2.5, "least": 9.25}


def test_every_level_says_what_leaves_a_client() -> None:
    assert set(_LEAVES) == set(PROMPT_LEVEL.builtins)


def test_an_fgl_run_says_level_and_promise(tmp_path: Path) -> None:
    run = read_run(made_run(tmp_path, "fgl", privacy=PROMISED))
    rows = dict(privacy_rows(run))
    assert rows["prompt level"] == "class-style"
    assert "names of the classes and styles" in rows["what left a client"]
    assert "how many of its images the one-shot model gets right" in rows["what left a client"]
    assert "epsilon 2 at delta 0.001" in rows["differential privacy"]
    assert "epsilon 1.98 by 3 lists of numbers" in rows["spent by the accountant"]
    assert "deviation 2.5" in rows["noise"]
    assert rows["least count"] == "counts below 9.2 were left out"
    assert run.result is not None
    assert "epsilon 1.98 of 2 at delta 0.001" in promise(run.result)


@pytest.mark.parametrize("more", [{}, {"rate": 0.25, "clip": 1.5}])
def test_a_promise_of_which_nothing_is_left_out_has_no_least_count(tmp_path: Path, more: dict[str, float]) -> None:
    promised = {name: value for name, value in PROMISED.items() if name != "least"} | more
    run = read_run(made_run(tmp_path, "fgl", privacy=promised))
    rows = dict(privacy_rows(run))
    assert "least count" not in rows
    assert ("clipped" in rows["noise"]) == bool(more)
    assert run.result is not None
    assert "left out" not in promise(run.result)
    assert ("times the norm of 1.5" in write_report([run.path]).read_text()) == bool(more)


def test_runs_without_a_promise_say_so_and_what_else_leaves(tmp_path: Path) -> None:
    fedavg = read_run(made_run(tmp_path, "fedavg", rounds=5))
    rows = dict(privacy_rows(fedavg))
    assert rows["what left a client"] == "in 5 rounds, a model trained on its images"
    assert "nothing is promised" in rows["differential privacy"]
    assert "fgl audit" in rows["audits"]
    assert "prompt level" not in rows
    assert fedavg.result is not None
    assert promise(fedavg.result) == ""
    assert privacy_rows(read_run(made_run(tmp_path, "centralised"))) == []  # there is no client


def test_audits_add_their_figures_and_leave_each_other_s(tmp_path: Path) -> None:
    run = made_run(tmp_path, "fgl")
    add_audit(run, "copies", "first", {"nearer": 0.6})
    add_audit(run, "membership", HOSTILE, {"tpr": 0.1})
    add_audit(run, "copies", "half of the images", {"nearer": 0.5})
    assert read_audits(run)["copies"] == {"summary": "half of the images", "nearer": 0.5}
    assert list(read_audits(run)) == ["copies", "membership"]
    text = write_report([run]).read_text()
    page = Page(text)
    assert "half of the images" in text
    assert "first" not in [value for _, value in page.attributes]
    assert "script" not in page.tags
    with pytest.raises(ValueError, match="is no audit"):
        add_audit(run, "gossip", "", {})  # type: ignore[arg-type]


def test_a_file_of_another_kind_is_left_out_and_a_damaged_one_named(tmp_path: Path) -> None:
    run = made_run(tmp_path, "fgl")
    for content in ([1], {"copies": 3, "prompts": {"summary": 1}, "else": {"summary": "x"}}):
        (run / "audit.json").write_text(json.dumps(content))
        assert read_run(run).audits == {}
    (run / "audit.json").write_text("{")
    with pytest.raises(ConfigError, match="is damaged"):
        read_run(run)
