"""How many private images of each class each client has, for the report."""

from collections.abc import Mapping

import numpy as np

from fgl_flower.config import METHODS_WITHOUT_CLIENTS, RunConfig
from fgl_flower.data.partition import partition
from fgl_flower.data.sources import Source


def label_counts(
    config: RunConfig, source: Source, engine: str, claims: Mapping[int, Mapping[str, int]]
) -> np.ndarray | None:
    """Return label counts per client, (clients, classes) int; None where the server cannot know them.

    In a simulation the clients' shares are of this server's own data set. In a deployment each client has its own, of
    which the server knows what it claims, by client; a histogram of more than ``max-client-examples`` is scaled down.
    """
    if config.method in METHODS_WITHOUT_CLIENTS:
        return None
    if engine != "deployment":
        return partition(source.private, config).counts()
    if not any(claims.values()):
        return None
    most, counts = config.max_client_examples, np.zeros((config.clients, len(source.classes)), dtype=np.int64)
    for client, claim in claims.items():
        total = max(most, sum(claim.values()))
        counts[client] = [claim.get(name, 0) * most // total for name in source.classes]
    return counts
