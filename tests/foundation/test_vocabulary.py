"""Names that a generator cannot read are noticed before it draws."""

from pathlib import Path

import pytest

from fgl_flower.config import RunConfig
from fgl_flower.data.codes import CODES
from fgl_flower.data.world import CLASSES
from fgl_flower.foundation.text import tokenizer_of
from fgl_flower.foundation.vocabulary import unknown_names, unknown_names_note
from fgl_flower.preflight import preflight
from fgl_flower.wire.payload import Prompt, PromptPayload
from strategies.planning import notes_on, plan_for
from tests.tiny_families import save_family


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("star", True),
        ("Star", True),
        ("real star", True),
        ("star 7", False),
        ("zrkq", False),
        ("x", False),
        ("", False),
    ],
)
def test_a_name_is_known_by_its_words(name: str, known: bool) -> None:
    assert unknown_names([name], tokenizer_of("miniature-fast")) == ([] if known else [name])


def test_the_world_is_known_and_codes_and_digits_are_not() -> None:
    config = RunConfig()
    assert unknown_names_note(config, CLASSES) == ""
    note = unknown_names_note(config, CODES)
    assert note.startswith("10 of 10 class names in the prompts are no words that the generator knows ('BX-12', ")
    assert "prompt-level = 'instance'" in note
    assert unknown_names_note(config, map(str, range(10))).startswith("10 of 10 class names")


def test_only_levels_that_the_generator_takes_are_named(tmp_path: Path) -> None:
    plain, halves = RunConfig(), RunConfig(generator=str(save_family("kandinsky-2.2", tmp_path / "kandinsky")))
    assert "'instance', 'embeddings', 'tokens' or 'auto' describe" in unknown_names_note(plain, CODES)
    assert "prompt-level = 'instance' or 'auto' describe" in unknown_names_note(halves, CODES)


@pytest.mark.parametrize(("text", "warned"), [("BX-12, a red star", True), ("a red star", False)])
def test_a_plan_warns_unless_its_prompts_leave_the_names_out(text: str, warned: bool) -> None:
    config = RunConfig(dataset="world-codes", prompt_level="instance")
    payload = PromptPayload(0, (Prompt(text, "BX-12", "photo", count=1),), {"BX-12": 1})
    notes = notes_on(config, plan_for(config, tuple(CODES), [payload]))
    assert any("no words that the generator knows" in note for note in notes) is warned


def test_a_template_without_names_passes_the_preflight() -> None:
    sizes = {"private_images": 40, "validation_images": 40, "test_images": 40}
    preflight(RunConfig(dataset="world-codes", prompt_level="instance", instance_template="{caption}", **sizes))
