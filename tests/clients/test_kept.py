"""What a deployed client keeps on its disk: nothing slow is done twice, nothing stale or damaged is used."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from flwr.app import RecordDict
from PIL import Image

from clients import kept, prompting
from clients.data import Client
from clients.kept import kept_captions, kept_text, stamp
from clients.own_data import OwnData
from clients.policy import Policy
from fgl_flower.cache import cache_dir
from fgl_flower.config import RunConfig
from fgl_flower.levels.holdings import Holdings
from fgl_flower.levels.level import Description, Level
from fgl_flower.wire.payload import Prompt
from fgl_flower.wire.vectors import Vectors


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def write(path: Path, shade: int) -> dict[str, Any]:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), (shade, shade, shade)).save(path)
    return {"bytes": None, "path": str(path)}


def test_an_image_is_known_by_its_bytes_or_by_its_file_as_it_is_now(tmp_path: Path) -> None:
    record = write(tmp_path / "a.png", 1)
    before = stamp(record)
    assert before == stamp(record)
    assert before != stamp(write(tmp_path / "b.png", 1))
    os.utime(tmp_path / "a.png", (1, 1))
    assert before != stamp(record)
    assert (
        stamp({"bytes": b"x", "path": "a"}) == stamp({"bytes": b"x", "path": "b"}) != stamp({"bytes": b"y", "path": ""})
    )
    assert len(stamp({"bytes": None, "path": str(tmp_path / "gone")})) == 32


def test_only_images_without_a_caption_are_captioned(tmp_path: Path) -> None:
    asked: list[int] = []

    def describe(records: Sequence[Any]) -> list[str]:
        asked.append(len(records))
        return [Path(record["path"]).stem for record in records]

    records = [write(tmp_path / f"{i}.png", i) for i in range(4)]
    assert kept_captions(records[:3], "model 1", describe) == ["0", "1", "2"]
    assert kept_captions(records[1:], "model 1", describe) == ["1", "2", "3"]
    assert kept_captions(records[1:], "model 1", describe) == ["1", "2", "3"]
    assert asked == [3, 1]
    assert kept_captions(records[:1], "model 2", describe) == ["0"]
    assert asked == [3, 1, 1], "another captioner says other things"
    for file in (cache_dir() / "captions").iterdir():
        file.write_text('{"half')
    assert kept_captions(records[:1], "model 1", describe) == ["0"]
    assert asked == [3, 1, 1, 1], "what is damaged is made again"


def test_a_client_that_keeps_has_the_images_of_one_that_does_not(tmp_path: Path) -> None:
    for i in range(4):
        write(tmp_path / "data" / ("cat", "dog")[i % 2] / f"{i}.png", 40 * i)
    (tmp_path / "data" / "dog" / "broken.png").write_bytes(b"no image")
    config = RunConfig(dataset="nodes", classes="cat, dog", image_size=16)
    plain, first, second = (
        Client(0, config, Policy(), OwnData(f"folder:{tmp_path / 'data'}"), keeps) for keeps in (False, True, True)
    )
    for client in (first, second):
        assert client.images.pixels.equal(plain.images.pixels)
        assert client.images.labels.equal(plain.images.labels)
        assert client.skipped == plain.skipped
        assert len(client.skipped) == 1
        from clients.data import _shares

        _shares.cache_clear()  # as in a new process
    assert sorted(p.suffix for p in (cache_dir() / "decoded").iterdir()) == [".jsonl", ".lock", ".pixels"]


DESCRIPTION = Description((Prompt("a <cat>", "cat", "photo", 3),), {"<cat>": Vectors.of([[0.5, -2.0]])}, 17)


def test_a_description_is_the_same_after_it_was_kept() -> None:
    again = Description.from_json(DESCRIPTION.to_json())
    assert again == DESCRIPTION
    assert again.seconds == 17


def test_what_a_model_was_needed_for_is_said_again_only_of_other_images_or_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    described: list[int] = []

    class Learned(Level):
        client_models = frozenset({"captioner"})

        def describe(self, held: Holdings) -> Description:
            described.append(len(held))
            return Description((Prompt("a cat", "cat", "photo", len(held)),), {}, 5)

    monkeypatch.setattr(prompting, "level_of", lambda name: Learned())
    monkeypatch.setattr(kept, "git_state", lambda: {"revision": "abc", "dirty": False})
    config = RunConfig(dataset="nodes", classes="cat, dog", prompt_level="instance")

    def payload(config: RunConfig = config, keeps: bool = True) -> Any:
        client = Client(0, config, Policy(), OwnData(f"folder:{tmp_path / 'data'}"), keeps)
        return prompting.query_prompts(client, RecordDict({"config": prompting.ConfigRecord({})}), RecordDict())

    for i in range(2):
        write(tmp_path / "data" / "cat" / f"{i}.png", i)
    assert payload() == payload()
    assert described == [2]
    payload(keeps=False)
    assert described == [2, 2], "a simulation measures what learning costs"
    payload(config.model_copy(update={"instance_template": "{caption} {class}"}))
    assert described == [2, 2, 2], "other keys"
    os.utime(tmp_path / "data" / "cat" / "0.png", (1, 1))
    payload()
    assert described == [2, 2, 2, 2], "other images"
    monkeypatch.setattr(kept, "git_state", lambda: {"revision": "abc", "dirty": True})
    payload()
    payload()
    assert described == [2] * 6, "code that has no name of its own is not trusted to be the same"


def test_a_disk_that_cannot_be_written_costs_time_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr(kept, "git_state", lambda: {"revision": "abc", "dirty": False})
    record = write(tmp_path / "a.png", 1)
    assert kept_captions([record], "model", lambda records: ["said"]) == ["said"]
    assert kept_text("descriptions", [record], [], lambda: "said") == "said"
