"""What every prompt level keeps to, from a client's images to the server's offers."""

from typing import Any, ClassVar

import pytest
from flwr.app import ArrayRecord, Message
from flwr.clientapp import ClientApp

from clients.data import Client
from clients.holdings import holdings
from clients.prompting import prompt_payload
from fgl_flower.config import RunConfig
from fgl_flower.data.sources import Source, load_source
from fgl_flower.levels.level import Level, level_of
from fgl_flower.simulation import InlineGrid
from fgl_flower.wire.codec import encode
from fgl_flower.wire.payload import PromptPayload
from strategies.gate import Admitted, Gate
from strategies.planning import limits_for

CLIENTS = 3
InlineGrid(ClientApp(), 1, {})  # gives this process the identity that Flower's messages need


class LevelSuite:
    """Derive from it and set `level`.

    Attributes
    ----------
    level : str
        Value of the key `prompt-level`: a built-in name or ``module:object``.
    changes : dict
        Further keys of the configuration, as `RunConfig` takes them.
    """

    level: str
    changes: ClassVar[dict[str, Any]] = {}

    @property
    def config(self) -> RunConfig:
        """The built-in world, so unevenly divided that every client lacks classes."""
        return RunConfig(
            **{
                "prompt_level": self.level,
                "private_images": 60,
                "validation_images": 60,
                "test_images": 60,
                "clients": CLIENTS,
                "beta": 0.05,
                "token_steps": 1,
                "device": "cpu",
                **self.changes,
            }
        )

    @property
    def source(self) -> Source:
        return load_source(self.config)

    def build(self) -> Level:
        return level_of(self.level)

    def admitted(self, number: int) -> PromptPayload:
        """Return a client's payload as it comes out of the server's gate."""
        config, source = self.config, self.source
        gate = Gate(ArrayRecord(), CLIENTS, source.classes, source.domains, limits_for(config))
        outcome = gate.check(
            "query.prompts", Message(encode(prompt_payload(Client(number, config))), 5, "query.prompts")
        )
        assert isinstance(outcome, Admitted), outcome
        assert isinstance(outcome.payload, PromptPayload)
        return outcome.payload

    @pytest.mark.parametrize("number", range(CLIENTS))
    def test_prompts_are_sorted_of_classes_held_and_count_no_image_twice(self, number: int) -> None:
        held = holdings(Client(number, self.config))
        said = self.build().describe(held).prompts
        assert list(said) == sorted(said)
        assert {prompt.label for prompt in said} <= set(held.labels)
        assert {prompt.domain for prompt in said} <= {*held.image_domains, ""}
        assert all(prompt.count >= 1 for prompt in said)
        for label in set(held.labels):
            assert sum(prompt.count for prompt in said if prompt.label == label) <= held.labels.count(label)

    def test_kind_and_arrays_agree(self) -> None:
        level = self.build()
        said = level.describe(holdings(Client(0, self.config)))
        if level.kind == "text":
            assert not said.arrays
        elif level.kind == "embeddings":
            assert set(said.arrays) == {prompt.text for prompt in said.prompts}
        else:
            assert all(any(token in prompt.text for prompt in said.prompts) for token in said.arrays)

    def test_one_image_is_enough(self) -> None:
        one = holdings(Client(0, self.config)).select([0])
        assert sum(prompt.count for prompt in self.build().describe(one).prompts) <= 1

    def test_the_same_images_are_described_alike(self) -> None:
        first, again = (self.build().describe(holdings(Client(1, self.config))) for _ in range(2))
        assert first == again

    def test_what_is_said_passes_the_gate_unchanged_and_is_offered_of_classes_held(self) -> None:
        config, classes = self.config, self.source.classes
        payloads = [self.admitted(number) for number in range(CLIENTS)]
        assert payloads == [prompt_payload(Client(number, config)) for number in range(CLIENTS)]
        offered = self.build().offer(payloads, config, classes)
        held = [set(holdings(Client(number, config)).labels) for number in range(CLIENTS)]
        assert all(held[number] < set(classes) for number in range(CLIENTS)), "each client lacks a class"
        assert offered.offers
        for offer in offered.offers:
            assert offer.prompt.label in classes
            assert list(offer.senders) == sorted(set(offer.senders))
            assert all(offer.prompt.label in held[sender] for sender in offer.senders)
        spoken = {prompt.label for payload in payloads for prompt in payload.prompts}
        assert spoken <= {offer.prompt.label for offer in offered.offers}
        texts = [offer.prompt for offer in offered.offers]
        assert len(set(texts)) == len(texts)
        assert set(offered.embeddings) <= {prompt.text for prompt in texts}
        assert {array.shape for array in offered.embeddings.values()} <= {limits_for(config).embedding}

    def test_what_nobody_said_is_offered_in_nobodys_name(self) -> None:
        offered = self.build().offer([], self.config, self.source.classes)
        assert all(not offer.senders and offer.prompt.label in self.source.classes for offer in offered.offers)
        assert not offered.embeddings
