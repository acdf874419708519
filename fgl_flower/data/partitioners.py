"""The built-in ways of dividing the private split; the dividing is done by flwr-datasets' partitioners."""

import warnings

import datasets
import numpy as np
from flwr_datasets.partitioner import DirichletPartitioner, IidPartitioner, NaturalIdPartitioner, Partitioner

from fgl_flower.config import DataConfig
from fgl_flower.data.rows import column
from fgl_flower.errors import DataError

__all__ = ["dirichlet", "domain", "iid"]

_AT_LEAST = 10  # images a client, as in the paper, wherever the draw allows it


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


def _shares(partitioner: Partitioner, where: datasets.Dataset) -> list[np.ndarray]:
    partitioner.dataset = where
    parts = (partitioner.load_partition(i) for i in range(partitioner.num_partitions))
    return [column(part, "position") for part in parts]
