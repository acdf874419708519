"""Captioners: the shipped one is right, and any transformers image-to-text model loads and speaks."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fgl_flower.data.world import CLASSES, COLOURS, SIZES, draw_split
from fgl_flower.errors import ModelError
from fgl_flower.foundation.captioner import INSTRUCTION, Captioner, captioner_folder
from tests.tiny_captioners import save_blip2, save_llava


def test_the_shipped_captioner_names_colour_size_and_class() -> None:
    drawings = draw_split("private", 120)
    captions = Captioner.load("miniature", device="cpu").describe([d.image for d in drawings])
    words = [set(caption.split()) for caption in captions]
    right = [
        {d.label, d.colour, d.size} <= w and not w & ({*CLASSES, *COLOURS, *SIZES} - {d.label, d.colour, d.size})
        for d, w in zip(drawings, words, strict=True)
    ]
    assert np.mean(right) >= 0.9


def test_captions_do_not_depend_on_the_batch() -> None:
    images = [d.image for d in draw_split("validation", 12)]
    captioner = Captioner.load("miniature", device="cpu")
    assert captioner.describe(images, batch_size=5) == [captioner.describe([image])[0] for image in images]
    assert captioner.describe([]) == []


@pytest.mark.parametrize("save", [save_blip2, save_llava])
def test_any_image_to_text_model_speaks(save: Any, tmp_path: Path) -> None:
    captioner = Captioner.load(str(save(tmp_path / "model")), device="cpu")
    images = [np.full((40, 48, 3), shade, np.uint8) for shade in (0, 99, 255)]
    captions = captioner.describe(images, batch_size=2)
    assert len(captions) == 3
    assert captions == captioner.describe(images, batch_size=2)
    assert not any("<image>" in caption or INSTRUCTION in caption for caption in captions)  # only what was added


def test_a_missing_captioner_is_told_in_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ModelError, match=r"no captioner|not cached"):
        captioner_folder("nobody/no-such-model", download=False)
    with pytest.raises(ModelError, match="cannot load the captioner"):
        Captioner.load(str(tmp_path))
