"""`fgl node`: what would leave a node, and what did."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from experiments.cli.options import SetOption, load
from experiments.cli.terminal import console, errors_as_sentences, quiet, show
from fgl_flower.errors import ConfigError
from fgl_flower.files import read_json_lines
from fgl_flower.report.formatting import human_bytes

app = typer.Typer(no_args_is_help=True, help="What a data owner wants to see: what would leave a node, and what did.")


@app.command()
def preview(
    file: Annotated[Path, typer.Argument(help="The run's configuration, as the server has it.", metavar="FILE")],
    node_config: Annotated[
        str, typer.Option("--node-config", metavar="'KEY=VALUE ...'", help="As given to flower-supernode.")
    ],
    set_: SetOption = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show Flower's own log, and tracebacks.")] = False,
) -> None:
    """Show what this node would answer to a run's prompt round under its owner's rules. Nothing is sent.

    [bold]Example[/]

      fgl node preview run.toml --node-config 'partition-id=0 data="folder:/data/xrays" policy="/etc/fgl/policy.toml"'
    """
    quiet(verbose)
    with errors_as_sentences(verbose):
        config = load(file, set_)
        with console.status("loading Flower"):
            from flwr.app import Context, RecordDict
            from flwr.common.config import parse_config_args

            from clients.data import Client
            from clients.prompting import prompt_payload
            from fgl_flower.wire.codec import encode
            from fgl_flower.wire.sizes import object_bytes
        told = {"partition-id": 0, **parse_config_args([node_config])}
        client = Client.of(Context(1, 1, told, RecordDict(), config.to_flat()))
        with console.status("describing the images"):
            payload = prompt_payload(client)
        table = Table("images", "class", "domain", "prompt")
        for prompt in payload.prompts:
            table.add_row(str(prompt.count), escape(prompt.label), escape(prompt.domain), escape(prompt.text))
        show(table)
        level = payload.level or config.prompt_level
        console.print(f"level {level}, {human_bytes(object_bytes(encode(payload)))}", highlight=False)
        console.print(f"class counts: {payload.class_counts or 'none'}", highlight=False, markup=False)
        for name, vectors in payload.arrays.items():
            console.print(f"{name}: {vectors.rows} vectors of {vectors.width}", markup=False, highlight=False)
        if payload.level:
            console.print(f"the server asks for {config.prompt_level}; the owner's rules allow {payload.level}")
        if payload.held_back:
            console.print(f"the owner's rules keep back {payload.held_back:,} prompts")
        if payload.skipped:
            console.print(f"{payload.skipped:,} images cannot be read and are left out")


@app.command()
def log(
    file: Annotated[Path, typer.Argument(help="The node's log, `log` of its node config.", metavar="FILE")],
    run: Annotated[int | None, typer.Option(help="Only what one run asked for.")] = None,
    texts: Annotated[bool, typer.Option("--texts", help="Print the text of each reply below the table.")] = False,
) -> None:
    """Show what has left this node: when, in which run, in answer to what, how many bytes, and the text.

    [bold]Examples[/]

      fgl node log sent.jsonl

      fgl node log sent.jsonl --run 5518293740012 --texts
    """
    with errors_as_sentences(verbose=False):
        if not file.is_file():
            raise ConfigError(f"there is no log {file}: nothing has left, or the node config names another `log`")
        lines = [line for line in read_json_lines(file) if run in {None, line["run"]}]
        table = Table("time", "run", "asked", "round", "level", "bytes", "sha256")
        for line in lines:
            level = _level(line)
            row = (line["time"], line["run"], line["asked"], line["round"], level, line["bytes"], line["sha256"][:16])
            table.add_row(*map(str, row))
        show(table)
        total = sum(line["bytes"] for line in lines)
        console.print(f"{len(lines):,} replies, {human_bytes(total)} ({total:,} bytes) in all", highlight=False)
        if texts:
            for line in lines:
                said = {key: value for key, value in line.items() if key not in {"time", "run", "bytes", "sha256"}}
                console.print_json(json.dumps(said))


def _level(line: dict[str, Any]) -> str:
    payload = line.get("payload")
    return str(payload.get("level") or "as asked") if isinstance(payload, dict) else ""
