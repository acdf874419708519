"""A run under dp-epsilon says what it promised, what it spent, and what the noise kept back."""

import json
from pathlib import Path

import pytest

from clients import private
from fgl_flower.data.world import CLASSES, STYLES
from fgl_flower.privacy.accountant import epsilon_of
from tests.whole_runs import served, small


def test_the_result_tells_the_promise_and_the_classes_that_the_noise_hides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_checkpoint: Path
) -> None:
    places = len(CLASSES) * (len(STYLES) + 1)

    def only_the_first(counts: list[int], deviation: float) -> list[int]:  # in the order of prompts: an arrow
        return [50, *[0] * (len(counts) - 1)] if len(counts) == places else list(counts)

    monkeypatch.setattr(private, "noised", only_the_first)
    folder = served(small(tmp_path, "fgl", str(tiny_checkpoint), dp_epsilon=2.0))
    result = json.loads((folder / "result.json").read_text())
    told = result["privacy"]
    assert (told["epsilon"], told["releases"]) == (2.0, 3)
    assert told["spent"] == pytest.approx(epsilon_of({told["noise"]: 3}, told["delta"]))
    assert told["spent"] <= 2.0
    assert told["delta"] == 1e-3  # of 120 images 1 / n^1.1 would be more
    [hidden] = [sentence for sentence in result["warnings"] if sentence.startswith("nothing is drawn of")]
    assert all(name in hidden for name in set(CLASSES) - {"arrow"})
    assert "arrow" not in hidden
    page = (folder / "report.html").read_text()
    assert f"counts below {told['least']:.1f} were left out" in page


@pytest.mark.usefixtures("few_sentences")
def test_runs_of_dp_sgd_and_of_noisy_embeddings_have_their_pages(tmp_path: Path, tiny_checkpoint: Path) -> None:
    trained = served(small(tmp_path, "fedavg", str(tiny_checkpoint), dp_epsilon=2.0, rounds=1))
    assert "gradient is clipped" in (trained / "report.html").read_text()
    noisy = small(tmp_path, "fgl", "miniature-fast", dp_epsilon=2.0, prompt_level="embeddings", name="noisy")
    page = (served(noisy) / "report.html").read_text()
    assert "mean of their captions in a public basis" in page
    assert "counts below" not in page
