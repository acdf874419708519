"""Our FedAvg is not weak: `python -m experiments.shows.quickstart --rounds 30 --seeds 3`.

The project's `method = "fedavg"` beside Flower's quickstart for PyTorch (`experiments.shows.quickstart_app`), on the
same images, partition, classifier and settings. Printed are a JSON line a seed with both accuracies on the test split,
then the difference paired by seed (mean and half width of its 95 % interval) and the seconds a round of each, from the
first message to the test, validation after each round included.
"""

import argparse
import random
import time
from pathlib import Path
from typing import Any

from experiments.cli.app import find_finished
from experiments.cli.options import overrides
from experiments.cli.terminal import progress_bars, quiet
from experiments.shows.lines import mean_and_half, print_line
from fgl_flower.config import RunConfig
from fgl_flower.records.reading import Run, read_run
from fgl_flower.records.run_folder import Watch
from fgl_flower.report.intervals import paired_difference


def quickstart(config: RunConfig, watch: Watch) -> tuple[float, float]:
    """Run Flower's quickstart; return its accuracy on the test split and the seconds that it took."""
    import torch  # and Flower: only when `quiet` has been called
    from flwr.app import Context, RecordDict

    from experiments.shows.quickstart_app import client_app, server_app
    from fgl_flower.simulation import InlineGrid

    random.seed(config.seed)  # FedAvg's sampling of clients
    torch.manual_seed(config.seed)
    grid = InlineGrid(client_app, config.clients, config.to_flat())
    context = Context(grid.run.run_id, 0, {}, RecordDict(), config.to_flat())
    began = time.perf_counter()
    server_app(watch)(grid, context)
    return float(context.state.metric_records["test"]["accuracy"]), time.perf_counter() - began  # type: ignore[arg-type]


def finished(config: RunConfig) -> Run:
    """Return the finished run of a configuration, running it first where there is none."""
    if run := find_finished(config):
        return run
    from experiments.runner import run_folder

    with progress_bars(config.name) as watch:
        return read_run(run_folder(config, watch=watch))


def compared(config: RunConfig) -> dict[str, Any]:
    """Return both accuracies and both durations under one configuration."""
    run = finished(config)
    assert run.result is not None
    with progress_bars(f"quickstart-{config.seed}") as watch:
        theirs, seconds = quickstart(config, watch)
    ours = run.result.accuracy
    assert ours is not None, "the built-in world has test images"
    return {
        "seed": config.seed,
        "ours": ours,
        "quickstart": theirs,
        "difference": ours - theirs,
        "seconds": {"ours": run.result.seconds["total"], "quickstart": seconds},
    }


def summary(rows: list[dict[str, Any]], rounds: int) -> dict[str, Any]:
    """Return the paired difference and the mean seconds a round of both."""
    by_seed = [{row["seed"]: row[who] for row in rows} for who in ("ours", "quickstart")]
    difference = paired_difference(*by_seed)
    assert difference is not None
    return {
        "seeds": difference.count,
        "difference": mean_and_half(difference),
        "seconds_a_round": {
            who: sum(row["seconds"][who] for row in rows) / (len(rows) * rounds) for who in ("ours", "quickstart")
        },
    }


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--beta", type=float, default=0.5)
    parser.add_argument("--local-lr", type=float, default=RunConfig().local_lr)
    parser.add_argument("--runs-dir", type=Path, default=Path("runs/quickstart"))
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="of every run")
    given = parser.parse_args()
    quiet(False)
    options = {"rounds": given.rounds, "beta": given.beta, "local-lr": given.local_lr, "runs-dir": str(given.runs_dir)}
    changes = {"method": "fedavg", **overrides(given.set), **options}
    rows = []
    for seed in range(given.seeds):
        rows.append(compared(RunConfig.parse({**changes, "name": f"fedavg-{seed}", "seed": seed})))
        print_line(rows[-1])
    print_line(summary(rows, given.rounds))


if __name__ == "__main__":
    main()
