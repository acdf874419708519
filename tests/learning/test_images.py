"""Decoding to tensors and measuring: against hand-made pictures and hand-counted figures."""

import math
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from fgl_flower.learning.evaluation import evaluate, predict
from fgl_flower.learning.images import Images, decode, decode_rows, normalise, to_square


def dataset(pictures: list[Image.Image | str], **columns: list[int]) -> datasets.Dataset:
    features = {"image": datasets.Image(), **{name: datasets.Value("int64") for name in columns}}
    return datasets.Dataset.from_dict({"image": pictures, **columns}, features=datasets.Features(features))


def test_decode_keeps_pixels_labels_and_domains() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    found = decode(dataset([Image.fromarray(p) for p in pixels], label=[2, 0, 1], domain=[5, 4, -1]), 32)
    assert np.array_equal(found.pixels.permute(0, 2, 3, 1).numpy(), pixels)
    assert found.labels.tolist() == [2, 0, 1]
    assert found.domains.tolist() == [5, 4, -1]
    assert (len(found), found.size) == (3, 32)


def test_decode_of_nothing_and_of_unknown_domains() -> None:
    assert len(decode(dataset([], label=[]), 24)) == 0
    assert decode(dataset([], label=[]), 24).size == 24
    assert decode(dataset([Image.new("L", (8, 8))], label=[0]), 24).domains.tolist() == [-1]


def test_the_centre_is_cut_out_and_every_mode_becomes_rgb() -> None:
    wide = Image.new("RGB", (96, 32), (255, 0, 0))
    wide.paste((0, 255, 0), (32, 0, 64, 32))
    assert np.unique(np.asarray(to_square(wide, 32)).reshape(-1, 3), axis=0).tolist() == [[0, 255, 0]]
    for mode in ("1", "L", "LA", "P", "RGBA", "CMYK"):
        assert to_square(Image.new(mode, (40, 41)), 32).size == (32, 32)
        assert to_square(Image.new(mode, (40, 41)), 32).mode == "RGB"


def test_damaged_images_are_left_out_and_named(tmp_path: Path) -> None:
    path = tmp_path / "broken.png"
    Image.new("RGB", (32, 32)).save(path)
    path.write_bytes(path.read_bytes()[:60])
    pictures = [str(path), Image.new("RGB", (8, 8), "red"), str(tmp_path / "gone.png"), Image.new("RGB", (8, 8))]
    images, rows = decode_rows(dataset(pictures, label=[3, 2, 1, 0], domain=[0, 1, 2, 3]), 32)
    assert rows.tolist() == [1, 3]
    assert (images.labels.tolist(), images.domains.tolist()) == ([2, 0], [1, 3])
    assert images.pixels[:, 0, 0, 0].tolist() == [255, 0]
    assert [sentence.split("/")[-1].split(":")[0] for sentence in images.skipped] == ["broken.png", "gone.png"]
    nothing = decode(dataset([str(path)], label=[3]), 32)
    assert (len(nothing), nothing.size, len(nothing.skipped)) == (0, 32, 1)


def test_subset_and_concat() -> None:
    pixels = np.arange(4 * 16 * 16 * 3, dtype=np.uint8).reshape(4, 16, 16, 3)
    images = Images.from_arrays(pixels, [0, 1, 2, 3], [9, 9, 9, 9])
    back = Images.concat([images.subset([3]), images.subset([]), images.subset(torch.tensor([0, 1]))])
    assert back.labels.tolist() == [3, 0, 1]
    assert torch.equal(back.pixels, images.pixels[[3, 0, 1]])


def test_images_of_the_wrong_shape_are_refused() -> None:
    none = torch.zeros(2, dtype=torch.int64)
    with pytest.raises(ValueError, match="uint8"):
        Images(torch.zeros(2, 3, 8, 8), none, none)
    with pytest.raises(ValueError, match="as many labels"):
        Images(torch.zeros(3, 3, 8, 8, dtype=torch.uint8), none, none)


def test_normalise_worked_by_hand() -> None:
    # Red is 0 and 128, the others flat: red loses its mean 64 and is -1 and 1 in units of 64; the variance over all
    # three channels is 2/6, and 0.01 is added to it.
    pixels = torch.tensor([[[[0, 128]], [[9, 9]], [[200, 200]]]], dtype=torch.uint8)
    one = 1 / math.sqrt(1 / 3 + 0.01)
    torch.testing.assert_close(normalise(pixels), torch.tensor([[[[-one, one]], [[0.0, 0.0]], [[0.0, 0.0]]]]))


def test_normalise_does_not_see_brightness_and_survives_a_flat_image() -> None:
    pixels = torch.randint(0, 100, (4, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(normalise(pixels), normalise(pixels + 100), atol=1e-4, rtol=1e-4)
    assert normalise(torch.full((1, 3, 16, 16), 255, dtype=torch.uint8)).abs().max() == 0


class BrightestPixel(nn.Module):
    """Says class k for an image whose brightest pixel is the k-th of its first row."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.one_hot(x[:, 0, 0, :3].argmax(1), 3).float()


def says(guesses: list[int], labels: list[int], domains: list[int]) -> Images:
    pixels = np.zeros((len(guesses), 16, 16, 3), dtype=np.uint8)
    pixels[np.arange(len(guesses)), 0, guesses] = 255
    return Images.from_arrays(pixels, labels, domains)


def test_figures_counted_by_hand() -> None:
    images = says([0, 0, 1, 1, 0], [0, 0, 1, 0, 1], [0, 1, 1, 1, -1])
    found = evaluate(BrightestPixel(), images, num_classes=3, num_domains=3, batch_size=2, device="cpu")
    assert found.accuracy == pytest.approx(3 / 5)
    assert found.confusion.tolist() == [[2, 1, 0], [1, 1, 0], [0, 0, 0]]
    assert found.by_class == [2 / 3, 1 / 2, None]
    assert found.by_domain == [1.0, 2 / 3, None]  # the image of unknown style counts for none
    assert found.right.tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 0]]
    assert found.total.tolist() == [[1, 2, 0], [0, 1, 0], [0, 0, 0]]
    # Logits (1, 0, 0): the right class has e / (e + 2) of the mass, a wrong one 1 / (e + 2).
    expected = (3 * -math.log(math.e / (math.e + 2)) + 2 * math.log(math.e + 2)) / 5
    assert found.loss == pytest.approx(expected)
    assert found.count == 5


def test_evaluating_nothing_is_an_answer() -> None:
    found = evaluate(BrightestPixel(), Images.empty(16), num_classes=3, num_domains=1, device="cpu")
    assert (found.accuracy, found.loss, found.count) == (0.0, 0.0, 0)
    assert found.by_class == [None] * 3
    assert found.confusion.sum() == 0
    assert found.right.shape == found.total.shape == (3, 1)


def test_the_batch_size_does_not_matter_and_the_mode_is_kept() -> None:
    images = says([0, 1, 2, 0, 1], [0] * 5, [0] * 5)
    model = BrightestPixel().train()
    assert torch.equal(predict(model, images.pixels, batch_size=2), predict(model, images.pixels, batch_size=5))
    assert model.training
