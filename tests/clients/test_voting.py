"""Each image is one vote for the nearest candidate of its class, with noise, once a vote of the run."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import ConfigRecord, Message, RecordDict

from clients import voting
from clients.client_app import app
from clients.policy import Policy
from clients.voting import nearest, permitted
from fgl_flower.config import RunConfig
from fgl_flower.data.codes import CODES
from fgl_flower.errors import ConfigError
from fgl_flower.files import read_json_lines
from fgl_flower.levels.image_features import WIDTH, caption_words
from fgl_flower.privacy.guarantee import Guarantee
from fgl_flower.simulation import InlineGrid
from fgl_flower.wire.ballot import Ballot
from fgl_flower.wire.codec import decode
from fgl_flower.wire.limits import Limits
from fgl_flower.wire.payload import PromptPayload
from fgl_flower.wire.vectors import Vectors

CLASSES = tuple(CODES)
CONFIG = RunConfig(
    dataset="world-codes", private_images=80, clients=1, prompt_level="votes", dp_epsilon=2.0, device="cpu"
)


def ballot(round: int = 0, features: Any = None, members: Any = ((0, 1), (1, 2)), classes: Any = ("a", "b")) -> Ballot:
    rows = np.array([[0.0, 0.0], [4.0, 0.0], [0.0, 4.0]]) if features is None else features
    return Ballot(round, classes, members, Vectors.of(rows), Vectors.of(np.ones((1, rows.shape[1]))))


def by_colour(round: int = 0) -> Ballot:
    """Return candidates "red" and "blue" for every class of the codes."""
    rows = caption_words(["red", "blue"])
    return ballot(round, rows, ((0, 1),) * len(CLASSES), CLASSES)


def ask(grid: InlineGrid, question: Ballot | None, **changes: Any) -> Message:
    records: dict[str, Any] = {"config": ConfigRecord({"server-round": 0, **changes})}
    if question is not None:
        records["ballot"] = question.to_record()
    [reply] = grid.send_and_receive([Message(RecordDict(records), next(iter(grid.get_node_ids())), "query.prompts")])
    return reply


def said(reply: Message) -> PromptPayload:
    assert not reply.has_error(), reply.error.reason
    payload = decode(reply.content, Limits(kind="votes"), CLASSES, ())
    assert isinstance(payload, PromptPayload), payload
    return payload


def federation(**changes: Any) -> InlineGrid:
    return InlineGrid(app, 1, CONFIG.model_copy(update=changes).to_flat())


def test_images_vote_for_the_nearest_candidate_of_their_own_class() -> None:
    images = np.array([[1, 0], [3, 1], [0, 0], [0, 3], [3.9, 0.1], [1, 3]], dtype=np.float32)
    labels = ["a", "a", "b", "b", "b", "c"]
    # a: (1, 0) is nearer to the first, (3, 1) to the second. b may choose the second and third: (0, 0) is as near to
    # both and takes the first of them, (0, 3) the third, (3.9, 0.1) the second. c is not asked about.
    assert nearest(ballot(), images, labels) == [1, 1, 2, 1]


def test_the_scale_says_which_features_count() -> None:
    rows = np.array([[0.0, 0.0], [1.0, 0.0]])  # the second feature of the first candidate was 9, times 0
    scaled = Ballot(0, ("a",), ((0, 1),), Vectors.of(rows), Vectors.of(np.array([[1.0, 0.0]])))
    assert nearest(scaled, np.array([[0.9, 9.0]], dtype=np.float32), ["a"]) == [0, 1]


def test_an_image_more_changes_one_number_by_one() -> None:
    rng = np.random.default_rng(0)
    images = rng.normal(size=(30, 2)).astype(np.float32)
    labels = rng.choice(["a", "b"], 30).tolist()
    whole = np.array(nearest(ballot(), images, labels))
    assert whole.sum() == 30
    for i in range(30):
        rest = np.delete(images, i, axis=0), labels[:i] + labels[i + 1 :]
        assert sorted(whole - nearest(ballot(), *rest)) == [0, 0, 0, 1]


def test_features_of_another_encoder_are_refused() -> None:
    with pytest.raises(ConfigError, match="both need the same image-encoder"):
        nearest(ballot(), np.zeros((1, 3), dtype=np.float32), ["a"])
    assert nearest(ballot(), np.empty((0, 0), dtype=np.float32), []) == [0, 0, 0, 0]


def test_captions_are_compared_by_their_words_however_they_are_written() -> None:
    one, other, third = caption_words(["A red star, a RED star.", "star red a", "a blue star"])
    assert one.shape == (WIDTH,)
    assert (one == other).all()
    assert (one != third).sum() == 2


def test_without_a_promise_votes_are_exact_and_follow_the_images() -> None:
    votes = said(ask(federation(dp_epsilon=0.0), by_colour())).votes
    red = [colour == "red" for _, colour in CODES.values()]
    assert sum(votes) == 80
    assert all((votes[2 * i] > votes[2 * i + 1]) == red[i] for i in range(10))


def test_under_a_promise_every_number_gets_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[list[int], float]] = []
    monkeypatch.setattr(voting, "noised", lambda counts, noise: seen.append((counts, noise)) or [-3] * len(counts))
    payload = said(ask(federation(), by_colour()))
    assert payload.votes == (-3,) * 20
    assert (payload.class_counts, payload.skipped, payload.prompts) == ({}, 0, ())
    promise = Guarantee.of(CONFIG, 80)
    assert promise is not None
    assert seen[0][1] == promise.noise
    assert sum(seen[0][0]) == 80


def test_each_vote_of_the_run_is_told_once_and_there_are_no_more() -> None:
    grid = federation()
    first, again = ask(grid, by_colour()), ask(grid, by_colour())
    trick = ask(grid, ballot(0, caption_words(["blue", "red"]), ((0, 1),) * 10, CLASSES))  # the same under a new guise
    assert first.content == again.content == trick.content
    assert said(ask(grid, by_colour(1))).votes != said(first).votes
    for beyond in (2, -1, 10**6):
        reply = ask(grid, by_colour(beyond))
        assert reply.has_error()
        assert "the run has 2 votes" in str(reply.error.reason)


def test_the_promise_counts_every_vote() -> None:
    promise = {rounds: Guarantee.of(CONFIG.model_copy(update={"vote_rounds": rounds}), 80) for rounds in (1, 2, 4)}
    assert [one.releases for one in promise.values() if one] == [3, 4, 6]  # two more are of client-evaluation
    noises = [one.noise for one in promise.values() if one]
    assert noises == sorted(noises)
    assert len(set(noises)) == 3


@pytest.mark.parametrize("level", ["class-style", "class", "names"])
def test_another_level_is_not_told_besides(level: str) -> None:
    reply = ask(federation(), None, **{"prompt-level": level})
    if level == "names":
        assert said(reply).votes == ()
    else:
        assert reply.has_error()
        assert "counts other answers" in str(reply.error.reason)


def test_candidates_do_not_make_a_run_of_another_level_tell_its_counts_twice() -> None:
    grid = federation(prompt_level="class-style")
    replies = [ask(grid, by_colour(number)) for number in range(3)]
    assert replies[0].content == replies[1].content == replies[2].content


def test_a_question_without_candidates_and_one_about_strange_classes_are_refused() -> None:
    for question, words in ((None, "the question holds none"), (ballot(), "a class 'a' that the run does not have")):
        reply = ask(federation(), question)
        assert reply.has_error()
        assert words in str(reply.error.reason)


def test_the_owners_rules_hold(tmp_path: Path) -> None:
    votes = PromptPayload(0, kind="votes", votes=(1, 5, -2, 7))
    assert permitted(votes, Policy()) == votes
    assert permitted(votes, Policy(**{"min-images": 5})).votes == (0, 5, 0, 7)
    assert permitted(votes, Policy(**{"max-prompts": 1})).votes == (0, 0, 0, 7)
    assert permitted(votes, Policy(**{"max-prompts": 1})).held_back == sum(n != 0 for n in votes.votes) - 1
    rules = tmp_path / "rules.toml"
    rules.write_text(f'never-mention = ["{CLASSES[0]}"]\n')
    grid = InlineGrid(app, 1, {**CONFIG.to_flat(), "dp-epsilon": 0.0}, {0: {"policy": str(rules)}})
    told = said(ask(grid, by_colour())).votes
    assert told[:2] == (0, 0)
    assert sum(told) == 72
    rules.write_text("max-bytes = 100\n")
    reply = ask(InlineGrid(app, 1, CONFIG.to_flat(), {0: {"policy": str(rules)}}), by_colour())
    assert "permits replies of 100 bytes" in str(reply.error.reason)


def test_the_owners_budget_is_charged_for_each_vote(tmp_path: Path) -> None:
    rules, spent = tmp_path / "rules.toml", tmp_path / "spent.jsonl"
    rules.write_text(f'epsilon = 10.0\ndelta = 1e-3\nspent = "{spent}"\n')
    grid = InlineGrid(app, 1, CONFIG.to_flat(), {0: {"policy": str(rules)}})
    for question in (by_colour(), by_colour(1), by_colour(1)):  # the last is told again and costs nothing
        said(ask(grid, question))
    assert [(line["what"], line["releases"]) for line in read_json_lines(spent)] == [("votes-0", 1), ("votes-1", 1)]
