"""What keeps a learned token from teaching the generator a style: `python -m experiments.shows.new_style docs`.

One client holds all private images in the style that the generator's training never showed (neon). Drawn from words and
from learned tokens of several sizes, in prompts by class and in captions, images are shown to two judges trained on
real images: one says which class they show, one which style. Real images go through the autoencoder alone, too: what
that loses, no denoiser can draw. Prints a JSON line a row and writes new-style.png, two images a class (columns).
"""

import argparse
import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from clients.data import Client
from clients.holdings import holdings
from experiments.shows.lines import print_line
from fgl_flower.config import RunConfig
from fgl_flower.data.sources import Source, load_source
from fgl_flower.data.world import HELD_OUT_STYLE
from fgl_flower.foundation.inversion import encode_images, load_for_inversion
from fgl_flower.learning.building import build_model
from fgl_flower.learning.classifier import Classifier
from fgl_flower.learning.evaluation import predict
from fgl_flower.learning.images import Images, decode
from fgl_flower.learning.training import train
from fgl_flower.levels.holdings import Holdings
from fgl_flower.levels.level import level_of
from fgl_flower.synthesis.engine import LocalEngine
from fgl_flower.synthesis.store import SyntheticStore
from fgl_flower.wire.payload import PromptPayload
from strategies.planning import plan_for

BASE = RunConfig(
    dataset="world-held-out-style",
    clients=1,
    partition="iid",
    token_subject="style",
    token_names=HELD_OUT_STYLE,
    images_per_class=24,
)
ROWS: dict[str, dict[str, object]] = {
    "words, by class": {"prompt_level": "class-style"},
    "words, captions": {"prompt_level": "instance"},
    "token of 1 vector, by class": {"prompt_level": "tokens", "token_prompts": "class-style", "token_vectors": 1},
    "token of 4 vectors, by class": {"prompt_level": "tokens", "token_prompts": "class-style", "token_vectors": 4},
    "token of 1 vector, captions": {"prompt_level": "tokens", "token_vectors": 1},
    "token of 4 vectors, captions": {"prompt_level": "tokens", "token_vectors": 4},
}
EPOCHS = 40  # of the judges
SCALE = 2


def judge(images: Images, validation: Images, count: int) -> Classifier:
    """Return a classifier of real images' labels."""
    model = build_model("small-resnet", count, BASE.norm, seed=0)
    train(model, images, epochs=EPOCHS, batch_size=128, lr=0.1, seed=0, schedule="cosine", validation=validation)
    return model


def drawn(config: RunConfig, held: Holdings, source: Source, store: SyntheticStore) -> Images:
    """Return what is drawn of a client's description at the level of `config`."""
    level = level_of(config.prompt_level)
    told = level.describe(held.under(config))
    payload = PromptPayload(0, told.prompts, dict(Counter(held.labels)), kind=level.kind, arrays=told.arrays)
    plan = plan_for(config, source.classes, [payload])
    LocalEngine(config.generator).fill(plan, store)
    return store.images(plan, config.image_size, source.classes, source.domains)


def decoded_again(images: Images) -> Images:
    """Return images as the generator's autoencoder gives them back."""
    generator = load_for_inversion(BASE.generator)
    vae = generator.pipeline.vae
    with torch.no_grad():
        pixels = vae.decode(encode_images(generator, images.pixels) / vae.config.scaling_factor).sample
    return replace(images, pixels=((pixels + 1) * 127.5).clamp(0, 255).round().to(torch.uint8))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m experiments.shows.new_style", description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=Path("docs"), help="receives new-style.png")
    parser.add_argument("--steps", type=int, default=BASE.token_steps, help="steps of inversion at most")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    source = load_source(BASE)
    private, validation = decode(source.private, BASE.image_size), decode(source.validation, BASE.image_size)
    style = source.domains.index(HELD_OUT_STYLE)
    of_class = judge(private, validation, len(source.classes))
    of_style = judge(
        replace(private, labels=private.domains), replace(validation, labels=validation.domains), len(source.domains)
    )
    sheet: list[np.ndarray] = []

    def show(name: str, images: Images) -> None:
        shares = {
            "class_right": (predict(of_class, images.pixels).argmax(1) == images.labels).double().mean().item(),
            "taken_for_the_style": (predict(of_style, images.pixels).argmax(1) == style).double().mean().item(),
        }
        print_line({"row": name, "images": len(images), **shares})
        first = [(images.labels == k).nonzero().flatten()[:2] for k in range(len(source.classes))]
        pictures = [[images.pixels[i[row]].permute(1, 2, 0).numpy() for i in first] for row in range(2)]
        sheet.extend(np.concatenate(row, axis=1) for row in pictures)

    real = validation.subset((validation.domains == style).nonzero().flatten())
    show("real, of the validation split", real)
    show("the same through the autoencoder", decoded_again(real))
    held = holdings(Client(0, BASE))
    held = held.select([i for i, name in enumerate(held.image_domains) if name == HELD_OUT_STYLE])
    with tempfile.TemporaryDirectory() as folder:
        for name, changes in ROWS.items():
            config = BASE.model_copy(update={**changes, "token_steps": given.steps})
            show(name, drawn(config, held, source, SyntheticStore(Path(folder))))
    picture = Image.fromarray(np.concatenate(sheet))
    picture = picture.resize((picture.width * SCALE, picture.height * SCALE), Image.Resampling.NEAREST)
    picture.save(given.folder / "new-style.png")


if __name__ == "__main__":
    main()
