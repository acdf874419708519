"""Objects of a user's own through a whole run: generator, captioner, partition and observer at once."""

from pathlib import Path

import pytest
import torch

from experiments.runner import run, run_folder
from fgl_flower.config import RunConfig
from fgl_flower.errors import ModelError
from fgl_flower.preflight import preflight
from fgl_flower.records.reading import read_run
from fgl_flower.synthesis.store import SyntheticStore
from tests.conformance.observers import Witness
from tests.whole_runs import small

OWN = {"prompt_level": "instance", "captioner": "documented_objects:Brightness"}
NOISE = "documented_objects:Noise"


def configured(tmp_path: Path, **changes: object) -> RunConfig:
    return small(tmp_path, "fgl", NOISE, **{**OWN, "partition": "documented_objects:halves", **changes})


def test_own_generator_captioner_partition_and_observer(tmp_path: Path) -> None:
    witness = Witness()
    config = configured(tmp_path, rounds=1, client_evaluation=False)  # one epoch: classes are told badly
    preflight(config)
    finished = read_run(run_folder(config, observers=[witness]))
    result = finished.result
    assert result is not None
    assert (result.failures, result.warnings) == ([], [])
    assert result.synthetic_images == 60  # 6 of each of ten classes
    assert {(m["role"], m["id"], m["revision"]) for m in map(dict, result.models)} == {
        ("generator", NOISE, "1"),
        ("captioner", OWN["captioner"], "1"),
    }
    assert (witness.heard[0], witness.heard[-2:]) == ("begin", ["samples", "end"])
    told = {sample["prompt"] for sample in finished.samples if sample["kind"] == "synthetic"}
    assert told
    assert all("a bright image" in prompt or "a dark image" in prompt for prompt in told)


def test_the_store_holds_what_the_generator_drew(tmp_path: Path) -> None:
    """Of the pixels that the generator returns; a second run draws nothing and learns the same."""
    config = configured(tmp_path, store_dir=str(tmp_path / "store"))
    first = run(config)
    store = SyntheticStore(tmp_path / "store")
    images = list(store.read(store.keys()))
    assert len(images) == 60
    for image in images[:5]:
        drawn = torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(image.seed))
        kept = torch.as_tensor(image.pixels() / 255).permute(2, 0, 1)
        assert (drawn - kept).abs().max() <= 0.5 / 255 + 1e-6
    again = run(config)
    assert (again.synthetic_digest, again.accuracy) == (first.synthetic_digest, first.accuracy)
    assert len(SyntheticStore(tmp_path / "store")) == 60


@pytest.mark.parametrize("level", ["embeddings", "tokens"])
def test_levels_that_need_a_text_encoder_are_refused_before_anything_is_written(level: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError) as refused:
        run(configured(tmp_path / "runs", prompt_level=level))
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "runs").exists()
