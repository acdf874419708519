"""Odd class names: the client that holds such a class is heard, and look-alikes elsewhere are still refused."""

from pathlib import Path
from typing import Any

import datasets
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from clients.data import Client
from clients.prompting import prompt_payload
from fgl_flower.config import RunConfig
from fgl_flower.data.sources import load_source
from fgl_flower.errors import DataError
from fgl_flower.levels.templates import caption_prompt
from fgl_flower.preflight import preflight
from fgl_flower.wire.codec import decode, encode
from fgl_flower.wire.limits import Limits
from fgl_flower.wire.payload import PromptPayload, Rejection
from fgl_flower.wire.unicode_checks import fault, name_fault, odd_names, scripts_of

FAMILY, RAINBOW = "\U0001f468\u200d\U0001f469\u200d\U0001f467", "\U0001f3f3\ufe0f\u200d\U0001f308"
NAMES = (
    "5µm", "co₂", "m²", "Tシャツ", "B型肝炎", FAMILY, RAINBOW, " spaces ", "a{b}", "{style}",
    "<fish>", "%s", "dog, big", "می‌روم", "Ⅳ", "ﬁsh", "кот", "ѕtar", "①", "x" * 240,
)  # fmt: skip


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.getbasetemp() / "hf-cache")


def hub(root: Path, names: tuple[str, ...]) -> str:
    """Write a data set with these classes, five images of each, and return its name."""
    columns = datasets.Features(image=datasets.Image(), label=datasets.Value("string"))
    table = {"image": [Image.new("RGB", (8, 8))] * 5 * len(names), "label": list(names) * 5}
    datasets.Dataset.from_dict(table, features=columns).to_parquet(root / "train-00000.parquet")
    return f"hub:{root}"


@pytest.mark.parametrize("level", ["class", "class-style"])
def test_the_client_that_holds_an_odd_class_is_heard(level: Any, tmp_path: Path) -> None:
    config = RunConfig(dataset=hub(tmp_path, NAMES), clients=1, partition="iid", prompt_level=level)
    preflight(config)
    source = load_source(config)
    payload = prompt_payload(Client(0, config))
    received = decode(encode(payload), Limits(), source.classes, source.domains)
    assert received == payload
    assert sorted(source.classes) == sorted(NAMES)
    wanted = {name if level == "class" else f"a photo of a {name}" for name in NAMES}
    assert {p.text for p in payload.prompts} == wanted


@pytest.mark.parametrize("name", [*NAMES, "5µm,x"])
def test_captions_beside_an_odd_name_are_heard(name: str) -> None:
    text = caption_prompt(RunConfig(), name, "photo", "a red one on a table")
    assert text == f"{name.strip()}, a red one on a table, photo"
    names = (*NAMES, name, "photo")
    scripts = scripts_of(names)
    assert fault(text, scripts, odd_names(names, scripts)) == ""


@pytest.mark.parametrize(
    "text",
    [
        "a stаr",  # of these letters one is Cyrillic
        "5µm and a stаr",
        "x5µmy",  # the name is no word of its own
        "15µm",
        "5µm5µm",
        "5µm\u0301\u0301\u0301",
        "5µm\u202ephoto",
        f"{FAMILY}\u200d\U0001f466",  # another emoji, joined to the name's
        "\u200d",
        "Tシャツs of co₂x",
    ],
)
def test_look_alikes_beside_an_odd_name_are_refused(text: str) -> None:
    names = ("5µm", "Tシャツ", "co₂", FAMILY)
    scripts = scripts_of(names)
    assert fault(text, scripts, odd_names(names, scripts))
    payload = encode(PromptPayload(0, (), {}))
    assert isinstance(decode(payload, Limits(), names), PromptPayload)


def test_names_may_stand_between_words_that_are_written_together() -> None:
    names = ("Tシャツ", "写真の")
    scripts = scripts_of(names)
    assert fault("写真のTシャツです", scripts | {"HIRAGANA"}, odd_names(names, scripts)) == ""


@given(st.text(max_size=12), st.text(alphabet="aб µm²₂シ👨\u200d", min_size=1, max_size=6))
@example("", "5µm")
def test_allowing_a_name_never_refuses_more_and_the_name_alone_is_heard(text: str, name: str) -> None:
    scripts = scripts_of([name])
    allowed = odd_names([name], scripts)
    if not fault(text, scripts):
        assert not fault(text, scripts, allowed)
    if not name_fault(name):
        assert not fault(f"a photo of a {name}, red", scripts, allowed)


@pytest.mark.parametrize(
    ("name", "changes", "says"),
    [
        ("cat\ndog", {}, "control character U\\+000A"),
        ("cat\u202egod", {}, "control character U\\+202E"),
        ("x" * 501, {}, "501 characters, the limit is 500"),
        ("x" * 254, {"prompt_level": "class-style"}, "prompt-template .* tokens, the limit is 256"),
        ("\U0001f41f" * 300, {}, "tokens, the limit is 256"),
        ("кот", {"class_template": "{class}s"}, "class-template .* several scripts"),
        ("a-b", {"prompt_level": "tokens"}, "share the learned token <a-b>"),
    ],
)
def test_names_that_cannot_be_used_are_refused_at_preflight(
    name: str, changes: dict[str, Any], says: str, tmp_path: Path
) -> None:
    config = RunConfig(
        **{
            "dataset": hub(tmp_path, (name, "a b")),
            "clients": 1,
            "partition": "iid",
            "prompt_level": "class",
            **changes,
        }
    )
    with pytest.raises(DataError, match=says) as caught:
        preflight(config)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 1000


def test_an_unknown_class_with_an_odd_name_is_still_refused() -> None:
    payload = PromptPayload(0, (), {"6µm": 1})
    assert isinstance(decode(encode(payload), Limits(), ("5µm",)), Rejection)
