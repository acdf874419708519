"""`fgl status`: how far a run is, from another shell."""

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from experiments.cli.terminal import console, errors_as_sentences
from fgl_flower.errors import ConfigError
from fgl_flower.files import read_json
from fgl_flower.report.formatting import human_seconds

_ASKED = {
    "query.prompts": "prompts",
    "train": "training",
    "evaluate.by_class": "how the model does",
    "query.model": "to take the model",
}


def status(
    run: Annotated[Path, typer.Argument(help="Run folder.", metavar="RUN")],
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Print again with each change, until the run ends.")
    ] = False,
) -> None:
    """Say how far a run is: phase, done, time left, and which clients have answered.

    [bold]Examples[/]

      fgl status runs/demo/fgl

      fgl status /srv/runs/hospitals --follow
    """
    with errors_as_sentences(verbose=False):
        last: list[str] = []
        while True:
            lines, over = lines_of(run)
            if lines != last:
                console.print("\n".join(lines), soft_wrap=True, markup=False, highlight=False)
                last = lines
            if over or not follow:
                return
            time.sleep(1)


def lines_of(run: Path) -> tuple[list[str], bool]:
    """Return what there is to say, and whether the run is over."""
    from fgl_flower.records.process import why_gone

    told: dict[str, Any] = read_json(run / "status.json", {})
    if not told:
        raise ConfigError(f"{run} is no run folder")
    state = str(told["state"])
    if state == "running" and (gone := why_gone(told)):
        command = "fgl deploy run FILE SERVER" if told.get("engine") == "deployment" else "fgl run"
        return [f"{run.name}: ended early, {gone}; go on with it: {command} --resume {run}"], True
    if state != "running":
        reason = f": {told['reason']}" if told.get("reason") else ""
        return [f"{run.name}: {state} after {human_seconds(told.get('seconds', 0.0))}{reason}"], True
    resumed = f", resumed {told['resumed']} times" if told.get("resumed") else ""
    lines = [f"{run.name}: running{resumed}"]
    now: dict[str, Any] = read_json(run / "progress.json", {})
    if now.get("phase"):
        done, total, since = now["done"], now["total"], time.time() - now["since"]
        left = f", about {human_seconds(since / done * (total - done))} left" if 0 < done < total else ""
        lines.append(f"{now['phase']}: {done:,} of {total:,}{left}")
    if clients := now.get("clients"):
        asked = _ASKED.get(clients["asked"], clients["asked"])
        names = ", ".join(clients["names"]) + (", ..." if clients["answered"] > len(clients["names"]) else "")
        count = f"{clients['answered']:,} of {clients['of']:,} answered"
        lines.append(f"round {clients['round']}, clients asked for {asked}: {count}" + (f" ({names})" if names else ""))
    return lines, False
