"""What captions the private images, and how it is asked."""

from typing import Annotated, Literal

from pydantic import Field

from fgl_flower.config.part import Part
from fgl_flower.extension_points import CAPTIONER


class CaptionerConfig(Part):
    """A part of `PromptConfig`: all that a caption depends on, besides the image and the device."""

    captioner: Annotated[str, CAPTIONER] = Field(
        "miniature",
        min_length=1,
        description="Image-to-text model of the instance and embeddings levels: hub id, local path, or 'miniature'.",
    )
    captioner_revision: str = Field("", description="Hub revision of the captioner; empty: the default branch.")
    captioner_instruction: str = Field(
        "",
        max_length=1000,
        description="What the captioner is asked. Chat models: a request, empty: for one short sentence. BLIP and "
        "BLIP-2: words or a question that its answer goes on from ('Question: what is shown? Answer:'), empty: none.",
    )
    captioner_beams: int = Field(
        1, ge=1, le=16, description="Beams of the search for a caption; 1: greedy, the fastest."
    )
    captioner_precision: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="Precision of the captioner; auto: float32 on a CPU, float16 on a GPU."
    )
    captioner_batch: int = Field(
        64, ge=1, description="Images captioned at once; halved, and again, where the GPU's memory is too small for it."
    )
