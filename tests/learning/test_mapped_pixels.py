"""Images in a mapped file train and measure as those in memory do, to the bit."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fgl_flower.data.decoded import Decoded
from fgl_flower.learning import augment, mapped_pixels
from fgl_flower.learning.building import build_model
from fgl_flower.learning.evaluation import predict
from fgl_flower.learning.images import Images
from fgl_flower.learning.mapped_pixels import MappedPixels
from fgl_flower.learning.training import train

pytestmark = pytest.mark.usefixtures("one_thread")


def block(count: int, size: int, seed: int = 0) -> Decoded:
    pixels = np.random.default_rng(seed).integers(0, 256, (count, size, size, 3), dtype=np.uint8)
    return Decoded(pixels, np.arange(count), {})


def tensor(block: Decoded) -> torch.Tensor:
    return torch.from_numpy(block.pixels).permute(0, 3, 1, 2)


BLOCKS = block(7, 4), block(5, 4, 1)
WHOLE = torch.cat([tensor(one) for one in BLOCKS])


@given(st.lists(st.integers(-12, 11), max_size=20))
def test_they_index_as_a_tensor_does(index: list[int]) -> None:
    mapped, places = MappedPixels(BLOCKS), torch.tensor(index, dtype=torch.int64)
    assert torch.equal(mapped[places], WHOLE[places])
    assert torch.equal(mapped[index], WHOLE[places])
    assert torch.equal(mapped.select(places)[:], WHOLE[places])
    for i in index[:1]:
        assert torch.equal(mapped[i], WHOLE[i])


@pytest.mark.parametrize("count", [1, 5, 12, 100])
def test_they_split_as_a_tensor_does(count: int) -> None:
    mapped = MappedPixels(BLOCKS)
    assert (mapped.shape, len(mapped), mapped.ndim, mapped.dtype) == (WHOLE.shape, 12, 4, torch.uint8)
    assert all(torch.equal(a, b) for a, b in zip(mapped.split(count), WHOLE.split(count), strict=True))


def test_images_join_mapped_ones_and_those_in_memory() -> None:
    labels = torch.arange(12)
    first = Images(MappedPixels([BLOCKS[0]]).select([3, 1, 0]), labels[:3], labels[:3])  # type: ignore[arg-type]
    second = Images(tensor(BLOCKS[1]), labels[:5], labels[:5])
    for one, other in ((first, second), (second, first)):
        both = Images.concat([one, other])
        assert torch.equal(both.pixels[:], torch.cat([one.pixels[:], other.pixels[:]]))
        assert both.labels.tolist() == [*one.labels.tolist(), *other.labels.tolist()]
        some = both.subset([6, 2])
        assert torch.equal(some.pixels[[0, 1]], both.pixels[[6, 2]])


@pytest.mark.parametrize("size", [16, 96])
def test_training_gives_the_same_weights(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    images, labels = block(12, size), torch.arange(12) % 2
    results = []
    for pixels in (tensor(images), MappedPixels([images]).select(range(12))):
        model = build_model("small-resnet", 2, "group", seed=0)
        train(
            model,
            Images(pixels, labels, labels),  # type: ignore[arg-type]
            epochs=2,
            batch_size=5,
            lr=0.1,
            seed=3,
            device="cpu",
            validation=Images(pixels, labels, labels),  # type: ignore[arg-type]
        )
        results.append((model.state_dict(), predict(model, pixels, device="cpu")))  # type: ignore[arg-type]
    (weights, logits), (others, other_logits) = results
    assert all(torch.equal(weights[name], others[name]) for name in weights)
    assert torch.equal(logits, other_logits)
    monkeypatch.setattr(augment, "_PADDED_BYTES", 0)
    index = torch.tensor([3, 0, 3])
    padded = augment.Augmenter(tensor(images), 1)(index)
    monkeypatch.undo()
    assert torch.equal(padded, augment.Augmenter(tensor(images), 1)(index)), "padding a batch or all of them"


def test_pages_leave_memory_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = block(64, 256)
    path = tmp_path / "pixels"
    path.write_bytes(images.pixels.tobytes())
    mapped = Decoded.mapped(path, images.rows, {}, 256)

    def resident() -> int:
        """Return the kilobytes of the file that are in this process' memory."""
        text = Path("/proc/self/smaps").read_text().split(str(path))[1]
        return int(text.split("Rss:")[1].split()[0])

    monkeypatch.setattr(mapped_pixels, "_RELEASED", 4 * images.pixels[0].nbytes)
    pixels = MappedPixels([mapped])
    most = 0
    for part in pixels.split(2):
        assert part.sum() > 0
        most = max(most, resident())
    assert 0 < most < images.pixels.nbytes / 1024 / 2
