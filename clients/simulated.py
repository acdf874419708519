"""The ClientApp of Flower's simulation on Ray.

Its actors import this module and no more before they answer a message.
"""

from functools import lru_cache
from typing import Any

from flwr.app import Context, Message

from clients.client_app import simulated
from clients.shared import SharedData, share

__all__ = ["ConfiguredClient"]


class ConfiguredClient:
    """A ClientApp that is told its run configuration, which `run_simulation` leaves empty, and given its data.

    Attributes
    ----------
    run_config : dict
        What clients see as ``context.run_config``.
    data : ray.ObjectRef, optional
        `SharedData` in the object store; without it each actor loads the data set.
    """

    app = simulated

    def __init__(self, run_config: dict[str, Any]) -> None:
        self.run_config = run_config
        self.data: Any = None

    def put(self, data: SharedData) -> None:
        """Put data into the object store of the Ray that has been started."""
        import ray

        self.data = ray.put(data)

    def __call__(self, message: Message, context: Context) -> Message:
        """Answer a message under the run's configuration."""
        if self.data is not None:
            _fetch(self.data)
        before, context.run_config = context.run_config, self.run_config
        try:
            return self.app(message, context)
        finally:
            context.run_config = before  # Flower refuses a context that comes back with another one


@lru_cache(maxsize=1)
def _fetch(reference: Any) -> None:
    import ray

    data: SharedData = ray.get(reference)
    if data.decoded is not None:  # else each process of this machine decodes its clients' images itself
        share(data)
