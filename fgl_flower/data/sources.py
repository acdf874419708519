"""Where images come from: the built-in world, hub data sets, image folders, DomainNet lists and ImageNet subsets.

Every source has the same shape: three `datasets.Dataset`s with the columns image, label, domain and caption. A source
without domains has the one domain "photo". Where no validation split is given it is taken from the training images,
never from the test images; where no test split is given, the validation split is the test split (as on ImageNet).
"""

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import datasets
import numpy as np
from PIL import Image

from fgl_flower.config import SourceConfig
from fgl_flower.data import folders, hub, imagenet, recipes, worlds
from fgl_flower.data.audited import members, mislabelled
from fgl_flower.data.folders import features
from fgl_flower.data.listing import some
from fgl_flower.data.naming import under_names
from fgl_flower.data.paths import Files
from fgl_flower.data.rows import column
from fgl_flower.errors import DataError
from fgl_flower.extension_points import DATASET

__all__ = ["Source", "load_source", "source_of"]

_SEED = 0  # splits are the same in every run: only the partition follows the run's seed
_VALIDATION, _TEST = 0.1, 0.2  # shares of each class where there is no such split
_DEFAULT_DOMAIN = "photo"


@dataclass(frozen=True, eq=False)  # one is another's equal if it is the same object: the key of what is made of it
class Source:
    """A data set ready for a federation.

    Attributes
    ----------
    private, validation, test : datasets.Dataset
        Columns image (PIL on access), label and domain (ClassLabel) and caption (str, "" where there is none). The
        private split is what clients divide; validation and test belong to nobody.
    classes, domains : tuple of str
        Names of the labels and domains, in order.
    notes : tuple of str
        What a user should know of the data, a sentence each: files and rows that are left out, classes without images.
    """

    private: datasets.Dataset
    validation: datasets.Dataset
    test: datasets.Dataset
    classes: tuple[str, ...]
    domains: tuple[str, ...]
    notes: tuple[str, ...] = ()


def load_source(config: SourceConfig) -> Source:
    """Return the data that `dataset` names; loaded once a process, and again once the files of its folder changed.

    - `world`, `world-held-out-classes`, `world-held-out-style`: the built-in world (`fgl_flower.data.world`), and the
      same with the two classes or the style that its public split never shows.
    - `world-codes`: ten product codes, each a shape in a colour (`fgl_flower.data.codes`).
    - `world-jargon`: six of ten names mean something else to the generator (`fgl_flower.data.jargon`).
    - `world-shifted`: only a few kinds of image of each class exist (`fgl_flower.data.shifted`).
    - `hub:ID`: a data set of the Hugging Face hub, or a local folder that `datasets.load_dataset` opens (parquet, ...);
      `dataset-config` names one of several configurations, `image-column` and its like the columns.
    - `cifar10`, `pacs`, `office-home`, `eurosat`, `bloodmnist`: data sets of the hub with known columns; `NAME:PATH` is
      a copy in a local folder (`fgl_flower.data.recipes`).
    - `folder:PATH`: a folder an image class, inside `train`, `validation` and `test` folders or at the top.
    - `domainnet:PATH`: DomainNet (Peng et al., 2019), the ten classes of the paper, from `{domain}_{train,test}.txt`.
    - `imagenet-nette|fruit|yellow|squawk|100:PATH`: the paper's subsets of ImageNet-1k, folders `train` and `val`.
    - `nodes`: no images here; each node names data of its own (docs/nodes.md), the run names the classes.
    - `module:object`: a function of your own from the configuration to a `Source`.

    Parameters
    ----------
    config : SourceConfig
        With `prompt_every` (of a `RunConfig`) files are looked at again: clients may have got new ones.

    Raises
    ------
    DataError
        If the data is missing or not of that shape; one sentence says what was looked for and where.
    """
    signature = _signature(config.dataset) if getattr(config, "prompt_every", 0) else ""
    part = config.part(SourceConfig)
    whole = _load(part.model_copy(update={"private_half": 0, "canaries": 0}), signature)
    return _audited(whole, part.private_half, part.canaries) if part.private_half or part.canaries else whole


def source_of(
    splits: Mapping[str, tuple[np.ndarray, Sequence[int]]], classes: Sequence[str], notes: Sequence[str] = ()
) -> Source:
    """Return a source of images in memory.

    Parameters
    ----------
    splits : mapping of str to (numpy.ndarray, sequence of int)
        "train" (the private split), "validation", "test": (N, H, W, 3) uint8 pixels and N labels. Without validation or
        test they are taken from the training images.
    classes : sequence of str
        Names of the labels.
    notes : sequence of str
        See `Source`.
    """
    columns = features(classes, (_DEFAULT_DOMAIN,))
    made = {
        split: datasets.Dataset.from_dict(
            {
                "image": [Image.fromarray(one) for one in pixels],
                "label": [int(label) for label in labels],
                "domain": [0] * len(pixels),
                "caption": [""] * len(pixels),
            },
            features=columns,
        )
        for split, (pixels, labels) in splits.items()
    }
    return _source(made, notes)


@lru_cache(maxsize=4)
def _load(config: SourceConfig, signature: str) -> Source:
    name, (kind, _, place) = config.dataset, config.dataset.partition(":")
    if DATASET.refers(name):
        source = DATASET.load(name)(config)
        if not isinstance(source, Source):
            raise DataError(f"dataset = {name!r} returned a {type(source).__name__}, not a {Source.__qualname__}")
        return source
    wants_place = kind not in {*worlds.KINDS, *recipes.RECIPES, "nodes"}
    if kind not in DATASET.builtins or (bool(place) != wants_place and kind not in recipes.RECIPES):
        raise DataError(f"dataset = {name!r} is {DATASET.complaint(name)}")
    result: Source = DATASET.load(kind)(config)
    return _named(result, config)


@lru_cache(maxsize=2)
def _audited(source: Source, half: int, canaries: int) -> Source:
    """Return a source whose private images are as a membership audit wants them."""
    private = mislabelled(source.private, canaries) if canaries else source.private
    return replace(source, private=private.select(np.flatnonzero(members(len(private), half))))


def _named(source: Source, config: SourceConfig) -> Source:
    """Return a source under the names of classes and domains that the run gives, where it gives any."""
    classes, domains = config.class_names or source.classes, config.domain_names or source.domains
    if (classes, domains) == (source.classes, source.domains):
        return source
    splits = {}
    for split in ("private", "validation", "test"):
        try:
            labelled, _ = under_names(getattr(source, split), "label", classes)
            splits[split], _ = under_names(labelled, "domain", domains)
        except DataError as error:
            raise DataError(f"dataset = {config.dataset!r}, {split} images: {error}") from None
    return replace(source, **splits, classes=classes, domains=domains)


def _signature(name: str) -> str:
    """Return a hash of the names, sizes and times of the files of a data set in a folder; of others ""."""
    place = name.partition(":")[2]
    if not place or not Path(place).expanduser().is_dir():
        return ""
    digest = hashlib.blake2b(digest_size=16)
    for base, inside, files in os.walk(Path(place).expanduser()):
        inside.sort()
        for name in sorted((*inside, *files)):
            path = os.path.join(base, name)
            status = os.lstat(path)
            digest.update(os.fsencode(path) + f" {status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def world(config: SourceConfig) -> Source:
    """Return the built-in world, or the same with what its public split never shows."""
    counts = {"private": config.private_images, "validation": config.validation_images, "test": config.test_images}
    drawn = {split: worlds.load_split(config.dataset, split, count) for split, count in counts.items()}
    return _source({"train": drawn["private"], "validation": drawn["validation"], "test": drawn["test"]})


def from_hub(config: SourceConfig) -> Source:
    """Return a data set of the Hugging Face hub."""
    place = config.dataset.partition(":")[2]
    splits, notes = hub.load(
        place, config.dataset_config, _DEFAULT_DOMAIN, config.columns, revision=config.dataset_revision
    )
    return _source(splits, notes)


def recipe(config: SourceConfig) -> Source:
    """Return a named data set of the hub, or a copy of it."""
    splits, notes = recipes.load(config, _DEFAULT_DOMAIN)
    return _source(splits, notes)


def folder(config: SourceConfig) -> Source:
    """Return images in folders of their classes; no training images are needed where the run names the classes."""
    classes, entries, notes = folders.class_folders(_folder(config), config.class_names)
    if "train" not in entries:
        private = empty_split(classes, (_DEFAULT_DOMAIN,))
        held = {split: files.dataset(private.features) for split, files in entries.items()}
        validation, test = held.get("validation", private), held.get("test", private)
        return Source(private, validation, test, classes, (_DEFAULT_DOMAIN,), notes)
    return _from_entries(entries, classes, (_DEFAULT_DOMAIN,), notes)


def nodes(config: SourceConfig) -> Source:
    """Return no images at all, but the names of the federation: each node has data of its own."""
    empty = empty_split(config.class_names, config.domain_names or (_DEFAULT_DOMAIN,))
    return Source(empty, empty, empty, config.class_names, config.domain_names or (_DEFAULT_DOMAIN,))


def empty_split(classes: Sequence[str], domains: Sequence[str]) -> datasets.Dataset:
    """Return a split without images."""
    columns = features(classes, domains)
    return datasets.Dataset.from_dict({name: [] for name in columns}, features=columns)


def domainnet(config: SourceConfig) -> Source:
    """Return the ten classes of DomainNet that the paper uses."""
    entries = folders.domainnet(_folder(config))
    return _from_entries(entries, folders.DOMAINNET_CLASSES, folders.DOMAINNET_DOMAINS)


def imagenet_subset(config: SourceConfig) -> Source:
    """Return one of the paper's subsets of ImageNet-1k."""
    name = config.dataset.partition(":")[0].removeprefix("imagenet-")
    classes, entries, notes = imagenet.subset(_folder(config), name)
    return _from_entries(entries, classes, (_DEFAULT_DOMAIN,), notes)


def _folder(config: SourceConfig) -> Path:
    place = config.dataset.partition(":")[2]
    path = Path(place).expanduser()
    if not path.is_dir():
        raise DataError(f"dataset = {config.dataset!r}: there is no folder {place}")
    return path


def _source(splits: dict[str, datasets.Dataset], notes: Sequence[str] = ()) -> Source:
    private, validation, test = _complete(splits)
    classes, domains = (tuple(private.features[column].names) for column in ("label", "domain"))
    class_notes = _class_notes(classes, {"training": private, "validation": validation, "test": test})
    return Source(private, validation, test, classes, domains, (*notes, *class_notes))


def _class_notes(classes: Sequence[str], splits: dict[str, datasets.Dataset]) -> list[str]:
    """Return a sentence for each split without images of some class, and for names that differ in case alone."""
    notes = []
    for split, dataset in splits.items():
        held = set(np.unique(column(dataset, "label")).tolist())
        if lacking := [repr(name) for i, name in enumerate(classes) if i not in held]:
            notes.append(f"no {split} image shows {some(lacking)}")
    by_key: dict[str, list[str]] = {}
    for name in classes:
        by_key.setdefault(" ".join(name.casefold().split()), []).append(repr(name))
    notes += [
        f"{' and '.join(names)} differ only in case or spaces, yet are different classes"
        for names in by_key.values()
        if len(names) > 1
    ]
    return notes


def _from_entries(
    splits: dict[str, Files], classes: Sequence[str], domains: Sequence[str], notes: Sequence[str] = ()
) -> Source:
    columns = features(classes, domains)
    return _source({split: files.dataset(columns) for split, files in splits.items()}, notes)


def _complete(splits: dict[str, datasets.Dataset]) -> tuple[datasets.Dataset, datasets.Dataset, datasets.Dataset]:
    """Return train, validation and test, each taken from the right place where it is missing."""
    train, validation, test = (splits.get(name) for name in ("train", "validation", "test"))
    if train is None or not len(train):
        raise DataError("the data set has no training images")
    if test is None and validation is not None:
        validation, test = None, validation
    if test is None:
        train, test = _hold_out(train, _TEST)
    if validation is None:
        train, validation = _hold_out(train, _VALIDATION)
    for name, split in (("validation", validation), ("test", test)):
        if not len(split):
            raise DataError(
                f"the data set has too few images to take {name} images from: at least 3 a class are needed"
            )
    return train, validation, test


def _hold_out(dataset: datasets.Dataset, share: float) -> tuple[datasets.Dataset, datasets.Dataset]:
    """Return the data set without this share of each class and domain (at least one image of two), and the share."""
    rng = np.random.default_rng(_SEED)
    groups = np.stack([column(dataset, "label"), column(dataset, "domain")], axis=1)
    held = np.zeros(len(dataset), dtype=bool)
    for group in np.unique(groups, axis=0):
        members = np.flatnonzero((groups == group).all(axis=1))
        count = max(1, round(share * len(members))) if len(members) > 1 else 0
        held[rng.permutation(members)[:count]] = True
    return dataset.select(np.flatnonzero(~held)), dataset.select(np.flatnonzero(held))
