"""What lies in a folder of images: which folders are splits and classes, which files are images, and what is neither.

Names that begin with a dot, and what operating systems leave behind (`Thumbs.db`, `__MACOSX`, ...), are no data and are
not mentioned; whatever else is left out is counted.
"""

import os
import unicodedata
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from fgl_flower.data.decoding import image_suffixes
from fgl_flower.data.paths import Paths
from fgl_flower.errors import DataError

__all__ = ["SPLIT_NAMES", "Strays", "class_folders_in", "images_in", "some", "split_folders", "visible_folders"]

SPLIT_NAMES = {  # role: what folders and splits of that role are called, in lower case
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev", "eval", "evaluation"),
    "test": ("test", "testing"),
}
_SYSTEM = frozenset({"thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx", "@eadir", "lost+found", "$recycle.bin"})


class Strays:
    """Counts the files that are left out, by the folder of their split."""

    def __init__(self) -> None:
        self._kinds: dict[str, Counter[str]] = {}
        self._loose: Counter[str] = Counter()

    def no_image(self, where: Path, file: str) -> None:
        """Count a file that is no image."""
        kind = (_suffix(file) or "no suffix") if _is_text(file) else "names that are not UTF-8"
        self._kinds.setdefault(where.name, Counter())[kind] += 1

    def loose(self, where: Path) -> None:
        """Count an image that lies in no class folder."""
        self._loose[where.name] += 1

    def notes(self) -> tuple[str, ...]:
        """Return a sentence for each folder and reason."""
        result = []
        for where, kinds in self._kinds.items():
            shown = ", ".join(
                f"{kind} {n}" for kind, n in sorted(kinds.items(), key=lambda item: (-item[1], item[0]))[:5]
            )
            result.append(f"files under {where}/ that are no images are left out: {kinds.total():,} ({shown})")
        for where, n in self._loose.items():
            result.append(f"images in {where}/ that lie in no class folder are left out: {n:,}")
        return tuple(result)


def some(names: list[str], most: int = 5) -> str:
    """Return the first few names, and how many more there are."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def visible_folders(path: Path) -> list[Path]:
    """Return the folders inside a folder, sorted, without hidden ones and links that lead back to it or above it.

    Raises
    ------
    DataError
        If it cannot be read.
    """
    above = {path.resolve(), *path.resolve().parents}
    folders = (p for p in _entries(path) if p.is_dir())
    return sorted(p for p in folders if not (p.is_symlink() and p.resolve() in above))


def split_folders(path: Path, *, complete: bool = True) -> dict[str, Path]:
    """Return the folders of the splits, {"train": ..., "validation": ..., "test": ...}; those that exist.

    A folder with such a name and no folder in it is a class ("train", the vehicle), no split.

    Raises
    ------
    DataError
        If two folders are one split or, where they must be `complete`, training images are missing beside others.
    """
    result: dict[str, Path] = {}
    for folder in visible_folders(path):
        role = next((role for role, names in SPLIT_NAMES.items() if folder.name.casefold() in names), None)
        if role is None or not visible_folders(folder):
            continue
        if role in result:
            raise DataError(
                f"{path} holds {result[role].name}/ and {folder.name}/, both of which are the {role} split: "
                "rename or remove one"
            )
        result[role] = folder
    if complete and result and "train" not in result:
        names = " and ".join(f"{folder.name}/" for folder in result.values())
        raise DataError(f"{path} holds {names} but no folder train/: the training images are missing")
    return result


def class_folders_in(split: Path, strays: Strays) -> dict[str, Paths]:
    """Return the images of each class of a split, {name: files}, sorted; folders without images are no classes."""
    result: dict[str, list[Paths]] = {}
    for folder in visible_folders(split):
        if files := images_in(folder, strays, split):
            name = unicodedata.normalize("NFC", folder.name)  # macOS writes "é" as two characters
            result.setdefault(name, []).append(files)
    for path in _entries(split):
        if path.suffix.lower() in image_suffixes() and path.is_file():
            strays.loose(split)
    return {name: Paths.joined(parts) for name, parts in sorted(result.items())}


def images_in(folder: Path, strays: Strays, split: Path) -> Paths:
    """Return the image files in a folder and below, sorted; links to folders are not followed.

    Files with an image's suffix that are damaged or lead nowhere are among them: opening them will tell.
    """

    def refuse(error: OSError) -> None:
        raise DataError(f"cannot read the folder {error.filename}: {error.strerror}")

    result = list[str]()  # no `Path`: a thousand bytes each, of a million files
    for base, folders, files in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not _hidden(name)]
        for name in files:
            path = os.path.join(base, name)
            if _hidden(name):
                continue
            if _suffix(path) in image_suffixes() and _is_text(path) and _opens(path):
                result.append(path)
            else:
                strays.no_image(split, path)
    result.sort(key=lambda path: path.replace(os.sep, "\0"))  # files of a folder before those of "folder-2"
    return Paths(result)


def _entries(path: Path) -> Iterator[Path]:
    try:
        names = os.listdir(path)
    except OSError as error:
        raise DataError(f"cannot read the folder {path}: {error.strerror}") from None
    for name in names:
        if not _hidden(name):
            if not _is_text(name):
                raise DataError(f"{path} holds {name!a}, whose name is not UTF-8: rename it")
            yield path / name


def _suffix(path: str) -> str:
    return os.path.splitext(path)[1].lower()


def _opens(path: str) -> bool:
    # A link that leads nowhere is a missing image, a pipe is none.
    return os.path.isfile(path) or not os.path.exists(path)


def _hidden(name: str) -> bool:
    return name.startswith(".") or name.casefold() in _SYSTEM


def _is_text(name: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in name)
