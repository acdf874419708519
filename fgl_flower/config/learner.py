"""The classifier and how the server trains it."""

from typing import Annotated, Literal

from pydantic import Field

from fgl_flower.config.part import Seeded
from fgl_flower.extension_points import MODEL


class LearnerConfig(Seeded):
    """A part of `RunConfig`; the descriptions of the fields give unit and range."""

    model: Annotated[str, MODEL] = Field("small-resnet", description="Classifier.")
    norm: Literal["group", "batch"] = Field(
        "group",
        description="Normalisation layers of the classifier. Running statistics of 'batch' are pooled over clients.",
    )
    batch_size: int = Field(128, ge=1, description="Images a step of SGD, on clients and server.")
    momentum: float = Field(0.9, ge=0, lt=1, description="Momentum of SGD.")
    server_epochs: int = Field(
        60, ge=1, description="Epochs of server training: synthetic (FGL) or real (centralised)."
    )
    server_lr: float = Field(0.1, gt=0, description="Peak learning rate of server training.")
    server_weight_decay: float = Field(2e-4, ge=0, description="Weight decay of server training.")
    precision: Literal["float32", "bfloat16", "float16"] = Field("float32", description="Precision of the learner.")
