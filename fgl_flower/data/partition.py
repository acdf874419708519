"""How the private split is divided among clients; the dividing is done by flwr-datasets' partitioners."""

import warnings

import datasets
import numpy as np
from flwr_datasets.partitioner import DirichletPartitioner, IidPartitioner, NaturalIdPartitioner, Partitioner

from fgl_flower.config import RunConfig
from fgl_flower.errors import DataError

__all__ = ["Partition", "partition"]

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


def partition(private: datasets.Dataset, config: RunConfig) -> Partition:
    """Divide the private split as `partition`, `beta`, `clients` and `seed` say; the same call gives the same shares.

    - iid: shuffled, then equal shares.
    - dirichlet: for each class the clients' shares follow Dirichlet(beta) (Yurochkin et al., 2019). Each client gets at
      least 10 images where ten draws suffice for that; otherwise the shares stand as drawn and some clients are empty.
    - domain: one style a client; with more clients than styles, the clients of a style share its images evenly.

    Raises
    ------
    DataError
        If there are more clients than images, or styles are to be divided and there are fewer clients than styles.
    """
    if config.clients > len(private):
        raise DataError(f"clients = {config.clients} is more than the {len(private)} private images: set fewer clients")
    where = private.select_columns(["label", "domain"]).add_column("position", np.arange(len(private)))
    where = where.shuffle(seed=config.seed)
    if config.partition == "iid":
        shares = _shares(IidPartitioner(config.clients), where)
    elif config.partition == "dirichlet":
        shares = _dirichlet(where, config)
    else:
        shares = _domains(where, config)
    return Partition(private, shares)


def _shares(partitioner: Partitioner, where: datasets.Dataset) -> list[np.ndarray]:
    partitioner.dataset = where
    parts = (partitioner.load_partition(i) for i in range(partitioner.num_partitions))
    return [np.asarray(part["position"], dtype=np.int64) for part in parts]


def _dirichlet(where: datasets.Dataset, config: RunConfig) -> list[np.ndarray]:
    def divide(at_least: int) -> list[np.ndarray]:
        divider = DirichletPartitioner(
            config.clients, "label", config.beta, min_partition_size=at_least, seed=config.seed
        )
        return _shares(divider, where)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one warning for each draw that left a client short
        try:
            return divide(_AT_LEAST)
        except ValueError:  # ten draws did not suffice
            return divide(0)


def _domains(where: datasets.Dataset, config: RunConfig) -> list[np.ndarray]:
    by_domain = NaturalIdPartitioner("domain")
    by_domain.dataset = where
    domains = by_domain.num_partitions
    if config.clients < domains:
        raise DataError(f"partition = 'domain' gives each client one style: set clients to at least {domains}")
    shares: list[np.ndarray] = [np.empty(0, dtype=np.int64)] * config.clients
    for domain in range(domains):
        members = range(domain, config.clients, domains)  # client c draws style c modulo the number of styles
        for client, share in zip(
            members, _shares(IidPartitioner(len(members)), by_domain.load_partition(domain)), strict=True
        ):
            shares[client] = share
    return shares
