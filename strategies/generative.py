"""Federated Generative Learning on this server: from payloads to a plan, to images, to the global model."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from flwr.app import ArrayRecord

from fgl_flower.foundation.captioner import captioner_revision
from fgl_flower.foundation.downloads import client_models
from fgl_flower.learning.images import Images
from fgl_flower.payload import PromptPayload
from fgl_flower.runs import Sample
from fgl_flower.synthesis.engine import engine_for
from fgl_flower.synthesis.plan import SynthesisPlan
from fgl_flower.synthesis.store import SyntheticStore
from strategies.federated import STRATEGIES
from strategies.fgl import FGL
from strategies.one_shot import one_shot_model
from strategies.planning import limits_for, named, plan_for
from strategies.server import Server, some_of_each_class


def fgl(server: Server) -> Sequence[ArrayRecord]:
    """Run prompt rounds and the configured number of federated rounds; return the last global model."""
    return _run(server, Synthesis(server))


def mixed(server: Server) -> Sequence[ArrayRecord]:
    """Return one model, trained on the clients' images and the synthetic ones together: a control, no federation."""
    return _run(server, Synthesis(server, beside=server.decode_private()))


def _run(server: Server, synthesis: "Synthesis") -> Sequence[ArrayRecord]:
    config = server.config
    server.grid.gate = replace(server.grid.gate, limits=limits_for(config))
    strategy = FGL(
        STRATEGIES[config.wrapped](config),
        synthesis.learn,
        synthesis.fine_tune if config.fine_tune_epochs else None,
        classes=server.source.classes,
        domains=server.source.domains,
        limits=server.grid.gate.limits,
        every=config.prompt_every,
        learn_on=synthesis.learn_on,
        log_event=server.folder.log,
    )
    schedule = strategy.schedule
    return server.federate(strategy, schedule.rounds(config.rounds), count=schedule.wrapped)


class Synthesis:
    """Draws the training set that the clients described, and trains on it.

    Parameters
    ----------
    server : Server
    beside : Images, optional
        Real images to train on as well, which only a control has.
    """

    def __init__(self, server: Server, beside: Images | None = None) -> None:
        self.server = server
        self.beside = beside
        self.images: Images | None = None

    def learn(self, payloads: Sequence[PromptPayload]) -> ArrayRecord:
        """Return the global model trained, from its initialisation, on images drawn for these payloads.

        Raises
        ------
        RunError
            If no payload holds a prompt.
        """
        server, images = self.server, self._synthesise(payloads)
        if self.beside is None:
            return one_shot_model(server, images, self._store())
        config, together = server.config, Images.concat([images, self.beside])
        return server.train(server.initial, together, config.server_epochs, config.server_lr, "server-training")

    def learn_on(self, server_round: int, arrays: ArrayRecord, payloads: Sequence[PromptPayload]) -> ArrayRecord:
        """Return the global model trained on, from `arrays`, on images drawn for what clients describe by now.

        Each epoch is validated and the best is kept: the "epoch" events of phase "server-training" and this round.
        """
        server, config, images = self.server, self.server.config, self._synthesise(payloads)
        return server.train(arrays, images, config.server_epochs, config.fine_tune_lr, "server-training", server_round)

    def fine_tune(self, server_round: int, arrays: ArrayRecord) -> ArrayRecord:
        """Return an aggregated model after some more epochs on the synthetic images."""
        if self.images is None:
            raise RuntimeError("fine-tuning comes after the prompt round")
        config = self.server.config
        return self.server.train(
            arrays, self.images, config.fine_tune_epochs, config.fine_tune_lr, "fine-tuning", server_round
        )

    def _synthesise(self, payloads: Sequence[PromptPayload]) -> Images:
        server = self.server
        server.class_counts = {payload.partition: payload.class_counts for payload in payloads}
        self._count_downloads(payloads)
        # One that was shut out since it told of its images has no say in what is drawn.
        payloads = [payload for payload in payloads if str(payload.partition) not in server.grid.quarantined]
        with server.ledger.phase("synthesis"):
            plan = plan_for(server.config, server.source, payloads)
            self.images = self._draw(plan)
        self._keep_samples(plan, payloads, self.images)
        return self.images

    def _store(self) -> SyntheticStore:
        config = self.server.config
        return SyntheticStore(Path(config.store_dir or Path(config.runs_dir) / "store").expanduser())

    def _draw(self, plan: SynthesisPlan) -> Images:
        server, config = self.server, self.server.config
        store = self._store()
        report = engine_for(config).fill(
            plan, store, progress=lambda done, total: server.folder.progress("synthesis", done, total)
        )
        server.folder.log(
            {
                "event": "synthesis",
                "planned": report.planned,
                "reused": report.reused,
                "drawn": report.drawn,
                "images_per_second": report.images_per_second,
            }
        )
        models = [{"role": "generator", "id": plan.settings.generator, "revision": plan.settings.revision}]
        if config.prompt_level in {"instance", "embeddings"}:
            revision = captioner_revision(config.captioner, config.captioner_revision)
            models.append({"role": "captioner", "id": config.captioner, "revision": revision})
        server.extra |= {
            "synthetic_images": len(plan),
            "synthetic_digest": store.digest(plan),
            "models": models,
        }
        return store.images(plan, config.image_size, server.source.classes, server.source.domains)

    def _count_downloads(self, payloads: Sequence[PromptPayload]) -> None:
        sizes = client_models(self.server.config)
        for payload in payloads:
            for model, size in sizes.items() if payload.prompts else ():
                self.server.ledger.once(str(payload.partition), model, size)

    def _keep_samples(self, plan: SynthesisPlan, payloads: Sequence[PromptPayload], images: Images) -> None:
        senders: dict[tuple[str, str], set[int]] = {}
        for payload in payloads:
            for prompt in payload.prompts:
                for text in (prompt.text, named(prompt.text, payload)):
                    senders.setdefault((text, prompt.label), set()).add(payload.partition)
        source = self.server.source
        self.server.samples = []  # those of an earlier prompt round give way
        for i, pixels, label, domain in some_of_each_class(images, source.classes, source.domains):
            text = plan.images[i].prompt
            who = senders.get((text, label), set())
            client = str(next(iter(who))) if len(who) == 1 else ""
            self.server.samples.append(Sample(pixels, "synthetic", label, domain, prompt=text, client=client))
