"""Every kind of image becomes upright RGB with its values kept apart; what cannot be read is told by name."""

import io
import os
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from fgl_flower.data.decoding import image_suffixes, open_image, pictures, readable
from fgl_flower.data.rows import Rows
from fgl_flower.errors import DataError

RAMP = np.arange(64, dtype=np.float64).reshape(8, 8) / 63  # 64 values from 0 to 1

ONE_IMAGE = datasets.Features(image=datasets.Image())


def written(image: Image.Image | np.ndarray, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(buffer, kind, **options)
    return buffer.getvalue()


def grey(content: bytes) -> np.ndarray:
    image = open_image(content)
    assert image.mode == "RGB"
    pixels = np.asarray(image)
    assert (pixels == pixels[..., :1]).all()
    return pixels[..., 0]


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        (7000 + 20000 * RAMP, "uint16 PNG", (7000 + 20000 * RAMP) / 257),  # 65,535 / 257 = 255
        (7000 + 20000 * RAMP, "uint16 TIFF", (7000 + 20000 * RAMP) / 257),
        (7000 + 20000 * RAMP, "int32 TIFF", (7000 + 20000 * RAMP) / 257),
        (4000 * RAMP, "uint16 PNG", 255 * 4000 * RAMP / 4095),  # 12 bits of a camera
        (200 * RAMP, "uint16 PNG", 200 * RAMP),
        (3000 * RAMP - 1000, "int32 TIFF", 255 * RAMP),  # Hounsfield units
        (4e9 * RAMP - 2e9, "int32 TIFF", 255 * RAMP),
        (0.5 * RAMP, "float32 TIFF", 127.5 * RAMP),
        (200 * RAMP, "float32 TIFF", 200 * RAMP),
        (RAMP - 0.5, "float32 TIFF", 255 * RAMP),
        (3e38 * RAMP, "float32 TIFF", 255 * RAMP),
    ],
)
def test_deep_images_are_scaled_to_8_bits(values: np.ndarray, kind: str, expected: np.ndarray) -> None:
    dtype, file = kind.split()
    found = grey(written(values.astype(dtype), file))
    assert np.abs(found.astype(float) - expected).max() <= 1
    assert len(np.unique(found)) == 64


def test_big_endian_and_flat_images() -> None:
    values = (7000 + 20000 * RAMP).astype(np.uint16)
    big = Image.frombytes("I;16B", (8, 8), values.astype(">u2").tobytes())
    assert np.array_equal(np.asarray(open_image(big))[..., 0], grey(written(values, "PNG")))
    for flat in (np.full((4, 4), 300.0, np.float32), np.full((4, 4), -7, np.int32)):
        assert np.unique(grey(written(flat, "TIFF"))).tolist() == [0]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused(value: float) -> None:
    pixels = RAMP.astype(np.float32)
    pixels[3, 3] = value
    with pytest.raises(DataError, match=r"scan\.tif: holds values that are not finite"):
        open_image(written(pixels, "TIFF"), "scan.tif")


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "CMYK", "YCbCr", "HSV"])
def test_modes_without_transparency_become_rgb_as_pillow_has_it(mode: str) -> None:
    image = Image.effect_mandelbrot((16, 12), (-2, -1, 1, 1), 50).convert("RGB").convert(mode)
    assert open_image(image).tobytes() == image.convert("RGB").tobytes()


def test_lab_is_converted() -> None:
    red, green, blue = open_image(written(Image.new("LAB", (4, 4), (136, 208, 195)), "TIFF")).getpixel((0, 0))
    assert red > 230  # L* 53, a* 80, b* 67 is pure red
    assert max(green, blue) < 30


def transparent_corner(mode: str) -> Image.Image | bytes:
    """Return black with one transparent pixel, which hides black too."""
    if mode in {"P with one transparent colour", "L with one transparent colour"}:
        image = Image.new(mode[0], (4, 4), 0)
        if mode[0] == "P":
            image.putpalette(6 * [0])
        image.putpixel((0, 0), 1)
        return written(image, "PNG", transparency=1)
    mask = Image.new("L", (4, 4), 255)
    mask.putpixel((0, 0), 0)
    image = Image.new({"RGBA": "RGB", "LA": "L", "PA": "P"}[mode], (4, 4), 0)
    image.putalpha(mask)
    assert image.mode == mode
    return image if mode == "PA" else written(image, "PNG")


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "P with one transparent colour", "L with one transparent colour"])
def test_transparent_pixels_are_white(mode: str) -> None:
    found = open_image(transparent_corner(mode))
    assert found.getpixel((0, 0)) == (255, 255, 255)
    assert found.getpixel((1, 1)) == (0, 0, 0)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_images_stand_upright(kind: str, orientation: int) -> None:
    image = Image.new("RGB", (48, 32), "red")
    image.paste((0, 0, 255), (32, 0, 48, 16))  # blue in the upper right corner as stored
    exif = Image.Exif()
    exif[0x0112] = orientation
    found = open_image(written(image, kind, exif=exif))
    tagged = image.copy()
    tagged.getexif()[0x0112] = orientation
    expected = ImageOps.exif_transpose(tagged)
    assert found.size == expected.size
    assert np.abs(np.asarray(found, int) - np.asarray(expected, int)).mean() < 8  # JPEG and WebP lose a little


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_damaged_exif_asks_nothing() -> None:
    content = written(Image.new("RGB", (48, 32), "red"), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff junk")
    assert open_image(content).size == (48, 32)


def test_the_first_picture_of_an_animation_counts() -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    for kind in ("GIF", "TIFF", "WEBP", "PNG"):
        content = written(frames[0], kind, save_all=True, append_images=frames[1:])
        red, _, blue = open_image(content).getpixel((4, 4))
        assert red > 200 > 50 > blue


def broken(fault: str) -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    content = written(noise, "PNG")
    return {
        "chunk": content[:37] + b"\xff\xff\xff\xff" + content[41:],
        "length": content[:33] + b"\0\0\1\0" + content[37:],  # a SyntaxError of Pillow's
        "empty": b"",
        "truncated": content[:900],
        "no image": b"<html>404 Not Found</html>",
        "script": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n",  # would start another program
        "jpeg": written(noise, "JPEG")[:700],
        "bomb": written(Image.new("1", (10_000, 9_000)), "PNG"),
        "large bomb": written(Image.new("1", (20_000, 9_000)), "PNG"),
        "line": written(Image.new("L", (2010, 10)), "PNG"),
    }[fault]


@pytest.mark.filterwarnings("ignore:Image size")
@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("empty", "empty"),
        ("truncated", "truncated"),
        ("chunk", "no image"),
        ("length", "broken PNG"),
        ("no image", "no image"),
        ("script", "no image"),
        ("jpeg", "truncated"),
        ("bomb", "pixels"),
        ("large bomb", "pixels"),
        ("line", "200 times"),
    ],
)
def test_every_error_of_a_decoder_names_the_file(fault: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "train" / "dog" / "003.png"
    path.parent.mkdir(parents=True)
    path.write_bytes(broken(fault))
    with pytest.raises(DataError, match=says) as caught:
        open_image(path)
    told = str(caught.value)
    assert told.startswith("train/dog/003.png: ")
    assert "\n" not in told
    assert " at 0x" not in told


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "TIFF", "WEBP", "BMP", "JPEG2000", "TGA", "PPM"])
@pytest.mark.filterwarnings("ignore::UserWarning")
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_damage_is_an_image_or_a_data_error(kind: str, data: st.DataObject) -> None:
    content = bytearray(written(Image.effect_mandelbrot((24, 20), (-2, -1, 1, 1), 50), kind))
    for _ in range(data.draw(st.integers(0, 6))):
        content[data.draw(st.integers(0, min(len(content) - 1, 120)))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(content)))
    record = {"bytes": bytes(content[:cut]), "path": "x"}
    (found,) = pictures(Rows.of(datasets.Dataset.from_dict({"image": [record]}, features=ONE_IMAGE)).records())
    if isinstance(found, DataError):
        assert str(found).startswith("x: ")
    else:
        assert (found.mode, min(found.size) > 0) == ("RGB", True)


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    for name in ("pipe.png", "gone.png"):
        with pytest.raises(DataError, match="there is no such file"):
            open_image(tmp_path / name)
    for record in ({"bytes": None, "path": None}, None):
        with pytest.raises(DataError, match="there is no image"):
            open_image(record)  # type: ignore[arg-type]


def test_of_a_data_set_the_readable_images_are_found() -> None:
    good = {"bytes": written(RAMP.astype(np.float32), "TIFF"), "path": None}
    bad = {"bytes": broken("truncated"), "path": "a/b/train/dog/7.png"}
    rows: list[Any] = [good, bad, None, good, {"bytes": b"", "path": None}]
    made = datasets.Dataset.from_dict({"image": rows}, features=ONE_IMAGE)
    records = Rows.of(made).records()
    kept, skipped = readable(records)
    assert kept.tolist() == [0, 3]
    assert [sentence.split(":")[0] for sentence in skipped] == ["train/dog/7.png", "image 2", "image 4"]
    assert [isinstance(found, DataError) for found in pictures(records)] == [
        False,
        True,
        True,
        False,
        True,
    ]
    assert readable([])[0].shape == (0,)


def test_raster_formats_alone_count_as_images() -> None:
    assert {".png", ".jpg", ".jp2", ".webp", ".tif", ".gif", ".bmp", ".avif"} <= image_suffixes()
    assert not {".pdf", ".eps", ".mpg", ".wmf", ".h5", ".txt", ".svg"} & image_suffixes()
