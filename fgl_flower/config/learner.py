"""The classifier and how the server trains it."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from fgl_flower.config.part import Seeded
from fgl_flower.extension_points import MODEL


class LearnerConfig(Seeded):
    """A part of `RunConfig`; the descriptions of the fields give unit and range."""

    model: Annotated[str, MODEL] = Field(
        "small-resnet",
        min_length=1,
        description="Classifier: a built-in one, which begins at random, or 'hub:ID', any image classifier of "
        "transformers by hub id or local path, whose head alone begins at random.",
    )
    model_revision: str = Field("", description="Hub revision of the classifier; empty: the default branch.")
    train: Literal["all", "head", "lora"] = Field(
        "all",
        description="What training changes, on clients and server, and all that travels: every weight, the linear head "
        "on frozen features (a linear probe), or the head and LoRA adapters (needs the extra 'lora').",
    )
    lora_rank: int = Field(8, ge=1, le=1024, description="train = 'lora': rank of the adapters.")
    norm: Literal["group", "batch"] = Field(
        "group",
        description="Normalisation layers of a built-in classifier. Running statistics of 'batch' are pooled over "
        "clients.",
    )
    batch_size: int = Field(128, ge=1, description="Images a step of SGD, on clients and server.")
    momentum: float = Field(0.9, ge=0, lt=1, description="Momentum of SGD.")
    server_epochs: int = Field(
        60, ge=1, description="Epochs of server training: synthetic (FGL) or real (centralised)."
    )
    server_lr: float = Field(0.1, gt=0, description="Peak learning rate of server training.")
    server_weight_decay: float = Field(2e-4, ge=0, description="Weight decay of server training.")
    precision: Literal["float32", "bfloat16", "float16"] = Field("float32", description="Precision of the learner.")

    @field_validator("model")
    @classmethod
    def _known(cls, value: str) -> str:
        kind, _, place = value.partition(":")
        if not MODEL.refers(value) and (kind not in MODEL.builtins or bool(place) != (kind == "hub")):
            raise ValueError(MODEL.complaint(value))
        return value
