"""The images that a report shows, with what they were drawn from."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from fgl_flower.files import write_json


@dataclass(frozen=True)
class Sample:
    """An image for the report. Only synthetic and validation images may be shown, never private ones.

    Attributes
    ----------
    image : np.ndarray
        (H, W, 3) uint8.
    kind : "synthetic" or "validation"
    label, domain : str
        Names of class and domain; the domain may be empty.
    prompt : str
        What the image was drawn from (synthetic), or its true caption or nothing (validation).
    client : str
        Who sent the prompt; empty if nobody or several did.
    """

    image: np.ndarray
    kind: Literal["synthetic", "validation"]
    label: str
    domain: str = ""
    prompt: str = ""
    client: str = ""


def write_samples(run: Path, samples: Sequence[Sample]) -> None:
    """Write `samples/NNN.png` and `samples.json` into a run folder."""
    (run / "samples").mkdir(exist_ok=True)
    rows = []
    for number, sample in enumerate(samples):
        file = f"samples/{number:03d}.png"
        Image.fromarray(np.asarray(sample.image, dtype=np.uint8)).save(run / file, optimize=True)
        row = {key: value for key, value in asdict(sample).items() if key != "image"}
        rows.append({"file": file, **row})
    write_json(run / "samples.json", rows)
