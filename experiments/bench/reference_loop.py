"""The loop that the engine is measured against, as the method's public implementation describes itself.

Ten prompts a call of the pipeline, 50 steps, guidance 2, half precision where there is a GPU, one PNG file written
after the other, nothing overlapped (Zhang, Qi and Zhao, arXiv 2306.16064). Written afresh from that description.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image

from fgl_flower.foundation.capabilities import capabilities_of
from fgl_flower.foundation.generator import Generator
from fgl_flower.synthesis.plan import PlannedImage
from fgl_flower.synthesis.sampler import options_of_call
from fgl_flower.synthesis.settings import SamplingSettings

PROMPTS_PER_CALL = 10
STEPS = 50
GUIDANCE = 2.0


def run_reference(
    generator: Generator, images: Sequence[PlannedImage], settings: SamplingSettings, folder: Path
) -> None:
    """Draw images and write each as folder/<key>.png.

    Parameters
    ----------
    generator : Generator
    images : sequence of PlannedImage
    settings : SamplingSettings
        Steps, guidance, negative prompt and size; the scheduler is the pipeline's own.
    folder : Path
        Exists.
    """
    pipeline, scale = generator.pipeline, capabilities_of(generator.card).scale
    for start in range(0, len(images), PROMPTS_PER_CALL):
        batch = images[start : start + PROMPTS_PER_CALL]
        drawn: list[Image.Image] = pipeline(
            prompt=[image.prompt for image in batch],
            generator=[torch.Generator().manual_seed(image.seed) for image in batch],
            **options_of_call(pipeline, settings, len(batch), scale),
        ).images
        for image, picture in zip(batch, drawn, strict=True):
            picture.save(folder / f"{image.key}.png")
