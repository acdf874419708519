"""The revision of a model in a plain folder: every file that decides what it does, read once."""

import os
from pathlib import Path

import pytest

from fgl_flower.foundation import weights_hash as module
from fgl_flower.foundation.captioner import captioner_revision
from fgl_flower.foundation.generator import inspect
from fgl_flower.foundation.weights_hash import weights_hash


def test_stores_of_earlier_versions_stay_valid() -> None:
    # The captioner's weights are those of the first version, the generators' those since their decoder was trained on.
    assert inspect("miniature").revision == "sha256:d504dc474deadf3a47c0e5fbeccd926c"
    assert inspect("miniature-fast").revision == "sha256:35a30bdb7507328e1d3fcda1f7ac6f39"
    assert captioner_revision("miniature") == "sha256:3174602d0494df18be65e2eb48754f8c"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "unet").mkdir()
    (tmp_path / "model_index.json").write_text("{}")
    (tmp_path / "unet" / "weights").write_bytes(b"weights")
    return tmp_path


@pytest.mark.parametrize(
    "name",
    [
        "unet/diffusion_pytorch_model.bin",
        "model.pt",
        "model.ckpt",
        "unet/model.onnx",
        "flax_model.msgpack",
        "tf.h5",
        "spiece.model",
        "tokenizer/bpe.vocab",
        "merges.TXT",
        "pipeline.py",
        "weights.gguf",
        "unet/weights",
    ],
)
def test_every_file_that_may_decide_counts(name: str, folder: Path) -> None:
    bare = weights_hash((folder,))
    file = folder / name
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(b"trained")
    trained = weights_hash((folder,))
    file.write_bytes(b"retrain")  # in place: as many bytes
    assert len({bare, trained, weights_hash((folder,))}) == 3


@pytest.mark.parametrize(
    "name",
    [
        "README.md",
        "readme",
        "LICENSE",
        "sample.png",
        "fgl.json",
        ".gitattributes",
        ".cache/huggingface/model.lock",
        "__pycache__/pipeline.cpython-311.pyc",
        "unet/model.safetensors.incomplete",
    ],
)
def test_what_decides_nothing_does_not_count(name: str, folder: Path) -> None:
    bare = weights_hash((folder,))
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(b"words")
    assert weights_hash((folder,)) == bare


def test_files_are_read_once_and_again_when_one_changes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[int] = []
    hashed = module._hash
    monkeypatch.setattr(module, "_hash", lambda found: reads.append(len(found)) or hashed(found))
    monkeypatch.setattr(module, "_SETTLED_SECONDS", 0.0)
    first = weights_hash((folder,))
    assert [weights_hash((folder,)) for _ in range(3)] == [first] * 3
    assert reads == [2]
    weights = folder / "unet" / "weights"
    weights.write_bytes(b"WEIGHTS")
    os.utime(weights, ns=(1, 1))  # a tool that sets the time back does not hide it
    assert weights_hash((folder,)) != first
    assert reads == [2, 2]
    monkeypatch.setattr(module, "_SETTLED_SECONDS", 60.0)  # changed just now: a further change might look the same
    weights.write_bytes(b"weights")
    assert weights_hash((folder,)) == weights_hash((folder,)) == first
    assert reads == [2, 2, 2, 2]
