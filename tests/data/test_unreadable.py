"""Images that cannot be read: their client takes part with the rest, the server goes on, and both say how many."""

import io
import logging
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from flwr.app import ConfigRecord, Message, MetricRecord, RecordDict
from PIL import Image

from clients import captions as captioning
from clients.client_app import app
from clients.data import Client
from clients.data_hash import data_hash
from clients.evaluation import evaluate
from clients.prompting import prompt_payload
from clients.training import train
from fgl_flower.config import RunConfig
from fgl_flower.foundation.captioner import Captioner
from fgl_flower.learning.building import build_model
from fgl_flower.records.reading import read_run
from fgl_flower.simulation import InlineGrid
from fgl_flower.wire.arrays import to_arrays
from fgl_flower.wire.codec import PromptPayload, decode, encode
from fgl_flower.wire.limits import Limits
from strategies.gate import Admitted, Gate
from strategies.planning import limits_for
from tests.commands import fgl
from tests.whole_runs import served

pytestmark = pytest.mark.usefixtures("one_thread")

InlineGrid(app, 1, {})  # gives this process the identity that Flower's messages need

LEVELS = ("names", "class", "class-style", "instance", "embeddings", "tokens")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.getbasetemp() / "hf-cache")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Six images a class and split; of dog one is damaged and one is gone in train, one in validation and test."""
    rng = np.random.default_rng(0)
    for split in ("train", "validation", "test"):
        for label in ("cat", "dog"):
            (tmp_path / "data" / split / label).mkdir(parents=True)
            for i in range(6):
                pixels = rng.integers(0, 256, (20, 24, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / "data" / split / label / f"{i}.png")
        cut(tmp_path / "data" / split / "dog" / "3.png")
    (tmp_path / "data" / "train" / "dog" / "4.png").unlink()
    (tmp_path / "data" / "train" / "dog" / "4.png").symlink_to("nowhere")
    return tmp_path / "data"


def png(shade: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (32, 32), (shade, 0, 0)).save(buffer, "PNG")
    return buffer.getvalue()


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:300])


def configured(root: Path, **changes: Any) -> RunConfig:
    values = {"dataset": f"folder:{root}", "clients": 1, "partition": "iid", "device": "cpu", "token_steps": 1}
    return RunConfig(**{**values, "local_epochs": 1, "server_epochs": 1, "images_per_class": 2, **changes})


def instruction(config: RunConfig) -> RecordDict:
    arrays = to_arrays(build_model(config.model, 2, config.norm, seed=0))
    return RecordDict({"arrays": arrays, "config": ConfigRecord({"server-round": 1})})


@pytest.mark.parametrize("level", LEVELS)
def test_at_every_level_a_client_speaks_of_the_images_that_it_can_read(level: str, root: Path) -> None:
    config = configured(root, prompt_level=level)
    payload = prompt_payload(Client(0, config))
    if level == "names":
        assert payload == PromptPayload(0)
        return
    assert payload.class_counts == {"cat": 6, "dog": 4}
    assert sum(p.count for p in payload.prompts) == 10
    assert payload.skipped == 2
    received = decode(encode(payload), limits_for(config), ("cat", "dog"), ("photo",))
    assert received == payload


@pytest.mark.parametrize("level", LEVELS)
def test_a_client_that_can_read_nothing_sends_an_empty_payload(level: str, root: Path) -> None:
    for file in (root / "train").rglob("?.png"):
        if file.exists():
            cut(file)
    client = Client(0, configured(root, prompt_level=level))
    assert prompt_payload(client) == PromptPayload(0, skipped=0 if level == "names" else 12)
    assert len(client.images) == len(client.rows) == 0
    assert len(data_hash(client)) == 16


def test_training_and_evaluation_use_the_rest_and_count(root: Path) -> None:
    config = configured(root, method="fedavg", rounds=1)
    client, content = Client(0, config), instruction(config)
    replies = {"train": train(client, content, RecordDict()), "evaluate": evaluate(client, content)}
    gate = Gate(content.array_records["arrays"], 1, ("cat", "dog"))
    for kind, records in replies.items():
        assert (records["metrics"]["num-examples"], records["metrics"]["skipped"]) == (10, 2)
        admitted = gate.check(kind, Message(records, reply_to=Message(content, 1, kind)))
        assert isinstance(admitted, Admitted)
        assert (admitted.num_examples, admitted.skipped) == (10, 2)
        assert not {"skipped", "partition-id"} & set(admitted.content["metrics"])


@pytest.mark.parametrize("claim", [-1, 2**40, 1.5])
def test_an_absurd_claim_of_skipped_images_is_refused(claim: float, root: Path) -> None:
    config = configured(root, method="fedavg", rounds=1)
    content = instruction(config)
    metrics = {"num-examples": 1, "partition-id": 0, "loss": 0.0, "accuracy": 0.0, "skipped": claim}
    reply = Message(RecordDict({"metrics": MetricRecord(metrics)}), reply_to=Message(content, 1, "evaluate"))
    assert not isinstance(Gate(content.array_records["arrays"], 1, ()).check("evaluate", reply), Admitted)
    assert not isinstance(decode(encode(PromptPayload(0, skipped=-1)), Limits(), ()), PromptPayload)


def test_names_of_files_go_to_the_clients_own_log_once_and_to_nobody_else(
    root: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = configured(root, method="fedavg", rounds=1)
    inline = InlineGrid(app, 1, config.to_flat())
    (node,) = inline.get_node_ids()
    monkeypatch.setattr(logging.getLogger("flwr"), "propagate", True)
    monkeypatch.setattr(logging.getLogger("flwr"), "filters", [])  # the command line quietens it for a whole process
    with caplog.at_level(logging.WARNING, logger="flwr"):
        for kind in ("train", "evaluate", "query.prompts"):
            (reply,) = inline.send_and_receive([Message(instruction(config), node, kind)])
            assert not reply.has_error()
            assert b"3.png" not in b"".join(str(record).encode() for record in reply.content.values())
    lines = [record.getMessage() for record in caplog.records if "leaves out" in record.getMessage()]
    assert len(lines) == 1
    assert lines[0].startswith("client 0 leaves out 2 of its 12 images: ")
    assert "train/dog/3.png: image file is truncated" in lines[0]
    assert "train/dog/4.png: there is no such file" in lines[0]


def test_looking_for_unreadable_images_takes_no_torch(root: Path) -> None:
    code = (
        "import sys; from clients.data import Client; from fgl_flower.config import RunConfig\n"
        f"client = Client(0, RunConfig(dataset='folder:{root}', clients=1, partition='iid'))\n"
        "assert (len(client.rows), len(client.skipped)) == (10, 2)\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2], timeout=120)


def test_captioner_and_classifier_see_one_and_the_same_upright_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Witness:
        def describe(self, images: list[Image.Image]) -> list[str]:
            seen.extend(np.asarray(image) for image in images)
            return ["a stripe"] * len(images)

    seen: list[np.ndarray] = []
    for label in ("cat", "dog"):
        (tmp_path / "train" / label).mkdir(parents=True)
        for i in range(4):
            image = Image.new("RGB", (32, 32), "red")
            image.paste((0, 0, 255), (16, 0, 32, 32))  # the right half as stored: shown upright, the lower one
            exif = image.getexif()
            exif[0x0112] = 6
            image.save(tmp_path / "train" / label / f"{i}.png", exif=exif)
    client = Client(0, configured(tmp_path, prompt_level="instance", image_size=32))
    monkeypatch.setattr(captioning, "_captioner", lambda *_: Witness())
    prompt_payload(client)
    classified = client.images.pixels.permute(0, 2, 3, 1).numpy()
    assert np.array_equal(np.stack(seen), classified)
    assert (classified[:, :16] == (255, 0, 0)).all()
    assert (classified[:, 16:] == (0, 0, 255)).all()


@pytest.mark.parametrize("method", ["fedavg", "centralised", "fgl"])
def test_the_server_leaves_out_what_it_cannot_read_and_warns(method: Any, root: Path, tmp_path: Path) -> None:
    rounds = 1 if method == "fedavg" else 0
    (root / "extra").mkdir()
    run = read_run(served(configured(root, method=method, rounds=rounds, runs_dir=str(tmp_path / "runs"))))
    assert run.result is not None
    skipped = {who: n for who, n in run.result.skipped.items() if who in {"validation", "test", "private"}}
    private = {"private": 2} if method == "centralised" else {}
    assert skipped == {"validation": 1, "test": 1} | private
    told = run.result.warnings
    assert "folders beside train/ are left out: extra" in told
    assert any(
        w.startswith("1 of 12 test images cannot be read and are left out: test/dog/3.png: image file") for w in told
    )
    assert any("2 of 12 private images" in w for w in told) == bool(private)


def test_a_sample_keeps_its_own_caption_when_one_before_it_cannot_be_read(tmp_path: Path) -> None:
    images = [{"bytes": png(40 * i), "path": None} for i in range(6)]
    labels = [0, 1] * 3
    columns = datasets.Features(
        image=datasets.Image(), label=datasets.ClassLabel(names=["cat", "dog"]), caption=datasets.Value("string")
    )
    for split in ("train", "validation", "test"):
        rows = {"image": images, "label": labels, "caption": [f"shade {40 * i}" for i in range(6)]}
        if split == "validation":
            rows["image"] = [{"bytes": b"", "path": None}, *images[1:]]
        datasets.Dataset.from_dict(rows, features=columns).to_parquet(tmp_path / "data" / f"{split}.parquet")
    config = configured(tmp_path, dataset=f"hub:{tmp_path / 'data'}", method="centralised", runs_dir=str(tmp_path))
    run = read_run(served(config))
    assert len(run.samples) == 5
    for sample in run.samples:
        assert sample["prompt"] == f"shade {np.asarray(Image.open(run.path / sample['file']))[0, 0, 0]}"


def test_preview_says_what_is_left_out(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "run.toml"
    file.write_text(f'dataset = "folder:{root}"\nclients = 1\npartition = "iid"\nprompt-level = "class"\n')
    assert fgl(monkeypatch, "preview", file) == 0
    shown = capsys.readouterr().out
    assert "client 0 leaves out images that cannot be read: 2" in shown
    assert "train/dog/3.png: image file is truncated" in shown
    assert "skipped: 2" in shown
    assert fgl(monkeypatch, "plan", file) == 0
    assert "client 0 leaves out images that cannot be read: 2" in capsys.readouterr().out


def test_an_image_unlike_all_others_is_captioned_too() -> None:
    captions = Captioner.load("miniature", device="cpu").describe([Image.new("RGB", (32, 32), "red")])
    assert len(captions) == 1
    assert captions[0]


def test_payloads_without_unreadable_images_are_what_they_were() -> None:
    plain = PromptPayload(0, (), {"cat": 1})
    assert encode(plain)["payload"]["data"] == encode(replace(plain, skipped=0))["payload"]["data"]
    assert len(encode(plain)["payload"]["data"]) < len(encode(replace(plain, skipped=1))["payload"]["data"])
