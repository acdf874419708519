"""What a generator can be taught that it never saw: `python -m experiments.shows.held_out`.

Learned tokens against words, on the two classes and on the style that the built-in world's public split does not show.
The figure is the accuracy on test images of the held-out classes (among all twelve), or of the held-out style, of a
classifier trained on synthetic images only. Finished runs are not run again.
"""

from functools import partial
from statistics import fmean
from typing import Any

from experiments.cli.terminal import quiet
from experiments.shows.many_runs import accuracy, bytes_up, keys, options, table
from fgl_flower.config import RunConfig
from fgl_flower.data.world import HELD_OUT_CLASSES, HELD_OUT_STYLE
from fgl_flower.records.reading import Run

SAID: dict[str, dict[str, Any]] = {
    "words": {"prompt-level": "class-style"},
    "captions": {"prompt-level": "instance"},
    "tokens": {"prompt-level": "tokens", "token-vectors": 8, "token-steps": 300},
}


def configured(what: str, said: str, changes: dict[str, Any], seed: int) -> RunConfig:
    """Return the configuration of one run: five clients, shares drawn evenly."""
    cell = {"name": f"{what}-{said}-{seed}", "method": "fgl", "seed": seed, "dataset": f"world-held-out-{what}"}
    names = HELD_OUT_CLASSES if what == "classes" else (HELD_OUT_STYLE,)
    subject = {"token-subject": "class" if what == "classes" else "style", "token-names": ",".join(names)}
    base = {"partition": "iid", "clients": 5, "generator": "miniature", "guidance": 4.0}
    return RunConfig.parse({**base, **subject, **SAID[said], **changes, **cell})


def held_out(run: Run) -> float:
    """Return the accuracy on what the generator never saw."""
    assert run.result is not None
    if run.config.dataset == "world-held-out-style":
        return run.result.accuracy_by_domain[HELD_OUT_STYLE] or 0.0
    return fmean(run.result.accuracy_by_class[name] or 0.0 for name in HELD_OUT_CLASSES)


def main() -> None:
    """Command line."""
    parser = options("held_out", __doc__)
    parser.add_argument("--what", nargs="+", choices=("classes", "style"), default=("classes", "style"))
    parser.add_argument("--said", nargs="+", choices=list(SAID), default=list(SAID))
    given = parser.parse_args()
    quiet(False)
    changes = keys(given)
    rows = (
        ({"held_out": what, "said": said}, partial(configured, what, said, changes))
        for what in given.what
        for said in given.said
    )
    table(rows, given.seeds, {"held_out_accuracy": held_out, "accuracy": accuracy, "bytes_up_per_client": bytes_up})


if __name__ == "__main__":
    main()
