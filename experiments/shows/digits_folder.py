"""Write scikit-learn's digits as an image folder: a real data set that needs no download.

    python -m experiments.shows.digits_folder PATH

PATH gets `train`, `validation` and `test` with a folder a class, PNG files of 32 x 32 pixels. Then, for instance,
`fgl run experiments/demo/fgl.toml --set dataset=folder:PATH`.
"""

import sys
from pathlib import Path

from experiments.examples.own_dataset import digits
from fgl_flower.config import RunConfig


def main(target: Path) -> None:
    """Write them."""
    source = digits(RunConfig())
    for split, rows in (("train", source.private), ("validation", source.validation), ("test", source.test)):
        for i, row in enumerate(rows):
            folder = target / split / source.classes[row["label"]]
            folder.mkdir(parents=True, exist_ok=True)
            row["image"].save(folder / f"{i:04d}.png")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
