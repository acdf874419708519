"""`fgl deploy`: a federation on real machines."""

from pathlib import Path
from typing import Annotated

import typer

from experiments.cli.options import SetOption, load
from experiments.cli.terminal import (
    EXIT_FAILED,
    console,
    errors,
    errors_as_sentences,
    progress_bars,
    quiet,
    show_runs,
)
from fgl_flower.errors import ConfigError
from fgl_flower.files import read_json
from fgl_flower.records.reading import read_run

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="""
A federation on real machines; docs/deployment.md is the runbook.

[bold]In this order[/]

  fgl deploy init hosts.toml OUT        files for each host: certificates, keys, policies, scripts, systemd units

  OUT/server/start.sh                   on the server, then OUT/server/register.sh

  OUT/nodes/NAME/start.sh               on each node; fgl deploy check OUT/nodes/NAME tells what is wrong there

  fgl deploy run run.toml OUT/server    on the server
""",
)


@app.command()
def init(
    hosts: Annotated[Path, typer.Argument(help="The machines (TOML).", metavar="HOSTS")],
    out: Annotated[Path, typer.Argument(help="Folder to write.", metavar="OUT")],
) -> None:
    """Write what each host of a federation needs: run it again after a change, keys and policies stay.

    [bold]hosts.toml[/]

      name = "hospitals"

      [server]
      address = "fgl.example.org"

      [nodes.berlin]
      data = "folder:/data/xrays"

      [nodes.paris]
      data = "hub:/data/scans"
      labels = "pneumonie=pneumonia, sain=healthy"
    """
    with errors_as_sentences(verbose=False):
        from experiments.deploy.hosts import Hosts
        from experiments.deploy.init import init as write

        read = Hosts.read(hosts)
        for line in write(read, out):
            console.print(line, soft_wrap=True, markup=False, highlight=False)
        console.print(
            f"copy {out}/server to {read.server.address} and {out}/nodes/NAME to each node; keep {out}/authority to "
            "yourself; then start.sh on the server, register.sh beside it, and start.sh on each node",
            soft_wrap=True,
            markup=False,
            highlight=False,
        )


@app.command()
def check(
    folder: Annotated[Path, typer.Argument(help="The host's folder, as fgl deploy init made it.", metavar="FOLDER")],
    run: Annotated[Path | None, typer.Option(help="A run's configuration: the node's data is looked at.")] = None,
) -> None:
    """Tell what is wrong with a host: clock, certificate, ports, key, rules, data, disk, versions.

    Exit code 1 if anything is.

    [bold]Example[/]

      fgl deploy check nodes/berlin --run run.toml
    """
    with errors_as_sentences(verbose=False):
        quiet(verbose=False)
        from experiments.deploy.check import check as look

        found = look(folder, load(run) if run else None)
        for one in found:
            mark, style = ("ok", "green") if one.well else ("!!", "bold red")
            console.print(f"[{style}]{mark}[/]  {one.what}: ", end="", highlight=False)
            console.print(one.text, soft_wrap=True, markup=False, highlight=False)
    if not all(one.well for one in found):
        raise typer.Exit(EXIT_FAILED)


@app.command()
def run(
    file: Annotated[Path, typer.Argument(help="Run configuration (flat TOML).", metavar="FILE")],
    server: Annotated[Path, typer.Argument(help="The server's folder, as fgl deploy init made it.", metavar="SERVER")],
    connection: Annotated[str, typer.Option(help="A SuperLink of SERVER/flwr/config.toml; default: its first.")] = "",
    set_: SetOption = None,
    resume: Annotated[
        Path | None, typer.Option(metavar="RUN", help="Go on with a run folder that ended early; FILE must be its own.")
    ] = None,
) -> None:
    """Run a configuration on the SuperLink, wait for its end, and exit with 1 if it failed.

    [bold]Examples[/]

      fgl deploy run run.toml server

      fgl deploy run run.toml server --resume /srv/runs/hospitals    after a crash of the server or the SuperLink
    """
    with errors_as_sentences(verbose=False):
        from experiments.deploy.running import start, wait

        config = load(file, set_)
        runs = Path(config.runs_dir).expanduser()
        update: dict[str, str] = {"runs_dir": str(runs if runs.is_absolute() else Path.cwd() / runs)}
        if config.store_dir:
            update["store_dir"] = str(Path(config.store_dir).expanduser().resolve())
        if resume is not None:
            if not (resume / "status.json").exists():
                raise ConfigError(f"{resume} is no run folder: there is nothing to resume")
            update["resume"] = str(resume.resolve())
        config = config.model_copy(update=update)
        with console.status("handing the app to the SuperLink"):
            run_id = start(config, server, connection)
        console.print(f"run {run_id}", highlight=False)

        def folder() -> Path | None:
            places = [resume / "status.json"] if resume else Path(config.runs_dir).glob("*/status.json")
            for status in places:
                if read_json(status, {}).get("flower_run") == run_id:
                    return status.parent
            return None

        with progress_bars(config.name or "run") as watch:
            status = wait(run_id, server, connection, folder, watch)
        path = folder()
        if path is not None and (path / "result.json").exists():
            show_runs([read_run(path)])
            console.print(f"report: {path / 'report.html'}", soft_wrap=True, highlight=False)
            return
        if path is None:
            sentence = f"the run failed ({status}) and left no run folder; see {server / 'superlink.log'}"
        else:
            reason = read_json(path / "status.json", {}).get("reason") or status
            sentence = f"the run failed: {reason}; go on with it: fgl deploy run {file} {server} --resume {path}"
        errors.print(f"fgl: {sentence}", style="red", soft_wrap=True, markup=False, highlight=False)
    raise typer.Exit(EXIT_FAILED)
