"""Look before a run at whether its promise can be kept: packages, prompt level, classifier."""

from importlib.util import find_spec

from fgl_flower.config import RunConfig
from fgl_flower.data.sources import Source
from fgl_flower.errors import ConfigError
from fgl_flower.extension_points import PROMPT_LEVEL, is_strategy
from fgl_flower.levels.level import level_of
from fgl_flower.privacy.guarantee import sample_rate

_PACKAGES = ("dp_accounting", "opendp", "opacus")


def check_promise(config: RunConfig, source: Source, *, divided: bool) -> None:
    """Refuse a promise that clients could not keep.

    Parameters
    ----------
    config : RunConfig
        With `dp-epsilon`.
    source : Source
    divided : bool
        Whether clients hold shares of this data set; in a deployment they may have data of their own.

    Raises
    ------
    ConfigError
        With one sentence that says what to change.
    """
    if not is_strategy(config.method):
        _check_level(config, source)
    if missing := [name for name in _PACKAGES if find_spec(name) is None]:
        raise ConfigError(f"dp-epsilon needs {' and '.join(missing)}: pip install 'fgl-flower[privacy]'")
    if is_strategy(config.method):
        sample_rate(config, len(source.private) if divided else 0)
        _check_classifier(config, source)


def _check_level(config: RunConfig, source: Source) -> None:
    level = level_of(config.prompt_level)
    if not level.asks_clients or level.universe(config, source.classes, source.domains) is not None:
        return
    able = [name for name in PROMPT_LEVEL.builtins if _keeps_promises(config, source, name)]
    raise ConfigError(
        f"prompt-level = {config.prompt_level!r} has no differential privacy, as what it says depends on more than "
        f"labels: set prompt-level to {', '.join(able[:-1])} or {able[-1]}, or dp-epsilon to 0"
    )


def _check_classifier(config: RunConfig, source: Source) -> None:
    from fgl_flower.learning.building import learner  # torch: only where models are sent
    from fgl_flower.learning.private_training import gradient_fault

    if why := gradient_fault(learner(config, len(source.classes)), config.image_size):
        raise ConfigError(f"model = {config.model!r} cannot be trained with dp-epsilon: {why}; use another model")


def _keeps_promises(config: RunConfig, source: Source, name: str) -> bool:
    level = level_of(name)
    try:
        return not level.asks_clients or bool(level.universe(config, source.classes, source.domains))
    except ConfigError:  # votes without a vocabulary
        return False
