"""Data that a node names itself, in Flower's node config; without it the node holds a share of the run's data set.

| key | meaning |
|---|---|
| `data` | `folder:/data/xrays`, `hub:ID` or what else the key `dataset` takes: its training images, all of them |
| `data-config` | one of the configurations of a hub data set |
| `columns` | what its columns are called: `"image=scan, label=finding"` |
| `labels` | from its names of classes to the federation's: `"k9=dog, feline=cat, other="`, or a TOML file of such |
| | pairs; images of a class with nothing after `=` are left out |
| `domain` | the domain of all of its images, where they have no domain column |
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from fgl_flower.config import SourceConfig
from fgl_flower.data.folders import class_folders, features
from fgl_flower.data.naming import positions_of, under_names
from fgl_flower.data.paths import Files
from fgl_flower.data.rows import FileTable, Table, with_columns
from fgl_flower.errors import ConfigError, DataError

if TYPE_CHECKING:
    import datasets

_UNNAMED = ""  # a domain that is none of the federation's


@dataclass(frozen=True, eq=False)  # one is another's equal if it is the same object: the key of what is made of it
class Own:
    """A node's images under the federation's names.

    Attributes
    ----------
    table : Table
    classes, domains : tuple of str
        The federation's.
    notes : tuple of str
        What was left out, a sentence each.
    """

    table: Table
    classes: tuple[str, ...]
    domains: tuple[str, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class OwnData:
    """What a node says of its data; see the module."""

    data: str
    data_config: str = ""
    columns: str = ""
    labels: str = ""
    domain: str = ""

    @classmethod
    def of(cls, node_config: Mapping[str, Any]) -> Self | None:
        """Return what a node config says, None if it names no data."""
        if not node_config.get("data"):
            return None
        keys = {name: name.replace("_", "-") for name in cls.__dataclass_fields__}
        return cls(**{name: str(node_config.get(key, "")) for name, key in keys.items()})

    def load(self, config: SourceConfig) -> Own:
        """Return the node's images under the federation's names.

        Raises
        ------
        DataError
            If they are missing or bear names that the federation does not have.
        """
        if not config.class_names:
            raise ConfigError("this node has data of its own, but the run names no classes: it must set classes")
        try:
            return _load(self, config.class_names, config.domain_names or ("photo",))
        except DataError as error:
            place = str(Path(self.data.partition(":")[2]).expanduser())  # the sentence goes to the server
            raise DataError(f"the node's own data: {str(error).replace(place, 'it')}") from None


@lru_cache(maxsize=4)
def _load(own: OwnData, classes: tuple[str, ...], domains: tuple[str, ...]) -> Own:
    labels = _labels(own.labels)
    if own.domain and own.domain not in domains:
        raise DataError(f"domain = {own.domain!r} is none of the federation's: {', '.join(domains)}")
    told = own.domain or (domains[0] if len(domains) == 1 else _UNNAMED)
    domain = domains.index(told) if told else -1
    kind, _, place = own.data.partition(":")
    if kind == "folder":
        table, lost, notes = _files(Path(place).expanduser(), classes, domains, labels, domain)
    else:
        images, notes = _images(own)
        labelled, lost = under_names(images, "label", classes, labels)
        if labelled.features["domain"].names != [_UNNAMED]:
            private, _ = under_names(labelled, "domain", domains)
        else:
            private = _in_domain(labelled, domains, domain)
        table = Table(private)
    left_out = [f"{lost:,} images of classes that `labels` leaves out"] if lost else []
    return Own(table, classes, domains, (*notes, *left_out))


def _files(
    path: Path, classes: tuple[str, ...], domains: tuple[str, ...], labels: Mapping[str, str], domain: int
) -> tuple[Table, int, tuple[str, ...]]:
    """Return the images of a folder without `datasets`: nothing else of an answer in names needs it."""
    if not path.is_dir():
        raise DataError("there is no such folder")
    names, entries, notes = class_folders(path)
    every = entries["train"]
    kept, new = positions_of(every.labels, names, classes, "classes", labels)
    files = Files(every.paths.select(kept), new, np.full(len(kept), domain, dtype=np.int64))
    return FileTable(files, classes, domains), len(every) - len(kept), notes


def _images(own: OwnData) -> tuple["datasets.Dataset", tuple[str, ...]]:
    """Return the training images; a domain of the name "" where the data set has none."""
    from fgl_flower.data import hub
    from fgl_flower.data.sources import load_source

    kind, _, place = own.data.partition(":")
    if kind == "hub":
        splits, notes = hub.load(place, own.data_config, _UNNAMED, _pairs(own.columns, "columns"))
        return splits["train"], notes
    source = load_source(SourceConfig(dataset=own.data))
    return source.private, source.notes


def _in_domain(images: "datasets.Dataset", domains: tuple[str, ...], domain: int) -> "datasets.Dataset":
    """Return the images as of one domain, -1: of an unknown one."""
    columns = features(images.features["label"].names, domains)
    return with_columns(images, {"domain": np.full(len(images), domain, dtype=np.int64)}, columns)


def _labels(told: str) -> dict[str, str]:
    if "=" in told or not told:
        return _pairs(told, "labels")
    try:
        table = tomllib.loads(Path(told).expanduser().read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"the file that `labels` names cannot be read: {error}") from None
    if wrong := [name for name, value in table.items() if not isinstance(value, str)]:
        raise DataError(f"the file that `labels` names: {wrong[0]!r} must be a string, the federation's name")
    return table


def _pairs(text: str, key: str) -> dict[str, str]:
    """Return the pairs of "a=b, c=d"."""
    result = {}
    for pair in filter(None, (pair.strip() for pair in text.split(","))):
        name, sign, value = pair.partition("=")
        if not sign:
            raise DataError(f"{key} in the node config wants pairs as in 'a=b, c=d', not {pair!r}")
        result[name.strip()] = value.strip()
    return result
