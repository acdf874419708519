"""Whether a run's generator can draw what the run asks for: decided before a client is asked or an image is drawn."""

from fgl_flower.config import RunConfig
from fgl_flower.device import resolve_device
from fgl_flower.errors import ModelError
from fgl_flower.extension_points import GENERATOR, PROMPT_LEVEL
from fgl_flower.foundation.capabilities import Capabilities, capabilities_of
from fgl_flower.foundation.checkpoints import missing_part, safety_checker_of, variant_of
from fgl_flower.foundation.distilled import distilled_defaults
from fgl_flower.foundation.generator import GeneratorCard, inspect
from fgl_flower.foundation.halves import prior_named_by
from fgl_flower.foundation.lora import check_lora
from fgl_flower.foundation.origin import Origin
from fgl_flower.foundation.prompt_families import FAMILIES
from fgl_flower.foundation.single_file import check_single_file
from fgl_flower.foundation.speed import Speed, speed_fault
from fgl_flower.foundation.text import tokenizer_of
from fgl_flower.levels.level import Level, level_of
from fgl_flower.synthesis.settings import settings_for

_MUCH_LARGER = 1.5  # times the drawn side


def check_generator(config: RunConfig) -> None:
    """Make sure that a run's generator is there, whole, and takes the run's settings and the prompts of its level.

    Raises
    ------
    ModelError
        With one sentence that names what is wrong and the key or level that works.
    """
    card = inspect(Origin.configured(config))
    settings_for(config)
    check_single_file(card)
    if not (GENERATOR.refers(config.generator) or card.file):
        _check_whole(config.generator, card)
    try:
        variant_of(() if card.file else card.folders)
    except ModelError as error:
        raise ModelError(f"the generator {config.generator!r} cannot be loaded: {error}") from None
    check_lora(card)
    speed, device = Speed(config.attention_backend, config.quantisation), resolve_device(config.device)
    if fault := speed_fault(card, speed, device):
        raise ModelError(fault)
    takes, level = capabilities_of(card), level_of(config.prompt_level)
    if not _fits(level, takes):
        working = [name for name in PROMPT_LEVEL.builtins if _fits(level_of(name), takes)]
        fitting = [pipeline for pipeline, family in FAMILIES.items() if family.learns or not _learns(level)]
        raise ModelError(
            f"prompt-level = {config.prompt_level!r} needs a {', a '.join(fitting[:-1])} or a {fitting[-1]}, with its "
            f"usual CLIP text encoder, and the generator {config.generator!r} is a {_described(card.pipeline, takes)}: "
            f"set prompt-level to {', '.join(working[:-1])} or {working[-1]}, or name another generator"
        )
    if _encodes(level):
        tokenizer_of(Origin.configured(config))


def _check_whole(generator: str, card: GeneratorCard) -> None:
    """Refuse a checkpoint, or a decoder's prior, that lacks a part."""
    lack, name = missing_part(card.folders), card.id
    if not lack and card.prior and (lack := missing_part((card.prior,))):
        name = prior_named_by(card.folder)
        lack = f"of its prior {name!r}, {lack}"
    if lack:
        local = card.revision.startswith("sha256:")
        how = "copy it again or save it with save_pretrained" if local else f"fetch it again: hf download {name}"
        raise ModelError(f"the generator {generator!r} is not complete: {lack}; {how}")


def _fits(level: Level, takes: Capabilities) -> bool:
    """Return whether a generator can be drawn from at a level."""
    return not _encodes(level) or (takes.tokens if _learns(level) or level.kind == "text" else takes.embeddings)


def _learns(level: Level) -> bool:
    return "generator" in level.client_models or level.kind == "tokens"


def _described(pipeline: str, takes: Capabilities) -> str:
    known = pipeline in FAMILIES and not takes.embeddings
    return f"{pipeline} with others" if known else pipeline


def _encodes(level: Level) -> bool:
    return bool(level.client_models & {"text-encoder", "generator"}) or level.kind not in {"text", "votes"}


def notes(config: RunConfig) -> list[str]:
    """Return what a reader of a run's figures should know of its generator: nothing of it stops the run."""
    card = inspect(Origin.configured(config))
    takes, result = capabilities_of(card), []
    if config.image_size >= _MUCH_LARGER * card.size:
        result.append(
            f"the generator draws {card.size} px, the learner takes {config.image_size} px: images are scaled up; "
            "lower image-size or name a generator that draws larger images"
        )
    few = distilled_defaults(card.folders)
    if few and few[:2] == (card.steps, card.guidance) and not (config.steps and config.guidance >= 0):
        result.append(
            f"the generator is taken for a distilled one ({few.sign}): it draws in {config.steps or card.steps} steps "
            f"with guidance {card.guidance if config.guidance < 0 else config.guidance:g} unless steps and guidance "
            "say otherwise"
        )
    scale = card.guidance if config.guidance < 0 else config.guidance
    guided = scale > 1 and takes.guidance == "classifier-free"
    if config.negative_prompt and not guided and takes.negative_prompt != "always":
        result.append("negative-prompt has no effect without classifier-free guidance: it was left out")
    if (config.guidance_from, config.guidance_until) != (0.0, 1.0) and not guided:
        result.append("guidance-from and guidance-until have no effect without classifier-free guidance")
    if config.guidance > 1 and takes.guidance == "embedded":
        result.append(
            f"guidance = {config.guidance:g} is an input that the generator was distilled with, "
            "not classifier-free guidance"
        )
    saving = {"offload": config.offload != "none", "vae-slicing": config.vae_slicing, "vae-tiling": config.vae_tiling}
    saving["compile"] = config.compile == "always"
    if any(saving.values()) and resolve_device(config.device).type == "cpu":
        result += [f"{key} has no effect on a CPU" for key, value in saving.items() if value]
    if config.compile == "always" and config.synthesis_engine == "ray":
        result.append("compile has no effect with synthesis-engine = 'ray'")
    if config.safety_checker and safety_checker_of(card.folders) == "absent":
        result.append("the generator lists a safety checker whose weights are not there: its images are not checked")
    if GENERATOR.refers(config.generator):
        result += [f"{key} has no effect on a generator of your own" for key in _ignored(config)]
    return result


def _ignored(config: RunConfig) -> list[str]:
    given = {"scheduler": config.scheduler, "steps": config.steps, "guidance": config.guidance > 1}
    return [key for key, value in given.items() if value]
