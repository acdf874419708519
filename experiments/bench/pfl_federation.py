"""The same federated averaging by pfl-research (Granqvist et al., arXiv 2404.06430), installed for this alone."""

import os
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional as F

from experiments.bench.protocol import Clock, Federation, Figures

if TYPE_CHECKING:
    from fgl_flower.learning.classifier import Classifier


def with_pfl(settings: Federation) -> Figures | None:
    """Train as `Federation` says; None in all processes but the first, where there are several (torchrun)."""
    if "WORLD_SIZE" in os.environ:
        torch.set_num_threads(1)
    from pfl.aggregate.simulate import SimulatedBackend
    from pfl.aggregate.weighting import WeightByDatapoints
    from pfl.algorithm import FederatedAveraging, NNAlgorithmParams
    from pfl.callback.base import TrainingProcessCallback
    from pfl.data.dataset import Dataset
    from pfl.data.federated_dataset import FederatedDataset
    from pfl.data.sampling import get_user_sampler
    from pfl.hyperparam import NNEvalHyperParams, NNTrainHyperParams
    from pfl.metrics import Metrics
    from pfl.model.pytorch import PyTorchModel

    from clients.shared import SharedData
    from fgl_flower.data.sources import load_source
    from fgl_flower.learning.building import build_model
    from fgl_flower.learning.evaluation import evaluate
    from fgl_flower.learning.images import decode

    config, clock = settings.config, Clock()
    np.random.seed(config.seed)  # pfl's own way to be seeded
    torch.manual_seed(config.seed)
    data, users = SharedData.of(config), dict[int, Any]()

    def user(number: int) -> Any:
        if number not in users:
            images = data.images(number)
            users[number] = images.pixels, images.labels
        return Dataset(users[number], user_id=str(number))

    class Ends(TrainingProcessCallback):
        def after_central_iteration(self, metrics: Any, model: Any, *, central_iteration: int) -> tuple[bool, Any]:
            clock.end()
            return False, Metrics()

    classifier = build_model(config.model, 10, config.norm, seed=config.seed)
    model = PyTorchModel(
        _with_loss(classifier),
        local_optimizer_create=torch.optim.SGD,
        central_optimizer=torch.optim.SGD(classifier.parameters(), lr=1.0),
    )
    users_of = FederatedDataset(user, get_user_sampler("random", list(range(settings.clients))))
    FederatedAveraging().run(
        algorithm_params=NNAlgorithmParams(
            central_num_iterations=config.rounds,
            evaluation_frequency=config.rounds + 1,  # once, before the first round of training is timed
            train_cohort_size=settings.cohort,
            val_cohort_size=0,
        ),
        backend=SimulatedBackend(users_of, users_of, postprocessors=[WeightByDatapoints()]),
        model=model,
        model_train_params=NNTrainHyperParams(
            local_num_epochs=config.local_epochs,
            local_learning_rate=config.local_lr,
            local_batch_size=config.batch_size,
        ),
        model_eval_params=NNEvalHyperParams(local_batch_size=512),
        callbacks=[Ends()],
    )
    if int(os.environ.get("RANK", 0)):
        return None
    source = load_source(config)
    test = decode(source.test, config.image_size)
    accuracy = evaluate(classifier, test, num_classes=10, num_domains=len(source.domains)).accuracy
    return Figures(clock.start_seconds(), clock.seconds(), accuracy=accuracy)


def _with_loss(classifier: "Classifier") -> "Classifier":
    """Give a classifier the two methods that pfl wants, with augmentation as clients here have it."""
    from fgl_flower.learning.augment import Augmenter
    from fgl_flower.learning.images import normalise

    def loss(pixels: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        classifier.train()
        batch = Augmenter(pixels, int(torch.randint(2**31, ())))(torch.arange(len(pixels)))
        return F.cross_entropy(classifier(batch), labels)

    def metrics(pixels: torch.Tensor, labels: torch.Tensor) -> dict[str, Any]:
        from pfl.metrics import Weighted

        classifier.eval()
        return {
            "loss": Weighted(F.cross_entropy(classifier(normalise(pixels)), labels).item() * len(labels), len(labels))
        }

    classifier.loss, classifier.metrics = loss, metrics  # type: ignore[assignment]
    return classifier
