"""Steps and guidance of generators that were distilled, told from their configuration.

Such a model draws well in the few steps it was distilled for, and takes its guidance scale as an input or none at all.
What its own card says is nowhere in its files; what gives it away is: a solver made for distilled models (LCM, TCD,
SCM), an input for the guidance scale, a mark of the pipeline, or a solver's spacing (SDXL-Turbo's and SD-Turbo's).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from fgl_flower.foundation.checkpoints import component_config, index_of

_FEW = 4


class Defaults(NamedTuple):
    """Settings of a distilled generator.

    Attributes
    ----------
    steps : int
        Denoising steps.
    guidance : float
        Guidance scale; 1 is none.
    sign : str
        What of its configuration tells that it is distilled.
    """

    steps: int
    guidance: float
    sign: str


def distilled_defaults(folders: Sequence[Path]) -> Defaults | None:
    """Return the settings of a distilled generator; None if its configuration tells of no distillation.

    Parameters
    ----------
    folders : sequence of Path
        As `GeneratorCard.folders`.
    """
    index = index_of(folders)
    solver = component_config(folders, "scheduler", "scheduler_config.json")
    unet, transformer = (component_config(folders, name) for name in ("unet", "transformer"))
    pipeline, name = str(index.get("_class_name", "")), str(solver.get("_class_name", ""))
    if name == "SCMScheduler":  # SANA-Sprint, arXiv 2503.09641
        return Defaults(2, 4.5, name)
    if unet.get("time_cond_proj_dim") is not None:  # latent consistency models, arXiv 2310.04378
        return Defaults(_FEW, 8.0, "time_cond_proj_dim")
    if name in {"LCMScheduler", "TCDScheduler"}:
        return Defaults(_FEW, 1.0, name)
    if index.get("is_distilled"):
        return Defaults(_FEW, 1.0, "is_distilled")
    if transformer.get("guidance_embeds"):  # FLUX.1 [dev]
        return _of_the_call(pipeline)
    if pipeline == "FluxPipeline" and transformer:  # FLUX.1 [schnell]
        return Defaults(_FEW, 1.0, "guidance_embeds = false")
    if _spaced_like_turbo(name, solver):  # adversarial diffusion distillation, arXiv 2311.17042
        return Defaults(_FEW, 1.0, "timestep_spacing = trailing")
    return None


def _of_the_call(pipeline: str) -> Defaults | None:
    """Return the defaults of the pipeline's own call, which were chosen for the model it came with."""
    from fgl_flower.foundation.capabilities import call_parameters

    parameters = call_parameters(pipeline) or {}
    steps, scale = (getattr(parameters.get(key), "default", None) for key in ("num_inference_steps", "guidance_scale"))
    if not (isinstance(steps, int) and isinstance(scale, int | float)):
        return None
    return Defaults(steps, float(scale), "guidance_embeds = true")


def _spaced_like_turbo(name: str, solver: Mapping[str, Any]) -> bool:
    """Return whether a solver begins at pure noise though its model was not trained for zero terminal SNR."""
    return (
        name in {"EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler"}
        and solver.get("timestep_spacing") == "trailing"
        and solver.get("prediction_type", "epsilon") == "epsilon"
        and not solver.get("rescale_betas_zero_snr")
    )
