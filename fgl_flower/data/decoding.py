"""The one way from an image file to pixels: upright, RGB, 8 bits a channel, or a `DataError` that names the file.

Private, validation and test images take it, for the classifier and for the captioner alike. How values become 8 bits:

- 1 and 8 bits a channel, palettes, CMYK, YCbCr, LAB, HSV: as Pillow (LAB: LittleCMS) converts them. Of colours of 16
  bits Pillow reads the upper 8.
- Transparent images: laid on white, as a page shows them.
- Whole numbers from 0 to 65,535 (16-bit grey, and 32-bit files that hold no more): the full range is that of 8, 12 or
  16 bits, the smallest that holds the image's largest value. Cameras and scanners write 12 bits into 16-bit files.
- Other whole numbers (signed, 32 bits): from the image's own smallest to its own largest value.
- Floating point: 0..1 or 0..255 if all values lie there, else from the image's smallest to its largest; NaN and
  infinity are refused.

Of animations and files of several pages the first picture counts. Nothing here needs torch.
"""

import io
import os
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any, BinaryIO, cast

import numpy as np
from PIL import Image, ImageOps

from fgl_flower.errors import DataError, reason

__all__ = ["ImageSource", "image_suffixes", "open_image", "pictures", "readable", "to_square"]

ImageSource = Mapping[str, Any] | bytes | str | os.PathLike[str] | Image.Image | np.ndarray

_MOST_PIXELS = 89_478_485  # a quarter of a GiB as RGB, Pillow's own limit: more is an accident or an attack
_MOST_ELONGATED = 200  # times as long as wide: the limit of common captioners; scaled up, a line would fill the memory
_NO_RASTER = frozenset({"BUFR", "EPS", "GRIB", "HDF5", "IPTC", "MPEG", "PCD", "WMF"})  # other programs, or no pixels
_FULL_RANGES = (2**8 - 1, 2**12 - 1, 2**16 - 1)


@lru_cache(maxsize=1)
def _formats() -> tuple[str, ...]:
    Image.init()
    return tuple(sorted((set(Image.OPEN) & set(Image.registered_extensions().values())) - _NO_RASTER))


@lru_cache(maxsize=1)
def image_suffixes() -> frozenset[str]:
    """Return the lower-case suffixes of files that can be read as images, each with its dot."""
    return frozenset(suffix for suffix, kind in Image.registered_extensions().items() if kind in _formats())


def open_image(source: ImageSource, name: str = "") -> Image.Image:
    """Return an image in mode RGB, loaded and upright; the module says how other modes are scaled.

    Parameters
    ----------
    source : record of a data set ({"bytes", "path"}), bytes, path, PIL image, or (H, W) or (H, W, 3) array
    name : str
        What the error calls the image; empty: its path.

    Raises
    ------
    DataError
        If the image is missing, damaged, too large, empty or no image at all.
    """
    try:
        return _checked(_read(source))
    except Exception as error:  # decoders raise OSError, SyntaxError, ValueError, struct.error, MemoryError ...
        raise DataError(f"{name or _name(source) or 'the image'}: {_reason(error)}") from None


def to_square(image: Image.Image, size: int) -> Image.Image:
    """Return the RGB image with its shorter side scaled to `size` (antialiased) and its centre cut out as a square."""
    image = image.convert("RGB")
    if image.size == (size, size):
        return image
    scale = size / min(image.size)
    width, height = (max(size, round(side * scale)) for side in image.size)
    image = image.resize((width, height), Image.Resampling.BICUBIC)
    left, top = (width - size) // 2, (height - size) // 2
    return image.crop((left, top, left + size, top + size))


def pictures(records: Iterable[Mapping[str, Any]], start: int = 0) -> Iterator[Image.Image | DataError]:
    """Yield each image of a data set's records, or the error that says why it cannot be read.

    Parameters
    ----------
    records : iterable of {"bytes", "path"}
        Images as they are stored (`fgl_flower.data.rows`). Files are named by the end of their path.
    start : int
        Number of the first image, by which those without a path are named.
    """
    for i, record in enumerate(records, start):
        try:
            yield open_image(record, _name(record) or f"image {i}")
        except DataError as error:
            yield error


def readable(records: Iterable[Mapping[str, Any]]) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return the positions of the images that can be read, (n,) int64, and a sentence for each other one."""
    sentences = [str(picture) if isinstance(picture, DataError) else "" for picture in pictures(records)]
    positions = np.array([i for i, sentence in enumerate(sentences) if not sentence], dtype=np.int64)
    return positions, tuple(filter(None, sentences))


def _read(source: ImageSource) -> Image.Image:
    """Return the first picture of a source in mode RGB."""
    if isinstance(source, np.ndarray):
        source = Image.fromarray(source)
    if isinstance(source, Image.Image):
        return _rgb(source)
    with _stream(source) as file:
        if not file.read(1):
            raise ValueError("the file is empty")
        file.seek(0)
        image = Image.open(file, formats=_formats())
        if image.width * image.height > _MOST_PIXELS:
            raise ValueError(f"{image.width} x {image.height} pixels are more than {_MOST_PIXELS:,}")
        image.load()
        return _rgb(image)


def _stream(source: Any) -> BinaryIO:
    if isinstance(source, Mapping):
        content = source.get("bytes")
        source = content if content is not None else source.get("path")
    if source is None:
        raise ValueError("there is no image")
    if isinstance(source, bytes):
        return io.BytesIO(source)
    if not os.path.isfile(source):  # a pipe or device would never end
        raise ValueError("there is no such file")
    return open(source, "rb")


def _rgb(image: Image.Image) -> Image.Image:
    turned = _upright(image)
    if turned.mode.startswith(("I", "F")):
        return Image.fromarray(_to_bytes(np.asarray(turned))).convert("RGB")
    if turned.mode == "LAB":
        return _from_lab(turned)
    if turned.has_transparency_data:
        layer = turned.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return turned.convert("RGB")


def _upright(image: Image.Image) -> Image.Image:
    """Return an image as its EXIF orientation asks; an EXIF block that cannot be read asks nothing."""
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # a dozen kinds, and the pixels are sound
        return image


def _to_bytes(values: np.ndarray) -> np.ndarray:
    """Return grey values of more than 8 bits, (H, W), as uint8; see the module."""
    if not np.isfinite(values).all():
        raise ValueError("holds values that are not finite")
    low, high = float(values.min()), float(values.max())
    whole = values.dtype.kind in "iu"
    ranges = _FULL_RANGES if whole else (1, 255)
    if low >= 0 and high <= ranges[-1]:
        low, high = 0.0, next(top for top in ranges if high <= top)
    scaled = (values.astype(np.float64) - low) / ((high - low) or 1.0)
    return np.rint(255 * scaled).astype(np.uint8)


def _from_lab(image: Image.Image) -> Image.Image:
    from PIL import ImageCms

    lab, rgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    return cast("Image.Image", ImageCms.profileToProfile(image, lab, rgb, outputMode="RGB"))


def _checked(image: Image.Image) -> Image.Image:
    short, long = sorted(image.size)
    if short < 1:
        raise ValueError("has no pixels")
    if long > short * _MOST_ELONGATED:
        raise ValueError(f"{image.width} x {image.height} pixels: more than {_MOST_ELONGATED} times as long as wide")
    return image


def _name(source: ImageSource) -> str:
    """Return the end of an image's path: split, class and file; empty where there is none."""
    path = source.get("path") if isinstance(source, Mapping) else source
    if not isinstance(path, str | os.PathLike):
        return ""
    parts = str(path).replace("\\", "/") if os.sep == "\\" else str(path)  # no `Path`: it keeps each part it has seen
    return "/".join([part for part in parts.split("/") if part not in {"", "."}][-3:])


def _reason(error: Exception) -> str:
    if isinstance(error, Image.UnidentifiedImageError):
        return "no image, or of a kind that cannot be read"  # Pillow names an object at an address
    if type(error) is ValueError:
        return reason(error).removeprefix("ValueError: ")
    if isinstance(error, OSError):
        return error.strerror or " ".join(str(error).split()) or type(error).__name__
    return reason(error)
