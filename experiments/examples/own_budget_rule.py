"""A budget rule of your own: prompts get images by the square root of the private images behind them.

    python -m experiments.examples.own_budget_rule

In a TOML: budget-rule = "experiments.examples.own_budget_rule:square_root".
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from experiments import run
from fgl_flower import Offer, Result, RunConfig
from strategies.turns import Turns


def square_root(offers: Sequence[Offer], held: Mapping[str, int]) -> Turns:
    """Return whose turn it is to be drawn from.

    Image after image goes to the prompt whose turn it is, so that a larger budget keeps the images of a smaller one.
    `held` is how many private images of each class the clients say they hold; this rule does not need it.
    """
    return Turns(range(len(offers)), [math.sqrt(offer.prompt.count) for offer in offers])


def main(**changes: Any) -> Result:
    """Run one-shot FGL with this rule on very skewed clients."""
    keys = {"budget_rule": "experiments.examples.own_budget_rule:square_root", "beta": 0.1}
    return run(RunConfig(**{**keys, **changes}))


if __name__ == "__main__":
    print(f"test accuracy {main().accuracy:.3f}")
