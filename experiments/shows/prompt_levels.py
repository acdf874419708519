"""What prompts of every level are worth, at one image budget: `python -m experiments.shows.prompt_levels`.

Levels times skews times seeds on the built-in world, each a one-shot run in a folder of its own; a run that is finished
is not run again, so the table can be interrupted and grown. Printed are mean and half width of the 95 % interval.
"""

import argparse
from pathlib import Path
from typing import Any

from experiments.shows.many_runs import accuracy, bytes_once, bytes_up, finished, runs_dir, settings, table
from experiments.terminal import quiet
from fgl_flower.config import RunConfig

LEVELS = ("names", "class", "class-style", "instance", "embeddings", "tokens")
SKEWS: dict[str, dict[str, Any]] = {
    "beta-0.01": {"partition": "dirichlet", "beta": 0.01, "clients": 5},
    "domain": {"partition": "domain", "clients": 6},  # one style a client: there are six
}


def configured(level: str, skew: str, seed: int, folder: Path, changes: dict[str, Any]) -> RunConfig:
    """Return the configuration of one cell."""
    name = f"{level}-{skew}-{seed}"
    cell = {"name": name, "method": "fgl", "prompt-level": level, "seed": seed}
    return RunConfig.parse({**SKEWS[skew], **runs_dir(folder), **changes, **cell})


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m experiments.shows.prompt_levels", description=__doc__)
    parser.add_argument("--levels", nargs="+", choices=LEVELS, default=LEVELS)
    parser.add_argument("--skews", nargs="+", choices=list(SKEWS), default=list(SKEWS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--runs-dir", type=Path, default=Path("runs/prompt-levels"))
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="of every run")
    given = parser.parse_args()
    quiet(False)
    changes = settings(given.set)
    rows = (
        (
            {"skew": skew, "level": level},
            [finished(configured(level, skew, seed, given.runs_dir, changes)) for seed in range(given.seeds)],
        )
        for skew in given.skews
        for level in given.levels
    )
    table(rows, {"accuracy": accuracy, "bytes_up_per_client": bytes_up, "bytes_once_per_client": bytes_once})


if __name__ == "__main__":
    main()
