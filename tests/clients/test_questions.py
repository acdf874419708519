"""What a client makes of a question: another level, some of its classes, names left out, so many bytes."""

from collections import Counter
from itertools import pairwise
from typing import Any

import pytest

from clients.data import Client
from clients.prompting import fitted, prompt_payload
from fgl_flower.config import RunConfig
from fgl_flower.wire.codec import encode
from fgl_flower.wire.question import Question
from fgl_flower.wire.sizes import object_bytes


def client(**changes: Any) -> Client:
    small = {"private_images": 60, "clients": 2, "partition": "iid", "device": "cpu", "token_steps": 1}
    return Client(0, RunConfig(**{**small, **changes}))


def test_a_question_names_the_level_and_the_classes() -> None:
    payload = prompt_payload(client(prompt_level="auto"), Question("class", ("star", "moon")))
    assert {p.text for p in payload.prompts} == {"star", "moon"}
    assert set(payload.class_counts) == {"star", "moon"}
    assert prompt_payload(client(prompt_level="auto")) == prompt_payload(client(prompt_level="class-style"))


def test_a_client_without_the_classes_says_nothing() -> None:
    coded = client(dataset="world-codes", partition="dirichlet", beta=0.01)
    missing = set(coded.source.classes) - set(prompt_payload(coded, Question("class")).class_counts)
    payload = prompt_payload(coded, Question("class", tuple(sorted(missing))))
    assert (payload.prompts, payload.class_counts) == ((), {})


@pytest.mark.parametrize("level", ["instance", "embeddings"])
def test_unnamed_classes_are_left_out_of_captions(level: str) -> None:
    named = prompt_payload(client(dataset="world-codes"), Question("instance"))
    assert all(p.text.startswith(f"{p.label}, ") for p in named.prompts)
    unnamed = prompt_payload(client(dataset="world-codes"), Question(level, (), tuple(named.class_counts)))
    if level == "instance":
        assert not any(p.label in p.text for p in unnamed.prompts)
        assert {f"{p.label}, {p.text}" for p in unnamed.prompts} == {p.text for p in named.prompts}
    else:
        own = prompt_payload(client(dataset="world-codes"), Question(level))
        assert own.prompts == unnamed.prompts  # the same groups and clusters
        assert all(own.arrays[name] != unnamed.arrays[name] for name in own.arrays)


@pytest.mark.parametrize("level", ["class-style", "instance", "embeddings", "tokens"])
def test_a_payload_loses_its_rarest_prompts_to_fit_into_its_bytes(level: str) -> None:
    whole = prompt_payload(client(), Question(level))
    size = object_bytes(encode(whole))
    assert fitted(whole, size) == whole
    most = size - 1 if level == "tokens" else 2 * size // 3
    less = fitted(whole, most)
    assert object_bytes(encode(less)) <= most
    assert set(less.prompts) < set(whole.prompts)
    assert less.class_counts == whole.class_counts
    counts = Counter(p.label for p in less.prompts)
    assert max(counts.values()) - min(counts.values()) <= 1 or level == "tokens"
    for label in counts:
        kept = [p.count for p in less.prompts if p.label == label]
        left = [p.count for p in whole.prompts if p.label == label and p not in less.prompts]
        assert min(kept) >= max(left, default=0)


def test_a_payload_that_cannot_fit_says_nothing() -> None:
    whole = prompt_payload(client(), Question("instance"))
    assert fitted(whole, 10).prompts == ()
    assert fitted(whole, 10).class_counts == whole.class_counts
    sizes = [len(fitted(whole, size).prompts) for size in range(400, object_bytes(encode(whole)), 200)]
    assert all(fewer <= more for fewer, more in pairwise(sizes))
