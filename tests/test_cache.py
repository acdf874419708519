"""What is kept on disk is what was made, and costs nothing but time where it is missing, damaged or cannot be kept."""

from pathlib import Path

import numpy as np
import pytest

from fgl_flower.cache import cache_dir, cached_array
from fgl_flower.config import DataConfig
from fgl_flower.data.partition import partition
from fgl_flower.data.worlds import load_split


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def unmade() -> np.ndarray:
    raise AssertionError("it is in the cache")


def test_an_array_is_made_once_and_read_as_it_was() -> None:
    made = np.array([[3, 1], [4, 1]], dtype=np.int64)
    assert (cached_array("squares", "a", lambda: made) == made).all()
    again = cached_array("squares", "a", unmade)
    assert again.tolist() == [[3, 1], [4, 1]]
    assert again.dtype == np.int64
    with pytest.raises(ValueError, match="read-only"):
        again[0, 0] = 0
    assert cached_array("squares", "b", lambda: made + 1).tolist() == [[4, 2], [5, 2]]


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", b"no array"])
def test_a_damaged_entry_is_made_again(content: bytes) -> None:
    cached_array("squares", "a", lambda: np.arange(5))
    (file,) = (cache_dir() / "squares").iterdir()
    file.write_bytes(content)
    assert cached_array("squares", "a", lambda: np.arange(3)).tolist() == [0, 1, 2]
    assert cached_array("squares", "a", unmade).tolist() == [0, 1, 2]


def test_a_cache_that_cannot_be_written_ends_nothing(tmp_path: Path) -> None:
    (tmp_path / "fgl-flower").write_text("a file where the folder should be")
    assert cached_array("squares", "a", lambda: np.arange(3)).tolist() == [0, 1, 2]


def test_a_division_from_the_cache_is_the_one_that_was_made() -> None:
    private = load_split("world", "private", 60)
    config = DataConfig(clients=4, private_images=60, partition="dirichlet", beta=0.1)
    first, second = partition(private, config).index, partition(private, config).index
    assert [share.tolist() for share in first] == [share.tolist() for share in second]
    assert sorted(np.concatenate(second).tolist()) == list(range(60))
    other = config.model_copy(update={"seed": 1})
    assert [share.tolist() for share in partition(private, other).index] != [share.tolist() for share in first]
    assert len(list((cache_dir() / "partitions").iterdir())) == 2
