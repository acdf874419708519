"""What besides prompt and seed decides an image: generator, solver, guidance, size, precision."""

import json
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Self

from fgl_flower.errors import ConfigError, ModelError
from fgl_flower.foundation.capabilities import capabilities_of, settings_fault
from fgl_flower.foundation.checkpoints import safety_checker_of
from fgl_flower.foundation.generator import GeneratorCard
from fgl_flower.foundation.prompt_families import FLUX, family_of
from fgl_flower.foundation.speed import NO_SPEED, Speed

if TYPE_CHECKING:
    from fgl_flower.config import RunConfig

SCHEDULERS = {
    "dpm++": "DPMSolverMultistepScheduler",
    "unipc": "UniPCMultistepScheduler",
    "ddim": "DDIMScheduler",
    "euler": "EulerDiscreteScheduler",
}

_PIPELINE_TOKENS = 512  # what diffusers' FluxPipeline reads of a prompt unless told otherwise
STORED_PER_INPUT = 256 / 224  # the paper stores 256 px for a learner that crops 224


@dataclass(frozen=True)
class SamplingSettings:
    """Everything besides prompt and seed that decides an image's pixels; all of it is part of the key.

    Attributes
    ----------
    generator, revision, pipeline : str
        Identity of the generator, see `GeneratorCard`.
    scheduler : str
        diffusers' class name.
    steps : int
        Denoising steps, at least 1.
    guidance : float
        Guidance scale; 1 is none. Classifier-free, or an input of a distilled generator.
    guidance_from, guidance_until : float
        Share of the steps, in [0, 1], between which guidance acts (Kynkäänniemi et al., arXiv 2404.07724).
    negative_prompt : str
        What guidance leads away from; empty where it has no effect.
    size : int
        Side of the drawn image, in pixels.
    stored_size : int
        Side of the stored image, in pixels.
    precision : str
        float32, bfloat16 or float16.
    safety_checker : bool
        Whether images that the generator's safety checker blanks are drawn again with another seed.
    vae_tiling : bool
        Whether images are decoded in tiles.
    attention, quantisation : str
        See `Speed`.
    prompt_tokens : int
        What a T5 encoder reads of a prompt where that is not its pipeline's default; 0: it is, or there is none.
    """

    generator: str
    revision: str
    pipeline: str
    scheduler: str
    steps: int
    guidance: float
    guidance_from: float
    guidance_until: float
    negative_prompt: str
    size: int
    stored_size: int
    precision: str
    safety_checker: bool = False
    vae_tiling: bool = False
    attention: str = ""
    quantisation: str = ""
    prompt_tokens: int = 0

    @classmethod
    def of(
        cls,
        card: GeneratorCard,
        *,
        scheduler: str = "",
        steps: int = 0,
        guidance: float = -1.0,
        guidance_from: float = 0.0,
        guidance_until: float = 1.0,
        negative_prompt: str = "",
        size: int = 0,
        stored_size: int = 0,
        precision: str = "float32",
        safety_checker: bool = False,
        vae_tiling: bool = False,
        speed: Speed = NO_SPEED,
    ) -> Self:
        """Fill in the generator's own defaults and bring equal settings to one form, so that they share keys.

        Parameters
        ----------
        card : GeneratorCard
        scheduler : str
            A name of `SCHEDULERS`; empty: the checkpoint's own.
        steps, size, stored_size : int
            0: the generator's default; the stored image is as large as the drawn one by default.
        guidance : float
            -1: the generator's default; 0 and 1: none.
        precision : str
            As resolved, never 'auto'.
        safety_checker : bool
            Ignored where the checkpoint holds none.
        vae_tiling : bool
            Of an accelerator.
        speed : Speed

        Raises
        ------
        ConfigError
            For an unknown scheduler or an empty guidance interval.
        ModelError
            If a setting does not fit the generator or has no effect on it.
        """
        if scheduler and scheduler not in SCHEDULERS:
            raise ConfigError(
                f"scheduler = {scheduler!r} is unknown: use one of {', '.join(SCHEDULERS)} or leave it empty"
            )
        if not 0 <= guidance_from < guidance_until <= 1:
            raise ConfigError("guidance needs an interval: 0 <= guidance-from < guidance-until <= 1")
        solver = SCHEDULERS.get(scheduler, "")
        interval = (float(guidance_from), float(guidance_until))
        if why := settings_fault(
            card,
            scheduler=solver,
            steps=steps,
            guidance=guidance,
            negative_prompt=negative_prompt,
            interval=interval,
        ):
            raise ModelError(why)
        takes = capabilities_of(card)
        scale = card.guidance if guidance < 0 else guidance
        scaled = scale > 1 and takes.guidance != "none"
        guided = scaled and takes.guidance == "classifier-free"
        negative = takes.negative_prompt == "always" or (guided and takes.negative_prompt == "guided")
        size = size or card.size
        return cls(
            generator=card.id,
            revision=card.revision,
            pipeline=card.pipeline,
            scheduler=solver if solver and not takes.solver else card.scheduler,
            steps=(steps if takes.steps else 0) or card.steps,
            guidance=float(scale) if scaled else 1.0,
            guidance_from=interval[0] if guided else 0.0,
            guidance_until=interval[1] if guided else 1.0,
            negative_prompt=negative_prompt if negative else "",
            size=size,
            stored_size=stored_size or size,
            precision=precision,
            safety_checker=safety_checker and safety_checker_of(card.folders) == "present",
            vae_tiling=vae_tiling,
            attention=speed.attention,
            quantisation=speed.quantisation,
            prompt_tokens=_prompt_tokens(card),
        )

    @property
    def speed(self) -> Speed:
        """What is done to draw faster."""
        return Speed(self.attention, self.quantisation)

    @property
    def guided(self) -> bool:
        """Whether any step is guided."""
        return self.guidance > 1

    def to_json(self) -> str:
        """Return canonical JSON, equal for equal settings; what is off leaves the keys of older stores as they are."""
        later = {field.name: field.default for field in fields(self)}  # those of the first version have no default
        values = {name: value for name, value in asdict(self).items() if value != later[name]}
        return json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _prompt_tokens(card: GeneratorCard) -> int:
    family = family_of(card)
    tokens = family.t5_tokens(card) if family and card.pipeline == FLUX else 0
    return tokens if tokens != _PIPELINE_TOKENS else 0


def settings_for(config: "RunConfig") -> SamplingSettings:
    """Return the settings a run configuration asks for; the generator is looked up, not loaded.

    Raises
    ------
    ModelError
        If the generator is missing.
    """
    from fgl_flower.device import resolve_device, resolve_precision
    from fgl_flower.foundation.generator import inspect
    from fgl_flower.foundation.origin import Origin

    card, device = inspect(Origin.configured(config)), resolve_device(config.device)
    return SamplingSettings.of(
        card,
        scheduler=config.scheduler,
        steps=config.steps,
        guidance=config.guidance,
        guidance_from=config.guidance_from,
        guidance_until=config.guidance_until,
        negative_prompt=config.negative_prompt,
        stored_size=min(card.size, round(config.image_size * STORED_PER_INPUT)),
        precision=resolve_precision(config.synthesis_precision, device),
        safety_checker=config.safety_checker,
        vae_tiling=config.vae_tiling and device.type != "cpu",
        speed=Speed(config.attention_backend, config.quantisation),
    )
