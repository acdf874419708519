"""The promise of a client's DP-SGD put to the test: its own code on one made-up image, and on none.

An attacker who may choose the other images, the model and the rate learns most where an image's gradient is as large as
it may be, in one direction, in each step. A linear classifier of a grey image has such a gradient: its features are 0,
so all of it lies in the bias, and with a small norm to clip to the weights hardly move.
"""

import torch
from torch import nn

from fgl_flower.learning.classifier import Classifier
from fgl_flower.learning.images import Images
from fgl_flower.learning.private_training import train_privately
from fgl_flower.privacy.guarantee import Guarantee

__all__ = ["CANARY", "training_score"]

CANARY = "an image whose gradient is clipped in every step"
_SIZE, _CLIP = 8, 1e-4  # pixels a side; the promise speaks of the noise in units of the norm


def training_score(promise: Guarantee, *, there: bool) -> float:
    """Return what all steps of a run told of the image's gradient, in units of its norm, with the image or without."""
    release = promise.covers("models")
    assert release is not None
    model = Classifier(nn.Flatten(), 3 * _SIZE**2, 2)
    nn.init.zeros_(model.head.weight)
    nn.init.zeros_(model.head.bias)
    label = torch.zeros(1, dtype=torch.int64)
    grey = Images(torch.full((1, 3, _SIZE, _SIZE), 128, dtype=torch.uint8), label, label)
    train_privately(
        model,
        grey if there else Images.empty(_SIZE),
        steps=release.times,
        rate=release.rate,
        noise=promise.noise,
        clip=_CLIP,
        batch_size=1,
        lr=1.0,
        device="cpu",
    )
    first, second = model.head.bias.detach().double().tolist()
    return float(first - second) / 2**0.5 / _CLIP
