"""FedAvg of a ViT: what travels in a round, and what it gives, by what is trained.

python -m experiments.shows.lora_bytes runs/lora

A small ViT is saved as transformers saves models, and FedAvg fine-tunes all of it, its head, or its head and LoRA
adapters, on product codes that differ in shape and colour (`world-codes`). Printed is a JSON line each: weights trained
and of the model, bytes of a client's message up in a round, bytes of the whole run, test accuracy.

The ViT is random, as nothing pretrained comes with this package: bytes are those of any ViT of this size, accuracies
say that each way learns, not how well it does from pretrained weights. Rates are fixed, not tuned. `--model ID` takes a
pretrained one.
"""

import argparse
import json
from pathlib import Path
from typing import Any, Literal

import torch

from experiments.runner import run
from experiments.shows.lines import print_line
from fgl_flower.config import RunConfig
from fgl_flower.learning.building import learner
from fgl_flower.wire.arrays import to_arrays

SHAPE: dict[str, Any] = {"hidden_size": 64, "intermediate_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4}
RATES: dict[Literal["all", "head", "lora"], float] = {"all": 0.1, "head": 0.1, "lora": 0.1}


def random_vit(folder: Path) -> Path:
    """Return the folder of a ViT for 32x32 images with random weights, 0.2 million of them."""
    from transformers import ViTConfig, ViTForImageClassification
    from transformers.utils import logging

    logging.disable_progress_bar()
    torch.manual_seed(0)
    ViTForImageClassification(ViTConfig(image_size=32, patch_size=8, **SHAPE)).save_pretrained(folder)
    half = [0.5] * 3
    settings = {"do_normalize": True, "do_rescale": True, "image_mean": half, "image_std": half}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings), encoding="utf-8")
    return folder


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="of the ViT and the runs")
    parser.add_argument("--model", help="hub id or folder of an image classifier in place of the random ViT")
    parser.add_argument("--image-size", type=int, default=32, help="that it takes, in pixels")
    parser.add_argument("--rounds", type=int, default=10, help="of FedAvg, of two local epochs each")
    given = parser.parse_args()
    model = given.model or random_vit(given.folder / "vit")
    for how, rate in RATES.items():
        config = RunConfig(
            method="fedavg",
            dataset="world-codes",
            image_size=given.image_size,
            model=f"hub:{model}",
            train=how,
            rounds=given.rounds,
            local_epochs=2,
            local_lr=rate,
            batch_size=32,
            runs_dir=str(given.folder),
            name=how,
        )
        result = run(config)
        classifier = learner(config, len(result.accuracy_by_class))
        print_line(
            {
                "train": how,
                "trained_weights": sum(array.numpy().size for array in to_arrays(classifier).values()),
                "of_weights": sum(value.numel() for value in classifier.state_dict().values()),
                "bytes_up_a_round": round(result.bytes_up_per_client / given.rounds),
                "bytes_total": result.bytes_total,
                "accuracy": result.accuracy,
                "seconds": round(result.seconds["total"]),
            }
        )


if __name__ == "__main__":
    main()
