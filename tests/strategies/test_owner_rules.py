"""What an owner's rules change in a run is told in its result, and ends nothing."""

from pathlib import Path

from clients.client_app import app
from fgl_flower.records.reading import read_result
from fgl_flower.records.run_folder import RunFolder
from fgl_flower.report.observers import observers_of
from fgl_flower.simulation import InlineGrid
from strategies.server_app import serve
from tests.whole_runs import small


def test_the_result_says_who_answered_otherwise_and_who_refused(tmp_path: Path, tiny_checkpoint: Path) -> None:
    otherwise, nothing = tmp_path / "otherwise.toml", tmp_path / "nothing.toml"
    otherwise.write_text('levels = ["class"]\notherwise = "class"\nevaluation = false\n')
    nothing.write_text('levels = ["class"]\n')
    config = small(tmp_path, "fgl", str(tiny_checkpoint), prompt_level="class-style", rounds=0)
    node_configs = {0: {"policy": str(otherwise)}, 1: {"policy": str(nothing)}}
    with RunFolder.create(config, observers=observers_of(config)) as folder:
        serve(InlineGrid(app, 3, config.to_flat(), node_configs), config, folder, engine="deployment")
    result = read_result(folder.path)
    told = "client 0: by its owner's rules it answered at the level 'class'"
    assert told in result.warnings
    reasons = {failure.client: failure.reason for failure in result.failures}
    assert len(reasons) == 2  # client 1 has sent nothing: it is known as a node
    assert "the owner's rules forbid evaluation" in reasons["0"]
    assert any("the owner's rules forbid prompts of the level 'class-style'" in reason for reason in reasons.values())
    assert told.replace("'", "&#39;") in (folder.path / "report.html").read_text(encoding="utf-8")
