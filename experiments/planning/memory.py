"""What a run holds in memory, as far as it is known beforehand: weights and decoded images, no activations."""

from pathlib import Path

from experiments.planning.drawing import Drawing, card_of
from experiments.planning.figures import Figure
from experiments.planning.work import Learner, federates
from fgl_flower.config import RunConfig
from fgl_flower.data.sources import Source
from fgl_flower.extension_points import CAPTIONER, GENERATOR
from fgl_flower.foundation.captioner import captioner_folder
from fgl_flower.foundation.parameters import pipeline_parameters, stored_parameters, weight_files
from fgl_flower.levels.level import level_of
from fgl_flower.synthesis.decoding import MAPPED_BYTES

_TRAINED = 4  # copies of the weights that training holds: themselves, gradients, momentum, the best epoch's
_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}


def memory(
    config: RunConfig,
    source: Source | None,
    drawing: Drawing,
    learner: Learner | None,
    *,
    generator: bool,
    captioner: bool,
) -> list[Figure]:
    """Return what is held at once, a line a kind; what the kinds make together is a bound from below."""
    figures = [_images(config, source, drawing)]
    if config.draws:
        figures.append(_generator(config, drawing, generator))
        if "captioner" in level_of(config.prompt_level).models(config):
            figures.append(_captioner(config, captioner))
    figures.append(_learner(config, learner))
    return figures


def _images(config: RunConfig, source: Source | None, drawing: Drawing) -> Figure:
    if source is None:
        return Figure.unknown("memory", "decoded images", "bytes", "needs the data set")
    counts = {"validation": len(source.validation), "test": len(source.test)}
    if config.method in {"centralised", "mixed"} or federates(config) or config.client_evaluation:
        counts["private"] = len(source.private)
    each = 3 * config.image_size**2
    mapped = ""
    if drawing.planned:
        if drawing.planned * each > MAPPED_BYTES:
            mapped = f"; {drawing.planned:,} synthetic ones lie in a mapped file"
        else:
            counts["synthetic"] = drawing.planned
    basis = " + ".join(f"{count:,} {name}" for name, count in counts.items())
    size = sum(counts.values()) * each
    return Figure("memory", "decoded images", size, "bytes", f"{basis} at {config.image_size} px{mapped}", "at most")


def _generator(config: RunConfig, drawing: Drawing, here: bool) -> Figure:
    name = "generator's weights"
    if not here or drawing.settings is None:
        return Figure.unknown("memory", name, "bytes", "the generator is not here")
    if GENERATOR.refers(config.generator):
        return Figure.unknown("memory", name, "bytes", "a generator of your own")
    sizes = pipeline_parameters(card_of(config).folders)
    if not sizes:
        return Figure.unknown("memory", name, "bytes", "its weights are not in safetensors files")
    precision = drawing.settings.precision
    basis = (
        f"{sum(sizes.values()) / 1e6:,.4g} M parameters ({', '.join(sizes)}) in {precision}; activations not counted"
    )
    return Figure("memory", name, sum(sizes.values()) * _BYTES[precision], "bytes", basis, "at least")


def _captioner(config: RunConfig, here: bool) -> Figure:
    name = "captioner's weights"
    if not here:
        return Figure.unknown("memory", name, "bytes", "the captioner is not here")
    if CAPTIONER.refers(config.captioner):
        return Figure.unknown("memory", name, "bytes", "a captioner of your own")
    from fgl_flower.device import resolve_device

    folder: Path = captioner_folder(config.captioner, config.captioner_revision, download=False)
    count = stored_parameters(weight_files(folder))
    if count is None:
        return Figure.unknown("memory", name, "bytes", "its weights are not in safetensors files")
    each = 4 if resolve_device(config.device).type == "cpu" else 2  # as `Captioner.load` does
    basis = f"{count / 1e6:,.4g} M parameters of {each} bytes; activations not counted"
    return Figure("memory", name, count * each, "bytes", basis, "at least")


def _learner(config: RunConfig, learner: Learner | None) -> Figure:
    if learner is None:
        return Figure.unknown("memory", "classifier in training", "bytes", "the classifier's size is unknown")
    basis = f"{_TRAINED} x its weights (gradients, momentum, best epoch), for each that trains at once"
    return Figure(
        "memory", "classifier in training", _TRAINED * learner.whole, "bytes", basis + "; no activations", "at least"
    )
