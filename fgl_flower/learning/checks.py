"""Look at a classifier before a run begins."""

from collections.abc import Sequence

from fgl_flower.config import RunConfig
from fgl_flower.errors import ConfigError
from fgl_flower.extension_points import has_server_optimiser
from fgl_flower.levels.templates import class_prompt


def check_learner(config: RunConfig, classes: Sequence[str]) -> None:
    """Make sure that the configured classifier can be built, takes the run's images and can be averaged as asked.

    Raises
    ------
    ConfigError
        With one sentence that says what to change; a `ModelError` where a checkpoint is at fault.
    """
    from fgl_flower.learning.building import learner  # torch and transformers: only where there is something to look at
    from fgl_flower.learning.hub_model import check_size, zero_shot_head

    model = learner(config, len(classes))
    check_size(model, config.image_size)
    if config.method == "zero-shot":
        zero_shot_head(config.model.partition(":")[2], config.model_revision, [class_prompt(config, classes[0])])
    strategy = config.wrapped if config.method == "fgl" else config.method
    statistics = [name for name in model.state_dict() if name.endswith("running_var") and name not in model.fixed]
    if statistics and has_server_optimiser(strategy):
        raise ConfigError(
            f"model = {config.model!r} has batch normalisation, which cannot go with {strategy}: its server would step "
            "the running statistics as if they were weights; use train = 'head' or 'lora', or fedavg"
        )
