"""Look for data and weights before anything is written or drawn."""

from importlib.util import find_spec

from fgl_flower.config import METHODS_WITHOUT_CLIENTS, RunConfig
from fgl_flower.data.partition import partition
from fgl_flower.data.sources import load_source
from fgl_flower.errors import ConfigError
from fgl_flower.foundation.captioner import captioner_folder
from fgl_flower.foundation.generator import check_generator
from fgl_flower.foundation.text import tokenizer_of


def preflight(config: RunConfig, *, divided: bool = True) -> None:
    """Make sure that the data set, the models and the extras of a run are there, and that the data can be divided.

    Parameters
    ----------
    config : RunConfig
    divided : bool
        Whether the clients' shares come from this machine's data set; in a deployment each client has its own.

    Raises
    ------
    ConfigError
        With one sentence that names what is missing: a `DataError`, a `ModelError`, or an extra that is not installed.
    """
    if config.tensorboard and find_spec("tensorboard") is None:
        raise ConfigError("tensorboard = true needs an extra: pip install 'fgl-flower[tensorboard]'")
    source = load_source(config)
    if divided and config.method not in METHODS_WITHOUT_CLIENTS:
        partition(source.private, config)
    if config.method in {"fgl", "mixed"}:
        check_generator(config.generator, config.generator_revision)
        if config.prompt_level in {"instance", "embeddings"}:
            captioner_folder(config.captioner, config.captioner_revision)
        if config.prompt_level in {"embeddings", "tokens"}:
            tokenizer_of(config.generator, config.generator_revision)
