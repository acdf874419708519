"""Look for data and weights before anything is written or drawn."""

from fgl_flower.config import METHODS_WITHOUT_CLIENTS, RunConfig
from fgl_flower.data.sources import load_source
from fgl_flower.errors import ConfigError
from fgl_flower.foundation.generator import check_generator


def preflight(config: RunConfig) -> None:
    """Make sure that the data set and the models of a run are there.

    Raises
    ------
    DataError, ModelError, ConfigError
        With one sentence that names what is missing.
    """
    source = load_source(config)
    if config.method not in METHODS_WITHOUT_CLIENTS and config.clients > len(source.private):
        raise ConfigError(
            f"clients = {config.clients} is more than the {len(source.private)} private images of "
            f"{config.dataset!r}: set fewer clients"
        )
    if config.method == "fgl":
        check_generator(config.generator, config.generator_revision)
