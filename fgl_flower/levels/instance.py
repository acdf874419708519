"""Captions: one prompt for each image, identical ones once with a count (FGL, Zhang et al., arXiv 2306.16064)."""

from fgl_flower.config import RunConfig
from fgl_flower.levels.holdings import Holdings, counted
from fgl_flower.levels.level import Description, Level
from fgl_flower.levels.templates import caption_prompt


def caption_prompts(held: Holdings) -> list[str]:
    """Return the prompt of each image from its scrubbed caption, without the names of unnamed classes."""
    rows = zip(held.labels, held.image_domains, held.captions(), strict=True)
    return [
        caption_prompt(held.config, "" if label in held.unnamed else label, domain, caption)
        for label, domain, caption in rows
    ]


class Instance(Level):
    """A caption of each image, filled into `instance-template`."""

    client_models = frozenset({"captioner"})

    def describe(self, held: Holdings) -> Description:
        """Caption the images, at most `max-captions` of them."""
        chosen = held.chosen()
        return Description(counted(caption_prompts(chosen), chosen.labels, chosen.image_domains))

    def stands_for(self, held: Holdings, description: Description) -> list[str]:
        """Return the prompt of each image's caption."""
        return caption_prompts(held)

    def templates(self, config: RunConfig) -> dict[str, str]:
        """Return the template of a caption."""
        return {"instance-template": config.instance_template}
