"""What a data owner's log says of images that cannot be read."""

from collections.abc import Sequence
from logging import WARNING

from flwr.supercore import log

_NAMED = 100  # files that the log names


def log_skipped(client: int, images: int, sentences: Sequence[str]) -> None:
    """Log how many of a client's images are left out, and why the first of them are."""
    shown = "; ".join(sentences[:_NAMED]) + ("; ..." if len(sentences) > _NAMED else "")
    log(WARNING, "client %d leaves out %d of its %d images: %s", client, len(sentences), images, shown)
