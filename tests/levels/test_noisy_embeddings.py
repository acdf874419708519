"""Under dp-epsilon the embeddings level sends noisy sums that an image changes by 1 at most; words are found again."""

from collections.abc import Sequence
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import datasets
import numpy as np
import psutil
import pytest
from PIL import Image

from fgl_flower.config import RunConfig
from fgl_flower.errors import ConfigError
from fgl_flower.foundation.encoders import embedding_shape
from fgl_flower.levels import noisy_embeddings
from fgl_flower.levels.holdings import Holdings
from fgl_flower.levels.level import level_of
from fgl_flower.levels.noisy_embeddings import COUNT, GRID, describe_with_noise, groups, offer_of_noisy, vectors_of
from fgl_flower.levels.public_basis import PublicBasis
from fgl_flower.wire.codec import decode, encode
from fgl_flower.wire.payload import PromptPayload
from strategies.planning import limits_for

CONFIG = RunConfig(dataset="world-codes", prompt_level="embeddings", dp_epsilon=4.0, client_evaluation=False)
CLASSES, STYLES = ("BX-12", "CT-47"), ("photo", "clipart", "painting", "infograph")
SAID = {  # of each class: what its captions have in common
    "BX-12": ("small", "red", "star", "white"),
    "CT-47": ("large", "blue", "moon", "black"),
}
WIDTH = 1 + CONFIG.dp_dimensions


def said(label: str, style: str) -> str:
    size, colour, shape, background = SAID[label]
    return f"a {style} of a {size} {colour} {shape} on a {background} background"


def drawn(label: str, style: str) -> str:
    size, colour, shape, background = SAID[label]
    return f"{shape}, a {size} {colour} {shape} on a {background} background, {style}"


def held(rows: Sequence[tuple[str, str]]) -> Holdings:
    """Return holdings of so many images of class and style, whose captions are `SAID`."""
    columns: dict[str, list[Any]] = {
        "image": [Image.new("RGB", (8, 8))] * len(rows),
        "label": [CLASSES.index(label) for label, _ in rows],
        "domain": [STYLES.index(style) for _, style in rows],
    }
    captions = [said(label, style) for label, style in rows]
    return Holdings(datasets.Dataset.from_dict(columns), CLASSES, STYLES, CONFIG, captioner=lambda dataset: captions)


@pytest.fixture
def sums(monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    """Take the place of the noise, and keep what it is added to: (groups, WIDTH) each."""
    seen: list[np.ndarray] = []

    def keep(numbers: list[int], deviation: float) -> list[int]:
        seen.append(np.array(numbers).reshape(-1, WIDTH))
        return numbers

    monkeypatch.setattr(noisy_embeddings, "noised", keep)
    return seen


def test_no_image_adds_more_than_1_in_norm() -> None:
    rng = np.random.default_rng(0)
    coordinates = rng.normal(size=(500, 16))
    coordinates /= np.linalg.norm(coordinates, axis=1, keepdims=True)  # as long as they may be
    assert np.linalg.norm(vectors_of(coordinates), axis=1).max() <= GRID
    assert vectors_of(coordinates)[0, 0] == COUNT * GRID


def test_an_image_more_changes_the_sums_by_1_at_most_and_in_its_group_alone(sums: list[np.ndarray]) -> None:
    rows = [("BX-12", "photo"), ("BX-12", "photo"), ("CT-47", "clipart")]
    for some in (rows, rows[1:], []):
        describe_with_noise(held(some), CLASSES, 1.0)
    places = len(groups(CONFIG, CLASSES, STYLES))
    assert [one.shape for one in sums] == [(places, WIDTH)] * 3  # the same numbers whatever a client holds
    change = sums[0] - sums[1]
    assert 0 < np.linalg.norm(change) <= GRID
    assert np.count_nonzero(change.any(axis=1)) == 1
    assert not sums[2].any()


def test_without_noise_counts_and_means_are_the_images(sums: list[np.ndarray]) -> None:
    told = describe_with_noise(held([("BX-12", "photo")] * 3 + [("CT-47", "photo")]), ("BX-12",), 1.0)
    [prompt] = told.prompts  # of CT-47 nothing is to be said
    assert (prompt.label, prompt.domain, prompt.count) == ("BX-12", "photo", 3)
    [true] = PublicBasis.of(CONFIG, STYLES).coordinates([said("BX-12", "photo")])
    np.testing.assert_allclose(told.arrays[prompt.text].array[0], true, atol=3 / GRID)


def test_the_server_finds_the_words_again_and_draws_them_in_every_style(sums: list[np.ndarray]) -> None:
    payloads = []
    for number, rows in enumerate([[("BX-12", "photo")] * 20, [("CT-47", "photo")] * 20 + [("CT-47", "clipart")] * 30]):
        told = describe_with_noise(held(rows), CLASSES, 1.0)
        payloads.append(PromptPayload(number, told.prompts, {}, kind="embeddings", arrays=told.arrays))
    offered = offer_of_noisy(payloads, CONFIG.model_copy(update={"embedding_clusters": 1}))
    found = {(offer.prompt.text, offer.prompt.label, offer.prompt.domain): offer for offer in offered.offers}
    places = [("BX-12", "photo"), ("CT-47", "clipart"), ("CT-47", "photo")]
    assert sorted(found) == sorted((drawn(label, style), label, style) for label, style in places)
    counts = {key[1:]: (offer.prompt.count, offer.senders) for key, offer in found.items()}
    assert counts["CT-47", "clipart"] == (30, (1,))
    means = offer_of_noisy(payloads, CONFIG.model_copy(update={"embedding_centre": "mean"}))
    assert {array.shape for array in means.embeddings.values()} == {(24, 64)}


def test_words_in_which_captions_differ_are_left_open_and_filled_in_evenly() -> None:
    basis = PublicBasis.of(CONFIG, STYLES)
    kinds = dict(basis.vocabulary.groups)
    sizes, backgrounds = kinds["size"], kinds["background"]
    captions = [f"a photo of a {size} red star on a {ground} background" for size in sizes for ground in backgrounds]
    mean = basis.coordinates(captions).mean(axis=0) - basis.offset("photo")
    found = basis.nearest(mean, "photo")
    assert dict(zip(basis.effects, found, strict=True)) == {
        "shape": "star",
        "colour": "red",
        "size": "",
        "background": "",
    }
    filled = basis.fillings(found, 30, 0)
    assert {words[:2] for words in filled} == {("star", "red")}
    assert len(filled) == len(set(filled)) <= len(sizes) * len(backgrounds)
    assert {words[2] for words in filled} == set(sizes)
    assert basis.fillings(("star", "red", "small", "white"), 8, 0) == [("star", "red", "small", "white")]


def test_the_server_takes_what_a_client_sends() -> None:
    told = describe_with_noise(held([("BX-12", "photo")] * 30), CLASSES, 1.0)
    payload = PromptPayload(0, told.prompts, {"BX-12": 30}, kind="embeddings", arrays=told.arrays)
    assert decode(encode(payload), limits_for(CONFIG), CLASSES, STYLES) == payload


def test_a_basis_that_the_machine_has_no_room_for_is_refused_before_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = 2000 * 4 * np.prod(embedding_shape("miniature").packed)
    for free, refused in ((taken - 1, True), (taken, False)):
        monkeypatch.setattr(psutil, "virtual_memory", lambda free=free: SimpleNamespace(available=free))
        with pytest.raises(ConfigError, match="GB of memory") if refused else nullcontext():
            level_of("embeddings").check(CONFIG, CLASSES, STYLES)
