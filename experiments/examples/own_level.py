"""A prompt level of your own: clients name class, style and the main colour of each image, and send no caption.

    python -m experiments.examples.own_level

In a TOML: prompt-level = "experiments.examples.own_level:Colour".
"""

from typing import Any

import numpy as np
from PIL import Image

from experiments import run
from fgl_flower import Description, Holdings, Level, Result, RunConfig, counted

COLOURS = {
    "red": (205, 45, 45),
    "orange": (240, 140, 30),
    "yellow": (240, 215, 50),
    "green": (50, 160, 70),
    "blue": (45, 90, 205),
    "purple": (140, 60, 175),
}


class Colour(Level):
    """One prompt for each class, style and colour that a client holds together, with the number of its images."""

    def describe(self, held: Holdings) -> Description:
        """Runs on the client. What the server makes of text prompts is inherited: merged, drawn, trained on."""
        rows = zip(held.image_domains, held.images(), held.labels, strict=True)
        texts = [f"a {style} of a {main_colour(image)} {label}" for style, image, label in rows]
        return Description(counted(texts, held.labels, held.image_domains))


def main_colour(image: Image.Image) -> str:
    """Return the name that is nearest to the mean of the most saturated tenth of the pixels."""
    pixels = np.asarray(image, dtype=float).reshape(-1, 3)  # (H * W, 3)
    saturation = pixels.max(1) - pixels.min(1)
    mean = pixels[saturation >= np.quantile(saturation, 0.9)].mean(0)
    return min(COLOURS, key=lambda name: float(np.square(mean - COLOURS[name]).sum()))


def main(**changes: Any) -> Result:
    """Run one-shot FGL with this level."""
    keys = {"prompt_level": "experiments.examples.own_level:Colour"}
    return run(RunConfig(**{**keys, **changes}))


if __name__ == "__main__":
    print(f"test accuracy {main().accuracy:.3f}")
