"""The data set and how its private split is divided among the clients."""

from typing import Annotated, Any

from pydantic import Field, field_validator

from fgl_flower.config.names import joined, split
from fgl_flower.config.part import Part, Seeded
from fgl_flower.extension_points import DATASET, PARTITION

COLUMNS = ("image", "label", "domain", "caption")
"""What a column of a hub data set may be for."""


class SourceConfig(Part):
    """A part of `DataConfig`: where the images come from, whoever holds them."""

    dataset: Annotated[str, DATASET] = Field(
        "world",
        min_length=1,
        description="'world', 'world-codes', 'world-jargon', 'world-shifted', 'hub:ID', 'folder:PATH', "
        "'domainnet:PATH', 'imagenet-SUBSET:PATH', 'cifar10', 'pacs', "
        "'office-home', 'eurosat', 'bloodmnist', or 'nodes': only the nodes have images, each its own.",
    )
    classes: str = Field(
        "",
        description="Names of the classes, a list or 'cat, dog': nodes with data of their own need them, and the "
        "server's images must show these and no others; empty: those of the data set.",
    )
    domains: str = Field("", description="Names of the domains, likewise; empty: those of the data set.")
    dataset_config: str = Field(
        "", description="Hub data sets: configuration to load, where there are several; empty: the only or default one."
    )
    dataset_revision: str = Field(
        "", description="Hub data sets: branch, tag or commit to load; empty: the newest. A commit pins the data."
    )
    image_column: str = Field("", description="Hub data sets: the column of images, where its name does not tell.")
    label_column: str = Field("", description="Hub data sets: the column of classes, likewise.")
    domain_column: str = Field("", description="Hub data sets: the column of domains, likewise.")
    caption_column: str = Field("", description="Hub data sets: the column of captions, likewise.")
    private_images: int = Field(
        2100, ge=1, description="Built-in world: images of the private split, over all clients."
    )
    validation_images: int = Field(600, ge=1, description="Built-in world: images of the validation split.")
    test_images: int = Field(1800, ge=1, description="Built-in world: images of the test split.")
    private_half: int = Field(
        0,
        ge=0,
        description="Membership audits: only a half of the private images takes part. Each odd number draws one at "
        "random, the next even number has the other half; 0: all of them.",
    )
    canaries: int = Field(
        0,
        ge=0,
        description="Membership audits: so many private images bear a wrong label, the same ones in every run.",
    )

    @field_validator("classes", "domains", mode="before")
    @classmethod
    def _one_string(cls, value: Any) -> Any:
        result = joined(value)
        if isinstance(result, str):
            split(result)
        return result

    @property
    def columns(self) -> dict[str, str]:
        """What the run calls the columns "image", "label", "domain" and "caption" of a hub data set."""
        return {role: name for role in COLUMNS if (name := getattr(self, f"{role}_column"))}

    @property
    def class_names(self) -> tuple[str, ...]:
        """The federation's classes, where the run names them; else empty."""
        return split(self.classes)

    @property
    def domain_names(self) -> tuple[str, ...]:
        """The federation's domains, where the run names them; else empty."""
        return split(self.domains)


class DataConfig(SourceConfig, Seeded):
    """A part of `RunConfig`; the descriptions of the fields give unit and range."""

    image_size: int = Field(32, ge=16, le=1024, description="Side of the learner's square input, in pixels.")
    clients: int = Field(5, ge=1, le=100_000, description="Number of clients.")
    partition: Annotated[str, PARTITION] = Field(
        "dirichlet", description="How the private split is divided: iid, Dirichlet over labels, or one domain a client."
    )
    beta: float = Field(0.5, gt=0, description="Dirichlet concentration: smaller is more skewed.")
