"""The ceiling: the same classifier trained on all private images in one place, which no federation may do."""

from collections.abc import Sequence

from flwr.app import ArrayRecord

from strategies.server import Server


def centralised(server: Server) -> Sequence[ArrayRecord]:
    """Return one model, trained on the whole private split."""
    config = server.config
    images = server.decode_private()
    arrays = server.train(server.initial, images, config.server_epochs, config.server_lr, "server-training")
    server.validate(0, [arrays])
    return [arrays]
