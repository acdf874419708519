"""Pictures for the docs: `python -m experiments.shows.contact_sheet docs` draws one of each drawn data set.

And generator.png, of what the shipped generator draws. One row a style in world.png and generator.png; in the others
a row is the next image of each class of the private split.
"""

import argparse
import tempfile
from pathlib import Path
from types import ModuleType

import numpy as np
from PIL import Image

from fgl_flower.data import codes, jargon, shifted
from fgl_flower.data.shapes import SIZE
from fgl_flower.data.world import CLASSES, HELD_OUT_CLASSES, HELD_OUT_STYLE, STYLES, draw

SCALE = 2  # pixels of the sheet for a pixel of the world
ROWS = 2  # of each style
DRAWN = {"codes": codes, "jargon": jargon, "shifted": shifted}
DEPTH = 6  # images of each class


def world() -> Image.Image:
    """Return every class (columns; the last two are held out) in every style (rows; the last is held out)."""
    rows = [
        [draw(c, s, np.random.default_rng([5, i, row])).image for i, c in enumerate((*CLASSES, *HELD_OUT_CLASSES))]
        for s in (*STYLES, HELD_OUT_STYLE)
        for row in range(ROWS)
    ]
    return _sheet(rows)


def drawn(module: ModuleType) -> Image.Image:
    """Return the first images of each class (columns) of a data set's private split."""
    columns: dict[str, list[np.ndarray]] = {}
    for drawing in module.draw_split("private", 2 * DEPTH * len(CLASSES)):
        columns.setdefault(drawing.label, []).append(drawing.image)
    return _sheet([[columns[name][row] for name in sorted(columns)] for row in range(DEPTH)])


def generator(model_id: str = "miniature-fast") -> Image.Image:
    """Return what a generator draws for "a {style} of a {class}", laid out as the world is."""
    from miniature.assess import draw_images

    with tempfile.TemporaryDirectory() as folder:
        images, _ = draw_images(model_id, ROWS * len(STYLES), 0, Path(folder))
    pixels = images.pixels.permute(0, 2, 3, 1).numpy()

    def of(label: int, domain: int) -> list[np.ndarray]:
        return [pixels[i] for i in range(len(images)) if (images.labels[i], images.domains[i]) == (label, domain)]

    cells = {(c, s): of(c, s) for c in range(len(CLASSES)) for s in range(len(STYLES))}
    return _sheet([[cells[c, s][row] for c in range(len(CLASSES))] for s in range(len(STYLES)) for row in range(ROWS)])


def _sheet(rows: list[list[np.ndarray]]) -> Image.Image:
    sheet = Image.fromarray(np.concatenate([np.concatenate(row, axis=1) for row in rows]))
    return sheet.resize((sheet.width * SCALE, sheet.height * SCALE), Image.Resampling.NEAREST)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m experiments.shows.contact_sheet", description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=Path("docs"), help="receives the pictures")
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    world().save(folder / "world.png")
    for name, module in DRAWN.items():
        drawn(module).save(folder / f"world-{name}.png")
    generator().save(folder / "generator.png")
    print(f"{folder}: {SIZE * SCALE} pixels an image")
