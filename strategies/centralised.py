"""The ceiling: the same classifier trained on all private images in one place, which no federation may do."""

from strategies.outcome import Outcome
from strategies.server import Server


def centralised(server: Server) -> Outcome:
    """Return one model, trained on the whole private split."""
    config = server.config
    images = server.decode_private()
    arrays = server.train(server.initial, images, config.server_epochs, config.server_lr, "server-training")
    server.validate(0, [arrays])
    return Outcome([arrays])
