"""Images in folders and lists of files: what is where, before anything is opened."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import datasets

from fgl_flower.errors import DataError

__all__ = ["DOMAINNET_CLASSES", "DOMAINNET_DOMAINS", "Entry", "class_folders", "domainnet", "features", "images_in"]

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

_SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"})
_SPLIT_FOLDERS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val"),
    "test": ("test", "testing"),
}


@dataclass(frozen=True)
class Entry:
    """One image file with its class and domain, as positions in their lists of names."""

    path: Path
    label: int
    domain: int = 0


def features(classes: Sequence[str], domains: Sequence[str]) -> datasets.Features:
    """Return the four columns that every source has."""
    return datasets.Features(
        image=datasets.Image(),
        label=datasets.ClassLabel(names=list(classes)),
        domain=datasets.ClassLabel(names=list(domains)),
        caption=datasets.Value("string"),
    )


def split_folders(path: Path) -> dict[str, Path]:
    """Return the folders of the splits, {"train": ..., "validation": ..., "test": ...}; those that exist."""
    found = {
        split: next((path / name for name in names if (path / name).is_dir()), None)
        for split, names in _SPLIT_FOLDERS.items()
    }
    return {split: folder for split, folder in found.items() if folder is not None}


def images_in(folder: Path) -> list[Path]:
    """Return the image files in a folder and below, sorted."""
    return sorted(p for p in folder.rglob("*") if p.suffix.lower() in _SUFFIXES and p.is_file())


def class_folders(path: Path) -> tuple[tuple[str, ...], dict[str, list[Entry]]]:
    """Return the class names (folder names, sorted) and the images of each split.

    Raises
    ------
    DataError
        If there are no class folders, or a split holds a class that training does not.
    """
    splits = split_folders(path)
    if "train" not in splits:
        splits = {"train": path}
    classes = tuple(sorted(f.name for f in splits["train"].iterdir() if f.is_dir() and images_in(f)))
    if not classes:
        raise DataError(f"{path} holds no folder of images: one folder a class is needed, at the top or inside train/")
    entries = {}
    for split, folder in splits.items():
        unknown = sorted(f.name for f in folder.iterdir() if f.is_dir() and f.name not in classes and images_in(f))
        if unknown:
            raise DataError(f"{folder} holds classes that the training images do not have: {', '.join(unknown[:5])}")
        entries[split] = [Entry(p, i) for i, name in enumerate(classes) for p in images_in(folder / name)]
    return classes, {split: found for split, found in entries.items() if found}


def domainnet(path: Path) -> dict[str, list[Entry]]:
    """Return the training and test images of the paper's ten classes, from `{domain}_{train,test}.txt`.

    Each line of a list is "path label"; paths are relative to the folder that holds the lists.

    Raises
    ------
    DataError
        If a list is missing, a line is not of that shape, or an image is missing.
    """
    position = {label: i for i, label in enumerate(_DOMAINNET_LABELS)}
    entries: dict[str, list[Entry]] = {"train": [], "test": []}
    for domain, name in enumerate(DOMAINNET_DOMAINS):
        for split, found in entries.items():
            listing = path / f"{name}_{split}.txt"
            if not listing.is_file():
                raise DataError(f"DomainNet needs the list {listing.name} in {path}")
            for number, line in enumerate(listing.read_text(encoding="utf-8").splitlines(), start=1):
                if not line.strip():
                    continue
                file, _, label = line.strip().rpartition(" ")
                if not file or not label.isdigit():
                    raise DataError(f"{listing.name}, line {number}: expected 'path label', found {line[:80]!r}")
                if int(label) not in position:
                    continue
                if not (path / file).is_file():
                    raise DataError(f"{listing.name}, line {number}: there is no image {file} in {path}")
                found.append(Entry(path / file, position[int(label)], domain))
    return entries
