"""Distilled generators are known by their configuration, and no other is taken for one."""

import json
from pathlib import Path
from typing import Any

import pytest

from fgl_flower.config import RunConfig
from fgl_flower.foundation.capabilities import call_parameters
from fgl_flower.foundation.generator import inspect
from fgl_flower.synthesis.generator_checks import notes
from fgl_flower.synthesis.settings import SamplingSettings


def made(folder: Path, pipeline: str, solver: dict[str, Any], index: dict | None = None, **parts: Any) -> Path:
    """Write the configuration files of a checkpoint without weights."""
    listed = {name: ["diffusers", "X"] for name in ["scheduler", *parts]}
    for name, config in {**parts, "scheduler": solver}.items():
        (folder / name).mkdir()
        file = "scheduler_config.json" if name == "scheduler" else "config.json"
        (folder / name / file).write_text(json.dumps(config))
    (folder / "model_index.json").write_text(json.dumps({"_class_name": pipeline, **listed, **(index or {})}))
    return folder


def solver(name: str, **more: Any) -> dict[str, Any]:
    return {"_class_name": name, **more}


EULER, ANCESTRAL = "EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler"
XL, SD, FLOW = "StableDiffusionXLPipeline", "StableDiffusionPipeline", "FlowMatchEulerDiscreteScheduler"

DISTILLED: dict[str, tuple[tuple[Any, ...], dict[str, Any], int, float]] = {
    "sdxl-turbo": ((XL, solver(ANCESTRAL, timestep_spacing="trailing")), {"unet": {}}, 4, 1.0),
    "sd-turbo": ((SD, solver(EULER, timestep_spacing="trailing")), {"unet": {}}, 4, 1.0),
    "lcm": ((SD, solver("LCMScheduler")), {"unet": {"time_cond_proj_dim": 256}}, 4, 8.0),
    "lcm-lora, fused": ((XL, solver("LCMScheduler")), {"unet": {"time_cond_proj_dim": None}}, 4, 1.0),
    "schnell": (("FluxPipeline", solver(FLOW)), {"transformer": {"guidance_embeds": False}}, 4, 1.0),
    "dev": (("FluxPipeline", solver(FLOW)), {"transformer": {"guidance_embeds": True}}, 28, 3.5),
    "klein": (("Flux2KleinPipeline", solver(FLOW), {"is_distilled": True}), {"transformer": {}}, 4, 1.0),
    "sana-sprint": (("SanaSprintPipeline", solver("SCMScheduler")), {"transformer": {"guidance_embeds": True}}, 2, 4.5),
}


@pytest.mark.parametrize("kind", DISTILLED)
def test_distilled_generators_get_their_own_defaults(kind: str, tmp_path: Path) -> None:
    given, parts, steps, guidance = DISTILLED[kind]
    folder = made(tmp_path, *given, **parts)
    card = inspect(str(folder))
    assert (card.steps, card.guidance) == (steps, guidance)
    settings = SamplingSettings.of(card)
    assert (settings.steps, settings.guidance) == (steps, guidance)
    config = RunConfig(generator=str(folder), image_size=32, device="cpu")
    assert any(f"in {steps} steps with guidance {guidance:g}" in note for note in notes(config))
    (folder / "fgl.json").write_text(json.dumps({"steps": 7, "guidance": 3.0}))
    assert (inspect(str(folder)).steps, inspect(str(folder)).guidance) == (7, 3.0)


@pytest.mark.parametrize(
    ("given", "parts"),
    [
        ((XL, solver(EULER, timestep_spacing="leading")), {"unet": {"time_cond_proj_dim": None}}),
        ((SD, solver("PNDMScheduler")), {"unet": {}}),
        ((SD, solver("DDIMScheduler", timestep_spacing="trailing")), {"unet": {}}),
        ((SD, solver(EULER, timestep_spacing="trailing", prediction_type="v_prediction")), {"unet": {}}),
        ((XL, solver(EULER, timestep_spacing="trailing", rescale_betas_zero_snr=True)), {"unet": {}}),
        (("StableDiffusion3Pipeline", solver(FLOW)), {"transformer": {}}),
        (("SanaPipeline", solver("DPMSolverMultistepScheduler")), {"transformer": {"guidance_embeds": False}}),
        (("Flux2KleinPipeline", solver(FLOW), {"is_distilled": False}), {"transformer": {}}),
    ],
)
def test_others_keep_the_papers_settings(given: tuple, parts: dict, tmp_path: Path) -> None:
    folder = made(tmp_path, *given, **parts)
    card = inspect(str(folder))
    assert (card.steps, card.guidance) == (50, 2.0)
    assert not any("distilled" in note for note in notes(RunConfig(generator=str(folder), image_size=32)))


def test_guidance_that_was_an_input_follows_diffusers_own_call() -> None:
    parameters = call_parameters("FluxPipeline")
    assert parameters is not None
    assert (parameters["num_inference_steps"].default, parameters["guidance_scale"].default) == (28, 3.5)
