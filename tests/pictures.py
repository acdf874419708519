"""Image files of one shade."""

from pathlib import Path

from PIL import Image


def put(file: Path, shade: int) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (32, 32), (shade, 9 * shade % 256, 31 * shade % 256)).save(file)
