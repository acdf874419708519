"""By what images are best compared with candidates: for how many public images the right candidate is the nearest.

    python -m experiments.shows.candidates_found

1,200 images of the built-in world's public split, in the four styles in which an object has its colour, and 60
candidates: ten shapes in six colours, eight drawn images each. Chance finds 1.7 %.
"""

import argparse
from collections.abc import Iterator
from itertools import islice

import numpy as np
from PIL import Image

from clients.voting import nearest
from fgl_flower.config import RunConfig
from fgl_flower.data.codes import STYLES
from fgl_flower.data.world import Drawing, draw_split
from fgl_flower.foundation.captioner import Captioner
from fgl_flower.foundation.image_encoder import ImageEncoder
from fgl_flower.levels.image_features import caption_words
from fgl_flower.levels.vocabulary import MINIATURE, Candidate
from fgl_flower.synthesis.engines import engine_for
from fgl_flower.synthesis.store import SyntheticStore
from fgl_flower.wire.ballot import Ballot
from fgl_flower.wire.vectors import Vectors
from strategies.candidates import See, Studio

IMAGES, START = 1200, 100_000  # the captioner was trained on public images before these


def found(see: See, config: RunConfig, store: SyntheticStore, images: list[Drawing]) -> float:
    """Return the share of the images of which the candidate of their shape and colour is the nearest."""
    vocabulary = MINIATURE.with_domains(STYLES)
    candidates = vocabulary.candidates("any", config.vote_candidates, config.seed)
    seen = Studio(config, vocabulary, engine_for(config), store, see=see).look(candidates)
    features, scale = Vectors.of(seen.features), Vectors.of(seen.scale[None])
    ballot = Ballot(0, ("any",), (tuple(range(len(candidates))),), features, scale)
    looks = see(Image.fromarray(drawing.image) for drawing in images)
    place = {candidate: i for i, candidate in enumerate(candidates)}
    right = 0
    for look, drawing in zip(looks, images, strict=True):
        words = tuple({"shape": drawing.label, "colour": drawing.colour}.get(name, "") for name, _ in vocabulary.groups)
        right += nearest(ballot, look[None], ["any"])[place[Candidate("any", words)]]
    return right / len(images)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--store", default="runs/store", help="where the drawn images are kept")
    config, store = RunConfig(), SyntheticStore(parser.parse_args().store)
    captioner = Captioner.load("miniature", device=config.device)
    tower = ImageEncoder.of_captioner(captioner, "miniature")

    def words(images: Iterator[Image.Image]) -> np.ndarray:
        return caption_words(captioner.describe(list(images)))

    def vision(images: Iterator[Image.Image]) -> np.ndarray:
        blocks = []
        while batch := list(islice(images, 64)):
            blocks.append(tower.embed(batch))
        return np.concatenate(blocks)

    public = draw_split("public", IMAGES, styles=STYLES, start=START)
    for name, see in (("words of captions", words), ("vision tower of the captioner", vision)):
        print(f"{name}: {found(see, config, store, public):.1%}")


if __name__ == "__main__":
    main()
