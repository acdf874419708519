"""The privacy budget of a node's images over all runs, in a file that its owner names.

A line of JSON a release, appended before it leaves. The file alone counts: where it cannot be read or written, nothing
leaves.
"""

import json
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from filelock import FileLock

from clients.policy import Policy, PolicyError
from fgl_flower.privacy.accountant import Mechanism, epsilon_of


def spend(policy: Policy, run: int, what: str, how: Mechanism, releases: int) -> None:
    """Write down releases that are about to leave, if what left before allows them.

    Parameters
    ----------
    policy : Policy
        Without `epsilon` there is no budget.
    run : int
        Flower's id of the run, for the owner.
    what : str
        What leaves, for the owner.
    how : Mechanism
        How each list of numbers got its noise.
    releases : int
        How many lists of numbers leave.

    Raises
    ------
    PolicyError
        If they would exceed the budget, or the file cannot be used.
    """
    if not policy.epsilon:
        return
    path = Path(policy.spent).expanduser()
    try:
        # Two runs may ask at the same time.
        with FileLock(path.with_name(path.name + ".lock")), path.open("a+", encoding="utf-8") as file:
            file.seek(0)
            made = Counter({how: releases})
            for line in file:
                told = json.loads(line)
                made[_mechanism(told)] += int(told["releases"])
            total = epsilon_of(made, policy.delta)
            if total > policy.epsilon:
                raise PolicyError(
                    f"the owner's privacy budget is spent: {what} would make it epsilon {total:.3g} over all runs, "
                    f"{policy.epsilon:g} are allowed"
                )
            line = json.dumps({"run": run, "what": what, **asdict(how), "releases": releases, "epsilon": total})
            file.write(line + "\n")
            file.flush()
            os.fsync(file.fileno())  # on the disk before anything leaves
    except PolicyError:
        raise
    except (OSError, ValueError, KeyError, TypeError) as error:
        kind = type(error).__name__
        raise PolicyError(f"the file of the owner's privacy budget cannot be used ({kind}), nothing is told") from None


def _mechanism(told: Mapping[str, Any]) -> Mechanism:
    return Mechanism(float(told["noise"]), float(told.get("rate", 1.0)), bool(told.get("continuous", False)))
