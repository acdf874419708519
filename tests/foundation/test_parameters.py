"""Sizes of checkpoints by the headers of their files."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from fgl_flower.foundation.parameters import stored_parameters, weight_files


def save(folder: Path, name: str, *shape: int) -> Path:
    save_file({"weight": torch.zeros(shape), "bias": torch.zeros(shape[0])}, folder / name)
    return folder / name


def test_numbers_are_counted_over_files(tmp_path: Path) -> None:
    files = [
        save(tmp_path, "model-00001-of-00002.safetensors", 3, 4),
        save(tmp_path, "model-00002-of-00002.safetensors", 5),
    ]
    assert weight_files(tmp_path) == files
    assert stored_parameters(files) == 3 * 4 + 3 + 5 + 5
    assert stored_parameters([]) is None


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (["model.safetensors", "model.fp16.safetensors"], ["model.safetensors"]),
        (["model.bf16.safetensors", "model.fp16.safetensors"], ["model.fp16.safetensors"]),
        (
            ["model.fp16-00001-of-00002.safetensors", "model.fp16-00002-of-00002.safetensors"],
            ["model.fp16-00001-of-00002.safetensors", "model.fp16-00002-of-00002.safetensors"],
        ),
    ],
)
def test_one_variant_is_counted(tmp_path: Path, names: list[str], chosen: list[str]) -> None:
    for name in names:
        save(tmp_path, name, 2, 2)
    assert [path.name for path in weight_files(tmp_path)] == chosen


@pytest.mark.parametrize("content", [b"", b"\x08\0\0\0\0\0\0\0{}", b"\xff" * 64])
def test_a_damaged_file_has_no_size(tmp_path: Path, content: bytes) -> None:
    whole, damaged = save(tmp_path, "a.safetensors", 2, 2), tmp_path / "b.safetensors"
    damaged.write_bytes(content)
    assert stored_parameters([whole, damaged]) is None
