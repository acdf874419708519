"""The ceiling: the same classifier trained on all private images in one place, which no federation may do."""

from flwr.app import ArrayRecord

from fgl_flower.learning.images import decode
from strategies.server import Server


def centralised(server: Server) -> ArrayRecord:
    """Return the global model trained on the whole private split."""
    config = server.config
    arrays = server.train(
        server.initial, decode(server.source.private, config.image_size), config.server_epochs, "server-training"
    )
    server.validate(0, arrays)
    return arrays
