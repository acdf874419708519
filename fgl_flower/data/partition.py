"""How the private split is divided among clients; the dividing is done by flwr-datasets' partitioners."""

import warnings
from collections.abc import Sequence

import datasets
import numpy as np
from flwr_datasets.partitioner import DirichletPartitioner, IidPartitioner, NaturalIdPartitioner, Partitioner

from fgl_flower.config import DataConfig
from fgl_flower.errors import DataError
from fgl_flower.extension_points import PARTITION

__all__ = ["Partition", "dirichlet", "domain", "iid", "partition"]

_AT_LEAST = 10  # images a client, as in the paper, wherever the draw allows it


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
        self._dataset = dataset
        self.index = index

    def __len__(self) -> int:
        return len(self.index)

    def load(self, partition_id: int) -> datasets.Dataset:
        """Return the images of a client, 0 <= partition_id < clients.

        Raises
        ------
        DataError
            If there is no such client.
        """
        if not 0 <= partition_id < len(self.index):
            raise DataError(f"there is no partition {partition_id}: the run has {len(self.index)} clients (0 to N-1)")
        return self._dataset.select(self.index[partition_id])

    def counts(self) -> np.ndarray:
        """Return how many images each client holds of each class, (clients, classes) int64."""
        classes = self._dataset.features["label"].num_classes
        labels = np.asarray(self._dataset["label"], dtype=np.int64)
        return np.stack([np.bincount(labels[i], minlength=classes) for i in self.index])


def partition(private: datasets.Dataset, config: DataConfig) -> Partition:
    """Divide the private split as `partition`, `beta`, `clients` and `seed` say; the same call gives the same shares.

    Raises
    ------
    DataError
        If there are more clients than images, or the partitioner cannot divide them or returns no division.
    """
    if config.clients > len(private):
        raise DataError(f"clients = {config.clients} is more than the {len(private)} private images: set fewer clients")
    images = private.select_columns(["label", "domain"]).add_column("position", np.arange(len(private)))
    shares = PARTITION.load(config.partition)(images.shuffle(seed=config.seed), config)
    index = [np.asarray(share, dtype=np.int64).reshape(-1) for share in shares]
    if fault := _fault(index, config.clients, len(private)):
        raise DataError(f"partition = {config.partition!r} is no division of the private split: {fault}")
    return Partition(private, index)


def iid(images: datasets.Dataset, config: DataConfig) -> list[np.ndarray]:
    """Return equal shares of the shuffled images.

    Parameters
    ----------
    images : datasets.Dataset
        The private split in random order: columns `label`, `domain` and `position`, no pixels.
    config : DataConfig

    Returns
    -------
    list of numpy.ndarray
        Positions of each client's images, (n,) int64.
    """
    return _shares(IidPartitioner(config.clients), images)


def dirichlet(images: datasets.Dataset, config: DataConfig) -> list[np.ndarray]:
    """Return shares that follow Dirichlet(beta) for each class (Yurochkin et al., 2019); see `iid` for the arguments.

    Each client gets at least 10 images where ten draws suffice for that; otherwise the shares stand as drawn and some
    clients are empty.
    """

    def divide(at_least: int) -> list[np.ndarray]:
        divider = DirichletPartitioner(
            config.clients, "label", config.beta, min_partition_size=at_least, seed=config.seed
        )
        return _shares(divider, images)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one warning for each draw that left a client short
        try:
            return divide(_AT_LEAST)
        except ValueError:  # ten draws did not suffice
            return divide(0)


def domain(images: datasets.Dataset, config: DataConfig) -> list[np.ndarray]:
    """Return one domain a client; with more clients than domains, those of a domain share its images evenly. See `iid`.

    Raises
    ------
    DataError
        If there are fewer clients than domains.
    """
    by_domain = NaturalIdPartitioner("domain")
    by_domain.dataset = images
    domains = by_domain.num_partitions
    if config.clients < domains:
        raise DataError(f"partition = 'domain' gives each client one domain: set clients to at least {domains}")
    shares: list[np.ndarray] = [np.empty(0, dtype=np.int64)] * config.clients
    for number in range(domains):
        members = range(number, config.clients, domains)  # client c holds domain c modulo the number of domains
        held = _shares(IidPartitioner(len(members)), by_domain.load_partition(number))
        for client, share in zip(members, held, strict=True):
            shares[client] = share
    return shares


def _fault(index: Sequence[np.ndarray], clients: int, images: int) -> str:
    """Return why these are no shares of `images` images, or ""."""
    if len(index) != clients:
        return f"it has {len(index)} shares for {clients} clients"
    every = np.concatenate(index)
    if every.size and (every.min() < 0 or every.max() >= images):
        return f"it names image {every.min() if every.min() < 0 else every.max()} of 0 to {images - 1}"
    return "it gives an image to two clients" if len(np.unique(every)) < len(every) else ""


def _shares(partitioner: Partitioner, where: datasets.Dataset) -> list[np.ndarray]:
    partitioner.dataset = where
    parts = (partitioner.load_partition(i) for i in range(partitioner.num_partitions))
    return [np.asarray(part["position"], dtype=np.int64) for part in parts]
