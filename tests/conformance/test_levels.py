"""Every built-in prompt level and two of a user's own."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from experiments.examples.own_level import Colour
from fgl_flower.extension_points import PROMPT_LEVEL
from fgl_flower.levels.holdings import Holdings, counted
from fgl_flower.levels.level import Description, Level
from tests.conformance.levels import LevelSuite


class Brightness(Level):
    """Says how bright each image is; nothing else of it."""

    def describe(self, held: Holdings) -> Description:
        means = [np.asarray(image).mean() for image in held.images()]
        texts = [f"a {'bright' if mean > 127 else 'dark'} picture" for mean in means]
        return Description(counted(texts, held.labels, [""] * len(held)))


OWN = [f"{level.__module__}:{level.__qualname__}" for level in (Colour, Brightness)]


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("level", [*PROMPT_LEVEL.builtins, *OWN])
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
