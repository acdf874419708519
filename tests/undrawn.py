"""A stand-in for the server that draws: keeps what it is asked for, and draws no image."""

from collections.abc import Sequence

from fgl_flower.learning.images import Images
from fgl_flower.wire.limits import Limits
from fgl_flower.wire.payload import PromptPayload


class Undrawn:
    """Fulfils `strategies.fgl.Draws`.

    Attributes
    ----------
    asked : list of sequences of PromptPayload
        What each call of `draw` was given.
    """

    def __init__(
        self, classes: Sequence[str] = ("star",), domains: Sequence[str] = (), limits: Limits | None = None
    ) -> None:
        self.classes, self.domains, self.limits = classes, domains, limits or Limits()
        self.asked: list[Sequence[PromptPayload]] = []

    def draw(self, payloads: Sequence[PromptPayload]) -> Images:
        self.asked.append(payloads)
        return Images.empty(32)
