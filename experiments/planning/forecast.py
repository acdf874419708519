"""What a run would do and cost: images, bytes, training, disk, memory and time, each with what it rests on."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from experiments.planning.drawing import Drawing, card_of, drawing_of
from experiments.planning.figures import Figure
from experiments.planning.memory import memory
from experiments.planning.needs import Found, source_in
from experiments.planning.operations import drawing_flops
from experiments.planning.rates import ASSUMED_SHARE, Rates, measured, peak_flops
from experiments.planning.traffic import traffic
from experiments.planning.work import PASSES_OF_A_STEP, Learner, Work, class_count, learner_of, work_of
from fgl_flower.cache import without_writing
from fgl_flower.config import LearnerConfig, RunConfig
from fgl_flower.data.sources import Source
from fgl_flower.errors import ConfigError
from fgl_flower.foundation.offline import offline


@dataclass(frozen=True)
class Forecast:
    """What a run would do and cost.

    Attributes
    ----------
    figures : tuple of Figure
        In the order in which they are shown.
    notes : tuple of str
        What a reader of a run's figures should know of its data and generator, a sentence each.
    """

    figures: tuple[Figure, ...]
    notes: tuple[str, ...] = field(default=())

    def get(self, part: str, name: str) -> Figure:
        """Return a figure by part and name."""
        return next(figure for figure in self.figures if (figure.part, figure.name) == (part, name))


def forecast(config: RunConfig, found: Sequence[Found]) -> Forecast:
    """Return what a run would do and cost, as far as this machine can tell.

    Parameters
    ----------
    config : RunConfig
    found : sequence of Found
        What is here, see `experiments.planning.needs.look`.
    """
    missing = {item.need.role for item in found if item.fault}
    source = source_in(found)
    generator = config.draws and not missing & {"generator", "device"}
    with offline(), without_writing():
        learner = _learner(config, source) if "model" not in missing else None
        drawing = drawing_of(config, source, generator=generator)
        work = work_of(config, source, drawing.planned)
        figures = [
            *drawing.figures,
            *traffic(config, learner, drawing.payloads, data=source is not None, generator=generator),
            *work.figures,
            *_model_file(learner),
            *memory(config, source, drawing, learner, generator=generator, captioner="captioner" not in missing),
            *_time(config, drawing, work, learner, device="device" not in missing),
        ]
        notes = list(source.notes) if source else []
        if generator:
            from fgl_flower.synthesis.generator_checks import notes as generator_notes

            notes += generator_notes(config)
    order = {part: i for i, part in enumerate(("images", "bytes", "training", "disk", "memory", "time"))}
    return Forecast(tuple(sorted(figures, key=lambda figure: order[figure.part])), tuple(notes))


def _learner(config: RunConfig, source: Source | None) -> Learner | None:
    if not (classes := class_count(config, source)):
        return None
    try:
        return learner_of(config.part(LearnerConfig), classes, config.image_size)
    except ConfigError:
        return None


def _model_file(learner: Learner | None) -> list[Figure]:
    if learner is None:
        return [Figure.unknown("disk", "run folder", "bytes", "the classifier's size is unknown")]
    basis = "the classifier's weights; samples and reports are not counted"
    return [Figure("disk", "run folder", learner.whole, "bytes", basis, "at least")]


def _time(config: RunConfig, drawing: Drawing, work: Work, learner: Learner | None, *, device: bool) -> list[Figure]:
    """Return the times of drawing and training; what a share of the peak would give is told as such."""
    rates = measured(config) if device else Rates()
    parts = []
    if config.draws:
        parts.append(_drawing_time(config, drawing, rates, device=device))
    for name, images, rate in (
        ("training on the server", work.server, rates.server),
        ("training of all clients, here", work.clients, rates.clients),
    ):
        if images != 0:
            parts.append(_training_time(name, config, images, rate, learner, device=device))
    if len(parts) > 1:
        known = [part.value for part in parts if part.value is not None]
        total = sum(known) if len(known) == len(parts) else None
        basis = "these together; captions, decoding and validation are not counted"
        parts.append(
            Figure("time", "all", total, "seconds", basis if total is not None else "a part is unknown", "about")
        )
    return parts


def _drawing_time(config: RunConfig, drawing: Drawing, rates: Rates, *, device: bool) -> Figure:
    name, count = "drawing", drawing.planned if drawing.missing is None else drawing.missing
    if count is None or drawing.settings is None:
        return Figure.unknown("time", name, "seconds", "needs data and generator")
    if rates.drawing:
        rate, run = rates.drawing
        return Figure(
            "time", name, count / rate, "seconds", f"{rate:,.3g} images/s in the run {run}, on this machine", "about"
        )
    if not device:
        return Figure.unknown("time", name, "seconds", "the device is not here")
    from fgl_flower.extension_points import GENERATOR
    from fgl_flower.foundation.parameters import pipeline_parameters

    if GENERATOR.refers(config.generator):
        return Figure.unknown("time", name, "seconds", "a generator of your own: no earlier run here tells its rate")
    card = card_of(config)
    flops, basis = drawing_flops(card, drawing.settings, pipeline_parameters(card.folders))
    if flops is None:
        return Figure.unknown("time", name, "seconds", f"no earlier run here tells the rate, and {basis}")
    return _by_operations(name, config, count * flops, drawing.settings.precision, basis)


def _training_time(
    name: str,
    config: RunConfig,
    images: int | None,
    rate: tuple[float, str] | None,
    learner: Learner | None,
    *,
    device: bool,
) -> Figure:
    if images is None:
        return Figure.unknown("time", name, "seconds", "needs the data set")
    if rate:
        basis = f"{rate[0]:,.4g} images/s in the run {rate[1]}, on this machine"
        return Figure("time", name, images / rate[0], "seconds", basis, "about")
    if learner is None or learner.flops is None or not device:
        return Figure(
            "time", name, None, "seconds", "no earlier run here tells the rate, and operations are not counted"
        )
    basis = f"{images:,} images x {PASSES_OF_A_STEP} x {learner.flops / 1e9:,.3g} GFLOP"
    return _by_operations(name, config, images * PASSES_OF_A_STEP * learner.flops, config.precision, basis)


def _by_operations(name: str, config: RunConfig, flops: float, precision: str, basis: str) -> Figure:
    """Return the time of operations at the assumed share of what the run's device reaches now."""
    from fgl_flower.device import resolve_device

    peak = peak_flops(str(resolve_device(config.device)), precision)
    if peak is None:
        return Figure.unknown("time", name, "seconds", f"the device does no matrix product in {precision} now; {basis}")
    share = (
        f"assumed {100 * ASSUMED_SHARE:.0f} % of the {peak / 1e12:,.3g} TFLOP/s of a matrix product here, measured now"
    )
    return Figure("time", name, flops / peak / ASSUMED_SHARE, "seconds", f"{basis}; {share}", "about")
