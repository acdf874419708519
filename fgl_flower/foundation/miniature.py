"""Where the shipped weights of the small foundation models lie.

Flower copies an app's code into its own folder and drops every .safetensors on the way, so the weights may lie beside
this package (a checkout), beside the installed distribution (a wheel), or in the checkout an editable install names.
"""

import json
from collections.abc import Iterator
from importlib.metadata import distributions
from pathlib import Path
from urllib.parse import unquote, urlparse

from fgl_flower.errors import ModelError

NAMES = {"miniature": "generator", "miniature-fast": "generator-fast"}


def weights_dir(name: str) -> Path:
    """Return the folder of a shipped model.

    Parameters
    ----------
    name : str
        A model id of `NAMES` ("miniature-fast") or a folder name below miniature/weights ("generator-fast").

    Raises
    ------
    ModelError
        If no installed or neighbouring copy of the project holds the weights.
    """
    folder = NAMES.get(name, name)
    for root in _roots():
        candidate = root / "miniature" / "weights" / folder
        if any(candidate.rglob("*.safetensors")):
            return candidate
    raise ModelError(
        f"the weights of {name!r} are missing: no miniature/weights/{folder} beside fgl_flower or in the installed "
        "fgl-flower; install the project (pip install -e .) or name another model"
    )


def _roots() -> Iterator[Path]:
    """Yield the folders that may hold miniature/weights, nearest first."""
    yield Path(__file__).resolve().parents[2]
    for distribution in distributions(name="fgl-flower"):
        origin = json.loads(distribution.read_text("direct_url.json") or "{}").get("url", "")
        if origin.startswith("file://"):
            yield Path(unquote(urlparse(origin).path))
        yield Path(str(distribution.locate_file("")))
