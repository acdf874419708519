"""Votes: clients say which of the server's candidate prompts look like their images, and nothing else.

Federated private evolution, after Private Evolution (Lin et al., arXiv 2305.15560) and PrE-Text (Hou et al., arXiv
2406.02958): the server makes prompts of a public vocabulary, draws some images of each and sends what an image encoder
sees in them. Every image of a client votes for the nearest candidate of its class; the client adds noise to the counts
and sends them. The server keeps the candidates that stand out from the noise, varies them and asks again
(`strategies.evolution`). Private Evolution varies images; here words are varied that a candidate leaves open.

An image is one vote, so it changes one number of each answer by one: what `dp-epsilon` is counted for.
"""

from collections.abc import Sequence

from fgl_flower.config import RunConfig
from fgl_flower.errors import ConfigError
from fgl_flower.levels.holdings import Holdings
from fgl_flower.levels.image_features import CAPTIONS, encoder_folder
from fgl_flower.levels.level import ClientModel, Description, Level, Offered
from fgl_flower.levels.offers import Offer
from fgl_flower.levels.vocabulary import Vocabulary, vocabulary_of
from fgl_flower.privacy.accountant import Release
from fgl_flower.wire.codec import texts_fault
from fgl_flower.wire.limits import Limits
from fgl_flower.wire.payload import FEDERATION, Prompt, PromptPayload

__all__ = ["Votes", "vocabulary_for"]


class Votes(Level):
    """A number for each candidate of each class: the client's images that are nearest to it."""

    kind = "votes"
    client_models = frozenset({"captioner", "image-encoder"})

    def models(self, config: RunConfig) -> frozenset[ClientModel]:
        """Return what compares images."""
        return frozenset({"captioner"} if config.image_encoder == CAPTIONS else {"image-encoder"})

    def describe(self, held: Holdings) -> Description:
        """Refuse: there is nothing to say without candidates.

        Raises
        ------
        ConfigError
            Always.
        """
        raise ConfigError("prompt-level = 'votes' answers candidates of the server's, and the question holds none")

    def offer(self, payloads: Sequence[PromptPayload], config: RunConfig, classes: Sequence[str]) -> Offered:
        """Return the prompts that the server made of all clients' votes; nobody in particular sent them."""
        prompts = [prompt for payload in payloads if payload.partition_id == FEDERATION for prompt in payload.prompts]
        return Offered([Offer(prompt, ()) for prompt in prompts])

    def universe(self, config: RunConfig, classes: Sequence[str], domains: Sequence[str]) -> tuple[Prompt, ...]:
        """Return the first candidates of every class, all that a client can vote for in the first round."""
        vocabulary = vocabulary_for(config, domains)
        return tuple(
            Prompt(" ".join(filter(None, candidate.words)), candidate.label)
            for label in classes
            for candidate in vocabulary.candidates(label, config.vote_candidates, config.seed)
        )

    def releases(self, config: RunConfig) -> tuple[Release, ...]:
        """Return the lists of votes, one each time."""
        return (Release("votes", config.vote_rounds),)

    def check(self, config: RunConfig, classes: Sequence[str], domains: Sequence[str]) -> None:
        """Refuse a vocabulary that cannot be read or whose prompts cannot, more rounds than it has words for, and a
        missing image encoder."""
        vocabulary = vocabulary_for(config, domains)
        if config.vote_rounds > (most := 1 + len(vocabulary.later)):
            raise ConfigError(
                f"vote-rounds = {config.vote_rounds}, and the vocabulary has words for {most}: one round for its first "
                f"groups, one for each other ({', '.join(vocabulary.later) or 'none'}); set vote-rounds to {most}"
            )
        samples = [text for label in classes for text in vocabulary.samples(label)]
        names = (*classes, *domains, *(word for _, words in vocabulary.groups for word in words))
        if why := texts_fault(samples, Limits(prompts=len(samples), tokens=2**62), names):
            raise ConfigError(f"the vocabulary makes a prompt that is refused: {why}")
        if config.image_encoder != CAPTIONS:
            encoder_folder(config.image_encoder)


def vocabulary_for(config: RunConfig, domains: Sequence[str]) -> Vocabulary:
    """Return the vocabulary of a run; see `vocabulary_of`."""
    return vocabulary_of(config.vocabulary, config.generator, domains)
