"""From the names that a data set has for its classes and domains to those of the federation."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from fgl_flower.data.listing import some
from fgl_flower.data.rows import column as named
from fgl_flower.data.rows import with_columns
from fgl_flower.errors import DataError

if TYPE_CHECKING:
    import datasets

__all__ = ["LEFT_OUT", "positions_of", "under_names"]

LEFT_OUT = ""  # what a name is mapped to whose images take no part


def positions_of(
    rows: np.ndarray, own: Sequence[str], names: Sequence[str], kind: str, mapping: Mapping[str, str] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the positions of the images that take part, and where their names stand in the federation's list.

    Parameters
    ----------
    rows : numpy.ndarray
        Where the name of each image stands in the data set's own list, (n,) int64; -1 where it is unknown, and stays.
    own, names : sequence of str
        The data set's and the federation's names.
    kind : str
        What they name, "classes" or "domains".
    mapping : mapping of str to str, optional
        From a name of the data set's to one of the federation's; to "" for those whose images are left out. A name
        that is not in it stands for itself.

    Raises
    ------
    DataError
        If images bear a name that is none of these.
    """
    told, position = mapping or {}, {name: i for i, name in enumerate(names)}
    target = [-1] * (len(own) + 1)  # the last is for rows of -1
    unknown = []
    for i in sorted(set(np.unique(rows).tolist()) - {-1}):
        name = told.get(own[i], own[i])
        if name == LEFT_OUT:
            target[i] = -2
        elif name in position:
            target[i] = position[name]
        else:
            unknown.append(repr(own[i]))
    if unknown:
        raise DataError(
            f"it holds {kind} that the federation does not have: {some(unknown)} "
            f"(the federation has {some(list(names))})"
        )
    new = np.array(target, dtype=np.int64)[rows]
    kept = np.flatnonzero(new != -2)
    return kept, new[kept]


def under_names(
    dataset: "datasets.Dataset", column: str, names: Sequence[str], mapping: Mapping[str, str] | None = None
) -> tuple["datasets.Dataset", int]:
    """Return a data set whose column counts in the federation's names, and how many images are left out.

    Parameters
    ----------
    dataset : datasets.Dataset
    column : str
        "label" or "domain", a ClassLabel.
    names, mapping
        See `positions_of`.

    Raises
    ------
    DataError
        If images bear a name that is none of these.
    """
    import datasets  # here: see fgl_flower.data.rows

    rows = named(dataset, column)
    kind = "classes" if column == "label" else "domains"
    kept, new = positions_of(rows, dataset.features[column].names, names, kind, mapping)
    features = datasets.Features({**dataset.features, column: datasets.ClassLabel(names=list(names))})
    result = dataset.select(kept) if len(kept) < len(rows) else dataset
    return with_columns(result, {column: new}, features), len(rows) - len(kept)
