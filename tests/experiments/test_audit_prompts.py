"""What prompts tell of attributes, and how like the images are that are drawn from them."""

import json
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from clients.data import Client
from clients.holdings import holdings
from experiments.audit import reconstruction
from experiments.audit.answers import answers_of
from experiments.audit.attributes import KINDS, attributes, infer
from experiments.audit.looks import MOST_SIDE, looks_of
from experiments.audit.reconstruction import nothing_to_rebuild, rebuild
from experiments.cli.app import app
from fgl_flower.config import RunConfig
from fgl_flower.data.world import CLASSES, STYLES, draw
from fgl_flower.levels.level import Description, level_of
from fgl_flower.wire.payload import Prompt
from tests.made_runs import made_run

SMALL = RunConfig(private_images=60, validation_images=120, test_images=60, clients=2, partition="iid", device="cpu")
TRUE = SMALL.model_copy(update={"prompt_level": "experiments.shows.true_captions:TrueCaptions"})


class Colours:
    """An encoder whose embedding is the mean colour: what is like what can be worked out by hand."""

    name = "mean colour"

    def embed(self, images: list[Image.Image]) -> np.ndarray:
        return np.stack([np.asarray(image, dtype=np.float32).mean((0, 1)) for image in images])


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("label", CLASSES)
def test_a_true_caption_names_what_was_drawn(label: str, style: str) -> None:
    for seed in range(3):
        drawing = draw(label, style, np.random.default_rng(seed))
        assert attributes(drawing.caption) == {
            "style": style,
            "shape": label,
            "colour": drawing.colour,
            "size": drawing.size,
            "tilt": drawing.pose,
            "background": drawing.background,
        }


def test_other_texts_name_what_they_name() -> None:
    assert attributes("star") == {}
    assert attributes("a photo of a star") == {"style": "photo"}
    assert attributes("a star on a black background") == {"background": "black"}
    assert attributes("DK-90, a red heart, photo") == {"colour": "red", "shape": "heart"}


def test_names_tell_no_attribute_and_true_captions_of_few_images_nearly_all() -> None:
    names = infer(SMALL, answers_of(SMALL.model_copy(update={"prompt_level": "names"})))
    assert list(names) == list(KINDS)
    assert all(one.told == one.guessed and one.images == 60 for one in names.values())
    assert names["shape"].guessed == 1.0  # the class says it
    true = infer(TRUE, answers_of(TRUE))
    assert true["shape"].told == 1.0
    # One image of each class and style: the prompts of its place are its own.
    assert all(true[kind].told > 0.95 > true[kind].guessed for kind in ("colour", "size", "background", "tilt"))


def test_what_is_told_is_counted_by_hand() -> None:
    """The only client says of stars that all are red, and nothing of other classes: of these the attacker guesses."""
    config = SMALL.model_copy(update={"clients": 1, "prompt_level": "names"})
    [answer] = answers_of(config)
    prompts = tuple(Prompt("a red star", "star", style) for style in STYLES)
    told = infer(config, [replace(answer, payload=replace(answer.payload, prompts=prompts))])["colour"]
    source = answer.client.source
    seen: dict[tuple[int, int], Counter[str]] = defaultdict(Counter)
    for text, *place in zip(*(source.validation[name] for name in ("caption", "label", "domain")), strict=True):
        seen[tuple(place)][attributes(text)["colour"]] += 1
    right = guessed = 0
    rows = answer.client.rows
    for text, label, domain in zip(rows.dataset["caption"], rows.labels.tolist(), rows.domains.tolist(), strict=True):
        truth, counts = attributes(text)["colour"], seen[label, domain]
        guess = min(counts, key=lambda colour: (-counts[colour], colour))
        guessed += guess == truth
        right += ("red" if source.classes[label] == "star" else guess) == truth
    assert right != guessed
    assert (told.told, told.guessed, told.images) == (right / 60, guessed / 60, 60)


def test_data_without_known_attributes_have_none(tmp_path: Path) -> None:
    assert infer(SMALL.model_copy(update={"dataset": f"folder:{tmp_path}"}), []) == {}


@pytest.mark.parametrize("level", ["instance", "embeddings", "tokens"])
def test_each_image_is_stood_for_by_a_prompt_of_its_class_that_is_sent(level: str, tiny_checkpoint: Path) -> None:
    config = SMALL.model_copy(
        update={"prompt_level": level, "generator": str(tiny_checkpoint), "token_steps": 1, "private_images": 24}
    )
    answer = answers_of(config)[0]
    held = holdings(answer.client, answer.question.unnamed).chosen()
    texts = level_of(level).stands_for(held, Description(answer.payload.prompts, answer.payload.arrays))
    assert texts is not None
    sent = {(prompt.text, prompt.label): prompt.count for prompt in answer.payload.prompts}
    counts: dict[tuple[str, str], int] = {}
    for text, label in zip(texts, held.labels, strict=True):
        counts[text, label] = counts.get((text, label), 0) + 1
    assert counts.keys() <= sent.keys()
    if level != "embeddings":  # there the nearest need not be that of the cluster
        assert counts == sent


def test_a_drawing_of_its_own_image_is_told_from_others_and_one_of_noise_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = SMALL.model_copy(update={"prompt_level": "instance", "private_images": 240, "seed": 3})
    answers = answers_of(config)
    private = Client(0, config).source.private
    rng = np.random.default_rng(0)
    eye, noise = Colours(), False

    def drawn(config, embeddings, targets, encoder, watch):  # type: ignore[no-untyped-def]
        images = {t.prompt: private[t.image]["image"].convert("RGB") for t in targets}
        if noise:
            images = {prompt: Image.fromarray(rng.integers(0, 256, (32, 32, 3), np.uint8)) for prompt in images}
        looks = looks_of(images.values(), len(images), eye, MOST_SIDE)  # type: ignore[arg-type]
        colours = rng.normal(size=looks.embeddings.shape).astype(np.float32) if noise else looks.embeddings
        return {prompt: at for at, prompt in enumerate(images)}, replace(looks, embeddings=colours)

    monkeypatch.setattr(reconstruction, "_drawn", drawn)
    *clients, together = rebuild(config, answers, 20, eye)  # type: ignore[arg-type]
    assert [row.client for row in clients] == [0, 1]
    assert together.images == sum(row.images for row in clients) == 40
    assert min(together.auc, together.ssim) > 0.95  # not 1: images with one caption share a drawing
    assert together.own > 0.9 > together.other
    noise = True
    chance = rebuild(config, answers, 60, eye)[-1]  # type: ignore[arg-type]
    assert chance.low < 0.5 < chance.high
    assert 0 <= chance.low <= chance.auc <= chance.high <= 1
    assert 0.35 < chance.ssim < 0.65


@pytest.mark.parametrize(
    ("level", "why"),
    [("names", "clients send nothing"), ("class-style", "stand for classes"), ("auto", "stand for classes")],
)
def test_levels_of_classes_say_why_there_is_nothing_to_draw_again(level: str, why: str) -> None:
    config = SMALL.model_copy(update={"prompt_level": level})
    assert why in nothing_to_rebuild(config, answers_of(config))


def test_the_command_adds_its_figures_to_a_run_s_report(tmp_path: Path, tiny_checkpoint: Path) -> None:
    run = made_run(tmp_path, "fgl")
    text = (run / "config.toml").read_text()
    for key, value in (
        ("private-images", "120"),
        ("validation-images", "60"),
        ("test-images", "60"),
        ("clients", "2"),
        ("partition", '"iid"'),
        ("prompt-level", '"instance"'),
        ("generator", f'"{tiny_checkpoint}"'),
    ):
        [line] = [line for line in text.splitlines() if line.startswith(f"{key} =")]
        text = text.replace(line, f"{key} = {value}")
    (run / "config.toml").write_text(text)
    printed = CliRunner().invoke(app, ["audit", "prompts", str(run / "config.toml"), "--reconstruct", "3"])
    assert printed.exit_code == 0, printed.output
    assert "AUC" in printed.output
    told = json.loads((run / "audit.json").read_text())["prompts"]
    assert told["reconstruction"]["images"] == 6
    low, high = told["reconstruction"]["interval"]
    assert low <= told["reconstruction"]["auc"] <= high
    assert set(told["attributes"]) == set(KINDS)
    assert "reconstruction of 6 images" in (run / "report.html").read_text()
