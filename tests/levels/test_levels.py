"""Every prompt level from the client's images to the server's plan, and what each may cost."""

import socket
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from clients import captions as captioning
from clients.captions import captions
from clients.data import Client
from clients.holdings import holdings
from clients.prompting import prompt_payload
from fgl_flower.config import RunConfig
from fgl_flower.data.sources import load_source
from fgl_flower.errors import ConfigError, DataError, ModelError
from fgl_flower.foundation.encoders import PromptEncoder
from fgl_flower.levels.downloads import client_models
from fgl_flower.levels.embeddings import quantise
from fgl_flower.levels.holdings import Holdings
from fgl_flower.levels.instance import caption_prompts
from fgl_flower.levels.tokens import Tokens
from fgl_flower.preflight import preflight
from fgl_flower.records.reading import read_run
from fgl_flower.wire.codec import decode, encode
from fgl_flower.wire.limits import Limits
from fgl_flower.wire.payload import Prompt, PromptPayload, Rejection
from fgl_flower.wire.sizes import object_bytes
from strategies.planning import limits_for, plan_for
from tests.whole_runs import served

pytestmark = pytest.mark.usefixtures("one_thread")

SMALL: dict[str, Any] = {
    "private_images": 120,
    "validation_images": 60,
    "test_images": 60,
    "clients": 6,
    "partition": "domain",
    "images_per_class": 7,
    "token_steps": 2,
    "device": "cpu",
}
LEVELS = ("names", "class", "class-style", "instance", "embeddings", "tokens")


def configured(**changes: Any) -> RunConfig:
    return RunConfig(**{**SMALL, **changes})


def received(config: RunConfig, number: int) -> PromptPayload:
    source = load_source(config)
    payload = prompt_payload(Client(number, config))
    outcome = decode(encode(payload), limits_for(config), source.classes, source.domains)
    assert outcome == payload
    return payload


@pytest.mark.parametrize("level", LEVELS)
def test_every_level_survives_the_wire_and_becomes_a_plan_of_one_size(level: str) -> None:
    config = configured(prompt_level=level)
    plan = plan_for(config, load_source(config).classes, [received(config, i) for i in range(2)])
    assert Counter(image.label for image in plan.images) == dict.fromkeys(load_source(config).classes, 7)
    assert len(set(plan.keys)) == 70
    assert all(image.prompt in plan.embeddings for image in plan.images) == (level in {"embeddings", "tokens"})


def test_a_payload_of_another_level_is_refused() -> None:
    config = configured(prompt_level="instance")
    source = load_source(config)
    other = encode(prompt_payload(Client(0, configured(prompt_level="embeddings"))))
    assert isinstance(decode(other, limits_for(config), source.classes, source.domains), Rejection)


def test_instance_prompts_count_identical_captions_and_follow_the_template() -> None:
    config = configured(prompt_level="instance")
    payload = received(config, 1)
    client = Client(1, config)
    told = captions(client, client.rows.dataset)
    assert sum(p.count for p in payload.prompts) == len(told) == len(client.rows.dataset)
    assert len({(p.text, p.label, p.domain) for p in payload.prompts}) == len(payload.prompts)
    assert max(p.count for p in payload.prompts) > 1
    assert {p.text for p in payload.prompts} <= {
        f"{c}, {caption}, sketch" for c in client.source.classes for caption in told
    }


def test_a_client_captions_its_images_once_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    config = configured(prompt_level="instance")
    first = received(config, 2)
    monkeypatch.setattr(captioning, "_captioner", lambda *_: pytest.fail("captioned twice"))
    assert received(config, 2) == first
    assert received(configured(prompt_level="embeddings"), 2).class_counts == first.class_counts


def test_captions_are_scrubbed_before_they_are_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    class Gossip:
        def describe(self, images: list) -> list[str]:
            return ["a badge of ada@example.org"] * len(images)

    monkeypatch.setattr(captioning, "_captioner", lambda *_: Gossip())
    monkeypatch.setattr(captioning, "_CAPTIONS", {})
    texts = {p.text for p in received(configured(prompt_level="instance"), 0).prompts}
    assert "star, a badge of, photo" in texts
    assert not any("ada" in text for text in texts)


def test_a_limited_number_of_captions_is_spread_over_the_classes() -> None:
    client = Client(0, configured(max_captions=12))
    labels = Counter(holdings(client).chosen().dataset["label"])
    assert labels.total() == 12
    assert max(labels.values()) - min(labels.values()) <= 1
    assert len(labels) == 10


def told(config: RunConfig) -> Iterator[tuple[Prompt, np.ndarray, list[Prompt], np.ndarray]]:
    """Yield each embedding of client 1 with its array, the caption prompts of its group and their embeddings."""
    payload, words = received(config, 1), received(configured(prompt_level="instance"), 1)
    encoder = PromptEncoder.load(config.generator)
    for p in payload.prompts:
        own = [w for w in words.prompts if (w.label, w.domain) == (p.label, p.domain)]
        yield p, payload.arrays[p.text].array, own, encoder.encode([w.text for w in own]).numpy()


def test_mean_embeddings_are_means_of_the_captions_embeddings() -> None:
    config = configured(prompt_level="embeddings", embedding_clusters=1, embedding_centre="mean", embedding_vectors=0)
    for p, array, own, encoded in told(config):
        mean = sum(w.count * e for w, e in zip(own, encoded, strict=True)) / p.count
        np.testing.assert_allclose(array, mean, atol=4e-3)


def test_medoid_embeddings_are_those_of_the_caption_nearest_to_the_mean() -> None:
    config = configured(prompt_level="embeddings", embedding_clusters=1, embedding_vectors=0)
    for p, array, own, encoded in told(config):
        mean = sum(w.count * e for w, e in zip(own, encoded, strict=True)) / p.count
        distances = np.square(encoded - mean).sum((1, 2))
        (chosen,) = np.flatnonzero(np.isclose(encoded, array, atol=4e-3).all((1, 2)))
        assert distances[chosen] == pytest.approx(distances.min(), abs=1e-3)


def test_quantised_embeddings_hold_few_vectors_near_their_own() -> None:
    config = configured(prompt_level="embeddings", embedding_vectors=40)
    exact = received(configured(prompt_level="embeddings", embedding_vectors=0), 1)
    rough = received(config, 1)
    assert rough.prompts == exact.prompts
    assert len({row for vectors in rough.arrays.values() for row in vectors.split()}) == 40
    own, sent = (np.stack([p.arrays[q.text].array for q in p.prompts]) for p in (exact, rough))
    rows = own.reshape(-1, own.shape[-1])
    error = np.square(sent - own).sum(-1)
    centres = np.unique(sent.reshape(-1, own.shape[-1]), axis=0)
    nearest = np.square(rows[:, None] - centres).sum(-1).min(1)
    np.testing.assert_allclose(error.ravel(), nearest, rtol=0.05, atol=1e-2)  # float16 moves centres a little


def test_vectors_that_are_few_stay_as_they_are() -> None:
    embeddings = np.random.default_rng(0).standard_normal((2, 3, 4)).astype(np.float32)
    assert quantise(embeddings, 6, seed=0) is embeddings
    assert quantise(embeddings, 0, seed=0) is embeddings
    assert len(np.unique(quantise(embeddings, 5, seed=0).reshape(-1, 4), axis=0)) == 5


def test_clusters_multiply_the_embeddings_and_keep_the_counts() -> None:
    one, three = (received(configured(prompt_level="embeddings", embedding_clusters=k), 1) for k in (1, 3))
    assert len(one.prompts) < len(three.prompts) <= 3 * len(one.prompts)
    assert sum(p.count for p in one.prompts) == sum(p.count for p in three.prompts) == 20
    classes = received(configured(prompt_level="embeddings", embedding_groups="class"), 1)
    assert {p.domain for p in classes.prompts} == {""}


@pytest.mark.parametrize("subject", ["class", "style"])
def test_learned_tokens_stand_for_classes_or_styles(subject: str) -> None:
    config = configured(prompt_level="tokens", token_subject=subject, token_vectors=3)
    payload = received(config, 1)
    names = set(payload.class_counts) if subject == "class" else {"sketch"}
    assert set(payload.arrays) == {f"<{name}>" for name in names}
    assert all((v.rows, v.width) == (3, 64) for v in payload.arrays.values())
    assert all(sum(token in p.text for token in payload.arrays) == 1 for p in payload.prompts)
    assert object_bytes(encode(payload)) < (7_000 if subject == "class" else 2_000)
    assert {p.text for p in payload.prompts} == {
        text.replace(name, f"<{name}>", 1) if subject == "class" else text.removesuffix(name) + f"<{name}>"
        for client in [Client(1, config)]
        for text, label in captioned(client)
        for name in [label if subject == "class" else "sketch"]
    }


def captioned(client: Client) -> list[tuple[str, str]]:
    """Return the prompt of each of a client's images at the instance level, with its class."""
    held = holdings(client)
    return list(zip(caption_prompts(held), held.labels, strict=True))


def test_a_token_that_the_generator_would_not_read_to_its_end_stands_in_a_prompt_without_caption(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = configured(prompt_level="tokens", token_subject="style", token_vectors=3, token_steps=1)
    held = holdings(Client(1, config))
    long = Holdings(held.dataset, held.classes, held.domains, config, 1, lambda rows: ["a star " * 12] * len(rows))
    assert {p.text for p in Tokens().describe(long).prompts} == {f"a <sketch> of a {name}" for name in set(held.labels)}


def test_prompts_of_tokens_may_be_those_of_classes_and_styles() -> None:
    config = configured(prompt_level="tokens", token_prompts="class-style", token_steps=1)
    assert {p.text for p in received(config, 1).prompts} == {
        f"a sketch of a <{name}>" for name in set(holdings(Client(1, config)).labels)
    }
    assert not any(name.startswith("captioner") for name in client_models(config))
    with pytest.raises(ConfigError, match=r"instance-template.*has no .class"):
        preflight(configured(prompt_level="tokens", instance_template="{caption}"))
    preflight(configured(prompt_level="tokens", token_prompts="class-style", instance_template="{caption}"))


def test_a_client_without_images_has_nothing_to_say() -> None:
    config = configured(private_images=60, clients=40, partition="dirichlet", beta=0.01)
    empty = next(i for i in range(40) if not len(Client(i, config).rows))
    for level in LEVELS:
        client = Client(empty, config.model_copy(update={"prompt_level": level}))
        assert prompt_payload(client) == PromptPayload(empty)


def test_what_a_client_downloads_grows_with_the_level() -> None:
    sizes = {level: client_models(configured(prompt_level=level)) for level in LEVELS}
    assert sizes["names"] == sizes["class"] == sizes["class-style"] == {}
    (captioner,) = sizes["instance"].values()
    assert 1_000_000 < captioner < 3_000_000
    assert sum(sizes["embeddings"].values()) > captioner
    assert sum(sizes["tokens"].values()) > 2_000_000


def test_limits_count_with_the_generators_own_tokenizer(tiny_checkpoint: Path) -> None:
    found = limits_for(configured(generator=str(tiny_checkpoint), prompt_level="tokens"))
    assert (found.kind, found.embedding, found.count_tokens("a star")) == ("tokens", (16, 32), 4)
    assert limits_for(configured(prompt_level="class")).kind == "text"
    assert isinstance(Limits().count_tokens("a star"), int)


def test_downloads_and_prompts_are_in_the_result(tmp_path: Path) -> None:
    config = configured(
        prompt_level="embeddings",
        clients=2,
        partition="iid",
        server_epochs=1,
        images_per_class=2,
        runs_dir=str(tmp_path),
    )
    found = read_run(served(config))
    assert found.result is not None
    assert found.result.bytes_once_per_client == sum(client_models(config).values())
    assert found.result.synthetic_images == 20
    assert found.result.bytes_total > 2 * found.result.bytes_once_per_client
    assert [(model["role"], model["id"]) for model in found.result.models] == [
        ("generator", config.generator),
        ("captioner", "miniature"),
    ]
    assert all(model["revision"].startswith("sha256:") for model in found.result.models)


def test_only_the_listed_names_are_learned_and_words_are_shared() -> None:
    config = configured(prompt_level="tokens", token_names="star, moon", partition="iid", clients=2)
    payloads = [received(config, i) for i in range(2)]
    assert set(payloads[0].arrays) == {"<star>", "<moon>"}
    plan = plan_for(config, load_source(config).classes, payloads)
    assert len(set(plan.keys)) == len(plan) == 70
    learned = {i.label for i in plan.images if i.prompt in plan.embeddings}
    assert learned == {"star", "moon"}
    words = {i.prompt for i in plan.images if i.label == "drop"}
    assert words
    assert words <= {text for i in range(2) for text, label in captioned(Client(i, config)) if label == "drop"}
    nothing = received(configured(prompt_level="tokens", token_names="fish"), 0)
    assert nothing.arrays == {}
    assert nothing.kind == "tokens"


def test_missing_models_are_named_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no captioner"):
        preflight(configured(prompt_level="instance", captioner="../nowhere/at/all"))
    (tmp_path / "model_index.json").write_text('{"_class_name": "FluxPipeline"}', encoding="utf-8")
    with pytest.raises(ModelError, match="CLIP"):
        preflight(configured(prompt_level="tokens", generator=str(tmp_path)))


def test_what_would_only_fail_or_do_nothing_later_is_told_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'strar' is no class; did you mean 'star'"):
        preflight(configured(prompt_level="tokens", token_names="heart, strar"))
    with pytest.raises(ConfigError, match="'star' is no style; these are photo"):
        preflight(configured(prompt_level="tokens", token_subject="style", token_names="star"))
    preflight(configured(prompt_level="tokens", token_names="heart,star"))
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        free = f"127.0.0.1:{busy.getsockname()[1]}"
        with pytest.raises(ConfigError, match="nobody answers there"):
            preflight(configured(synthesis_engine="ray", ray_address=free))
        busy.listen()
        preflight(configured(synthesis_engine="ray", ray_address=free))
    with pytest.raises(ConfigError, match="not on this machine"):
        preflight(configured(device="cuda:99"))
    (tmp_path / "cat").mkdir()
    for i in range(9):
        Image.new("RGB", (8, 8), (i, i, i)).save(tmp_path / "cat" / f"{i}.png")
    with pytest.raises(ConfigError, match="has one class, 'cat'"):
        preflight(RunConfig(dataset=f"folder:{tmp_path}", clients=1))


def test_only_a_simulation_needs_private_images_to_divide() -> None:
    config = configured(clients=len(load_source(configured()).private) + 1)
    with pytest.raises(DataError, match="more than the"):
        preflight(config)
    preflight(config, divided=False)  # a deployment: every client has images of its own


def test_captions_are_those_of_the_images_that_are_asked_for() -> None:
    held = holdings(Client(0, configured(prompt_level="instance")))
    every = held.captions()
    some = list(range(0, len(held), 3))
    assert list(held.select(some).captions()) == [every[i] for i in some]
    assert held.captions() == every
