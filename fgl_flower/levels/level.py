"""What a prompt level is: a client half that describes images, a server half that turns descriptions into offers."""

import inspect
import json
from base64 import b64decode, b64encode
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Self

from fgl_flower.config import RunConfig
from fgl_flower.extension_points import PROMPT_LEVEL
from fgl_flower.levels.offers import Offer, merge
from fgl_flower.privacy.accountant import Release
from fgl_flower.wire.limits import Kind
from fgl_flower.wire.payload import Prompt, PromptPayload
from fgl_flower.wire.vectors import Vectors

if TYPE_CHECKING:
    import numpy as np

    from fgl_flower.levels.holdings import Holdings

ClientModel = Literal["captioner", "image-encoder", "text-encoder", "generator"]


@dataclass(frozen=True)
class Description:
    """What a client says of its images.

    Attributes
    ----------
    prompts : tuple of Prompt
        Each with the number of images behind it; sorted.
    arrays : mapping of str to Vectors
        Embeddings by the text of the prompt that names them, or learned tokens by token; see `PromptPayload`.
    seconds : int
        What learning took; 0 where nothing is learned. Descriptions that differ in this alone are equal.
    """

    prompts: tuple[Prompt, ...]
    arrays: Mapping[str, Vectors] = field(default_factory=dict)
    seconds: int = field(default=0, compare=False)

    def to_json(self) -> str:
        """Return all of it as text."""
        prompts = [[p.text, p.label, p.domain, p.count] for p in self.prompts]
        arrays = {name: [v.rows, v.width, b64encode(v.data).decode()] for name, v in self.arrays.items()}
        return json.dumps({"prompts": prompts, "arrays": arrays, "seconds": self.seconds})

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Return what `to_json` was called of."""
        told = json.loads(text)
        arrays = {name: Vectors(rows, width, b64decode(data)) for name, (rows, width, data) in told["arrays"].items()}
        return cls(tuple(Prompt(*prompt) for prompt in told["prompts"]), arrays, told["seconds"])


@dataclass(frozen=True)
class Offered:
    """What the server may draw.

    Attributes
    ----------
    offers : sequence of Offer
    embeddings : mapping of str to numpy.ndarray
        (tokens, width) float32 by the text of an offer's prompt, which is then the name of the embedding.
    """

    offers: Sequence[Offer]
    embeddings: "Mapping[str, np.ndarray]" = field(default_factory=dict)


class Level:
    """Base of all prompt levels; a level of your own derives from it and defines `describe`.

    Attributes
    ----------
    kind : str
        Kind of payload: "text", "embeddings", "tokens" or "votes".
    asks_clients : bool
        Whether clients are asked to describe their images; where not, they send nothing at all.
    client_models : frozenset of str
        Models that a client needs: "captioner", "image-encoder", "text-encoder", "generator" (all of it).
    """

    kind: Kind = "text"
    asks_clients: bool = True
    client_models: frozenset[ClientModel] = frozenset()

    def models(self, config: RunConfig) -> frozenset[ClientModel]:
        """Return the models that a client of a run needs: those of the level, where the run's keys spare it none."""
        return self.client_models

    def describe(self, held: "Holdings") -> Description:
        """Return what a client says of its images, of which there is at least one; runs on the client."""
        raise TypeError(f"{type(self).__name__} does not define describe(held)")

    def offer(self, payloads: Sequence[PromptPayload], config: RunConfig, classes: Sequence[str]) -> Offered:
        """Return what may be drawn for the payloads of all clients; runs on the server.

        Here: the prompts of all clients, those that say the same merged into one. `classes` are the federation's.
        """
        return Offered(merge(payloads, config.max_client_examples))

    def stands_for(self, held: "Holdings", description: Description) -> list[str] | None:
        """Return, for each of a client's images, the text of the prompt in its description that stands for it.

        None where prompts stand for classes or domains and for no image. It is for audits; a run does not ask.
        """
        return None

    def templates(self, config: RunConfig) -> dict[str, str]:
        """Return the templates of this level's prompts by key: what names make of them is checked before a run."""
        return {}

    def universe(self, config: RunConfig, classes: Sequence[str], domains: Sequence[str]) -> tuple[Prompt, ...] | None:
        """Return every prompt that any client of a federation could send, whatever its images are, each once.

        None where the level has no differential privacy, as prompts depend on images beyond their labels; see
        `with_noise`.
        """
        return None

    def with_noise(self, held: "Holdings", classes: Collection[str], noise: float) -> Description | None:
        """Return what a client says of these classes under `dp-epsilon`, where that is more than noisy counts.

        None, as here: the client sends the count of every prompt of `universe` with noise, and `describe` must count an
        image in one prompt at most, and once. A level of your own that returns a description makes `releases` of lists
        of numbers that an image changes by 1 at most, in the Euclidean norm.

        Parameters
        ----------
        held : Holdings
            May be empty.
        classes : collection of str
        noise : float
            Standard deviation of the noise on each number.
        """
        return None

    def releases(self, config: RunConfig) -> tuple[Release, ...]:
        """Return what a client sends of its images in a run at this level under `dp-epsilon`."""
        return (Release("prompts"),)

    def check(self, config: RunConfig, classes: Sequence[str], domains: Sequence[str]) -> None:
        """Raise `ConfigError` if this level cannot work with a configuration and a federation's classes and domains."""


def level_of(name: str) -> Level:
    """Return the prompt level that the key `prompt-level` names.

    Raises
    ------
    ConfigError
        If there is none, or it lacks what a level has.
    """
    loaded = PROMPT_LEVEL.load(name)
    level: Level = loaded() if inspect.isclass(loaded) else loaded  # type: ignore[assignment]
    return level
