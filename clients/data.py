"""A client's share of the private images: read once a process, without those that cannot be read."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

import numpy as np
from flwr.app import Context

from clients.own_data import Own, OwnData
from clients.policy import Policy
from clients.shared import SharedData, shared
from clients.skipped import log_skipped
from fgl_flower.config import DataConfig, RunConfig
from fgl_flower.data.decoding import readable
from fgl_flower.data.rows import Rows
from fgl_flower.errors import ConfigError, DataError

if TYPE_CHECKING:
    from fgl_flower.data.sources import Source
    from fgl_flower.learning.images import Images


@dataclass(frozen=True)
class Client:
    """Who answers a message.

    Attributes
    ----------
    partition_id : int
        0 to clients - 1.
    config : RunConfig
    policy : Policy
        The owner's rules.
    own : OwnData, optional
        The node's own data; without it the client holds a share of the run's data set.
    keeps : bool
        Whether what takes long is kept on disk for the next message, which another process will handle.
    """

    partition_id: int
    config: RunConfig
    policy: Policy = field(default_factory=Policy)
    own: OwnData | None = None
    keeps: bool = False

    @classmethod
    def of(cls, context: Context, *, keeps: bool = False) -> "Client":
        """Return the client that this context describes.

        Raises
        ------
        ConfigError
            If the run config is no valid one, the node config lacks ``partition-id``, or its ``policy`` cannot be read.
        """
        config = RunConfig.parse(dict(context.run_config))
        number = context.node_config.get("partition-id")
        if not isinstance(number, int) or not 0 <= number < config.clients:
            raise ConfigError(f"partition-id = {number!r} in the node config must be 0 to {config.clients - 1}")
        rules = context.node_config.get("policy")
        policy = Policy.read(str(rules)) if rules else Policy()
        return cls(number, config, policy, OwnData.of(context.node_config), keeps)

    @cached_property
    def source(self) -> "Source | Own | SharedData":
        """The node's own data, or the data set that its partition is a share of, as they were when first needed."""
        if self.own is not None:
            return self.own.load(self.config)
        if (data := shared(self.division)) is not None:
            return data
        if self.config.dataset == "nodes":
            raise DataError('this node names no data: set data= in its node config, for instance data="folder:/data"')
        from fgl_flower.data.sources import load_source  # `datasets`: not for a folder of the node's own

        return load_source(self.config)

    @property
    def rows(self) -> Rows:
        """The client's images that can be read, not decoded; may be empty."""
        return self._shares.rows(self.partition_id)

    @property
    def images(self) -> "Images":
        """The client's images that can be read, decoded; may be empty."""
        return self._shares.images(self.partition_id)

    @property
    def skipped(self) -> tuple[str, ...]:
        """The client's images that cannot be read: a sentence each, for its own log; they number `len(skipped)`."""
        return self._shares.skipped(self.partition_id)

    @property
    def _shares(self) -> "_Shares | SharedData":
        source = self.source
        return source if isinstance(source, SharedData) else _shares(source, self.division, self.keeps)

    @property
    def division(self) -> DataConfig:
        """What decides which images are this client's: a key of caches."""
        return self.config.part(DataConfig)


class _Shares:
    """The division of a data set and what has been read of it."""

    def __init__(self, source: "Source | Own", config: DataConfig, keeps: bool) -> None:
        if isinstance(source, Own):
            self._share: Callable[[int], Rows] = lambda number: Rows.all_of(source.table)
        else:
            from fgl_flower.data.partition import partition

            self._share = partition(source.private, config).rows
        self._size, self._keeps = config.image_size, keeps
        self._images: dict[int, Images] = {}
        self._rows: dict[int, tuple[np.ndarray, tuple[str, ...]]] = {}  # of a share: what can be read, and what not

    def rows(self, number: int) -> Rows:
        share = self._share(number)
        rows, skipped = self._checked(number)
        return share.select(rows) if skipped else share

    def skipped(self, number: int) -> tuple[str, ...]:
        return self._checked(number)[1]

    def images(self, number: int) -> "Images":
        if number not in self._images:
            self._images[number], rows = self._decoded(self._share(number))
            self._remember(number, rows, self._images[number].skipped)
        return self._images[number]

    def _decoded(self, share: Rows) -> "tuple[Images, np.ndarray]":
        from fgl_flower.data.decoded import decoded
        from fgl_flower.learning.images import Images

        read = decoded(share, self._size, keep=self._keeps)
        return Images.of(read, share), read.rows

    def _checked(self, number: int) -> tuple[np.ndarray, tuple[str, ...]]:
        if number not in self._rows:
            self._remember(number, *readable(self._share(number).stream()))
        return self._rows[number]

    def _remember(self, number: int, rows: np.ndarray, skipped: tuple[str, ...]) -> None:
        if skipped and number not in self._rows:
            log_skipped(number, len(rows) + len(skipped), skipped)
        self._rows[number] = rows, skipped


@lru_cache(maxsize=1)  # rounds reuse a division; the next run's division lets go of this one's images
def _shares(source: "Source | Own", config: DataConfig, keeps: bool) -> _Shares:
    return _Shares(source, config, keeps)
