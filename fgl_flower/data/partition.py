"""How the private split is divided among clients."""

import hashlib
from collections.abc import Sequence

import datasets
import numpy as np

from fgl_flower.cache import cached_array
from fgl_flower.config import DataConfig
from fgl_flower.data.rows import Rows, Table, column
from fgl_flower.errors import DataError
from fgl_flower.extension_points import PARTITION

__all__ = ["Partition", "partition"]


class Partition:
    """The shares of all clients.

    Parameters
    ----------
    dataset : datasets.Dataset
        The private split, with columns `label` and `domain`.
    index : list of numpy.ndarray
        For each client the positions of its images, (n,) int64; may be empty.
    """

    def __init__(self, dataset: datasets.Dataset, index: list[np.ndarray]) -> None:
        self._table = Table(dataset)
        self.index = index

    def __len__(self) -> int:
        return len(self.index)

    def rows(self, partition_id: int) -> Rows:
        """Return the images of a client, 0 <= partition_id < clients.

        Raises
        ------
        DataError
            If there is no such client.
        """
        if not 0 <= partition_id < len(self.index):
            raise DataError(f"there is no partition {partition_id}: the run has {len(self.index)} clients (0 to N-1)")
        return Rows(self._table, self.index[partition_id])

    def load(self, partition_id: int) -> datasets.Dataset:
        """Return the images of a client as a data set; see `rows`."""
        return self.rows(partition_id).dataset

    def counts(self) -> np.ndarray:
        """Return how many images each client holds of each class, (clients, classes) int64."""
        classes, labels = self._table.dataset.features["label"].num_classes, self._table.labels
        return np.stack([np.bincount(labels[i], minlength=classes) for i in self.index])


def partition(private: datasets.Dataset, config: DataConfig) -> Partition:
    """Divide the private split as `partition`, `beta`, `clients` and `seed` say; the same call gives the same shares.

    A division by a built-in rule is kept in the cache (`fgl_flower.cache`): the library that divides takes seconds to
    import, in each process that asks.

    Raises
    ------
    DataError
        If there are more clients than images, or the partitioner cannot divide them or returns no division.
    """
    if config.clients > len(private):
        raise DataError(f"clients = {config.clients} is more than the {len(private)} private images: set fewer clients")
    labels, domains = (column(private, name) for name in ("label", "domain"))

    def divide() -> np.ndarray:
        columns = {"label": labels, "domain": domains, "position": np.arange(len(private))}
        images = datasets.Dataset.from_dict(columns, features=_features(private)).shuffle(seed=config.seed)
        shares = PARTITION.load(config.partition)(images, config)
        index = [np.asarray(share, dtype=np.int64).reshape(-1) for share in shares]
        if fault := _fault(index, config.clients, len(private)):
            raise DataError(f"partition = {config.partition!r} is no division of the private split: {fault}")
        return np.concatenate([[len(share) for share in index], *index])

    if PARTITION.refers(config.partition):  # a function of the user's own, which may depend on anything
        packed = divide()
    else:
        what = f"{config.partition} {config.clients} {config.beta} {config.seed}".encode()
        key = hashlib.blake2b(b"\n".join([what, labels.tobytes(), domains.tobytes()]), digest_size=16).hexdigest()
        packed = cached_array("partitions", key, divide)
    lengths, positions = packed[: config.clients], packed[config.clients :]
    return Partition(private, np.split(positions, np.cumsum(lengths)[:-1]))


def _features(private: datasets.Dataset) -> datasets.Features:
    columns = {name: private.features[name] for name in ("label", "domain")}
    return datasets.Features({**columns, "position": datasets.Value("int64")})


def _fault(index: Sequence[np.ndarray], clients: int, images: int) -> str:
    """Return why these are no shares of `images` images, or ""."""
    if len(index) != clients:
        return f"it has {len(index)} shares for {clients} clients"
    every = np.concatenate(index)
    if every.size and (every.min() < 0 or every.max() >= images):
        return f"it names image {every.min() if every.min() < 0 else every.max()} of 0 to {images - 1}"
    return "it gives an image to two clients" if len(np.unique(every)) < len(every) else ""
