"""What prompts of every level are worth, at one image budget: `python -m experiments.shows.prompt_levels`.

Levels times skews times seeds on the built-in world, each a one-shot run in a folder of its own; a run that is finished
is not run again, so the table can be interrupted and grown. Printed are mean and half width of the 95 % interval.
"""

from functools import partial
from typing import Any

from experiments.shows.many_runs import accuracy, bytes_once, bytes_up, keys, options, table
from experiments.terminal import quiet
from fgl_flower.config import RunConfig

LEVELS = ("names", "class", "class-style", "instance", "embeddings", "tokens")
SKEWS: dict[str, dict[str, Any]] = {
    "beta-0.01": {"partition": "dirichlet", "beta": 0.01, "clients": 5},
    "domain": {"partition": "domain", "clients": 6},  # one style a client: there are six
}


def configured(level: str, skew: str, changes: dict[str, Any], seed: int) -> RunConfig:
    """Return the configuration of one run."""
    name = f"{level}-{skew}-{seed}"
    cell = {"name": name, "method": "fgl", "prompt-level": level, "seed": seed}
    return RunConfig.parse({**SKEWS[skew], **changes, **cell})


def main() -> None:
    """Command line."""
    parser = options("prompt_levels", __doc__)
    parser.add_argument("--levels", nargs="+", choices=LEVELS, default=LEVELS)
    parser.add_argument("--skews", nargs="+", choices=list(SKEWS), default=list(SKEWS))
    given = parser.parse_args()
    quiet(False)
    changes = keys(given)
    rows = (
        ({"skew": skew, "level": level}, partial(configured, level, skew, changes))
        for skew in given.skews
        for level in given.levels
    )
    figures = {"accuracy": accuracy, "bytes_up_per_client": bytes_up, "bytes_once_per_client": bytes_once}
    table(rows, given.seeds, figures)


if __name__ == "__main__":
    main()
