"""Names that a generator cannot read are noticed before it draws."""

from pathlib import Path

import pytest

from experiments.runner import run
from fgl_flower.config import RunConfig
from fgl_flower.data.codes import CODES
from fgl_flower.data.world import CLASSES
from fgl_flower.foundation.text import tokenizer_of
from fgl_flower.foundation.vocabulary import unknown_names, unknown_names_note
from tests.whole_runs import small


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


@pytest.mark.parametrize(("template", "warned"), [("{class}, {caption}", True), ("{caption}", False)])
def test_a_run_warns_unless_its_prompts_leave_the_names_out(
    template: str, warned: bool, tmp_path: Path, tiny_checkpoint: Path
) -> None:
    codes = {"dataset": "world-codes", "prompt_level": "instance", "instance_template": template}
    result = run(small(tmp_path, "fgl", "miniature-fast", **codes, images_per_class=2, steps=1))
    assert any("no words that the generator knows" in warning for warning in result.warnings) is warned
