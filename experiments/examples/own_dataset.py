"""A data set of your own: scikit-learn's handwritten digits, from arrays in memory.

    python -m experiments.examples.own_dataset

In a TOML: dataset = "experiments.examples.own_dataset:digits".
"""

from typing import Any

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from experiments import run
from fgl_flower import Result, RunConfig, Source, source_of
from fgl_flower.config import SourceConfig

NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def digits(config: SourceConfig) -> Source:
    """Return 1,797 images of 8x8 pixels: the private split for the clients, validation and test for the server."""
    raw, labels = load_digits(return_X_y=True)
    grey = (raw.reshape(-1, 8, 8) / 16 * 255).astype(np.uint8).repeat(4, axis=1).repeat(4, axis=2)  # (N, 32, 32)
    pixels = np.stack([grey] * 3, axis=-1)  # (N, 32, 32, 3)
    rest, test = train_test_split(np.arange(len(labels)), test_size=0.2, random_state=0, stratify=labels)
    private, validation = train_test_split(rest, test_size=0.1, random_state=0, stratify=labels[rest])
    splits = {"train": private, "validation": validation, "test": test}
    return source_of({name: (pixels[i], labels[i]) for name, i in splits.items()}, NAMES)


def main(**changes: Any) -> Result:
    """Run FedAvg on it; the miniature generator has never seen a digit."""
    keys = {
        "method": "fedavg",
        "dataset": "experiments.examples.own_dataset:digits",
        "rounds": 5,
        "name": "own-dataset",
    }
    return run(RunConfig(**{**keys, **changes}))


if __name__ == "__main__":
    print(f"test accuracy {main().accuracy:.3f}")
