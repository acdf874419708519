"""`fgl`: run a federation described by a TOML file, compare several, write their reports."""

import os
import shlex
import sys
from pathlib import Path
from typing import Annotated, Literal, cast

import typer
from rich.table import Table

from experiments.bench.app import app as bench_app
from experiments.bench.clients import clients
from experiments.cli import audit, deploy, doctor, fetch, node, plan, status, store, table
from experiments.cli.dry_run import dry_run as look_before
from experiments.cli.options import SetOption, load
from experiments.cli.terminal import (
    EXIT_FAILED,
    console,
    errors,
    errors_as_sentences,
    prepare_output,
    print_failure,
    progress_bars,
    quiet,
    show,
    show_runs,
)
from fgl_flower.config import RunConfig, describe_keys
from fgl_flower.errors import ConfigError
from fgl_flower.interrupts import caught
from fgl_flower.records.finished import FinishedRuns
from fgl_flower.records.reading import Run, read_run
from fgl_flower.records.reopening import unfinished
from fgl_flower.records.run_folder import default_name

# torch, Flower and matplotlib are imported inside the commands that need them, so that `fgl --help` answers at once.

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="""
Federated Generative Learning on Flower: clients send [bold]prompts[/], the server draws the training set.

[bold]Start here[/]

  fgl compare experiments/demo/*.toml --runs-dir runs/demo     FGL, FedAvg and centralised training side by side

  fgl run experiments/demo/fgl.toml                            one run; leaves a folder with figures and a report

  fgl run experiments/demo/fgl.toml --set beta=0.5 --set seed=1

  fgl config                                                   every key, its default, range and meaning

Exit codes: 0 fine, 1 a run failed, 2 bad input (nothing is written then), 130 interrupted (143 by SIGTERM).
""",
)

Files = Annotated[list[Path], typer.Argument(help="Run configurations (flat TOML).", metavar="FILE...")]
EngineOption = Annotated[
    Literal["inline", "ray"],
    typer.Option(help="Run the clients in this process, or as Ray actors by Flower's simulation."),
]
RunsDirOption = Annotated[Path | None, typer.Option(help="Folder for run folders; wins over the file's runs-dir.")]
VerboseOption = Annotated[bool, typer.Option("--verbose", "-v", help="Show Flower's own log, and tracebacks.")]


@app.command()
def run(
    file: Annotated[Path | None, typer.Argument(help="Run configuration (flat TOML).", metavar="[FILE]")] = None,
    engine: EngineOption = "inline",
    set_: SetOption = None,
    runs_dir: RunsDirOption = None,
    resume: Annotated[
        Path | None,
        typer.Option(metavar="RUN", help="Go on with a run that was killed, interrupted or failed; needs no FILE."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what the run would do and cost and what it lacks; start nothing.")
    ] = False,
    verbose: VerboseOption = False,
) -> None:
    """Run one configuration and leave a run folder: result.json, model.safetensors, report.html and more.

    [bold]Examples[/]

      fgl run experiments/demo/fgl.toml

      fgl run experiments/demo/fgl.toml --dry-run        images, bytes, disk, memory, time; code 1: it could not start

      fgl run experiments/demo/fedavg.toml --engine ray --set rounds=5 --set name=short

      fgl run --resume runs/short      from the last finished step: prompts, images and rounds that are done stay
    """
    quiet(verbose)
    with errors_as_sentences(verbose):
        if (file is None) == (resume is None):
            raise ConfigError("fgl run wants a FILE, or --resume RUN")
        if dry_run and file is None:
            raise ConfigError("--dry-run looks at a FILE: a run that has begun shows how far it is by fgl status RUN")
        if resume is not None:
            if set_ or runs_dir:
                raise ConfigError("--resume goes on with the keys of the run: --set and --runs-dir go with a FILE")
            config, begun = unfinished(resume)
            if engine not in {"inline", begun}:
                raise ConfigError(f"--engine {engine}: the run was begun with --engine {begun}")
            engine = begun
        else:
            config = load(cast(Path, file), set_, runs_dir)
        ready = not dry_run or look_before(config, cast(Path, file))
        if not dry_run:
            _check([config])
            done = _execute(config, engine, resume)
            show_runs([done])
            console.print(f"report: {done.path / 'report.html'}", soft_wrap=True, highlight=False)
    if not ready:
        raise typer.Exit(EXIT_FAILED)


@app.command()
def compare(
    files: Files,
    engine: EngineOption = "inline",
    set_: SetOption = None,
    runs_dir: RunsDirOption = None,
    again: Annotated[bool, typer.Option("--again", help="Run everything again, also what is finished.")] = False,
    verbose: VerboseOption = False,
) -> None:
    """Run several configurations, skip those that are finished already, and print one table.

    A configuration counts as finished when a finished run with the same keys, data and models lies in its runs-dir.
    The page [bold]compare.html[/] in the runs-dir shows them side by side. When a run fails, the others go on.

    [bold]Examples[/]

      fgl compare experiments/demo/*.toml --runs-dir runs/demo

      fgl compare a.toml b.toml --set seed=1
    """
    quiet(verbose)
    with errors_as_sentences(verbose):
        configs = [load(file, set_, runs_dir) for file in files]
        runs = [None if again else find_finished(config) for config in configs]
        if not all(runs):
            _check(configs)  # all of them before the first one starts
        done: list[Run] = []
        for config, run_before in zip(configs, runs, strict=True):
            try:
                done.append(_reuse(run_before) if run_before else _execute(config, engine))
            except Exception as error:  # one run that fails does not cost the others
                print_failure(error, verbose)
        if done:
            show_runs(done)
            try:
                page = _write_report([one.path for one in done], done[0].path.parent / "compare.html")
            except OSError as error:
                errors.print(f"fgl: compare.html is not written: {error.strerror}", style="red", highlight=False)
            else:
                console.print(f"report: {page}", soft_wrap=True, highlight=False)
    if len(done) < len(configs):
        raise typer.Exit(EXIT_FAILED)


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(help="Run folders.", metavar="RUN...")],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="The page (default: report.html of RUN, or compare.html beside the first of several).",
        ),
    ] = None,
) -> None:
    """Write the page of one run, or of several side by side.

    [bold]Examples[/]

      fgl report runs/demo/fgl

      fgl report runs/demo/fgl runs/demo/fedavg -o page.html
    """
    with errors_as_sentences(verbose=False):
        read = [read_run(path) for path in runs]
        default = read[0].path / "report.html" if len(read) == 1 else read[0].path.parent / "compare.html"
        show_runs(read)
        page = _write_report([one.path for one in read], output or default)
        console.print(f"report: {page}", soft_wrap=True, highlight=False)


@app.command()
def config() -> None:
    """Print every key of a run configuration: type, default, range and meaning."""
    table = Table(show_lines=False)
    for heading in ("key", "type", "default", "range", "meaning"):
        table.add_column(heading, no_wrap=heading == "key")
    for row in describe_keys():
        table.add_row(*row)
    show(table)


def _check(configs: list[RunConfig]) -> None:
    with console.status("looking for data and models"):
        from fgl_flower.preflight import preflight

        for config in configs:
            preflight(config)


def _execute(config: RunConfig, engine: Literal["inline", "ray"], resume: Path | None = None) -> Run:
    with console.status("loading torch and Flower"):
        from experiments.runner import run_folder
    with progress_bars(config.name or default_name(config)) as watch:
        command = shlex.join(["fgl", *sys.argv[1:]])
        path = run_folder(config, engine=engine, command=command, watch=watch, resume=resume)
    return read_run(path)


def find_finished(config: RunConfig) -> Run | None:
    """Return the finished run of a configuration in its runs-dir, if any; one that is outdated is only named."""
    runs = FinishedRuns(Path(os.path.expanduser(config.runs_dir)))
    if note := runs.note(config):
        console.print(note, soft_wrap=True, markup=False, highlight=False)
    return runs.get(config)


def _reuse(finished: Run) -> Run:
    revision = (finished.environment.get("git") or {}).get("revision") or "unknown"
    console.print(
        f"{finished.name}: finished earlier, at revision {revision[:10]} (--again runs it anew)", highlight=False
    )
    return finished


def _write_report(paths: list[Path], target: Path) -> Path:
    from fgl_flower.report.page import write_report

    if not target.parent.is_dir():
        raise ConfigError(f"cannot write {target}: there is no folder {target.parent}")
    return write_report(paths, target)


app.command()(table.table)
app.command()(plan.plan)
app.command()(plan.preview)
app.command()(fetch.fetch)
app.command()(doctor.doctor)
app.command()(status.status)
app.add_typer(store.app, name="store")
app.add_typer(deploy.app, name="deploy")
app.add_typer(node.app, name="node")
app.add_typer(audit.app, name="audit")
bench_app.command()(clients)
app.add_typer(bench_app, name="bench")


def main() -> None:
    """Entry point of the `fgl` command."""
    prepare_output()
    with caught():
        app()


if __name__ == "__main__":
    main()
