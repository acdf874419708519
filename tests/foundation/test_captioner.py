"""Captioners: the shipped one is right, and any transformers image-to-text model loads and speaks."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fgl_flower.data.world import CLASSES, COLOURS, SIZES, draw_split
from fgl_flower.errors import ConfigError, ModelError
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


@pytest.mark.parametrize("which", ["miniature", "blip-2"])
def test_a_caption_goes_on_from_the_instruction(which: str, tmp_path: Path) -> None:
    model = which if which == "miniature" else str(save_blip2(tmp_path / "model"))
    images = [d.image for d in draw_split("validation", 4)]
    bare = Captioner.load(model, device="cpu").describe(images)
    for image, caption in zip(images, bare, strict=True):
        first, rest = caption.split()[0], caption.split()[1:]
        asked = Captioner.load(model, device="cpu", instruction=first)
        answer = asked.describe([image])[0].split()
        assert answer[: len(rest)] == rest  # greedy: the same words, without those that it was given
        assert rest


def test_a_chat_captioner_is_asked_what_the_user_says_and_searches_as_wide(tmp_path: Path) -> None:
    captioner = Captioner.load(str(save_llava(tmp_path / "model")), device="cpu", instruction="star circle", beams=3)
    asked: list[str] = []
    generate = captioner.model.generate

    def listening(**inputs: Any) -> Any:
        assert inputs["num_beams"] == 3
        asked.extend(captioner.processor.batch_decode(inputs["input_ids"], skip_special_tokens=True))
        return generate(**inputs)

    captioner.model.generate = listening
    assert len(captioner.describe([np.zeros((32, 32, 3), np.uint8)])) == 1
    assert [" ".join(words.split()) for words in asked] == ["USER: star circle ASSISTANT:"]


def test_a_batch_that_does_not_fit_is_halved_and_the_size_remembered() -> None:
    images = [d.image for d in draw_split("validation", 10)]
    captioner = Captioner.load("miniature", device="cpu")
    expected, generate, sizes = captioner.describe(images), captioner.model.generate, list[int]()

    def small(**inputs: Any) -> Any:
        sizes.append(len(inputs["pixel_values"]))
        if sizes[-1] > 3:
            raise torch.OutOfMemoryError("too many")
        return generate(**inputs)

    captioner.model.generate = small
    assert captioner.describe(images) == expected
    assert sizes == [10, 5, 2, 2, 2, 2, 2]
    assert captioner.describe(images[:4]) == expected[:4]
    assert sizes[7:] == [2, 2]


def test_precision_is_that_of_the_key() -> None:
    assert Captioner.load("miniature", device="cpu", precision="bfloat16").model.dtype is torch.bfloat16
    assert Captioner.load("miniature", device="cpu").model.dtype is torch.float32
    with pytest.raises(ConfigError, match="captioner-precision = 'float16' needs a GPU"):
        Captioner.load("miniature", device="cpu", precision="float16")


def test_a_missing_captioner_is_told_in_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ModelError, match=r"no captioner|not cached"):
        captioner_folder("nobody/no-such-model", download=False)
    with pytest.raises(ModelError, match="cannot load the captioner"):
        Captioner.load(str(tmp_path))
