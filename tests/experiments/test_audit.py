"""What the audits print: counts of prompts, words that they tell, planted names that are taken out."""

import math
from pathlib import Path

from typer.testing import CliRunner

import experiments.audit.prompts as audit
from clients.data import Client
from clients.prompting import prompt_payload
from experiments.audit.answers import answers_of
from experiments.audit.planted import PLANTED
from experiments.cli.app import app
from fgl_flower.config import RunConfig

SMALL = RunConfig(private_images=60, clients=2, partition="iid", device="cpu")


def told(config: RunConfig) -> list[audit.Told]:
    return audit.examine(config, answers_of(config))


def test_prompts_are_counted_by_the_images_behind_them() -> None:
    for row in told(SMALL):
        counts = [p.count for p in prompt_payload(Client(row.client, SMALL)).prompts]
        assert (row.images, row.prompts) == (30, len(counts))
        assert row.alone == counts.count(1) > 0
        assert row.few == sum(count < 5 for count in counts) >= row.alone


def test_names_tell_no_word_of_an_image() -> None:
    assert all(row.words == 0 < row.guessed < 1 for row in told(SMALL))


def test_a_true_caption_of_a_lone_image_tells_all_of_it() -> None:
    true = SMALL.model_copy(
        update={"prompt_level": "experiments.shows.true_captions:TrueCaptions", "private_images": 20}
    )
    lone = told(true)
    assert all(row.words > 0.9 > row.guessed for row in lone)
    many = told(true.model_copy(update={"private_images": 1200}))
    assert all(abs(row.words - row.guessed) < 0.1 for row in many)  # of many, any one tells as little as any other


def test_vectors_tell_no_words() -> None:
    vectors = SMALL.model_copy(update={"prompt_level": "embeddings", "private_images": 20})
    assert all(math.isnan(row.words) for row in told(vectors))


def test_what_is_planted_is_in_the_captions_and_counted_by_kind() -> None:
    assert all(what in text for sentences in PLANTED.values() for text, what in sentences)
    found = audit.scrubbed()
    assert {kind: count for kind, (_, count) in found.items()} == {k: len(each) for k, each in PLANTED.items()}
    assert found["e-mail or handle"][0] >= 3
    assert found["name with a title"][0] == found["name with a title"][1]


def test_the_commands_print_what_they_find(tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text('private-images = 60\nclients = 2\npartition = "iid"\n')
    printed = CliRunner().invoke(app, ["audit", "prompts", str(file)])
    assert printed.exit_code == 0
    assert "planted in captions" in printed.output
    promised = CliRunner().invoke(
        app, ["audit", "promise", str(file), "--trials", "100", "--set", "dp-epsilon=2", "--set", "prompt-level=class"]
    )
    assert promised.exit_code == 0
    assert "epsilon is at least" in promised.output
    refused = CliRunner().invoke(app, ["audit", "promise", str(file)])
    assert refused.exit_code == 2
