"""`prompt-level = "auto"` and federated evaluation as whole runs."""

from pathlib import Path

import pytest

from fgl_flower.records.reading import read_run
from tests.tiny_models import save_text_to_image
from tests.whole_runs import served, small

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def generator(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("generator")
    return str(save_text_to_image(folder, defaults={"steps": 1, "guidance": 1.0}))


def test_clients_evaluate_the_one_shot_model_and_the_ledger_counts_it(tmp_path: Path, generator: str) -> None:
    asked = read_run(served(small(tmp_path, "fgl", generator)))
    silent = read_run(served(small(tmp_path, "fgl", generator, client_evaluation=False)))
    assert asked.result is not None
    assert silent.result is not None
    assert sum(counts["total"] for counts in asked.result.transfer.values()) == 120  # all private images, once
    assert silent.result.transfer == {}
    assert asked.result.accuracy == silent.result.accuracy
    more = asked.result.bytes_up_per_client - silent.result.bytes_up_per_client
    assert 0 < more < 1000
    assert asked.result.bytes_down_per_client > 1.9 * silent.result.bytes_down_per_client  # the model, once more
    page = (asked.path / "report.html").read_text(encoding="utf-8")
    assert "How synthetic images transfer" in page
    assert "How synthetic images transfer" not in (silent.path / "report.html").read_text(encoding="utf-8")


def test_auto_climbs_to_the_last_level_where_nothing_helps(tmp_path: Path, generator: str) -> None:
    config = small(tmp_path, "fgl", generator, prompt_level="auto", token_steps=1, images_per_class=2)
    run = read_run(served(config))
    assert run.result is not None
    questions = [event for event in run.events if event["event"] == "question"]
    # The tiny generator's tokenizer knows four of the names; of the others captions are asked for at once.
    known, strange = questions[0]["classes"], questions[1]["classes"]
    climbed = {name: [q["level"] for q in questions if name in q["classes"]] for name in (*known, *strange)}
    shares = {
        name: [
            e["classes"][name]["right"] / e["classes"][name]["total"] for e in run.events if e["event"] == "transfer"
        ]
        for name in climbed
    }
    for name, levels in climbed.items():
        rungs = ["class-style", "instance", "embeddings", "tokens"][name in strange :]
        assert levels == rungs[: len(levels)]
        if max(shares[name]) < 0.5:
            assert levels == rungs
        if min(shares[name]) >= 0.85:
            assert levels == rungs[:1]
    assert any(max(of_class) < 0.5 for of_class in shares.values())
    assert set(run.result.levels) == set(run.result.accuracy_by_class)
    assert run.result.learning_seconds
    assert all(client in {"0", "1", "2"} and seconds > 0 for client, seconds in run.result.learning_seconds.items())
    transfers = [event for event in run.events if event["event"] == "transfer"]
    assert len(transfers) == 4
    best = max(transfers, key=lambda event: sum(c["right"] for c in event["classes"].values()))
    assert run.result.transfer == best["classes"]
    assert run.result.synthetic_images == 20


def test_auto_stays_within_its_bytes(tmp_path: Path, generator: str) -> None:
    config = small(tmp_path, "fgl", generator, prompt_level="auto", max_client_bytes=1200, images_per_class=2)
    run = read_run(served(config))
    assert run.result is not None
    sent = [event["sent"] for event in run.events if event["event"] == "prompts"]
    evaluations = len([event for event in run.events if event["event"] == "transfer"])
    assert sent[0] == 3
    assert run.result.bytes_up_per_client <= 1200 + 1000 * evaluations + 500
    assert any("max-client-bytes = 1,200: prompts for" in warning for warning in run.result.warnings)
