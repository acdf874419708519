"""The generator and how it draws."""

from typing import Annotated, Literal

from pydantic import Field

from fgl_flower.config.part import Seeded
from fgl_flower.extension_points import GENERATOR


class SynthesisConfig(Seeded):
    """A part of `RunConfig`; the descriptions of the fields give unit and range."""

    generator: Annotated[str, GENERATOR] = Field(
        "miniature-fast",
        min_length=1,
        description="Text-to-image model: hub id, local folder or .safetensors file, or 'miniature', 'miniature-fast'.",
    )
    generator_revision: str = Field("", description="Hub revision of the generator; empty: the default branch.")
    generator_config: str = Field(
        "",
        description="Configuration of a generator that is a single .safetensors file: folder or hub id of a pipeline "
        "of its family; empty: the one that diffusers takes for it.",
    )
    generator_lora: str = Field(
        "",
        description="LoRA weights on top of the generator: a .safetensors file or its folder, or a hub id "
        "(owner/name, owner/name/file.safetensors); empty: none.",
    )
    generator_lora_scale: float = Field(1.0, gt=0, le=10, description="What the LoRA's weights are multiplied by.")
    images_per_class: int = Field(210, ge=1, le=10**11, description="Synthetic images a class, over all clients.")
    steps: int = Field(0, ge=0, le=1000, description="Denoising steps; 0: the generator's own default.")
    guidance: float = Field(
        -1.0, ge=-1, le=50, description="Guidance scale; -1: the generator's own default; 0 or 1: none."
    )
    guidance_from: float = Field(0.0, ge=0, lt=1, description="Share of the steps after which guidance begins.")
    guidance_until: float = Field(1.0, gt=0, le=1, description="Share of the steps after which guidance ends.")
    scheduler: Literal["", "ddim", "dpm++", "unipc", "euler"] = Field(
        "", description="Solver of the denoising steps; empty: the generator's own."
    )
    negative_prompt: str = Field("", max_length=500, description="What the generator should avoid.")
    safety_checker: bool = Field(
        True,
        description="Ask the generator's safety checker, where it has one: images that it blanks are drawn again with "
        "another seed, and never stored.",
    )
    synthesis_precision: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto",
        description="Precision of the generator; auto: bfloat16 where the hardware multiplies it, else float32.",
    )
    attention_backend: str = Field(
        "",
        pattern=r"^\w*$",
        description="diffusers' attention backend of the generator, such as 'flash' or 'sage' (lossy); "
        "empty: torch's own choice.",
    )
    quantisation: Literal["", "int8", "float8"] = Field(
        "",
        description="Weights of the generator's denoiser in 8 bits, by torchao (extra 'quantisation'): lossy, for less "
        "memory; empty: as they are.",
    )
