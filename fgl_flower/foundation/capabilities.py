"""What a generator can take, told from its configuration files: no weight is read, and nothing is drawn to find out."""

import inspect
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

from fgl_flower.errors import ModelError
from fgl_flower.foundation.checkpoints import component_config, index_of
from fgl_flower.foundation.halves import COMBINED
from fgl_flower.foundation.prompt_families import PLAIN, XL, family_of, learns

if TYPE_CHECKING:
    from fgl_flower.foundation.generator import GeneratorCard

OWN = "OwnPipeline"

# The parameters of a StableDiffusionPipeline that matter here: diffusers takes seconds to import.
_PLAIN_PARAMETERS: Mapping[str, Any] = dict.fromkeys(
    ("prompt", "height", "width", "num_inference_steps", "guidance_scale", "negative_prompt", "generator")
)

# Solvers of one and the same noise schedule (diffusers' KarrasDiffusionSchedulers without EDM's): each can stand for
# any other. Those of flow matching and of consistency models cannot.
_INTERCHANGEABLE = re.compile(
    "(DDIM|DDPM|PNDM|LMSDiscrete|EulerDiscrete|EulerAncestralDiscrete|HeunDiscrete|KDPM2Discrete|KDPM2AncestralDiscrete"
    "|DPMSolverMultistep|DPMSolverSinglestep|DPMSolverSDE|DEISMultistep|UniPCMultistep)Scheduler"
)

_KINDS: tuple[
    tuple[str, set[str], str], ...
] = (  # (what the name of the class holds, what its call takes, what it is); the first that fits
    ("Inpaint|Fill", {"mask", "mask_image"}, "fills masked parts of an image (inpainting)"),
    ("Video", {"video", "num_frames", "video_length", "num_videos_per_prompt"}, "makes videos"),
    ("Audio|Music", {"audio_length_in_s", "audio_end_in_s", "audio_duration", "audio_end_s"}, "makes sound"),
    ("Control|Adapter|GLIGEN", {"control_image"}, "draws after a control image"),
    (
        "Img2Img|Image2Image|I2I|ImageTo|Pix2Pix|Upscal|Variation|Edit|Depth2|SuperRes|CycleDiff|Refiner|Layered",
        set(),
        "changes a given image (image-to-image)",
    ),
    ("Prior|Decoder", set(), "is one half of a pipeline"),
    (
        "(Kandinsky|Cascade|Wuerstchen)Combined",
        set(),
        "joins two halves; of such only Kandinsky 2.2 is supported",
    ),
    ("ShapE|LDM3D", set(), "makes three-dimensional objects"),
    ("LLaDA|Gemma", set(), "makes text"),
)


@dataclass(frozen=True)
class Capabilities:
    """What settings act on a generator.

    Attributes
    ----------
    guidance : str
        "classifier-free"; "embedded": the scale is an input that the model was trained with; "none": it is ignored.
    negative_prompt : str
        When it acts: "guided": with classifier-free guidance; "always" or "never" whatever the guidance scale.
    interval : bool
        Whether guidance can be limited to some of the steps.
    embeddings : bool
        Whether prompts can be embeddings of the generator's own text encoders.
    tokens : bool
        Whether words can be learned.
    steps : bool
        Whether their number can be chosen.
    solver : str
        Why the scheduler cannot be exchanged; empty: it can.
    scale : str
        What the pipeline's call calls the guidance scale. "true_cfg_scale" acts only beside a negative prompt.
    """

    guidance: Literal["classifier-free", "embedded", "none"]
    negative_prompt: Literal["guided", "always", "never"]
    interval: bool = False
    embeddings: bool = False
    tokens: bool = False
    steps: bool = True
    solver: str = ""
    scale: str = "guidance_scale"


def capabilities_of(card: "GeneratorCard") -> Capabilities:
    """Return what settings act on a generator; a user's own takes none.

    Raises
    ------
    ModelError
        If it is a pipeline that draws no image from a prompt.
    """
    if card.pipeline == OWN:
        return Capabilities("none", "never", steps=False, solver="it has no scheduler")
    folders = card.folders
    index = index_of(folders) or {"_class_name": card.pipeline}
    parameters = check_kind(card.id, index)
    unet, transformer = (component_config(folders, name) for name in ("unet", "transformer"))
    consistent = unet.get("time_cond_proj_dim") is not None  # latent consistency: distilled with the scale as an input
    _refuse_more_channels(card, unet, component_config(folders, "vae"))
    own_scale = "true_cfg_scale" in parameters or bool(index.get("is_distilled"))  # the usual scale does not guide
    true_scale = _default(parameters, "true_cfg_scale") > 1
    guidance: Literal["classifier-free", "embedded", "none"] = "classifier-free"
    if "guidance_scale" not in parameters:
        guidance = "none"
    elif consistent or transformer.get("guidance_embeds"):
        guidance = "embedded"
    elif own_scale and not true_scale:
        guidance = "none"
    halves = card.pipeline in COMBINED.values()  # the scale is the decoder's, and the prior is always guided
    negative: Literal["guided", "always", "never"] = "guided"
    if "negative_prompt" not in parameters:
        negative = "never"
    elif "guidance_scale" not in parameters or halves or (true_scale and guidance != "classifier-free"):
        negative = "always"
    elif guidance != "classifier-free":
        negative = "never"
    plain = card.pipeline == PLAIN and not consistent
    return Capabilities(
        guidance,
        negative,
        interval=plain,
        embeddings=family_of(card) is not None and (plain or card.pipeline != PLAIN),
        tokens=learns(card),
        steps="num_inference_steps" in parameters,
        scale="true_cfg_scale" if true_scale and guidance == "classifier-free" else "guidance_scale",
        solver=_fixed_solver(card, component_config(folders, "scheduler", "scheduler_config.json"), consistent),
    )


def check_kind(model_id: str, index: Mapping[str, Any]) -> Mapping[str, Any]:
    """Refuse pipelines that draw no image from a prompt alone; return the parameters of the others' call.

    Parameters
    ----------
    model_id : str
        Named in the error.
    index : mapping
        Of model_index.json.

    Raises
    ------
    ModelError
        With what the pipeline does instead.
    """
    name = index.get("_class_name")
    if name == PLAIN:
        return _PLAIN_PARAMETERS
    start = f"generator = {model_id!r} cannot be used: its {name if isinstance(name, str) else 'pipeline'}"
    if not isinstance(name, str):
        raise ModelError(f"{start} needs code of its own repository; name a pipeline that diffusers holds")
    parameters = call_parameters(COMBINED.get(name, name))
    if parameters is None:
        raise ModelError(f"{start} is none of the installed diffusers' text-to-image pipelines; is an update needed?")
    if index.get("requires_aesthetics_score"):
        raise ModelError(f"{start} refines images of another pipeline (a refiner); name the base pipeline")
    for pattern, keys, what in _KINDS:
        if re.search(pattern, COMBINED.get(name, name)) or keys & set(parameters):
            raise ModelError(f"{start} {what}; name a text-to-image pipeline")
    if "prompt" not in parameters:
        raise ModelError(f"{start} takes no prompt (unconditional); name a text-to-image pipeline")
    needed = [key for key, one in parameters.items() if key != "prompt" and _required(one)]
    if needed:
        raise ModelError(f"{start} needs more than a prompt ({', '.join(needed)}); name a text-to-image pipeline")
    return parameters


@lru_cache(maxsize=8)
def call_parameters(name: str) -> Mapping[str, inspect.Parameter] | None:
    """Return what the call of one of diffusers' pipelines takes; None if there is no such pipeline."""
    import diffusers

    pipeline = getattr(diffusers, name, None)
    if not (inspect.isclass(pipeline) and issubclass(pipeline, diffusers.DiffusionPipeline)):
        return None  # unknown, modular, or in need of a package that is not installed
    parameters = dict(inspect.signature(pipeline.__call__).parameters)
    return {key: one for key, one in parameters.items() if key != "self"}


def _required(parameter: inspect.Parameter) -> bool:
    several = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return parameter.default is inspect.Parameter.empty and parameter.kind not in several


def _default(parameters: Mapping[str, Any], name: str) -> float:
    value = parameters[name].default if name in parameters else 0.0
    return float(value) if isinstance(value, int | float) else 0.0


def _refuse_more_channels(card: "GeneratorCard", unet: Mapping[str, Any], vae: Mapping[str, Any]) -> None:
    """Refuse inpainting and image-to-image denoisers under the name of a text-to-image pipeline."""
    into, latent = unet.get("in_channels"), vae.get("latent_channels")
    if card.pipeline in {PLAIN, XL} and into and latent and into != latent:
        raise ModelError(
            f"generator = {card.id!r} cannot be used: its denoiser takes {into} channels and not the {latent} of its "
            "autoencoder, as those for inpainting and image-to-image do; name a text-to-image pipeline"
        )


def _fixed_solver(card: "GeneratorCard", config: Mapping[str, Any], consistent: bool) -> str:
    name = card.scheduler
    if not name:
        return "it has no scheduler"
    flow = name.startswith("FlowMatch") or config.get("use_flow_sigmas")
    if flow or "flow" in str(config.get("prediction_type", "")):
        return f"it was trained by flow matching, and only its own {name} follows that"
    if consistent or name in {"LCMScheduler", "TCDScheduler"}:
        return f"it is distilled for few steps of its own {name}"
    return "" if _INTERCHANGEABLE.fullmatch(name) else f"only its own {name} fits it"


def settings_fault(
    card: "GeneratorCard",
    *,
    scheduler: str,
    steps: int,
    guidance: float,
    negative_prompt: str,
    interval: tuple[float, float],
) -> str:
    """Return why explicit settings do not fit a generator and what to change; empty if they do.

    Parameters
    ----------
    card : GeneratorCard
    scheduler : str
        diffusers' class name; empty: the checkpoint's own.
    steps : int
        0: the generator's default.
    guidance : float
        Below 0: the generator's default.
    negative_prompt : str
    interval : (float, float)
        Share of the steps between which guidance acts.

    Raises
    ------
    ModelError
        As `capabilities_of`.
    """
    takes = capabilities_of(card)
    if interval != (0.0, 1.0) and not takes.interval:
        return (
            f"guidance-from and guidance-until (a guidance interval) need a {PLAIN} that is guided, and {card.id!r} "
            f"is {_described(card, takes)}: set them to 0 and 1"
        )
    if card.pipeline == OWN:
        return ""
    if scheduler and scheduler != card.scheduler and takes.solver:
        return f"{scheduler} does not fit the generator {card.id!r}: {takes.solver}; leave the key scheduler empty"
    if steps and not takes.steps:
        return f"steps = {steps} has no effect on the generator {card.id!r}, {_described(card, takes)}: set it to 0"
    if guidance > 1 and takes.guidance == "none":
        return (
            f"guidance = {guidance:g} has no effect on the generator {card.id!r}, {_described(card, takes)}: "
            "set it to -1"
        )
    if negative_prompt and takes.negative_prompt == "never":
        return f"negative-prompt has no effect on the generator {card.id!r}, {_described(card, takes)}: leave it empty"
    return ""


def _described(card: "GeneratorCard", takes: Capabilities) -> str:
    if card.pipeline == OWN:
        return "a generator of your own"
    kinds = {"classifier-free": "", "embedded": ", distilled with its guidance scale as an input"}
    return f"a {card.pipeline}{kinds.get(takes.guidance, ' without classifier-free guidance')}"
