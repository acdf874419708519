"""Write the defaults of `RunConfig` into pyproject.toml, where Flower looks for the keys of a run: `python -m
experiments.sync_config`."""

import re
from pathlib import Path

import tomli_w

from fgl_flower.config import RunConfig

PYPROJECT = Path(__file__).resolve().parent.parent / "pyproject.toml"
HEADING = "[tool.flwr.app.config]"


def synced(text: str) -> str:
    """Return the text of a pyproject.toml whose app configuration holds every key at its default."""
    table = f"{HEADING}\n{tomli_w.dumps(RunConfig().to_flat())}"
    block = re.compile(rf"^{re.escape(HEADING)}\n(?:(?!\[).*\n)*", re.MULTILINE)
    if block.search(text):
        return block.sub(lambda _: table + "\n", text).rstrip("\n") + "\n"
    return f"{text.rstrip()}\n\n{table}"


if __name__ == "__main__":
    PYPROJECT.write_text(synced(PYPROJECT.read_text(encoding="utf-8")), encoding="utf-8")
