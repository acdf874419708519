"""What the miniature generator is worth: `python -m miniature.assess` prints the figures of its model card.

A judge trained on the private split's real images says whether drawn images show what their prompts name. Then one
classifier is trained on synthetic images only and one on as many real ones; both are tested on real images, on the
validation split unless `--test` is given.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from fgl_flower.config import RunConfig
from fgl_flower.data.sources import Source, load_source
from fgl_flower.data.world import CLASSES, STYLES
from fgl_flower.foundation.generator import inspect
from fgl_flower.learning.building import build_model
from fgl_flower.learning.classifier import Classifier
from fgl_flower.learning.evaluation import evaluate, predict
from fgl_flower.learning.images import Images, decode
from fgl_flower.learning.training import train
from fgl_flower.synthesis.engine import LocalEngine
from fgl_flower.synthesis.plan import plan_of
from fgl_flower.synthesis.settings import SamplingSettings
from fgl_flower.synthesis.store import SyntheticStore


def draw_images(
    model_id: str, per_class: int, seed: int, store: Path, steps: int = 0, guidance: float = -1
) -> tuple[Images, float]:
    """Return `per_class` images a class from "a {style} of a {class}" prompts, and images a second (0: none drawn)."""
    settings = SamplingSettings.of(inspect(model_id), steps=steps, guidance=guidance)
    share, rest = divmod(per_class, len(STYLES))
    counts = [
        (f"a {s} of a {c}", c, s, share + (i < rest)) for c in sorted(CLASSES) for i, s in enumerate(sorted(STYLES))
    ]
    plan = plan_of(counts, settings, seed)
    kept = SyntheticStore(store)
    report = LocalEngine(model_id).fill(plan, kept)
    rate = report.drawn / report.drawing_seconds if report.drawn else 0.0
    return kept.images(plan, 32, CLASSES, STYLES), rate


def classifier(images: Images, validation: Images, epochs: int, seed: int) -> Classifier:
    """Train the 32x32 learner with the default settings of server training, at equal numbers of steps."""
    config = RunConfig()
    model = build_model("small-resnet", len(CLASSES), config.norm, seed=seed)
    train(
        model,
        images,
        epochs=epochs,
        batch_size=config.batch_size,
        lr=config.server_lr,
        momentum=config.momentum,
        weight_decay=config.server_weight_decay,
        seed=seed,
        schedule="cosine",
        validation=validation,
    )
    return model


def agreement(judge: Classifier, images: Images) -> dict[str, float]:
    """Return the share of images that the judge takes for the prompted class, by style and in all ("all")."""
    right = (predict(judge, images.pixels).argmax(1) == images.labels).double()
    shares = {s: right[images.domains == i].mean().item() for i, s in enumerate(STYLES)}
    return {**shares, "all": right.mean().item()}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m miniature.assess", description=__doc__)
    parser.add_argument("--generator", nargs="+", default=["miniature", "miniature-fast"])
    parser.add_argument("--steps", type=int, default=0, help="0: the generator's own")
    parser.add_argument("--guidance", type=float, default=-1, help="-1: the generator's own")
    parser.add_argument("--per-class", type=int, default=210, help="images a class (default: %(default)s)")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=60, help="of every classifier (default: %(default)s)")
    parser.add_argument("--test", action="store_true", help="final figures: on the test split")
    parser.add_argument("--store", type=Path, help="synthetic store to use (default: a temporary one)")
    given = parser.parse_args()
    torch.manual_seed(0)
    source: Source = load_source(RunConfig())
    private, validation, test = (decode(d, 32) for d in (source.private, source.validation, source.test))
    held = test if given.test else validation

    def accuracy(model: Classifier) -> float:
        return evaluate(model, held, num_classes=len(CLASSES), num_domains=len(STYLES)).accuracy

    with tempfile.TemporaryDirectory() as scratch:
        judge = classifier(private, validation, 2 * given.epochs, seed=99)
        print(
            json.dumps({"judge": round(accuracy(judge), 4), "split": "test" if given.test else "validation"}),
            flush=True,
        )
        count = given.per_class * len(CLASSES)
        real = [accuracy(classifier(_some(private, count, s), validation, given.epochs, s)) for s in range(given.seeds)]
        print(json.dumps({"real": np.round(real, 4).tolist(), "mean": round(float(np.mean(real)), 4)}), flush=True)
        for model_id in given.generator:
            began, accuracies, agreements, rates = time.monotonic(), [], [], []
            for seed in range(given.seeds):
                images, rate = draw_images(
                    model_id, given.per_class, seed, given.store or Path(scratch), given.steps, given.guidance
                )
                accuracies.append(accuracy(classifier(images, validation, given.epochs, seed)))
                agreements.append(agreement(judge, images))
                rates.append(rate)
            row = {
                "generator": model_id,
                "images_per_second": round(float(np.median(rates)), 1),
                "agreement": {k: round(float(np.mean([a[k] for a in agreements])), 3) for k in agreements[0]},
                "synthetic": np.round(accuracies, 4).tolist(),
                "mean": round(float(np.mean(accuracies)), 4),
                "share_of_real": round(float(np.mean(accuracies) / np.mean(real)), 4),
                "seconds": round(time.monotonic() - began),
            }
            print(json.dumps(row), flush=True)


def _some(images: Images, count: int, seed: int) -> Images:
    if count >= len(images):
        return images
    return images.subset(torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))[:count])


if __name__ == "__main__":
    main()
