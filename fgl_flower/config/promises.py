"""Settings that `dp-epsilon` cannot go with."""

from typing import TYPE_CHECKING

from fgl_flower.extension_points import is_strategy

if TYPE_CHECKING:
    from fgl_flower.config.run_config import RunConfig

_CHANGES_THE_LOSS = frozenset({"fedprox", "moon"})  # of clients: by terms that DP-SGD here does not have


def promise_fault(config: "RunConfig") -> str:
    """Return why a run with `dp-epsilon` cannot keep its promise, as a sentence that says what to change, or ""."""
    method = config.method
    if method == "fgl":
        if config.rounds:
            return "dp-epsilon covers no federated rounds of FGL: set rounds to 0 (one-shot), or dp-epsilon to 0"
        return ""
    if method in _CHANGES_THE_LOSS or not is_strategy(method):
        return (
            f"dp-epsilon does not go with method = {method!r}: use 'fgl', 'fedavg', 'fedavgm', 'fedadam' or 'fedyogi', "
            "or set it to 0"
        )
    if config.norm == "batch":
        return "dp-epsilon clips the gradient of each image, which batch normalisation mixes: use norm = 'group'"
    if config.selection == "clients" or config.dataset == "nodes":
        return (
            f"dp-epsilon with method = {method!r} covers the models that clients send, and not that they judge models: "
            "the server needs a data set with validation images, and selection = 'validation'"
        )
    if config.precision != "float32":
        return f"dp-epsilon with method = {method!r} trains in float32: set precision to it"
    return ""
