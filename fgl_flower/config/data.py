"""The data set and how its private split is divided among the clients."""

from typing import Annotated

from pydantic import Field

from fgl_flower.config.part import Part, Seeded
from fgl_flower.extension_points import DATASET, PARTITION


class SourceConfig(Part):
    """A part of `DataConfig`: where the images come from, whoever holds them."""

    dataset: Annotated[str, DATASET] = Field(
        "world",
        min_length=1,
        description="'world', 'world-codes', 'world-jargon', 'world-shifted', 'hub:ID', 'folder:PATH', "
        "'domainnet:PATH' or 'imagenet-SUBSET:PATH'.",
    )
    dataset_config: str = Field(
        "", description="Hub data sets: configuration to load, where there are several; empty: the only or default one."
    )
    private_images: int = Field(
        2100, ge=1, description="Built-in world: images of the private split, over all clients."
    )
    validation_images: int = Field(600, ge=1, description="Built-in world: images of the validation split.")
    test_images: int = Field(1800, ge=1, description="Built-in world: images of the test split.")


class DataConfig(SourceConfig, Seeded):
    """A part of `RunConfig`; the descriptions of the fields give unit and range."""

    image_size: int = Field(32, ge=16, le=1024, description="Side of the learner's square input, in pixels.")
    clients: int = Field(5, ge=1, le=100_000, description="Number of clients.")
    partition: Annotated[str, PARTITION] = Field(
        "dirichlet", description="How the private split is divided: iid, Dirichlet over labels, or one domain a client."
    )
    beta: float = Field(0.5, gt=0, description="Dirichlet concentration: smaller is more skewed.")
