"""What the processes of a simulation share is what each would have read by itself."""

import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from clients import shared
from clients.captions import captions
from clients.data import Client
from clients.prompting import prompt_payload
from clients.shared import SharedData, can_share, share
from fgl_flower.config import RunConfig
from fgl_flower.data import decoded as decoding
from fgl_flower.learning import images as learning_images
from fgl_flower.learning.mapped_pixels import MappedPixels


@pytest.fixture(autouse=True)
def _unshared() -> Iterator[None]:
    yield
    shared._SHARED.clear()


@pytest.fixture
def config(tmp_path: Path) -> RunConfig:
    """Two classes of nine training images each, two of which cannot be read."""
    rng = np.random.default_rng(0)
    for split in ("train", "validation", "test"):
        for name in ("cat", "dog"):
            folder = tmp_path / split / name
            folder.mkdir(parents=True)
            for i in range(9):
                Image.fromarray(rng.integers(0, 256, (20, 24, 3), dtype=np.uint8)).save(folder / f"{i}.png")
    (tmp_path / "train" / "cat" / "3.png").write_bytes(b"no image")
    (tmp_path / "train" / "dog" / "8.png").write_bytes(b"")
    return RunConfig(dataset=f"folder:{tmp_path}", clients=4, partition="dirichlet", beta=0.5, image_size=16)


def test_each_client_holds_the_same_images_and_leaves_out_the_same(config: RunConfig) -> None:
    apart = [Client(i, config) for i in range(4)]
    images, rows, skipped = ([getattr(one, name) for one in apart] for name in ("images", "rows", "skipped"))
    assert sum(map(len, skipped)) == 2
    told: list[tuple[int, int]] = []
    data = SharedData.of(config, lambda done, total: told.append((done, total)))
    assert told == [(18, 18)]
    share(data)
    for number in range(4):
        client = Client(number, config)
        assert client.source is data
        assert torch.equal(client.images.pixels, images[number].pixels)
        assert torch.equal(client.images.labels, images[number].labels)
        assert torch.equal(client.images.domains, images[number].domains)
        assert client.images.skipped == client.skipped == skipped[number]
        assert client.rows.index.tolist() == rows[number].index.tolist()
        assert client.rows.records() == rows[number].records()
        assert prompt_payload(client) == prompt_payload(apart[number])


def test_in_a_mapped_file_they_are_the_same(config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    in_memory = SharedData.of(config)
    for module in (decoding, learning_images):
        monkeypatch.setattr(module, "MAPPED_BYTES", 0)
    mapped = SharedData.of(config)
    other = SharedData.of(config.model_copy(update={"seed": 1}))
    assert mapped.decoded.path is not None
    assert other.decoded.path == mapped.decoded.path, "one file for all divisions"
    for data in (mapped, pickle.loads(pickle.dumps(mapped))):
        for number in range(4):
            one, same = in_memory.images(number), data.images(number)
            assert isinstance(same.pixels, MappedPixels)
            assert torch.equal(same.pixels[:], one.pixels)
            assert torch.equal(same.labels, one.labels)
            assert same.skipped == one.skipped == data.skipped(number)
            assert data.rows(number).index.tolist() == in_memory.rows(number).index.tolist()


def test_another_division_is_not_taken_from_it(config: RunConfig) -> None:
    share(SharedData.of(config))
    other = Client(0, config.model_copy(update={"seed": config.seed + 1}))
    assert not isinstance(other.source, SharedData)


def test_data_that_change_are_not_shared(config: RunConfig) -> None:
    assert can_share(config)
    assert not can_share(config.model_copy(update={"prompt_every": 1}))
    assert not can_share(config.model_copy(update={"method": "centralised"}))


def test_captions_are_those_of_the_clients_own_images() -> None:
    config = RunConfig(private_images=12, clients=3, partition="iid", prompt_level="instance")
    client = Client(1, config)
    alone = captions(client, client.rows.dataset)
    share(SharedData.of(config))
    client = Client(1, config)
    assert captions(client, client.rows.dataset) == alone


def test_an_actor_that_names_classes_imports_neither_datasets_nor_torch() -> None:
    code = """
import pickle, sys
from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.supercore.task_identity import TaskIdentity
TaskIdentity.run_id = TaskIdentity.task_id = TaskIdentity.node_id = 1
from clients.simulated import ConfiguredClient
from clients.shared import share
config, data = pickle.load(sys.stdin.buffer)
share(data)
context = Context(1, 1, {"partition-id": 1, "num-partitions": 3}, RecordDict(), {})
question = RecordDict({"config": ConfigRecord({"server-round": 0})})
reply = ConfiguredClient(config)(Message(question, 1, "query.prompts"), context)
assert not reply.has_error(), reply.error
print([name for name in ("datasets", "torch", "pandas", "matplotlib", "strategies") if name in sys.modules])
"""
    config = RunConfig(private_images=12, clients=3, partition="iid", prompt_level="class-style")
    told = pickle.dumps((config.to_flat(), SharedData.of(config)), protocol=5)
    done = subprocess.run([sys.executable, "-c", code], input=told, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.decode().strip() == "[]"
