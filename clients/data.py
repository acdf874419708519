"""A client's share of the private images, decoded once a process."""

from dataclasses import dataclass
from functools import cached_property, lru_cache

import datasets
from flwr.app import Context

from fgl_flower.config import RunConfig
from fgl_flower.data.partition import partition
from fgl_flower.data.sources import Source, load_source
from fgl_flower.errors import ConfigError
from fgl_flower.learning.images import Images, decode


@dataclass(frozen=True)
class Client:
    """Who answers a message.

    Attributes
    ----------
    partition : int
        0 to clients - 1.
    config : RunConfig
    """

    partition: int
    config: RunConfig

    @classmethod
    def of(cls, context: Context) -> "Client":
        """Return the client that this context describes.

        Raises
        ------
        ConfigError
            If the run config is no valid one, or the node config lacks ``partition-id``.
        """
        config = RunConfig.parse(dict(context.run_config))
        number = context.node_config.get("partition-id")
        if not isinstance(number, int) or not 0 <= number < config.clients:
            raise ConfigError(f"partition-id = {number!r} in the node config must be 0 to {config.clients - 1}")
        return cls(number, config)

    @cached_property
    def source(self) -> Source:
        """The data set that the partition is a share of, as it was when this message first needed it."""
        return load_source(self.config)

    @property
    def dataset(self) -> datasets.Dataset:
        """The client's images, not decoded; may be empty."""
        return _shares(self.source, self.division).partition.load(self.partition)

    @property
    def images(self) -> Images:
        """The client's images, decoded; may be empty."""
        return _shares(self.source, self.division).images(self.partition)

    @property
    def division(self) -> RunConfig:
        """The configuration with all that does not touch the data set back to its default: a key of caches."""
        kept = {name: getattr(self.config, name) for name in _DATA_KEYS}
        return RunConfig(**kept)


_DATA_KEYS = (
    "dataset",
    "image_size",
    "private_images",
    "validation_images",
    "test_images",
    "clients",
    "partition",
    "beta",
    "seed",
)


class _Shares:
    """The division of a data set and what has been decoded of it."""

    def __init__(self, source: Source, config: RunConfig) -> None:
        self.partition = partition(source.private, config)
        self.size = config.image_size
        self._images: dict[int, Images] = {}

    def images(self, number: int) -> Images:
        if number not in self._images:
            self._images[number] = decode(self.partition.load(number), self.size)
        return self._images[number]


@lru_cache(maxsize=1)  # rounds reuse a division; the next run's division lets go of this one's images
def _shares(source: Source, config: RunConfig) -> _Shares:
    return _Shares(source, config)
