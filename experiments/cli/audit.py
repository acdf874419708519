"""`fgl audit`: evidence on the privacy of a run."""

import math
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.table import Table

from experiments.cli.audit_membership import membership
from experiments.cli.options import SetOption, load
from experiments.cli.terminal import EXIT_FAILED, console, errors_as_sentences, progress_bars, quiet, show

CLIENTS_SHOWN = 30

app = typer.Typer(no_args_is_help=True, help="Evidence on the privacy of a run.")


app.command()(membership)


@app.callback()
def group() -> None:
    """Evidence on the privacy of a run: what was promised, and what an attacker finds."""


@app.command()
def promise(
    file: Annotated[Path, typer.Argument(help="Run configuration (flat TOML) with dp-epsilon.", metavar="FILE")],
    client: Annotated[int, typer.Option("--client", "-c", min=0, help="Partition of the client, from 0.")] = 0,
    trials: Annotated[int, typer.Option(min=100, help="Answers with the image, and as many without it.")] = 10_000,
    set_: SetOption = None,
) -> None:
    """Test the promise of dp-epsilon: tell a client's answers with all of its images from those with one image less.

    Prints the epsilon that the answers show at least (95 % confidence) beside that of the accountant. A mechanism that
    is broken, for instance by too little noise, shows more than was promised, and the command exits with 1. One that is
    not shows less, as trials are few and the accountant speaks of any attacker.

    [bold]Examples[/]

      fgl audit promise experiments/demo/fgl.toml --set dp-epsilon=1

      fgl audit promise run.toml --client 3 --trials 50000
    """
    quiet(False)
    with errors_as_sentences(verbose=False):
        from experiments.audit.promise import examine
        from fgl_flower.preflight import preflight

        config = load(file, set_)
        preflight(config)
        with progress_bars(f"the promise of {file}") as watch:
            found = examine(config, client, trials, lambda done, total: watch("answers", done, total))
        made = found.promise
        console.print(
            f"client {client}, one image of {found.prompt!r} more or less, {found.trials:,} answers each: epsilon is "
            f"at least {found.at_least:.2f}; by the accountant it is {found.spent:.3g}, promised are "
            f"{made.epsilon:g} at delta {made.delta:.2g} (noise of standard deviation {made.noise:.3g}, "
            f"{made.releases} release(s))",
            soft_wrap=True,
            markup=False,
            highlight=False,
        )
        if found.broken:
            console.print("the promise is broken", style="red")
            raise typer.Exit(EXIT_FAILED)


@app.command()
def prompts(
    file: Annotated[Path, typer.Argument(help="Run configuration (flat TOML).", metavar="FILE")],
    set_: SetOption = None,
) -> None:
    """Show what the clients' prompts say about them. The prompts are made; nothing is sent, drawn or trained.

    For each client: prompts that stand for one image alone, or for fewer than five, by which a rare image can be found;
    and how many words of an image's true caption (where the data have such) a prompt of its class and style names,
    beside what the true caption of another, held-out image of that class and style names: what anybody could guess.
    Below it, what the scrubber takes out of captions with planted names and numbers.

    [bold]Examples[/]

      fgl audit prompts experiments/demo/fgl.toml

      fgl audit prompts experiments/demo/fgl.toml --set prompt-level=instance
    """
    quiet(False)
    with errors_as_sentences(verbose=False):
        from experiments.audit.prompts import FEW, examine, scrubbed
        from fgl_flower.preflight import preflight

        config = load(file, set_)
        preflight(config)
        with progress_bars(f"the prompts of {file}") as watch:
            rows = examine(config, lambda done, total: watch("clients", done, total))
        told = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
        for heading in ("client", "images", "prompts", "of one image", f"of fewer than {FEW}", "words told", "guessed"):
            told.add_column(heading, justify="right", no_wrap=True)
        for row in rows[:CLIENTS_SHOWN]:
            figures = (row.client, row.images, row.prompts, row.alone, row.few)
            told.add_row(*(f"{figure:,}" for figure in figures), _percent(row.words), _percent(row.guessed))
        show(told)
        if len(rows) > CLIENTS_SHOWN:
            console.print(f"and {len(rows) - CLIENTS_SHOWN:,} clients more")
        if config.prompt_level == "names":
            console.print("prompt-level = 'names': clients send nothing", markup=False)
        planted = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
        for heading in ("planted in captions", "taken out", "of"):
            planted.add_column(heading, justify="left" if heading.startswith("planted") else "right")
        for kind, (taken, count) in scrubbed().items():
            planted.add_row(kind, str(taken), str(count))
        show(planted)


def _percent(share: float) -> str:
    return "" if math.isnan(share) else f"{share:.0%}"
