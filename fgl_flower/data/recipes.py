"""Named data sets: where each lies on the Hugging Face hub and what its columns are called.

`dataset = "pacs"` downloads it, `dataset = "pacs:PATH"` takes a copy in a local folder. Names of classes and domains
become words that a prompt can hold: "Alarm_Clock" is "alarm clock". Which terms a data set is under is for its user to
read; docs/data.md has sources and papers.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

import datasets
import numpy as np

from fgl_flower.config import SourceConfig
from fgl_flower.data import hub
from fgl_flower.data.folders import features
from fgl_flower.data.rows import column as numbers
from fgl_flower.data.rows import with_columns
from fgl_flower.errors import DataError, reason

__all__ = ["RECIPES", "Npz", "Recipe", "load"]


@dataclass(frozen=True)
class Recipe:
    """A data set of the hub.

    Attributes
    ----------
    hub_id : str
    columns : dict of str to str
        What "image", "label" and "domain" are called there.
    """

    hub_id: str
    columns: dict[str, str] = field(default_factory=lambda: {"image": "image", "label": "label"})

    def splits(self, place: str, config: SourceConfig, default_domain: str) -> tuple[hub.Splits, tuple[str, ...]]:
        """Return the splits of the hub's data set, or of the one at `place`, and notes on what is left out."""
        columns = self.columns | config.columns
        return hub.load(place or self.hub_id, config.dataset_config, default_domain, columns, config.dataset_revision)


@dataclass(frozen=True)
class Npz:
    """One of the data sets of MedMNIST v2 (Yang et al., 2023): arrays `{train,val,test}_{images,labels}`.

    Attributes
    ----------
    hub_id, file : str
        Repository and file on the hub.
    classes : tuple of str
        Names of the labels, which the file does not hold.
    """

    hub_id: str
    file: str
    classes: tuple[str, ...]

    def splits(self, place: str, config: SourceConfig, default_domain: str) -> tuple[hub.Splits, tuple[str, ...]]:
        """Return the splits of the hub's file, or of the one at `place`."""
        if config.columns or config.dataset_config:
            raise DataError(f"dataset = {config.dataset!r} is one file of arrays: it has no columns or configurations")
        path = Path(place).expanduser() if place else self._downloaded(config.dataset_revision)
        columns = features(self.classes, (default_domain,))
        try:
            with ZipFile(path) as arrays:
                return {
                    split: _pictures(_array(arrays, f"{name}_images"), _array(arrays, f"{name}_labels"), columns)
                    for split, name in (("train", "train"), ("validation", "val"), ("test", "test"))
                }, ()
        except (OSError, KeyError, ValueError, BadZipFile, datasets.exceptions.DatasetsError) as error:
            raise DataError(f"dataset = {config.dataset!r}: {path} is no file of MedMNIST: {reason(error)}") from error

    def _downloaded(self, revision: str) -> Path:
        from huggingface_hub import hf_hub_download

        try:
            return Path(hf_hub_download(self.hub_id, self.file, repo_type="dataset", revision=revision or None))
        except Exception as error:  # as of `datasets`: a dozen kinds
            raise DataError(
                f"cannot download {self.file} of the data set {self.hub_id!r}: {reason(error)}; a copy that you have "
                f"is taken by dataset = {Path(self.file).stem + ':PATH'!r}"
            ) from error


RECIPES: dict[str, Recipe | Npz] = {
    "cifar10": Recipe("uoft-cs/cifar10", {"image": "img", "label": "label"}),
    "pacs": Recipe("flwrlabs/pacs", {"image": "image", "label": "label", "domain": "domain"}),
    "office-home": Recipe("flwrlabs/office-home", {"image": "image", "label": "label", "domain": "domain"}),
    "eurosat": Recipe("timm/eurosat-rgb"),
    "bloodmnist": Npz(
        "albertvillanova/medmnist-v2",
        "data/bloodmnist.npz",
        (
            "basophil",
            "eosinophil",
            "erythroblast",
            "immature granulocyte",
            "lymphocyte",
            "monocyte",
            "neutrophil",
            "platelet",
        ),
    ),
}


def load(config: SourceConfig, default_domain: str) -> tuple[hub.Splits, tuple[str, ...]]:
    """Return the splits of the named data set, with the columns of `folders.features`, and notes.

    Raises
    ------
    DataError
        If it cannot be loaded or is not what the recipe says.
    """
    name, _, place = config.dataset.partition(":")
    splits, notes = RECIPES[name].splits(place, config, default_domain)
    return {split: _worded(_worded(dataset, "label"), "domain") for split, dataset in splits.items()}, notes


def words(name: str) -> str:
    """Return a name as words: "Alarm_Clock" is "alarm clock", "SeaLake" "sea lake"; what is all capitals stays."""
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name.replace("_", " "))
    return " ".join(word if word.isupper() and len(word) > 1 else word.lower() for word in apart.split())


def _worded(dataset: datasets.Dataset, column: str) -> datasets.Dataset:
    names = dataset.features[column].names
    spoken = [words(name) for name in names]
    if spoken == names or len(set(spoken)) < len(names):
        return dataset
    renamed = datasets.Features({**dataset.features, column: datasets.ClassLabel(names=spoken)})
    return with_columns(dataset, {column: numbers(dataset, column)}, renamed)


def _array(arrays: ZipFile, name: str) -> np.ndarray:
    with arrays.open(f"{name}.npy") as file:
        return np.lib.format.read_array(file, allow_pickle=False)


def _pictures(pixels: np.ndarray, labels: np.ndarray, columns: datasets.Features) -> datasets.Dataset:
    """Return a split of (N, H, W, 3) or grey (N, H, W) uint8 pixels and (N, 1) labels."""
    from PIL import Image

    def rows() -> Iterator[dict[str, Any]]:
        for one, label in zip(pixels, labels.reshape(-1), strict=True):
            yield {"image": Image.fromarray(one), "label": int(label), "domain": 0, "caption": ""}

    return datasets.Dataset.from_generator(rows, features=columns)
