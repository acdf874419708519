"""The ceiling: the same classifier trained on all private images in one place, which no federation may do."""

from collections.abc import Sequence

from flwr.app import ArrayRecord

from fgl_flower.learning.images import decode
from strategies.server import Server


def centralised(server: Server) -> Sequence[ArrayRecord]:
    """Return one model, trained on the whole private split."""
    config = server.config
    images = decode(server.source.private, config.image_size)
    server.skipped["private"] = images.skipped
    arrays = server.train(server.initial, images, config.server_epochs, config.server_lr, "server-training")
    server.validate(0, [arrays])
    return [arrays]
