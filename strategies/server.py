"""What every method does alike on the server: read data, train, validate each round, test once at the end."""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import datasets
import numpy as np
from flwr.app import ArrayRecord, MetricRecord
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy

from fgl_flower.config import METHODS_WITHOUT_CLIENTS, RunConfig
from fgl_flower.data.sources import load_source
from fgl_flower.learning.adaptation import whole_state
from fgl_flower.learning.building import learner, model_revision
from fgl_flower.learning.evaluation import Evaluation, averaged, evaluate
from fgl_flower.learning.images import Images, decode_rows
from fgl_flower.learning.training import Epoch, train
from fgl_flower.privacy.guarantee import Guarantee
from fgl_flower.records.ledger import Ledger
from fgl_flower.records.result import Result
from fgl_flower.records.run_folder import CLIENT_ERRORS, RunFolder, Sample
from fgl_flower.wire.arrays import load_arrays, to_arrays
from fgl_flower.wire.limits import Limits
from strategies.averaging import needs_only_the_mean
from strategies.broadcast import broadcast
from strategies.divergence import HOPELESS, MARGIN, diverged, sentence
from strategies.failures import ClientErrors
from strategies.gate import Gate
from strategies.guarded_grid import GuardedGrid
from strategies.label_counts import label_counts
from strategies.outcome import Outcome
from strategies.resume.course import Course
from strategies.resume.state import RunState
from strategies.samples import some_of_each_class
from strategies.selection import ClientSelection, Enough
from strategies.transfer import Transfer, questions

_NAMED = 3  # files that a warning names


class Server:
    """One run's server.

    Parameters
    ----------
    grid : Grid
        Leads to the clients.
    config : RunConfig
    folder : RunFolder
        Receives events, samples and the result.
    ledger : Ledger
    engine : str
        How the clients are run: inline, ray, or deployment.
    limits : Limits, optional
        Bounds of a prompt payload.
    state : RunState, optional
        By which the run can be resumed, or is.

    Attributes
    ----------
    grid : GuardedGrid
        The way to the clients that strategies get.
    revision : str
        What stands for the weights of a pretrained classifier; empty: it has none.
    initial : ArrayRecord
        The global model before any training; it depends on the seed alone.
    validation, test : Images
        Belong to nobody, either may be empty; anything is selected on validation alone, and test is looked at once.
    choosing : Images or None
        Those by which server training keeps its best epoch; None: it keeps the last.
    selection : str
        The configured one, but "clients" where the server has no validation images.
    client_accuracy, selected_round : float and int, or None
        Share of the clients' images that the selected model gets right, and the round it came from; None: clients did
        not select.
    promise : Guarantee or None
    skipped : dict of str to tuple of str
        Unreadable images of this server, by split: a sentence each that names the file.
    diverged : set of str
        Kinds of training that ended worse than guessing; told once each, as a warning of the run.
    """

    def __init__(
        self,
        grid: Grid,
        config: RunConfig,
        folder: RunFolder,
        ledger: Ledger,
        *,
        engine: str = "inline",
        limits: Limits | None = None,
        state: RunState | None = None,
    ) -> None:
        self.config = config
        self.state = state
        self.engine = engine
        self.folder = folder
        self.ledger = ledger
        self.source = load_source(config)
        self.model = learner(config, len(self.source.classes))
        self.revision = model_revision(config.model, config.model_revision)
        self.initial = to_arrays(self.model)
        self.promise = Guarantee.of(config, len(self.source.private))
        noisy_models = bool(self.promise and self.promise.covers("models"))
        gate = Gate(
            self.initial,
            config.clients,
            self.source.classes,
            self.source.domains,
            limits or Limits(),
            max_examples=1 if noisy_models else config.max_client_examples,  # how many images one has is private
            losses=not noisy_models,
        )
        errors = None if engine == "deployment" else ClientErrors(folder.path / CLIENT_ERRORS)
        self.grid = GuardedGrid(
            grid,
            gate,
            self.ledger,
            folder.log,
            errors=errors,
            state=state,
            deployed=engine == "deployment",
            quorum=config.min_clients,
            prompt_timeout=config.prompt_timeout or None,
            waiting=folder.waiting,
        )
        self.grid.fixed = self.revision if self.model.fixed else ""
        for note in self.source.notes:
            folder.warn(note)
        # Both splits now: what cannot be read is known before anything is spent.
        self.skipped: dict[str, tuple[str, ...]] = {}
        self.validation, rows = self._decode("validation", self.source.validation)
        self.validation_captions = self.source.validation.select(rows)["caption"]
        self.test, _ = self._decode("test", self.source.test)
        self.validation_accuracy: float | None = None
        self.validation_loss = 0.0
        # A server without images of its own leaves the choice to the clients, if the run's promise lets it ask.
        self.selection = config.selection if len(self.validation) or noisy_models else "clients"
        self.choosing = self.validation if self.selection == "validation" else None
        self.client_accuracy: float | None = None
        self.selected_round: int | None = None
        self.diverged: set[str] = set()

    def federate(
        self,
        strategy: Strategy,
        rounds: int,
        *,
        count: Callable[[int], int] = lambda server_round: server_round,
        known: Callable[[ArrayRecord], Transfer | None] = lambda arrays: None,
        learner: Strategy | None = None,
        replayed: Callable[[int], bool] = lambda server_round: False,
    ) -> Sequence[ArrayRecord]:
        """Run a strategy on the clients and return the last global model or the one that clients select, alone.

        Parameters
        ----------
        strategy : Strategy
        rounds : int
            Flower rounds to run.
        count : callable
            From a round of Flower's, 0 being the model before the strategy began, to the run's own count. A round below
            0 is not reported, and neither is one that counts as the round before it: the report has one point a round.
        known : callable
            Returns what clients have said of a model already, None if nothing.
        learner : Strategy, optional
            What of the strategy has a state; by default all of it.
        replayed : callable
            Whether a round that is done is gone through again when the run is resumed; see `RemainingRounds`.
        """
        reported = -1
        selection, validations = self._selection(), {}
        self.grid.averages = needs_only_the_mean(learner or strategy)

        def seed(server_round: int) -> None:
            # Flower's strategies sample clients by `random`: without this a run would not be repeatable. A prompt round
            # between two others leaves the clients that are sampled as they would be.
            random.seed(f"{self.config.seed}/{count(server_round) - count(0)}")

        def validate(server_round: int, arrays: ArrayRecord) -> MetricRecord | None:
            nonlocal reported
            number = count(server_round)
            if number <= reported:
                return None
            reported = number
            measured = self.validate(number, [arrays])
            if self.config.keep_models and number and number % self.config.keep_models == 0:
                load_arrays(self.model, arrays)
                self.folder.save_round_model(number, whole_state(self.model))
            if selection and server_round and selection.offer(number, arrays, known(arrays)):
                validations["selected"] = self.validation_accuracy, self.validation_loss
            return measured

        def take() -> tuple[dict[str, Any], ArrayRecord]:
            chosen = selection.snapshot() if selection else None
            values = {"reported": reported, "selection": chosen, "selected": validations.get("selected")}
            return values, (selection.best if selection else None) or ArrayRecord()

        def give(values: Mapping[str, Any], best: ArrayRecord) -> None:
            nonlocal reported
            reported = values["reported"]
            if selection and values["selection"]:
                selection.restore(values["selection"], best)
            if values["selected"]:
                validations["selected"] = tuple(values["selected"])

        try:
            result = Course(self, learner or strategy, take, give).run(strategy, rounds, validate, seed, replayed)
        except Enough:
            final = self.initial
        else:
            self.judge_clients(result.train_metrics_clientapp)
            final = result.arrays or self.initial
        if selection and selection.best is None:
            self.folder.warn("no client said how a model does on its images: the last model is kept")
        elif selection and selection.best is not None:
            final = selection.best
            self.client_accuracy, self.selected_round = selection.accuracy, selection.round
            self.validation_accuracy, self.validation_loss = validations["selected"]
        broadcast(self.grid, final, self.config, self.folder.warn)
        return [final]

    def _selection(self) -> ClientSelection | None:
        """Return what selects the model where clients do."""
        if self.selection != "clients":
            return None

        def ask(arrays: ArrayRecord, number: int) -> Transfer:
            replies = self.grid.send_and_receive(
                questions(self.grid, arrays, number), timeout=self.config.round_timeout
            )
            return Transfer.of(self.source.classes, replies)

        return ClientSelection(ask, self.config.patience, self.folder.log)

    def judge_clients(self, metrics: Mapping[int, MetricRecord]) -> None:
        """Warn if federated training diverged, by what clients report: weighted means by round, as strategies have."""
        losses: list[Any] = [reported["loss"] for reported in metrics.values() if "loss" in reported]
        if losses:
            self._judge("the clients' training", losses[-1], self._rates())

    def _judge(self, what: str, loss: float, keys: str, factor: float = MARGIN) -> None:
        """Warn of a training that ended worse than guessing, once for each kind; `keys` are the rates to lower."""
        classes = len(self.source.classes)
        if what not in self.diverged and diverged(loss, classes, factor):
            self.diverged.add(what)
            self.folder.warn(sentence(what, loss, classes, keys))

    def _rates(self) -> str:
        """Return the keys of the rates by which the final model was trained last."""
        config = self.config
        if config.method in {"mixed", *METHODS_WITHOUT_CLIENTS} or not config.rounds:
            return "server-lr"
        strategy = config.wrapped if config.method == "fgl" else config.method
        return "local-lr or adaptive-lr" if strategy in {"fedadam", "fedyogi"} else "local-lr"

    def validate(self, number: int, models: Sequence[ArrayRecord]) -> MetricRecord:
        """Measure the global model on validation (of several, the mean) and report it as the run's round `number`.

        Without validation images there is nothing to measure, and the round alone is reported.
        """
        measured = MetricRecord()
        event: dict[str, Any] = {"event": "round", "round": number, "bytes_total": self.ledger.bytes_total}
        if len(self.validation):
            with self.ledger.phase("validation"):
                result = self._evaluate(models, self.validation)
            self.validation_accuracy, self.validation_loss = result.accuracy, result.loss
            measured = MetricRecord({"accuracy": result.accuracy, "loss": result.loss})
            event["validation_accuracy"] = result.accuracy
        self.folder.log(event)
        if self.config.rounds:
            self.folder.progress("rounds", number, self.config.rounds)
        return measured

    def train(
        self, arrays: ArrayRecord, images: Images, epochs: int, lr: float, phase: str, server_round: int = 0
    ) -> ArrayRecord:
        """Train a global model on the server's images and return the epoch that did best on validation.

        `lr` is the peak of the learning rate; `phase` names the training in the ledger and in the progress; the order
        of images differs from one `server_round` to the next.
        """
        config = self.config

        def report_progress(done: Epoch) -> None:
            self.folder.progress(phase, done.epoch, done.epochs)
            self.folder.log({"event": "epoch", "phase": phase, "round": server_round, **asdict(done)})

        load_arrays(self.model, arrays)
        with self.ledger.phase(phase):
            done = train(
                self.model,
                images,
                epochs=epochs,
                batch_size=config.batch_size,
                lr=lr,
                momentum=config.momentum,
                weight_decay=config.server_weight_decay,
                seed=config.seed + server_round,
                device=config.device,
                precision=config.precision,
                schedule="cosine",
                validation=self.choosing,
                progress=report_progress,
            )
        # The training before any round has its own rate, all later ones share the other.
        self._judge(phase.replace("server-", "server "), done.loss, "fine-tune-lr" if server_round else "server-lr")
        return to_arrays(self.model)

    def finish(self, outcome: Outcome) -> Result:
        """Test the final model, once, and return the run's result; of several models, one a client, the mean."""
        source, config, models = self.source, self.config, outcome.models
        # A training's loss is of the weights before its last step, this one of those after it.
        if not self.diverged and len(self.validation):
            self._judge("training", self.validation_loss, self._rates(), HOPELESS)
        if len(models) == 1:
            load_arrays(self.model, models[0])
            self.folder.save_model(whole_state(self.model))
        tested: dict[str, Any] = {"accuracy": None}
        if len(self.test):
            with self.ledger.phase("test"):
                result = self._evaluate(models, self.test)
            self.folder.save_confusion(result.confusion, source.classes)
            if source.domains:
                self.folder.save_breakdown(result.right, result.total, source.classes, source.domains)
            tested = {
                "accuracy": result.accuracy,
                "accuracy_by_class": dict(zip(source.classes, result.by_class, strict=True)),
                "accuracy_by_domain": dict(zip(source.domains, result.by_domain, strict=True)),
            }
        self.folder.save_samples([*outcome.samples, *self._validation_samples()])
        if (counts := label_counts(config, self.source, self.engine, outcome.class_counts)) is not None:
            self.folder.save_partition(counts, source.classes)
        measured: dict[str, Any] = {
            **tested,
            "validation_accuracy": self.validation_accuracy,
            "client_accuracy": self.client_accuracy,
            "selected_round": self.selected_round,
            "quarantined": self.grid.quarantined,
            "failures": self.grid.failures,
            "resumed": self.folder.resumed,
            "nodes": self.grid.versions,
            "app": (self.grid.run.fab_hash or "") if self.engine == "deployment" else "",
            "skipped": {who: len(names) for who, names in self.skipped.items() if names} | self.grid.skipped,
        }
        own = {"role": "model", "id": config.model.partition(":")[2], "revision": self.revision}
        used = [*outcome.figures.get("models", []), *([own] if self.revision else [])]
        return Result.of(config, **{**measured, "engine": self.engine, **outcome.figures, "models": used})

    def recall(self, arrays: ArrayRecord, images: Images) -> list[float]:
        """Return the share of each class's images that a model gets right, 0..1; 0 for a class without images."""
        return [share or 0.0 for share in self._evaluate([arrays], images).by_class]

    def decode_private(self) -> Images:
        """Return all private images, of every client, for methods that have them in one place."""
        return self._decode("private", self.source.private)[0]

    def _decode(self, split: str, dataset: datasets.Dataset) -> tuple[Images, np.ndarray]:
        """Return the images of a split with their positions in it, and warn of those that cannot be read."""
        images, rows = decode_rows(dataset, self.config.image_size)
        self.skipped[split] = images.skipped
        if images.skipped:
            shown = "; ".join(images.skipped[:_NAMED]) + ("; ..." if len(images.skipped) > _NAMED else "")
            self.folder.warn(
                f"{len(images.skipped)} of {len(dataset)} {split} images cannot be read and are left out: {shown}"
            )
        return images, rows

    def _evaluate(self, models: Sequence[ArrayRecord], images: Images) -> Evaluation:
        classes, domains = len(self.source.classes), len(self.source.domains)
        result, device = [], self.config.device
        for arrays in models:
            load_arrays(self.model, arrays)
            result.append(evaluate(self.model, images, num_classes=classes, num_domains=domains, device=device))
        return averaged(result)

    def _validation_samples(self) -> list[Sample]:
        captions = self.validation_captions
        return [
            Sample(image, "validation", label, domain, prompt=captions[i])
            for i, image, label, domain in some_of_each_class(self.validation, self.source.classes, self.source.domains)
        ]
