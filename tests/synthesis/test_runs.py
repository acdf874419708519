"""Whole runs whose generator, prompts or disk are not as they should be: what is told, and what is kept."""

from pathlib import Path
from typing import Any

import pytest
import torch

from fgl_flower.errors import RunError
from fgl_flower.records.reading import read_run
from fgl_flower.synthesis import maintenance as upkeep
from strategies import one_shot
from tests.tiny_models import save_decoder_of_one_value, save_text_to_image
from tests.whole_runs import served, small


@pytest.fixture(scope="module")
def generator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return save_text_to_image(tmp_path_factory.mktemp("models") / "tiny", defaults={"steps": 1, "guidance": 1.0})


def test_a_generator_whose_images_are_no_numbers_ends_the_run_with_advice(generator: Path, tmp_path: Path) -> None:
    broken = save_decoder_of_one_value(generator, tmp_path / "broken", float("nan"))
    config = small(tmp_path / "runs", "fgl", str(broken), synthesis_precision="float32")
    with pytest.raises(RunError, match="not finite numbers") as caught:
        served(config)
    (run,) = (read_run(path) for path in (tmp_path / "runs").glob("fgl*"))
    assert run.state == "failed"
    assert run.reason == str(caught.value)
    assert upkeep.verify(tmp_path / "runs" / "store").images == 0


def test_images_that_show_nothing_are_counted_reused_ones_too(generator: Path, tmp_path: Path) -> None:
    black = save_decoder_of_one_value(generator, tmp_path / "black", -1.0)
    for reused in (0, 60):
        run = read_run(served(small(tmp_path / "runs", "fgl", str(black))))
        (event,) = (event for event in run.events if event["event"] == "synthesis")
        assert (event["reused"], event["nearly_constant"]) == (reused, 60)
        assert run.result is not None
        (warning,) = (text for text in run.result.warnings if "constant" in text)
        assert warning.startswith("60 of 60 synthetic images are nearly constant")
        assert "most of prompt 'a " in warning
    assert len(upkeep.verify(tmp_path / "runs" / "store").nearly_constant) == 60


def test_a_model_that_cannot_be_kept_is_not_lost(
    generator: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_only(*_: Any) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(one_shot, "write_bytes", read_only)
    run = read_run(served(small(tmp_path, "fgl", str(generator))))
    assert run.state == "finished"
    assert (run.path / "model.safetensors").exists()
    assert run.result is not None
    (warning,) = (text for text in run.result.warnings if "store-models" in text)
    assert "is not kept for later runs" in warning
    assert "Read-only file system" in warning
