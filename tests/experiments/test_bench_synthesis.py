"""Random pipelines have the published sizes, and the operations of an image are counted as they are done."""

from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from experiments.bench.measuring import operations_per_image
from experiments.bench.random_models import SD21, SDXL, build_random
from fgl_flower.foundation.generator import Generator
from fgl_flower.synthesis.settings import SamplingSettings
from tests.tiny_families import save_family

# As the weight files of stable-diffusion-2-1-base and stable-diffusion-xl-base-1.0 hold them.
PUBLISHED = {
    SD21: {"unet": 865_910_724, "vae": 83_653_863, "text_encoder": 340_387_840},
    SDXL: {
        "unet": 2_567_463_684,
        "vae": 83_653_863,
        "text_encoder": 123_060_480,
        "text_encoder_2": 694_659_840,
    },
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_random_pipelines_have_the_published_numbers_of_parameters(name: str) -> None:
    pipeline = build_random(name, "meta", "float32").pipeline
    counted = {part: sum(p.numel() for p in getattr(pipeline, part).parameters()) for part in PUBLISHED[name]}
    assert counted == PUBLISHED[name]


@pytest.mark.parametrize("family", ["sd", "sdxl"])
def test_operations_of_an_image_are_those_of_the_pipelines_own_call(family: str, tmp_path: Path) -> None:
    generator = Generator.load(str(save_family(family, tmp_path / family)), "", "cpu", "float32")
    settings = SamplingSettings.of(generator.card, steps=3, guidance=2.0, precision="float32")
    texts = [getattr(generator.pipeline, name, None) for name in ("text_encoder", "text_encoder_2")]
    with FlopCounterMode(display=False, depth=1) as counted, torch.inference_mode():
        generator.pipeline(
            "a star", num_inference_steps=3, guidance_scale=2.0, height=settings.size, width=settings.size
        )
    by_module = counted.get_flop_counts()
    drawing = sum(by_module["Global"].values()) - sum(
        sum(by_module.get(type(text).__name__, {}).values()) for text in texts if text is not None
    )
    assert operations_per_image(generator, settings) == drawing
