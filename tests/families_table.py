"""The table of docs/generators.md: one-shot FGL with a tiny random checkpoint of each family, at every prompt level.

    python -m tests.families_table

Each cell is a whole run (two clients, a few images): "yes" if it ended with a result, else what it said. Where a level
is refused, `-`: before any client was asked.
"""

import sys
import tempfile
from pathlib import Path

from experiments.runner import run
from fgl_flower.config import RunConfig
from fgl_flower.errors import ConfigError
from fgl_flower.extension_points import PROMPT_LEVEL
from fgl_flower.foundation.capabilities import capabilities_of
from fgl_flower.foundation.generator import inspect
from fgl_flower.synthesis.generator_checks import check_generator
from tests.tiny_families import FAMILIES, save_family

LEVELS = [level for level in PROMPT_LEVEL.builtins if level not in {"auto", "votes"}]  # votes draw as captions do


def configured(folder: Path, root: Path, level: str) -> RunConfig:
    """Return a run of seconds."""
    return RunConfig(
        name=f"{folder.name}-{level}",
        runs_dir=str(root / "runs"),
        generator=str(folder),
        prompt_level=level,
        clients=2,
        private_images=40,
        validation_images=20,
        test_images=20,
        images_per_class=2,
        max_captions=6,
        token_steps=2,
        server_epochs=1,
        device="cpu",
        synthesis_precision="float32",
    )


def cell(config: RunConfig) -> str:
    """Return what became of a run."""
    try:
        check_generator(config)
    except ConfigError:
        return "-"
    try:
        result = run(config)
    except Exception as error:  # a fault is what the table is to show
        return f"**{type(error).__name__}**"
    return "yes" if result.synthetic_images else "nothing drawn"


def main() -> None:
    """Print the table as Markdown."""
    print("| family | pipeline | " + " | ".join(f"`{level}`" for level in LEVELS) + " | guidance | negative prompt |")
    print("|---|---|" + "---|" * (len(LEVELS) + 2))
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        for name in sys.argv[1:] or FAMILIES:
            folder = save_family(name, root / name)
            card = inspect(str(folder))
            takes = capabilities_of(card)
            cells = [cell(configured(folder, root, level)) for level in LEVELS]
            row = [name, card.pipeline.removesuffix("Pipeline"), *cells, takes.guidance, takes.negative_prompt]
            print("| " + " | ".join(row) + " |", flush=True)


if __name__ == "__main__":
    main()
