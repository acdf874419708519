"""Data sets of the Hugging Face hub, and local folders that `datasets.load_dataset` opens, with our four columns.

The image column is the one of type Image, or a column `image` or `img` of bytes; the label column is called label,
labels, fine_label or class, or it is the only one of type ClassLabel. Labels are ClassLabel, whole numbers or strings.
Rows whose label is missing (null, negative, empty) are left out with a count; a split in which every label is missing
is a hidden one, as the test split of many a benchmark, and is ignored. -1 is never a class.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import datasets
import numpy as np
import pyarrow as pa

from fgl_flower.data.folders import features
from fgl_flower.data.listing import SPLIT_NAMES, some
from fgl_flower.data.rows import arrow_column, with_columns
from fgl_flower.errors import DataError, reason

__all__ = ["load"]

_IMAGE_NAMES = ("image", "img")
_LABEL_NAMES = ("label", "labels", "fine_label", "class")
_MISSING = -1

_INSTEAD = "it is ignored, other images are held out in its place"

Splits = dict[str, datasets.Dataset]


def load(
    place: str,
    configuration: str,
    default_domain: str,
    columns: Mapping[str, str] | None = None,
    revision: str = "",
) -> tuple[Splits, tuple[str, ...]]:
    """Return the splits {"train", ...} with the columns of `features`, and notes on what is left out.

    Parameters
    ----------
    place : str
        Hub id or local folder.
    configuration : str
        One of the data set's configurations; empty: its only one, or its default.
    default_domain : str
        The domain of every image where there is no domain column.
    columns : mapping of str to str, optional
        What the columns "image", "label", "domain" and "caption" are called there, where they cannot be told.
    revision : str
        Branch, tag or commit of the hub's repository; empty: the newest. A local folder has none.

    Raises
    ------
    DataError
        If it cannot be loaded or is not of that shape; one sentence.
    """
    splits_of_hub = _renamed(_opened(place, configuration, revision), columns or {}, place)
    splits, notes = _roles(splits_of_hub, place)
    first = splits.get("train", next(iter(splits.values())))
    image = _image_column(first, place)
    label = _label_column(first, place)
    domain, caption = _named(first, ("domain", "style")), _named(first, ("caption", "text"))
    classes, labels = _numbered(splits, label, place)
    domains, image_domains = _numbered(splits, domain, place) if domain else ((default_domain,), {})
    columns = features(classes, domains)
    unified: Splits = {}
    for name, dataset in splits.items():
        count = len(dataset)
        beside = {
            "label": labels[name],
            "domain": image_domains.get(name, np.zeros(count, dtype=np.int64)),
            "caption": _captions(dataset, caption) if caption else [""] * count,
        }
        made = _unified(dataset, image, beside, columns, place)
        known = np.flatnonzero(labels[name] != _MISSING)
        if not count:
            notes.append(f"the {name} split is empty: {_INSTEAD}")
        elif not len(known):
            notes.append(f"the {name} split has no labels (all {count:,} are missing or negative): {_INSTEAD}")
        else:
            if missing := count - len(known):
                notes.append(f"{missing:,} of {count:,} {name} images have no label and are left out")
            unified[name] = made.select(known) if missing else made
    if "train" not in unified:
        why = "no label in its training split" if len(first) else "an empty training split"
        raise DataError(f"the data set {place!r} has {why}: there is nothing to train on")
    return unified, tuple(notes)


def _opened(place: str, configuration: str, revision: str) -> Mapping[str, datasets.Dataset]:
    try:
        dataset_dict = datasets.load_dataset(place, configuration or None, revision=revision or None)
    except Exception as error:  # the library raises a dozen kinds, its own and those of the network beneath
        known = _configurations(place)
        if known and configuration and configuration not in known:
            raise DataError(
                f"dataset-config = {configuration!r}: the data set {place!r} has no such configuration; it has "
                f"{', '.join(known)}"
            ) from error
        if len(known) > 1 and not configuration:
            raise DataError(
                f"the data set {place!r} has several configurations, set dataset-config to one of them: "
                f"{', '.join(known)}"
            ) from error
        causes = [str(part).strip().splitlines() for part in (error, error.__cause__ or "")]
        message = "; ".join(dict.fromkeys(line for lines in causes for line in (*lines[:1], *lines[-1:])))
        raise DataError(f"cannot load the data set {place!r}: {message or type(error).__name__}") from error
    return dataset_dict


def _renamed(
    opened: Mapping[str, datasets.Dataset], columns: Mapping[str, str], place: str
) -> Mapping[str, datasets.Dataset]:
    """Return the splits with columns under the names that are looked for."""
    result = {}
    for split, dataset in opened.items():
        for role, name in columns.items():
            if name not in dataset.column_names:
                raise DataError(
                    f"the data set {place!r} has no column {name!r}; its columns are {dataset.column_names}"
                )
            if role != name:
                dataset = dataset.remove_columns([role]) if role in dataset.column_names else dataset
                dataset = dataset.rename_column(name, role)
        result[split] = dataset
    return result


def _configurations(place: str) -> list[str]:
    try:
        return list(datasets.get_dataset_config_names(place))
    except Exception:  # as above; the first error is the one to tell
        return []


def _roles(opened: Mapping[str, datasets.Dataset], place: str) -> tuple[Splits, list[str]]:
    """Return the splits by role, and a note on those that have none."""
    splits: Splits = {}
    for role, names in SPLIT_NAMES.items():
        by_name = {name.casefold(): dataset for name, dataset in opened.items()}
        name = next((name for name in names if name in by_name), None)
        if name is not None:
            splits[role] = by_name[name]
    if "train" not in splits:
        raise DataError(f"the data set {place!r} has no training split (its splits: {', '.join(opened) or 'none'})")
    used = {id(dataset) for dataset in splits.values()}
    beside = [name for name, dataset in opened.items() if id(dataset) not in used]
    return splits, [f"splits that are not used: {some(beside)}"] if beside else []


def _named(dataset: datasets.Dataset, names: Sequence[str]) -> str | None:
    return next((name for name in names if name in dataset.column_names), None)


def _image_column(dataset: datasets.Dataset, place: str) -> str:
    images = [name for name, feature in dataset.features.items() if isinstance(feature, datasets.Image)]
    if named := [name for name in _IMAGE_NAMES if name in images]:
        return named[0]
    if len(images) == 1:
        return images[0]
    if images:
        raise DataError(
            f"the data set {place!r} has several image columns ({', '.join(images)}) and none called image: "
            "rename the one to use"
        )
    name = _named(dataset, _IMAGE_NAMES)
    if name is None:
        raise DataError(f"the data set {place!r} has no image column; its columns are {dataset.column_names}")
    feature = dataset.features[name]
    if _kind(feature) in {"binary", "large_binary"} or (
        isinstance(feature, dict) and set(feature) == {"bytes", "path"}
    ):
        return name
    raise DataError(f"column {name!r} of the data set {place!r} holds {_kind(feature)}, not images: {_CAST}")


_CAST = "write the data set with the column cast to datasets.Image()"


def _kind(feature: Any) -> str:
    if isinstance(feature, datasets.Value):
        return {"string": "text", "large_string": "text"}.get(feature.dtype, feature.dtype)
    return type(feature).__name__


def _label_column(dataset: datasets.Dataset, place: str) -> str:
    name = _named(dataset, _LABEL_NAMES)
    named = [name for name, feature in dataset.features.items() if isinstance(feature, datasets.ClassLabel)]
    if name is None and len(named) == 1:
        name = named[0]
    if name is None:
        raise DataError(f"the data set {place!r} needs a column called label; its columns are {dataset.column_names}")
    return name


def _captions(dataset: datasets.Dataset, column: str) -> Any:
    """Return the texts of a column, "" where one is missing; without those it stays in the file that is mapped."""
    values = arrow_column(dataset, column)
    if pa.types.is_string(values.type):
        return values.fill_null("") if values.null_count else values
    if pa.types.is_large_string(values.type):
        return values.fill_null("").cast(pa.string())
    return [str(value or "") for value in values.to_pylist()]


def _unified(
    dataset: datasets.Dataset, image: str, beside: dict[str, Any], columns: datasets.Features, place: str
) -> datasets.Dataset:
    """Return a split with our columns; its images stay where they are."""
    try:
        pictures = dataset.select_columns([image])
        pictures = pictures if image == "image" else pictures.rename_column(image, "image")
        if pictures.features["image"] != columns["image"]:
            pictures = pictures.cast_column("image", columns["image"])
        return with_columns(pictures, beside, columns)
    except Exception as error:  # Arrow's and the library's own kinds
        raise DataError(f"the data set {place!r} is not of the shape that is needed: {reason(error)}") from error


def _numbered(splits: Splits, column: str, place: str) -> tuple[tuple[str, ...], dict[str, np.ndarray]]:
    """Return the names in a column, in order, and the position of each row's name, (n,) int64; -1 where it is missing.

    Whole numbers are sorted as numbers, also where they are written as strings: "2" comes before "10".
    """
    feature = splits["train"].features[column]
    for name, dataset in splits.items():
        if dataset.features.get(column) != feature:
            raise DataError(
                f"column {column!r} of the data set {place!r} differs in type between the splits train and {name}"
            )
    if isinstance(feature, datasets.ClassLabel):
        numbers = {split: _filled(arrow_column(dataset, column)) for split, dataset in splits.items()}
        known = {split: (read >= 0) & (read < len(feature.names)) for split, read in numbers.items()}
        return tuple(feature.names), {split: np.where(known[split], read, _MISSING) for split, read in numbers.items()}
    text = _reader(feature, column, place)
    coded = {split: _coded(arrow_column(dataset, column)) for split, dataset in splits.items()}
    spoken = {split: [text(value) for value in values] for split, (_, values) in coded.items()}
    distinct = {name for names in spoken.values() for name in names if name}
    whole = all(name.isdecimal() and name.isascii() for name in distinct)
    names = tuple(sorted(distinct, key=int) if whole else sorted(distinct))
    position = {name: i for i, name in enumerate(names)} | {"": _MISSING}
    return names, {
        split: np.array([*(position[name] for name in spoken[split]), _MISSING], np.int64)[codes]
        for split, (codes, _) in coded.items()
    }


def _coded(column: pa.ChunkedArray) -> tuple[np.ndarray, list[Any]]:
    """Return where each row's value stands among the distinct ones, (n,) int64, -1 where it is missing, and those."""
    if pa.types.is_float16(column.type):
        column = column.cast(pa.float32())
    encoded = column.dictionary_encode().unify_dictionaries()
    codes = [_filled(chunk.indices) for chunk in encoded.chunks]
    values = encoded.chunk(0).dictionary.to_pylist() if codes else []
    return np.concatenate([np.empty(0, np.int64), *codes]), values


def _filled(numbers: pa.Array | pa.ChunkedArray) -> np.ndarray:
    return np.asarray(numbers.fill_null(_MISSING).to_numpy(), dtype=np.int64)


def _reader(feature: Any, column: str, place: str) -> Callable[[Any], str]:
    """Return a function from a value of this type to its name, "" where it is missing."""
    kind = feature.dtype if isinstance(feature, datasets.Value) else ""
    if kind == "bool":
        return lambda value: "" if value is None else str(value)
    if kind.startswith(("int", "uint")):
        return lambda value: "" if value is None or value < 0 else str(value)
    if kind.startswith("float"):  # whole numbers become these where some are missing

        def whole(value: float | None) -> str:
            if value is None or np.isnan(value) or value < 0:
                return ""
            if value != int(value):
                raise DataError(f"column {column!r} of the data set {place!r} holds {value:g}, which is no class")
            return str(int(value))

        return whole
    if kind in {"string", "large_string"}:
        return lambda value: "" if value is None or not value.strip() or value.strip() == "-1" else value
    if isinstance(feature, datasets.List | list):
        raise DataError(f"column {column!r} of the data set {place!r} holds several labels an image: one is needed")
    raise DataError(f"column {column!r} of the data set {place!r} holds {_kind(feature)}: names or numbers are needed")
