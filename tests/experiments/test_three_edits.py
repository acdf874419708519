"""docs/three-edits.md, with checkpoints of the same formats and random weights: images, generator, what clients say."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from experiments.cli.app import app
from tests.tiny_captioners import save_blip2
from tests.tiny_classifiers import save_classifier
from tests.tiny_families import save_family


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("parts")
    rng = np.random.default_rng(0)
    for split, count in (("train", 8), ("validation", 3), ("test", 3)):
        for name in ("star", "circle"):
            (root / "images" / split / name).mkdir(parents=True)
            for i in range(count):
                pixels = rng.integers(0, 256, (40, 32, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / "images" / split / name / f"{i}.jpg")
    save_family("sd", root / "sd")
    save_blip2(root / "blip2")
    save_classifier(root / "vit", "vit")
    return root


def test_images_generator_and_captions_of_the_users_own(parts: Path, tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text(
        f"""
method = "fgl"
images-per-class = 4
server-epochs = 1
clients = 2
dataset = "folder:{parts}/images"
model = "hub:{parts}/vit"
train = "lora"
generator = "{parts}/sd"
steps = 2
prompt-level = "instance"
captioner = "{parts}/blip2"
runs-dir = "{tmp_path}/runs"
"""
    )
    for command in (["doctor", str(file)], ["run", str(file), "--dry-run"], ["run", str(file)]):
        done = CliRunner().invoke(app, command)
        assert done.exit_code == 0, done.output
    [folder] = [path for path in (tmp_path / "runs").iterdir() if (path / "result.json").exists()]
    result = json.loads((folder / "result.json").read_text())
    assert result["synthetic_images"] == 8
    assert {model["role"] for model in result["models"]} == {"generator", "captioner", "model"}
    assert 0 <= result["accuracy"] <= 1
    assert result["transfer"]
