"""The methods that draw: FGL, and the control that trains on private and synthetic images together."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from flwr.app import ArrayRecord

from fgl_flower.foundation.captioner import captioner_revision
from fgl_flower.learning.images import Images
from fgl_flower.levels.downloads import client_models
from fgl_flower.levels.image_features import encoder_revision
from fgl_flower.levels.level import level_of
from fgl_flower.levels.offers import own_name
from fgl_flower.levels.vocabulary import Candidate
from fgl_flower.levels.votes import vocabulary_for
from fgl_flower.records.run_folder import Sample
from fgl_flower.synthesis.generator_checks import notes
from fgl_flower.synthesis.quality import nearly_constant
from fgl_flower.synthesis.settings import settings_for
from fgl_flower.synthesis.space import check_space
from fgl_flower.synthesis.store import SyntheticStore
from fgl_flower.wire.payload import FEDERATION, PromptPayload
from strategies.candidates import Appearance, Studio
from strategies.evolution import Evolution
from strategies.federated import strategy_of
from strategies.fgl import FGL, Trainer
from strategies.inquiry import Inquiry
from strategies.one_shot import one_shot_model
from strategies.outcome import Outcome
from strategies.planning import inquiry_of
from strategies.samples import some_of_each_class
from strategies.server import Server
from strategies.synthesis import Synthesis


def fgl(server: Server) -> Outcome:
    """Run prompt rounds and the configured number of federated rounds; return the last global model."""
    config, drawing = server.config, Drawing(server)

    def train(arrays: ArrayRecord, images: Images, server_round: int) -> ArrayRecord:
        if server_round == 0:
            return one_shot_model(server, images, drawing.synthesis.store)

        # After a later prompt round: each epoch is validated and the best is kept.
        def again() -> ArrayRecord:
            return server.train(
                arrays, images, config.server_epochs, config.fine_tune_lr, "server-training", server_round
            )

        return server.state.once(f"model-{server_round}", again) if server.state else again()

    def fine_tune(arrays: ArrayRecord, images: Images, server_round: int) -> ArrayRecord:
        return server.train(arrays, images, config.fine_tune_epochs, config.fine_tune_lr, "fine-tuning", server_round)

    after = fine_tune if config.fine_tune_epochs else None
    return _run(server, drawing, train, after, evaluates=config.client_evaluation)


def mixed(server: Server) -> Outcome:
    """Return one model, trained on the clients' images and the synthetic ones together: a control, no federation."""
    config = server.config
    private = server.decode_private()

    def train(arrays: ArrayRecord, images: Images, server_round: int) -> ArrayRecord:
        together = Images.concat([images, private])
        return server.train(arrays, together, config.server_epochs, config.server_lr, "server-training")

    return _run(server, Drawing(server), train)


def _run(
    server: Server, drawing: "Drawing", train: Trainer, fine_tune: Trainer | None = None, *, evaluates: bool = False
) -> Outcome:
    config = server.config
    if config.prompt_level == "votes":
        inquiry: Inquiry = drawing.evolution(evaluates=evaluates)
    else:
        inquiry = inquiry_of(config, server.source.classes, evaluates=evaluates, log=server.folder.log)
    drawing.inquiry = inquiry
    strategy = FGL(
        strategy_of(config.wrapped, config),
        drawing,
        train,
        fine_tune,
        every=config.prompt_every,
        inquiry=inquiry,
        timeout=config.round_timeout,
        read=server.grid.payload_of,
        log_event=server.folder.log,
    )
    schedule = strategy.schedule
    models = server.federate(
        strategy,
        schedule.rounds(config.rounds),
        count=schedule.wrapped,
        known=lambda arrays: strategy.transfer if arrays is strategy.one_shot else None,
        learner=strategy.wrapped,
        replayed=schedule.asks,
    )
    figures = drawing.figures()
    if sentence := inquiry.left_out():
        server.folder.warn(sentence)
    for _, limited in sorted(strategy.limited.items()):
        server.folder.warn(limited)
    if inquiry.ladder:
        figures["levels"] = inquiry.level
    figures["learning_seconds"] = {str(client): seconds for client, seconds in sorted(strategy.seconds.items())}
    if strategy.transfer is not None:
        figures["transfer"] = strategy.transfer.figures()
        warn_of_unknown_classes(server, strategy)
    return Outcome(models, drawing.samples, figures, drawing.class_counts)


def warn_of_unknown_classes(server: Server, strategy: FGL) -> None:
    """Warn by name of classes that the generator does not seem to know, going by the clients' own images."""
    transfer, images, arrays = strategy.transfer, strategy.images, strategy.one_shot
    if transfer is None or images is None or arrays is None or not transfer.unknown():
        return
    learned = server.recall(arrays, images)
    for sentence in transfer.warnings(dict(zip(server.source.classes, learned, strict=True))):
        server.folder.warn(sentence)


class Drawing:
    """A run's `Synthesis` with what the run keeps account of: downloads, time, samples for the report.

    Parameters
    ----------
    server : Server
    """

    def __init__(self, server: Server) -> None:
        config, source = server.config, server.source
        self.server = server
        self.classes, self.domains = source.classes, source.domains
        self.synthesis = Synthesis(
            config,
            source.classes,
            source.domains,
            SyntheticStore(Path(config.store_dir or Path(config.runs_dir) / "store").expanduser()),
            progress=lambda done, total: server.folder.progress("synthesis", done, total),
            warn=server.folder.warn,
        )
        self.limits = self.synthesis.limits
        planned = config.images_per_class * len(source.classes)
        if config.max_client_images and config.prompt_level != "names":
            planned = min(planned, config.max_client_images * config.clients)
        # Before clients have worked for it.
        check_space(planned, settings_for(config), config.image_size, self.synthesis.store)
        for sentence in notes(config):
            server.folder.warn(sentence)
        self.inquiry: Inquiry | None = None
        self.samples: list[Sample] = []
        self.keys: dict[str, None] = {}  # of all prompt rounds, each once, in the order of their first use
        self.class_counts: dict[int, dict[str, int]] = {}

    def evolution(self, *, evaluates: bool) -> Evolution:
        """Return the votes of a run at the level "votes"; their candidates are drawn into the run's own store."""
        config, server, synthesis = self.server.config, self.server, self.synthesis
        vocabulary = vocabulary_for(config, server.source.domains)
        promise = server.promise
        studio = Studio(
            config,
            vocabulary,
            synthesis.engine,
            synthesis.store,
            progress=lambda done, total: server.folder.progress("candidates", done, total),
        )

        def look(candidates: Sequence[Candidate]) -> Appearance:
            with server.ledger.phase("candidates"):
                return studio.look(candidates)

        return Evolution(
            server.source.classes,
            server.source.domains,
            vocabulary,
            look,
            rounds=config.vote_rounds,
            most=config.vote_candidates,
            images=config.images_per_class,
            clip=config.max_client_examples,
            seed=config.seed,
            noise=promise.noise if promise else 0.0,
            evaluates=evaluates,
            log=server.folder.log,
        )

    def draw(self, payloads: Sequence[PromptPayload]) -> Images:
        """Draw what the clients described that are still trusted."""
        server = self.server
        self.class_counts = {payload.partition_id: payload.class_counts for payload in payloads if payload.class_counts}
        self._count_downloads(payloads)
        # Drop payloads of clients that were quarantined since they sent them.
        payloads = [payload for payload in payloads if str(payload.partition_id) not in server.grid.quarantined]
        with server.ledger.phase("synthesis"):
            images = self.synthesis.draw(payloads)
        report = self.synthesis.report
        assert report is not None
        plan = self.synthesis.plan
        assert plan is not None
        self.keys.update(dict.fromkeys(plan.keys))
        server.folder.save_synthetic(self.keys)
        blank = nearly_constant(images.pixels).nonzero().flatten().tolist()  # all of the plan, reused ones included
        server.folder.log(
            {
                "event": "synthesis",
                "planned": report.planned,
                "reused": report.reused,
                "drawn": report.drawn,
                "nearly_constant": len(blank),
                "images_per_second": report.images_per_second,
                "redrawn": report.redrawn,
                "blanked": len(report.blanked),
            }
        )
        if report.redrawn:
            server.folder.warn(
                f"the generator's safety checker blanked images: {report.redrawn:,} times one was drawn again with "
                f"another seed, {len(report.blanked):,} are left out because it blanked them every time"
            )
        if blank:
            prompt, count = Counter(plan.images[i].prompt for i in blank).most_common(1)[0]
            server.folder.warn(
                f"{len(blank):,} of {len(plan):,} synthetic images are nearly constant (black, white or of one "
                f"colour), most of prompt {prompt!r} ({count:,}): they teach the classifier nothing; another "
                "synthesis-precision, scheduler or guidance may draw them better"
            )
        self._keep_samples(payloads, images)
        return images

    def figures(self) -> dict[str, object]:
        """Return what the result holds of the last synthesis."""
        plan, config = self.synthesis.plan, self.server.config
        if plan is None:
            return {}
        models = [{"role": "generator", "id": plan.settings.generator, "revision": plan.settings.revision}]
        level = level_of(config.prompt_level)
        if "captioner" in level.models(config):
            revision = captioner_revision(config.captioner, config.captioner_revision)
            models.append({"role": "captioner", "id": config.captioner, "revision": revision})
        if "image-encoder" in level.models(config):
            revision = encoder_revision(config.image_encoder)
            models.append({"role": "image-encoder", "id": config.image_encoder, "revision": revision})
        figures = {**self.synthesis.figures(), "models": models}
        source, promise = self.server.source, self.server.promise
        if promise is None or not promise.made:
            return figures
        if not level.asks_clients:
            return {**figures, "privacy": promise.figures()}
        if lost := sorted(set(source.classes) - {label for label, *_ in plan.rows()}):
            self.server.folder.warn(
                f"nothing is drawn of {', '.join(lost)}: no count of a client stood out from the noise; a larger "
                "dp-epsilon, client-evaluation = false or prompt-level = 'class' leaves more"
            )
        told = promise.figures()
        if (prompts := promise.covers("prompts")) and not prompts.continuous:
            told["least"] = promise.threshold(len(level.universe(config, source.classes, source.domains) or ()))
        if isinstance(self.inquiry, Evolution):
            told["least"] = self.inquiry.least  # of the sum of all clients' votes
        return {**figures, "privacy": told}

    def _count_downloads(self, payloads: Sequence[PromptPayload]) -> None:
        config, asked = self.server.config, self.inquiry.asked if self.inquiry else {}
        payloads = [payload for payload in payloads if payload.partition_id != FEDERATION]
        levels = {payload.partition_id: asked.get(payload.partition_id, {""}) for payload in payloads}
        sizes = {level: client_models(config, level) for level in set().union(*levels.values())}  # looks at files
        for payload in payloads:
            for level in levels[payload.partition_id] if payload.prompts or payload.votes else ():
                for model, size in sizes[level].items():
                    self.server.ledger.once(str(payload.partition_id), model, size)

    def _keep_samples(self, payloads: Sequence[PromptPayload], images: Images) -> None:
        senders: dict[tuple[str, str], set[int]] = {}
        for payload in payloads:
            if payload.partition_id == FEDERATION:
                continue
            for prompt in payload.prompts:
                for text in (prompt.text, own_name(prompt.text, payload)):
                    senders.setdefault((text, prompt.label), set()).add(payload.partition_id)
        plan = self.synthesis.plan
        assert plan is not None
        self.samples = []  # those of an earlier prompt round give way
        for i, pixels, label, domain in some_of_each_class(images, self.classes, self.domains):
            text = plan.images[i].prompt
            who = senders.get((text, label), set())
            client = str(next(iter(who))) if len(who) == 1 else ""
            self.samples.append(Sample(pixels, "synthetic", label, domain, prompt=text, client=client))
