"""From what clients described to labelled images: the server half of a prompt round."""

from collections.abc import Callable, Sequence
from logging import WARNING
from typing import Any

from flwr.supercore import log

from fgl_flower.config import RunConfig
from fgl_flower.errors import RunError
from fgl_flower.freed_memory import give_back
from fgl_flower.learning.images import Images
from fgl_flower.synthesis.engine import LocalEngine, SynthesisEngine, SynthesisReport
from fgl_flower.synthesis.engines import engine_for
from fgl_flower.synthesis.plan import SynthesisPlan
from fgl_flower.synthesis.store import SyntheticStore
from fgl_flower.wire.payload import PromptPayload
from strategies.planning import limits_for, notes_on, plan_for


class Synthesis:
    """Plans, draws and reads back the training set that clients described.

    Parameters
    ----------
    config : RunConfig
        Its prompt and synthesis keys say what to draw, image-size how large the learner takes it.
    classes, domains : sequence of str
        The federation's names.
    store : SyntheticStore
        Receives what is drawn; what it holds already is not drawn again.
    engine : SynthesisEngine, optional
        Draws; by default the one that the configuration asks for.
    progress : callable, optional
        Told of (images drawn, images planned).
    warn : callable, optional
        Told what a user should know before anything is drawn, a sentence each; by default it goes to Flower's log.

    Attributes
    ----------
    limits : Limits
        Bounds of a client's payload.
    plan : SynthesisPlan or None
        What was drawn last.
    report : SynthesisReport or None
        What the engine did for it.
    """

    def __init__(
        self,
        config: RunConfig,
        classes: Sequence[str],
        domains: Sequence[str],
        store: SyntheticStore,
        *,
        engine: SynthesisEngine | None = None,
        progress: Callable[[int, int], None] | None = None,
        warn: Callable[[str], None] | None = None,
    ) -> None:
        self.config = config
        self.classes = classes
        self.domains = domains
        self.store = store
        self.engine = engine or engine_for(config)
        self._own_engine = engine is None
        self.progress = progress
        self.warn = warn or (lambda sentence: log(WARNING, "%s", sentence))
        self.limits = limits_for(config)
        self.plan: SynthesisPlan | None = None
        self.report: SynthesisReport | None = None

    def draw(self, payloads: Sequence[PromptPayload]) -> Images:
        """Return the images of what these clients described, in the order of the plan.

        Raises
        ------
        RunError
            If no payload holds a prompt, or the generator's safety checker lets no image pass.
        """
        self.plan = plan_for(self.config, self.classes, payloads)
        for note in notes_on(self.config, self.plan):
            self.warn(note)
        self.report = self.engine.fill(self.plan, self.store, progress=self.progress)
        if self.report.blanked:
            self.plan = self._without(self.report.blanked)
        if self._own_engine and isinstance(self.engine, LocalEngine) and not self.config.prompt_every:
            self.engine.release()  # nothing more will be drawn
            give_back()
        return self.store.images(self.plan, self.config.image_size, self.classes, self.domains)

    def _without(self, blanked: Sequence[str]) -> SynthesisPlan:
        """Return the plan without images that the generator's safety checker never lets pass."""
        assert self.plan is not None
        lost = set(blanked)
        plan = self.plan.select(key for key in self.plan.keys if key not in lost)
        if not plan.images:
            raise RunError("the generator's safety checker blanked every image: there is nothing to train on")
        if gone := {row[0] for row in self.plan.rows()} - {row[0] for row in plan.rows()}:
            self.warn(f"the generator's safety checker left no image of {', '.join(sorted(gone))}")
        return plan

    def figures(self) -> dict[str, Any]:
        """Return what `Result` holds of the last synthesis."""
        if self.plan is None:
            return {}
        figures: dict[str, Any] = {"synthetic_images": len(self.plan), "synthetic_digest": self.store.digest(self.plan)}
        if self.report is not None and self.report.redrawn:
            figures["safety_checker"] = {"redrawn": self.report.redrawn, "left_out": len(self.report.blanked)}
        return figures
