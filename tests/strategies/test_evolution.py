"""Votes are summed, winners kept and varied, and drawn in proportion; nothing that noise explains is drawn."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Context, Message, RecordDict
from flwr.clientapp import ClientApp

from fgl_flower.config import RunConfig
from fgl_flower.errors import RunError
from fgl_flower.levels.vocabulary import Candidate, Vocabulary
from fgl_flower.levels.votes import Votes
from fgl_flower.preflight import preflight
from fgl_flower.records.ledger import Ledger
from fgl_flower.simulation import InlineGrid
from fgl_flower.wire.codec import encode
from fgl_flower.wire.limits import Limits
from fgl_flower.wire.payload import FEDERATION, PromptPayload
from fgl_flower.wire.question import Question
from strategies.candidates import Appearance, appearance
from strategies.evolution import Evolution
from strategies.gate import Gate
from strategies.guarded_grid import GuardedGrid
from tests.guarded import CLIENTS, GLOBAL
from tests.tiny_classifiers import save_classifier
from tests.whole_runs import served, small

WORDS = Vocabulary(
    "a {size} {colour} {shape}",
    (("shape", ("star", "moon")), ("colour", ("red", "blue")), ("size", ("small", "large"))),
    ("shape", "colour"),
)
CLASSES = ("x", "y")
# In the order of a vote's numbers, for each class:
FIRST = [("star", "red", ""), ("star", "blue", ""), ("moon", "red", ""), ("moon", "blue", "")]


def toy(candidates: Sequence[Candidate]) -> Appearance:
    return appearance([np.ones((1, 2)) * i for i, _ in enumerate(candidates)])


def evolution(**changes: Any) -> Evolution:
    options: dict[str, Any] = {"rounds": 2, "most": 4, "images": 8, "clip": 1000, "seed": 0}
    return Evolution(CLASSES, (), WORDS, toy, **{**options, **changes})


def voted(one: Evolution, question: Question, *votes: Sequence[int]) -> None:
    for node, numbers in enumerate(votes):
        one.take(node, question, PromptPayload(node, kind="votes", votes=tuple(numbers)), size=10)
    one.settle(question)


def kept(one: Evolution, name: str) -> dict[tuple[str, ...], float]:
    return {candidate.words: votes for candidate, votes in one.winners[name].items()}


def test_both_classes_are_asked_about_the_same_candidates_which_travel_once() -> None:
    [question] = evolution().first()
    assert question.ballot is not None
    assert question.ballot.members == ((0, 1, 2, 3), (0, 1, 2, 3))
    assert question.ballot.features.rows == 4
    assert question.ballot.size == 8


def test_sums_of_all_clients_decide_and_variants_take_their_parents_place() -> None:
    one = evolution()
    [first] = one.first()
    voted(one, first, [6, 0, 2, 0, 0, 0, 0, 0], [3, 0, 0, 0, 0, 0, 0, 5])
    assert kept(one, "x") == {FIRST[0]: 9, FIRST[2]: 2}
    assert kept(one, "y") == {FIRST[3]: 5}
    second = one.following()
    assert second is not None
    assert second.ballot is not None
    assert (second.ballot.round, second.ballot.members) == (1, ((0, 1, 2, 3), (4, 5)))
    # x: red stars small 8, large 0; red moons 1 and 2. y: blue moons small 0, large 0
    voted(one, second, [8, 0, 1, 2, 0, 0])
    assert kept(one, "x") == {("star", "red", "small"): 8, ("moon", "red", "large"): 2, ("moon", "red", "small"): 1}
    assert kept(one, "y") == {FIRST[3]: 5}  # nothing was said of it: it stays as it was
    assert one.following() is None


def test_what_noise_explains_is_no_winner_and_its_parent_keeps_what_is_left() -> None:
    one = evolution(noise=2.0)
    [first] = one.first()
    # Two clients' noise on each of eight sums: 2 sqrt(2) sqrt(2 ln 8) = 5.77
    voted(one, first, [40, 5, 6, 0, 5, 5, -4, 2], [0, 0, 0, -9, 0, 0, 0, 0])
    assert one.least == pytest.approx(5.768, abs=1e-3)
    assert kept(one, "x") == {FIRST[0]: 40, FIRST[2]: 6}
    assert kept(one, "y") == {}
    second = one.following()
    assert second is not None
    assert second.ballot is not None
    assert second.ballot.classes == ("x",)
    # One client, four numbers: 2 sqrt(2 ln 4) = 3.33 for a number, sqrt(2) times as much, 4.71, for a sum of two.
    voted(one, second, [30, 3, 3, 2])
    assert kept(one, "x") == {("star", "red", "small"): 30, FIRST[2]: 5}


def test_only_the_strongest_are_varied_where_there_is_no_room_for_all() -> None:
    one = evolution(most=4)  # of a class: two winners with two sizes each
    [first] = one.first()
    voted(one, first, [1, 4, 3, 2, 0, 0, 0, 7])
    assert kept(one, "x") == {FIRST[1]: 4, FIRST[2]: 3}
    assert list(kept(one, "y")) == [FIRST[3]]


def test_one_client_has_no_more_than_ten_times_the_median_clients_votes() -> None:
    one = evolution(clip=10**9)
    [first] = one.first()
    voted(one, first, [4, 0, 0, 0, 0, 0, 0, 0], [4, 0, 0, 0, 0, 0, 0, 0], [0, 0, 900, 0, 100, 0, 0, 0])
    assert kept(one, "x") == {FIRST[2]: pytest.approx(36), FIRST[0]: 8}  # 1,000 votes count as 40
    assert kept(one, "y") == {FIRST[0]: pytest.approx(4)}


def test_prompts_are_made_in_proportion_to_votes_with_open_words_evenly() -> None:
    one = evolution(rounds=1)
    [first] = one.first()
    voted(one, first, [30, 0, 10, 0, 0, 0, 0, 7])
    *clients, federation = one.payloads()
    assert [client.class_counts for client in clients] == [{"x": 40, "y": 7}]
    assert federation.partition_id == FEDERATION
    texts = {(p.text, p.label): p.count for p in federation.prompts}
    # Eight prompts of x, six of them of red stars: each text stands for the votes of the prompts that are the same.
    assert texts == {
        ("a small red star", "x"): 15,
        ("a large red star", "x"): 15,
        ("a small red moon", "x"): 5,
        ("a large red moon", "x"): 5,
        ("a small blue moon", "y"): 4,
        ("a large blue moon", "y"): 4,
    }
    offers = Votes().offer(one.payloads(), None, CLASSES).offers  # type: ignore[arg-type]
    assert {offer.prompt for offer in offers} == set(federation.prompts)
    assert all(offer.senders == () for offer in offers)


def test_the_same_answers_lead_to_the_same_questions_and_prompts() -> None:
    def whole() -> tuple[Question, list[PromptPayload]]:
        one = evolution()
        [first] = one.first()
        voted(one, first, [6, 0, 2, 0, 0, 0, 0, 5])
        second = one.following()
        assert second is not None
        voted(one, second, [4, 2, 1, 1, 2, 3])
        return second, one.payloads()

    assert whole() == whole()


def test_without_winners_the_run_is_told_what_to_change() -> None:
    one = evolution(noise=5.0)
    [first] = one.first()
    voted(one, first, [3] * 8)
    assert one.following() is None
    with pytest.raises(RunError, match=r"no candidate .* set a larger dp-epsilon or fewer vote-rounds"):
        one.payloads()


def test_features_that_vary_within_a_candidate_count_less() -> None:
    rng = np.random.default_rng(0)
    loud, quiet = rng.normal(0, 10, 400), rng.normal(0, 0.1, 400)
    groups = [np.stack([loud[:200], quiet[:200]], 1), np.stack([loud[200:], 1 + quiet[200:]], 1)]
    seen = appearance(groups)
    # variances 100 and 0.01, a tenth of the mean (50) added: (0.9 * 0.01 + 5) / (0.9 * 100 + 5)
    assert seen.scale[1] == 1
    assert seen.scale[0] == pytest.approx((5.009 / 95) ** 0.5, rel=0.1)
    assert np.allclose(seen.features, np.stack([group.mean(axis=0) for group in groups]) * seen.scale, atol=1e-3)
    assert appearance([np.ones((1, 3))]).scale.tolist() == [1, 1, 1]


def test_votes_on_other_candidates_are_quarantined_and_the_others_count() -> None:
    [question] = (one := evolution()).first()
    answers: dict[int, Any] = {
        0: encode(PromptPayload(0, kind="votes", votes=(5, 0, 0, 0, 0, 0, 0, 5))),
        1: encode(PromptPayload(1, kind="votes", votes=(9,) * 9)),
        2: encode(PromptPayload(2, kind="votes", votes=(10**9 + 1, *(0,) * 7))),
        3: encode(PromptPayload(3)),
        4: encode(PromptPayload(4, kind="votes", votes=(-1, 0, 0, 0, 0, 0, 0, 0))),
    }
    app = ClientApp()

    @app.query("prompts")
    def query(message: Message, context: Context) -> Message:
        return Message(answers[int(context.node_config["partition-id"])], reply_to=message)

    gate = Gate(GLOBAL, CLIENTS, CLASSES, limits=Limits(kind="votes"))
    grid = GuardedGrid(InlineGrid(app, CLIENTS, {}), gate, Ledger(CLIENTS), lambda event: None)
    content = RecordDict({"config": _config(), **question.records()})
    for reply in grid.send_and_receive([Message(content, node, "query.prompts") for node in grid.get_node_ids()]):
        payload = grid.payload_of(reply)
        assert isinstance(payload, PromptPayload)
        one.take(reply.metadata.src_node_id, question, payload, 10)
    one.settle(question)
    assert sorted(reason.split(":")[0] for reason in grid.quarantined.values()) == [
        "a vote is above the limit of 1000000000",
        "the reply votes on 0 candidates, the question holds 8",
        "the reply votes on 9 candidates, the question holds 8",
    ]
    assert kept(one, "x") == {FIRST[0]: 4}


def _config() -> Any:
    from flwr.app import ConfigRecord

    return ConfigRecord({"server-round": 0})


def a_run(tmp_path: Path, generator: Path, **changes: Any) -> RunConfig:
    words = tmp_path / "words.toml"
    words.write_text(
        'template = "a {size} {colour} star"\nfirst = ["colour"]\n'
        '[words]\ncolour = ["red", "blue"]\nsize = ["small", "large"]\n'
    )
    keys = {"dataset": "world-codes", "prompt_level": "votes", "vocabulary": str(words), "vote_images": 1}
    return small(tmp_path, "fgl", str(generator), **{**keys, **changes})


def test_a_run_may_compare_images_by_an_encoder_of_its_own(tmp_path: Path, tiny_checkpoint: Path) -> None:
    encoder = save_classifier(tmp_path / "vit")
    config = a_run(tmp_path, tiny_checkpoint, image_encoder=str(encoder), vote_rounds=1)
    preflight(config)
    folder = served(config)
    result = json.loads((folder / "result.json").read_text())
    [model] = [model for model in result["models"] if model["role"] == "image-encoder"]
    assert (model["id"], model["revision"][:7]) == (str(encoder), "sha256:")
    ledger = json.loads((folder / "ledger.json").read_text())
    size = sum(file.stat().st_size for file in encoder.iterdir())
    assert [client["once"] for client in ledger["bytes_by_client"].values()] == [size] * 3
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    [votes] = [event for event in map(json.loads, lines) if event["event"] == "votes"]
    assert sum(n for kept in votes["winners"].values() for n in kept.values()) == 120  # without noise all count


def test_a_run_tells_its_votes_and_what_they_spend(tmp_path: Path, tiny_checkpoint: Path) -> None:
    folder = served(a_run(tmp_path, tiny_checkpoint, dp_epsilon=100.0))
    result = json.loads((folder / "result.json").read_text())
    assert result["privacy"]["releases"] == 4  # two votes, and two of how the model does
    assert result["privacy"]["spent"] <= 100
    events = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    votes = [event for event in events if event["event"] == "votes"]
    assert [event["answers"] for event in votes] == [3, 3]
    assert votes[0]["candidates"] == 10 * 2
    assert Counter(model["role"] for model in result["models"])["captioner"] == 1
    assert not result["quarantined"]
    ledger = json.loads((folder / "ledger.json").read_text())
    assert set(ledger["bytes_by_client"]) == {"0", "1", "2"}
    assert all(client["once"] > 0 for client in ledger["bytes_by_client"].values())  # the captioner
    assert result["synthetic_images"] % 6 == 0
