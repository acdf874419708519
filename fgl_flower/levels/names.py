"""The control: clients send nothing, the server draws what it could have drawn had nobody taken part."""

from collections.abc import Sequence

from fgl_flower.config import RunConfig
from fgl_flower.levels.holdings import Holdings
from fgl_flower.levels.level import Description, Level, Offered
from fgl_flower.levels.offers import Offer
from fgl_flower.levels.templates import class_prompt
from fgl_flower.wire.payload import Prompt, PromptPayload


class Names(Level):
    """One prompt for each class name of the federation, which the server knows anyway."""

    asks_clients = False

    def describe(self, held: Holdings) -> Description:
        """Say nothing."""
        return Description(())

    def templates(self, config: RunConfig) -> dict[str, str]:
        """Return the template of a class."""
        return {"class-template": config.class_template}

    def offer(self, payloads: Sequence[PromptPayload], config: RunConfig, classes: Sequence[str]) -> Offered:
        """Return one prompt for each class, whatever clients sent."""
        return Offered([Offer(Prompt(class_prompt(config, name), name), ()) for name in classes])
