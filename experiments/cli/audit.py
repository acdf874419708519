"""`fgl audit`: evidence on the privacy of a run."""

from pathlib import Path
from typing import Annotated

import typer

from experiments.cli.audit_copies import copies
from experiments.cli.audit_membership import membership
from experiments.cli.audit_prompts import prompts
from experiments.cli.options import SetOption, load
from experiments.cli.terminal import EXIT_FAILED, console, errors_as_sentences, progress_bars, quiet

app = typer.Typer(no_args_is_help=True, help="Evidence on the privacy of a run.")


@app.callback()
def group() -> None:
    """Evidence on the privacy of a run: what was promised, and what an attacker finds."""


app.command()(membership)
app.command()(copies)
app.command()(prompts)


@app.command()
def promise(
    file: Annotated[Path, typer.Argument(help="Run configuration (flat TOML) with dp-epsilon.", metavar="FILE")],
    client: Annotated[int, typer.Option("--client", "-c", min=0, help="Partition of the client, from 0.")] = 0,
    trials: Annotated[int, typer.Option(min=100, help="Answers with the image, and as many without it.")] = 10_000,
    set_: SetOption = None,
) -> None:
    """Test the promise of dp-epsilon: tell a client's answers with all of its images from those with one image less.

    Prints the epsilon that the answers show at least (95 % confidence) beside that of the accountant: of any mechanism,
    and, which few trials show much more closely, of one that differs from the promised one in nothing but how much
    noise it adds. A broken one, with half the noise or with a value told twice, shows more than was promised, and the
    command exits with 1. Of federated training every trial goes through all steps of a client's training, with one
    made-up image and without it: a few hundred trials take minutes.
    For RUN/config.toml of a finished run the figures are added to its report.

    [bold]Examples[/]

      fgl audit promise experiments/demo/fgl.toml --set dp-epsilon=1

      fgl audit promise run.toml --client 3 --trials 50000

      fgl audit promise experiments/demo/fedavg.toml --set dp-epsilon=8 --set rounds=5 --trials 500
    """
    quiet(False)
    with errors_as_sentences(verbose=False):
        from experiments.audit.promise import examine
        from experiments.audit.recording import record, run_of
        from fgl_flower.preflight import preflight

        config = load(file, set_)
        preflight(config)
        with progress_bars(f"the promise of {file}") as watch:
            found = examine(config, client, trials, lambda done, total: watch("answers", done, total))
        made = found.promise
        sentence = (
            f"client {client}, one image ({found.prompt}) more or less, {found.trials:,} answers each: epsilon is "
            f"at least {found.by_noise:.2f} ({found.at_least:.2f} if nothing is known of the mechanism); by the "
            f"accountant it is {found.spent:.3g}, promised are "
            f"{made.epsilon:g} at delta {made.delta:.2g} (noise of standard deviation {made.noise:.3g}, "
            f"{made.releases} release(s))"
        )
        console.print(sentence, soft_wrap=True, markup=False, highlight=False)
        if (run := run_of(file, set_)) is not None:
            figures = {"epsilon": made.epsilon, "delta": made.delta, "spent": found.spent, "trials": found.trials}
            shown = {"at-least": found.at_least, "at-least-by-noise": found.by_noise, "broken": found.broken}
            record(run, "promise", sentence, {**figures, **shown})
        if found.broken:
            console.print("the promise is broken", style="red")
            raise typer.Exit(EXIT_FAILED)
