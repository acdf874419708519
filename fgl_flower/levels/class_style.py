"""Prompts made of names: one for each class that a client holds, or one for each class and domain together."""

from collections.abc import Sequence
from itertools import product

from fgl_flower.config import RunConfig
from fgl_flower.levels.holdings import Holdings, counted
from fgl_flower.levels.level import Description, Level
from fgl_flower.levels.templates import class_prompt
from fgl_flower.wire.payload import Prompt


class Class(Level):
    """One prompt for each class that the client holds, with the number of its images."""

    def describe(self, held: Holdings) -> Description:
        """Name the classes."""
        texts = [class_prompt(held.config, label) for label in held.labels]
        return Description(counted(texts, held.labels, [""] * len(texts)))

    def universe(self, config: RunConfig, classes: Sequence[str], domains: Sequence[str]) -> tuple[Prompt, ...]:
        """Return a prompt for each class."""
        return counted([class_prompt(config, label) for label in classes], classes, [""] * len(classes))

    def templates(self, config: RunConfig) -> dict[str, str]:
        """Return the template of a class."""
        return {"class-template": config.class_template}


class ClassStyle(Level):
    """One prompt for each class and domain held together; images of unknown domain get the class prompt."""

    def describe(self, held: Holdings) -> Description:
        """Name classes and domains."""
        texts = [
            class_prompt(held.config, label, domain)
            for label, domain in zip(held.labels, held.image_domains, strict=True)
        ]
        return Description(counted(texts, held.labels, held.image_domains))

    def universe(self, config: RunConfig, classes: Sequence[str], domains: Sequence[str]) -> tuple[Prompt, ...] | None:
        """Return a prompt for each class in each domain, and in none."""
        labels, styles = zip(*product(classes, (*domains, "")), strict=True)
        texts = [class_prompt(config, label, style) for label, style in zip(labels, styles, strict=True)]
        return counted(texts, labels, styles)

    def templates(self, config: RunConfig) -> dict[str, str]:
        """Return the templates of a class and of a class in a domain."""
        return {"class-template": config.class_template, "prompt-template": config.prompt_template}
