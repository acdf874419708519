"""What a prompt level sees of a client."""

from collections.abc import Collection

from clients.captions import captions
from clients.data import Client
from fgl_flower.levels.holdings import Holdings


def holdings(client: Client, unnamed: Collection[str] = ()) -> Holdings:
    """Return the client's readable images with classes, domains and, on demand, captions."""
    source = client.source
    return Holdings(
        client.rows,
        source.classes,
        source.domains,
        client.config,
        client.partition_id,
        lambda dataset: captions(client, dataset),
        unnamed,
    )
