"""`fgl plan` and `fgl preview`: what they print is what would be drawn and sent, and nothing else happens."""

import json
from pathlib import Path

import pytest

from clients.data import Client
from clients.prompting import prompt_payload
from fgl_flower.config import RunConfig
from fgl_flower.data.sources import load_source
from fgl_flower.wire.codec import encode
from strategies.planning import plan_for
from tests.commands import fgl

LINES = """
clients = 3
private-images = 120
validation-images = 60
test-images = 60
images-per-class = 6
partition = "iid"
device = "cpu"
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "run.toml"
    path.write_text(LINES, encoding="utf-8")
    return path


def test_plan_shows_what_would_be_drawn(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(file.parent)
    assert fgl(monkeypatch, "plan", file) == 0
    shown = capsys.readouterr().out
    config = RunConfig.load(file)
    payloads = [prompt_payload(Client(i, config)) for i in range(3)]
    plan = plan_for(config, load_source(config).classes, payloads)
    assert plan.digest in shown
    assert f"{len(plan)} images of {len(plan.rows())} prompts by miniature-fast" in shown
    for image in plan.images[:3]:
        assert image.prompt in shown
    assert f"{plan.images[0].seed:016x}" in shown
    assert [path.name for path in file.parent.iterdir()] == ["run.toml"]


def test_plan_of_any_budget_answers_at_once(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(file.parent)
    assert fgl(monkeypatch, "plan", file, "--set", "images-per-class=1000000000") == 0
    shown = capsys.readouterr().out
    assert "10,000,000,000 images of 60 prompts by miniature-fast" in shown
    assert "a run would be refused: 10,000,000,000 images need about" in shown
    assert [path.name for path in file.parent.iterdir()] == ["run.toml"]


def test_preview_shows_what_a_client_would_send(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fgl(monkeypatch, "preview", file, "--client", "2") == 0
    shown = capsys.readouterr().out
    payload = prompt_payload(Client(2, RunConfig.load(file)))
    for prompt in payload.prompts:
        assert json.dumps(prompt.text) in shown
    assert "partition: 2" in shown
    size = int(shown.split("would send ")[1].split(" bytes")[0].replace(",", ""))
    data = encode(payload)["payload"]["data"]
    assert len(data) < size < len(data) + 500


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("preview", "FILE", "--client", "3"), "the run has clients 0 to 2"),
        (("plan", "FILE", "--set", "method=fedavg", "--set", "rounds=1"), "has no prompt round"),
    ],
)
def test_bad_input_is_told_in_a_sentence(
    file: Path,
    arguments: tuple[str, ...],
    sentence: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert fgl(monkeypatch, *[file if a == "FILE" else a for a in arguments]) == 2
    assert sentence in capsys.readouterr().err
