"""Where images come from: the built-in world, hub data sets, image folders, DomainNet lists and ImageNet subsets.

Every source has the same shape: three `datasets.Dataset`s with the columns image, label, domain and caption. A source
without styles has the one domain "photo". Where no validation split is given it is taken from the training images,
never from the test images; where no test split is given, the validation split is the test split (as on ImageNet).
"""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import datasets
import numpy as np

from fgl_flower.config import RunConfig
from fgl_flower.data import folders, imagenet, worlds
from fgl_flower.data.folders import Entry, features
from fgl_flower.errors import DataError

__all__ = ["Source", "load_source"]

_SEED = 0  # splits are the same in every run: only the partition follows the run's seed
_VALIDATION, _TEST = 0.1, 0.2  # shares of each class where there is no such split
_DEFAULT_DOMAIN = "photo"
_SPLIT_NAMES = {"validation": ("validation", "valid", "val", "dev"), "test": ("test", "testing")}


@dataclass(frozen=True, eq=False)  # one is another's equal if it is the same object: the key of what is made of it
class Source:
    """A data set ready for a federation.

    Attributes
    ----------
    private, validation, test : datasets.Dataset
        Columns image (PIL on access), label and domain (ClassLabel) and caption (str, "" where there is none). The
        private split is what clients divide; validation and test belong to nobody.
    classes, domains : tuple of str
        Names of the labels and styles, in order.
    """

    private: datasets.Dataset
    validation: datasets.Dataset
    test: datasets.Dataset
    classes: tuple[str, ...]
    domains: tuple[str, ...]


def load_source(config: RunConfig) -> Source:
    """Return the data that `dataset` names; loaded once a process, with `prompt-every` again once its folder changed.

    - `world`, `world-held-out-classes`, `world-held-out-style`: the built-in world (`fgl_flower.data.world`), and the
      same with the two classes or the style that its public split never shows.
    - `hub:ID`: a data set of the Hugging Face hub, or a local folder that `datasets.load_dataset` opens (parquet, ...).
    - `folder:PATH`: a folder an image class, inside `train`, `validation` and `test` folders or at the top.
    - `domainnet:PATH`: DomainNet (Peng et al., 2019), the ten classes of the paper, from `{domain}_{train,test}.txt`.
    - `imagenet-nette|fruit|yellow|squawk|100:PATH`: the paper's subsets of ImageNet-1k, folders `train` and `val`.

    Raises
    ------
    DataError
        If the data is missing or not of that shape; one sentence says what was looked for and where.
    """
    signature = _signature(config.dataset) if config.prompt_every else ""
    return _load(config.dataset, config.private_images, config.validation_images, config.test_images, signature)


def _signature(name: str) -> str:
    """Return a digest of the names, sizes and times of the files of a data set in a folder; of others ""."""
    place = name.partition(":")[2]
    if not place or not Path(place).expanduser().is_dir():
        return ""
    digest = hashlib.blake2b(digest_size=16)
    for path in sorted(Path(place).expanduser().rglob("*")):
        found = path.lstat()
        digest.update(os.fsencode(path) + f" {found.st_size} {found.st_mtime_ns}\n".encode())
    return digest.hexdigest()


@lru_cache(maxsize=4)
def _load(name: str, private: int, validation: int, test: int, signature: str) -> Source:
    kind, _, place = name.partition(":")
    if kind in worlds.KINDS and not place:
        counts = {"private": private, "validation": validation, "test": test}
        splits = {split: worlds.load_split(kind, split, count) for split, count in counts.items()}
        return _source(splits["private"], splits["validation"], splits["test"])
    if not place:
        raise DataError(
            f"dataset = {name!r} is unknown: use 'world', 'hub:ID', 'folder:PATH', 'domainnet:PATH' or "
            f"'imagenet-SUBSET:PATH'"
        )
    if kind == "hub":
        return _from_hub(place)
    if kind == "folder":
        classes, splits_found = folders.class_folders(_folder(place, name))
        return _from_entries(splits_found, classes, (_DEFAULT_DOMAIN,))
    if kind == "domainnet":
        return _from_entries(
            folders.domainnet(_folder(place, name)), folders.DOMAINNET_CLASSES, folders.DOMAINNET_DOMAINS
        )
    if kind.startswith("imagenet-"):
        classes, splits_found = imagenet.subset(_folder(place, name), kind.removeprefix("imagenet-"))
        return _from_entries(splits_found, classes, (_DEFAULT_DOMAIN,))
    raise DataError(f"dataset = {name!r} is unknown: {kind!r} is no kind of data set")


def _folder(place: str, name: str) -> Path:
    path = Path(place).expanduser()
    if not path.is_dir():
        raise DataError(f"dataset = {name!r}: there is no folder {place}")
    return path


def _source(private: datasets.Dataset, validation: datasets.Dataset, test: datasets.Dataset) -> Source:
    return Source(
        private,
        validation,
        test,
        tuple(private.features["label"].names),
        tuple(private.features["domain"].names),
    )


def _from_entries(splits: dict[str, list[Entry]], classes: Sequence[str], domains: Sequence[str]) -> Source:
    columns = features(classes, domains)
    made = {
        split: datasets.Dataset.from_dict(
            {
                "image": [str(e.path) for e in entries],
                "label": [e.label for e in entries],
                "domain": [e.domain for e in entries],
                "caption": [""] * len(entries),
            },
            features=columns,
        )
        for split, entries in splits.items()
    }
    return _source(*_complete(made))


def _complete(splits: dict[str, datasets.Dataset]) -> tuple[datasets.Dataset, datasets.Dataset, datasets.Dataset]:
    """Return train, validation and test, each taken from the right place where it is missing."""
    train, validation, test = (splits.get(name) for name in ("train", "validation", "test"))
    if train is None:
        raise DataError(f"the data set has no training split (it has {', '.join(splits) or 'none'})")
    if test is None and validation is not None:
        validation, test = None, validation
    if test is None:
        train, test = _hold_out(train, _TEST)
    if validation is None:
        train, validation = _hold_out(train, _VALIDATION)
    return train, validation, test


def _hold_out(dataset: datasets.Dataset, share: float) -> tuple[datasets.Dataset, datasets.Dataset]:
    """Return the data set without this share of each class and domain (at least one image of two), and the share."""
    rng = np.random.default_rng(_SEED)
    groups = np.stack([np.asarray(dataset["label"]), np.asarray(dataset["domain"])], axis=1)
    held = np.zeros(len(dataset), dtype=bool)
    for group in np.unique(groups, axis=0):
        members = np.flatnonzero((groups == group).all(axis=1))
        count = max(1, round(share * len(members))) if len(members) > 1 else 0
        held[rng.permutation(members)[:count]] = True
    return dataset.select(np.flatnonzero(~held)), dataset.select(np.flatnonzero(held))


def _from_hub(place: str) -> Source:
    try:
        found = datasets.load_dataset(place)
    except Exception as error:  # the library raises a dozen kinds, its own and those of the network beneath
        reason = str(error).strip().splitlines()
        raise DataError(
            f"cannot load the data set {place!r}: {reason[0] if reason else type(error).__name__}"
        ) from error
    splits: dict[str, datasets.Dataset] = {}
    for name, dataset in found.items():
        role = next((role for role, names in _SPLIT_NAMES.items() if name in names), name)
        if role in {"train", "validation", "test"}:
            splits[role] = dataset
    return _source(*_complete(_unify(splits, place)))


def _unify(splits: dict[str, datasets.Dataset], place: str) -> dict[str, datasets.Dataset]:
    """Return the splits with our four columns, whatever they are called there."""
    if not splits:
        raise DataError(f"the data set {place!r} has no split called train, validation or test")
    first = next(iter(splits.values()))
    image = next((n for n, f in first.features.items() if isinstance(f, datasets.Image)), None)
    label = _pick(first, ("label", "labels", "fine_label", "class"))
    if image is None or label is None:
        raise DataError(f"the data set {place!r} needs an image and a label column; it has {first.column_names}")
    domain, caption = _pick(first, ("domain", "style")), _pick(first, ("caption", "text"))
    classes = _names(splits, label)
    domains = _names(splits, domain) if domain else (_DEFAULT_DOMAIN,)
    columns = features(classes, domains)
    unified = {}
    for name, dataset in splits.items():
        count = len(dataset)
        made = dataset.select_columns([image]).rename_column(image, "image")
        made = made.add_column("label", _numbers(dataset, label, classes))
        made = made.add_column("domain", _numbers(dataset, domain, domains) if domain else [0] * count)
        made = made.add_column("caption", [str(c or "") for c in dataset[caption]] if caption else [""] * count)
        unified[name] = made.cast(columns)
    return unified


def _pick(dataset: datasets.Dataset, names: Sequence[str]) -> str | None:
    return next((n for n in names if n in dataset.column_names), None)


def _names(splits: dict[str, datasets.Dataset], column: str) -> tuple[str, ...]:
    feature = next(iter(splits.values())).features[column]
    if isinstance(feature, datasets.ClassLabel):
        return tuple(feature.names)
    return tuple(sorted({str(value) for dataset in splits.values() for value in dataset.unique(column)}))


def _numbers(dataset: datasets.Dataset, column: str, names: Sequence[str]) -> list[int]:
    values = dataset[column]
    if isinstance(dataset.features[column], datasets.ClassLabel):
        return list(values)
    position = {name: i for i, name in enumerate(names)}
    return [position[str(value)] for value in values]
