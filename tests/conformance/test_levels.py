"""Every built-in prompt level and two of a user's own."""

import numpy as np
import pytest

from experiments.examples.own_level import Colour
from fgl_flower.extension_points import PROMPT_LEVEL
from fgl_flower.levels.holdings import Holdings, counted
from fgl_flower.levels.level import Description, Level
from tests.conformance.levels import LevelSuite

pytestmark = pytest.mark.usefixtures("one_thread")


class Brightness(Level):
    """Says how bright each image is; nothing else of it."""

    def describe(self, held: Holdings) -> Description:
        means = [np.asarray(image).mean() for image in held.images()]
        texts = [f"a {'bright' if mean > 127 else 'dark'} picture" for mean in means]
        return Description(counted(texts, held.labels, [""] * len(held)))


OWN = [f"{level.__module__}:{level.__qualname__}" for level in (Colour, Brightness)]


# Votes answer a question of their own: tests/clients/test_voting.py, tests/strategies/test_evolution.py.
@pytest.mark.parametrize("level", [*(level for level in PROMPT_LEVEL.builtins if level != "votes"), *OWN])
class TestLevels(LevelSuite):
    @pytest.fixture(autouse=True)
    def _named(self, level: str) -> None:
        self.level = level


class TestClusters(LevelSuite):
    level = "embeddings"
    changes = {"embedding_clusters": 2, "embedding_groups": "class"}  # noqa: RUF012


class TestStyleTokens(LevelSuite):
    level = "tokens"
    changes = {"token_subject": "style", "token_names": "sketch, photo"}  # noqa: RUF012
