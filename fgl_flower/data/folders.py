"""Images in folders and lists of files: what is where, before anything is opened."""

from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fgl_flower.data.listing import Strays, class_folders_in, some, split_folders, visible_folders
from fgl_flower.data.paths import Files, Paths
from fgl_flower.errors import DataError

if TYPE_CHECKING:
    import datasets

__all__ = ["DOMAINNET_CLASSES", "DOMAINNET_DOMAINS", "class_folders", "domainnet", "features"]

DOMAINNET_DOMAINS = ("clipart", "infograph", "painting", "quickdraw", "real", "sketch")
_DOMAINNET_LABELS = {  # label in DomainNet's lists: name; the ten of the paper's 345
    1: "airplane",
    73: "clock",
    11: "axe",
    19: "basketball",
    29: "bicycle",
    31: "bird",
    290: "strawberry",
    121: "flower",
    225: "pizza",
    39: "bracelet",
}
DOMAINNET_CLASSES = tuple(_DOMAINNET_LABELS.values())


def features(classes: Sequence[str], domains: Sequence[str]) -> "datasets.Features":
    """Return the four columns that every source has."""
    import datasets  # here: see fgl_flower.data.rows

    return datasets.Features(
        image=datasets.Image(),
        label=datasets.ClassLabel(names=list(classes)),
        domain=datasets.ClassLabel(names=list(domains)),
        caption=datasets.Value("string"),
    )


def class_folders(path: Path, names: Sequence[str] = ()) -> tuple[tuple[str, ...], dict[str, Files], tuple[str, ...]]:
    """Return the class names (folder names, sorted), the images of each split, and what was left out, in sentences.

    With `names`, those of a federation's classes, validation or test images are enough, and show these classes alone.

    Raises
    ------
    DataError
        If there are no class folders, or a split holds a class that training does not.
    """
    splits, strays = split_folders(path, complete=not names), Strays()
    notes = []
    if splits:
        if beside := [f.name for f in visible_folders(path) if f not in splits.values()]:
            first = splits["train"] if "train" in splits else next(iter(splits.values()))
            notes.append(f"folders beside {first.name}/ are left out: {some(beside)}")
    else:
        splits = {"train": path}
    files = {split: class_folders_in(folder, strays) for split, folder in splits.items()}
    classes = tuple(files["train"]) if "train" in files else tuple(names)
    if not classes:
        raise DataError(
            f"{splits['train']} holds no folder of images: one folder a class is needed, at the top or inside train/"
        )
    for split, by_class in files.items():
        if unknown := [name for name in by_class if name not in classes]:
            who = "the training images do" if "train" in files else "the federation does"
            raise DataError(f"{splits[split]} holds classes that {who} not have: {some(unknown)}")
    entries = {
        split: Files.of_classes([by_class.get(name, Paths()) for name in classes]) for split, by_class in files.items()
    }
    notes += [f"{splits[split].name}/ holds no images and is left out" for split, items in entries.items() if not items]
    return classes, {split: items for split, items in entries.items() if items}, (*notes, *strays.notes())


def domainnet(path: Path) -> dict[str, Files]:
    """Return the training and test images of the paper's ten classes, from `{domain}_{train,test}.txt`.

    Each line of a list is "path label"; paths are relative to the folder that holds the lists.

    Raises
    ------
    DataError
        If a list is missing, a line is not of that shape, or an image is missing.
    """
    position = {label: i for i, label in enumerate(_DOMAINNET_LABELS)}
    result = {}
    for split in ("train", "test"):
        paths, pairs = Paths(), array("b")  # class and domain of each image in turn
        for domain, name in enumerate(DOMAINNET_DOMAINS):
            listing = path / f"{name}_{split}.txt"
            if not listing.is_file():
                raise DataError(f"DomainNet needs the list {listing.name} in {path}")
            for number, line in enumerate(_text(listing).splitlines(), start=1):
                if not line.strip():
                    continue
                file, _, label = line.strip().rpartition(" ")
                if not file or not (label.isascii() and label.isdigit()):
                    raise DataError(f"{listing.name}, line {number}: expected 'path label', found {line[:80]!r}")
                if int(label) not in position:
                    continue
                if not (path / file).is_file():
                    raise DataError(f"{listing.name}, line {number}: there is no image {file} in {path}")
                paths.append(str(path / file))
                pairs.extend((position[int(label)], domain))
        labels, domains = np.frombuffer(pairs, np.int8).reshape(-1, 2).T.astype(np.int64)
        result[split] = Files(paths, labels, domains)
    return result


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {path} as UTF-8 text: {error}") from None
