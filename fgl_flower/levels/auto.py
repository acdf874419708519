"""The level that finds out by itself: names first, then captions, embeddings and learned tokens where names do badly.

What to ask next is the server's business (`strategies.inquiry`): it asks clients how the model does on their images,
class by class. Here is what a client says when nobody asks for a level, and how answers of several levels are drawn.
"""

from collections.abc import Sequence

import numpy as np

from fgl_flower.config import RunConfig
from fgl_flower.levels.class_style import ClassStyle
from fgl_flower.levels.level import Level, Offered
from fgl_flower.levels.offers import Offer
from fgl_flower.wire.payload import PromptPayload

LADDER = ("class-style", "instance", "embeddings", "tokens")
"""Levels in the order in which they are asked for."""
DEAR = frozenset({"embeddings", "tokens"})
"""Those that take ten times the bytes of captions, or minutes of a client."""
UNKNOWN = 0.5
"""Share of a class's real images; one of which the model gets less right is hardly known to the generator."""


class Auto(ClassStyle):
    """Begins as the class-style level."""

    client_models = frozenset({"captioner"})

    def universe(self, config: RunConfig, classes: Sequence[str], domains: Sequence[str]) -> None:
        """Return none: what clients are asked next depends on their images."""
        return None

    def offer(self, payloads: Sequence[PromptPayload], config: RunConfig, classes: Sequence[str]) -> Offered:
        """Return what the payloads offer, those of each kind together; a client may have sent several."""
        from fgl_flower.levels.embeddings import Embeddings
        from fgl_flower.levels.tokens import Tokens

        levels: tuple[Level, ...] = (ClassStyle(), Embeddings(), Tokens())
        offers: list[Offer] = []
        embeddings: dict[str, np.ndarray] = {}
        for level in levels:
            if own := [payload for payload in payloads if payload.kind == level.kind]:
                offered = level.offer(own, config, classes)
                offers += list(offered.offers)
                embeddings.update(offered.embeddings)
        return Offered(offers, embeddings)
