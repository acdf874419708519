"""Captions as the drawing code knows them, in place of the captioner's: what a perfect captioner would be worth.

In a TOML: prompt-level = "experiments.shows.true_captions:TrueCaptions". For data sets that have captions of their own.
"""

from fgl_flower import Description, Holdings
from fgl_flower.levels.instance import Instance


class TrueCaptions(Instance):
    """The instance level with the data set's own captions."""

    client_models = frozenset()

    def describe(self, held: Holdings) -> Description:
        """Fill the captions that stand beside the images into `instance-template`."""
        told = Holdings(
            held.dataset,
            held.classes,
            held.domains,
            held.config,
            held.partition_id,
            captioner=lambda dataset: list(dataset["caption"]),
            unnamed=held.unnamed,
        )
        return super().describe(told)
