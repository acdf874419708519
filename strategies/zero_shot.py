"""The control that learns nothing: CLIP's own text encoder says what each class looks like (arXiv 2103.00020)."""

from flwr.app import ArrayRecord

from fgl_flower.learning.hub_model import zero_shot_head
from fgl_flower.levels.templates import class_prompt
from fgl_flower.wire.npy import array_of
from strategies.outcome import Outcome
from strategies.server import Server


def zero_shot(server: Server) -> Outcome:
    """Return the pretrained classifier with the head that its text encoder makes of `class-template`."""
    config = server.config
    prompts = [class_prompt(config, name) for name in server.source.classes]
    weights, bias = zero_shot_head(config.model.partition(":")[2], config.model_revision, prompts)
    head = {"head.weight": array_of(weights.numpy()), "head.bias": array_of(bias.numpy())}
    arrays = ArrayRecord({**server.initial, **head})
    server.validate(0, [arrays])
    return Outcome([arrays])
