"""Flower's quickstart for PyTorch on our images: what a user writes from Flower's documentation.

A ClientApp with a plain PyTorch loop and a ServerApp with Flower's FedAvg. Only the images, their partition and the
classifier's architecture are the project's. Training, augmentation and normalisation are written here a second time,
image by image, so that a fault of ours would show.
"""

from collections.abc import Callable
from functools import lru_cache

import datasets
import numpy as np
import torch
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from fgl_flower.config import RunConfig
from fgl_flower.data.partition import partition
from fgl_flower.data.sources import load_source
from fgl_flower.learning.building import build_model

DEVICE = torch.device("cuda:0" if torch.cuda.is_available() else "cpu")


class Pictures(Dataset):
    """Images as the classifier takes them in, (3, S, S) float32, with their labels; augmented anew at each access."""

    def __init__(self, dataset: datasets.Dataset, augment: bool = False) -> None:
        self.images = [torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1) for image in dataset["image"]]
        self.labels = list(dataset["label"])
        self.augment = augment

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        image = self.images[index].float()
        return standardised(augmented(image) if self.augment else image), self.labels[index]


def augmented(image: torch.Tensor) -> torch.Tensor:
    """Return a (3, S, S) image padded by 4 reflected pixels, cropped at random and flipped with probability 0.5."""
    size = image.shape[-1]
    top, left = torch.randint(0, 9, (2,)).tolist()
    image = F.pad(image, (4, 4, 4, 4), mode="reflect")[:, top : top + size, left : left + size]
    return image.flip(-1) if torch.rand(1) < 0.5 else image


def standardised(image: torch.Tensor) -> torch.Tensor:
    """Return a (3, S, S) image in 0..255 less its mean colour, divided by its deviation (at least 6.4 grey levels)."""
    image = image - image.mean(dim=(1, 2), keepdim=True)
    return image / torch.sqrt(image.square().mean() + 6.4**2)


def fit(model: nn.Module, loader: DataLoader, epochs: int, lr: float, momentum: float, weight_decay: float) -> float:
    """Train the model in place and return the mean loss."""
    model.to(DEVICE).train()
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=momentum, weight_decay=weight_decay)
    total = 0.0
    for _ in range(epochs):
        for images, labels in loader:
            optimizer.zero_grad()
            loss = criterion(model(images.to(DEVICE)), labels.to(DEVICE))
            loss.backward()
            optimizer.step()
            total += loss.item()
    return total / (epochs * len(loader))


@torch.no_grad()
def accuracy(model: nn.Module, loader: DataLoader) -> float:
    """Return the share of images whose class is right."""
    model.to(DEVICE).eval()
    right = sum((model(images.to(DEVICE)).argmax(1).cpu() == labels).sum().item() for images, labels in loader)
    return right / len(loader.dataset)  # type: ignore[arg-type]


def build(config: RunConfig) -> nn.Module:
    """Return the classifier, always with the same weights."""
    return build_model(config.model, len(load_source(config).classes), config.norm, seed=config.seed)


@lru_cache(maxsize=64)
def load_data(config: RunConfig, partition_id: int) -> Pictures:
    """Return a client's images; decoded once."""
    return Pictures(partition(load_source(config).private, config).load(partition_id), augment=True)


client_app = ClientApp()


@client_app.train()
def train(message: Message, context: Context) -> Message:
    """Train the received model on the client's images."""
    config = RunConfig.parse(dict(context.run_config))
    model = build(config)
    model.load_state_dict(message.content.array_records["arrays"].to_torch_state_dict())
    pictures = load_data(config, int(context.node_config["partition-id"]))
    loader = DataLoader(pictures, batch_size=config.batch_size, shuffle=True)
    lr = float(message.content.config_records["config"]["lr"])  # type: ignore[arg-type]
    loss = fit(model, loader, config.local_epochs, lr, config.momentum, config.local_weight_decay)
    metrics = MetricRecord({"train_loss": loss, "num-examples": len(pictures)})
    return Message(RecordDict({"arrays": ArrayRecord(model.state_dict()), "metrics": metrics}), reply_to=message)


def server_app(watch: Callable[[str, int, int], None]) -> ServerApp:
    """Return the server, which tells `watch` of every round and leaves its test accuracy in ``context.state``."""
    app = ServerApp()

    @app.main()
    def main(grid: Grid, context: Context) -> None:
        config = RunConfig.parse(dict(context.run_config))
        source, model = load_source(config), build(config)
        validation = DataLoader(Pictures(source.validation), batch_size=512)

        def evaluate(server_round: int, arrays: ArrayRecord) -> MetricRecord:
            model.load_state_dict(arrays.to_torch_state_dict())
            watch("rounds", server_round, config.rounds)
            return MetricRecord({"accuracy": accuracy(model, validation)})

        result = FedAvg(fraction_evaluate=0.0).start(
            grid=grid,
            initial_arrays=ArrayRecord(model.state_dict()),
            train_config=ConfigRecord({"lr": config.local_lr}),
            num_rounds=config.rounds,
            evaluate_fn=evaluate,
        )
        model.load_state_dict(result.arrays.to_torch_state_dict())
        test = accuracy(model, DataLoader(Pictures(source.test), batch_size=512))
        context.state["test"] = MetricRecord({"accuracy": test})

    return app
