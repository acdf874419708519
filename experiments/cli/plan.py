"""`fgl plan` and `fgl preview`: what would be drawn, and what a client would send, before anything is."""

import json
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.markup import escape
from rich.table import Table

from experiments.cli.options import SetOption, load
from experiments.cli.terminal import console, errors_as_sentences, quiet, show
from experiments.planning.messages import reply_bytes
from fgl_flower.config import RunConfig
from fgl_flower.errors import ConfigError, RunError
from fgl_flower.report.formatting import human_bytes

FileArgument = Annotated[Path, typer.Argument(help="Run configuration (flat TOML).", metavar="FILE")]


def plan(file: FileArgument, set_: SetOption = None) -> None:
    """Ask every client for its prompts and print what the server would draw: prompts, counts, seeds. Draws nothing.

    [bold]Examples[/]

      fgl plan experiments/demo/fgl.toml

      fgl plan experiments/demo/fgl.toml --set prompt-level=instance --set budget-rule=by-count
    """
    quiet(False)
    with errors_as_sentences(verbose=False):
        config = _generative(load(file, set_))
        with console.status("asking the clients"):
            made, refused, remarks = _query_prompts(config)
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
        for heading in ("class", "style", "images", "first seed", "prompt"):
            figures = heading in {"images", "first seed"}
            table.add_column(heading, justify="right" if heading == "images" else "left", no_wrap=figures)
        first = 0  # a plan of any size is shown by its prompts: no image is made but the first of each
        for label, domain, prompt, count in made.rows():
            seed = f"{made.images[first].seed:016x}"
            first += count
            table.add_row(escape(label), escape(domain), str(count), seed, escape(prompt))
        show(table)
        _remark(remarks)
        for client, reason in refused.items():
            console.print(f"client {client} is refused: {reason}", style="red", markup=False, highlight=False)
        settings = made.settings
        console.print(
            f"{len(made):,} images of {len(table.rows):,} prompts by {settings.generator} {settings.revision[:19]} "
            f"({settings.pipeline}) in {settings.steps} steps of {settings.scheduler} at guidance "
            f"{settings.guidance:g} in {settings.precision}, drawn at {settings.size} px, stored at "
            f"{settings.stored_size} px; plan {made.digest}",
            soft_wrap=True,
            markup=False,
            highlight=False,
        )


def preview(
    file: FileArgument,
    client: Annotated[int, typer.Option("--client", "-c", help="Partition of the client, from 0.")] = 0,
    set_: SetOption = None,
) -> None:
    """Print exactly what a client would send in the prompt round, and its size. Nothing is sent.

    [bold]Examples[/]

      fgl preview experiments/demo/fgl.toml --client 2

      fgl preview experiments/demo/fgl.toml --set prompt-level=instance
    """
    quiet(False)
    with errors_as_sentences(verbose=False):
        config = _generative(load(file, set_))
        from clients.data import Client
        from clients.prompting import prompt_payload
        from strategies.planning import inquiry_of

        if not 0 <= client < config.clients:
            raise ConfigError(f"--client {client}: the run has clients 0 to {config.clients - 1}")
        with console.status(f"client {client} looks at its images"):
            owner = Client(client, config)
            asked = inquiry_of(config, owner.source.classes, evaluates=config.client_evaluation)
            answers = [prompt_payload(owner, question) for question in asked.first()]
        for payload in answers:
            _show(client, payload)
        _remark(owner.source.notes)
        if left_out := owner.skipped:
            _remark([f"client {client} leaves out images that cannot be read: {len(left_out)}", *left_out])


def _show(client: int, payload: Any) -> None:
    """Print a payload as it stands on the wire, and its size."""
    from fgl_flower.wire.codec import encode

    records = encode(payload)
    values: Any = records["payload"]
    for key, value in json.loads(zlib.decompress(values["data"])).items():
        shown = json.dumps(value, ensure_ascii=False, indent=2 if key == "texts" else None)
        console.print(f"{key}: {shown}", soft_wrap=True, markup=False, highlight=False)
    sizes = [f"text {human_bytes(len(values['data']))} compressed"]
    if payload.arrays:
        one = next(iter(payload.arrays.values()))
        sent = len(values["arrays"]) if "arrays" in values else sum(map(len, values["files"]))
        sizes.append(f"{len(payload.arrays)} arrays of {one.rows} x {one.width} float16, {human_bytes(sent)}")
    console.print(
        f"client {client} would send {reply_bytes(records):,} bytes: kind {payload.kind}, "
        f"{len(payload.prompts):,} prompts, {', '.join(sizes)}; the rest is Flower's message around it",
        soft_wrap=True,
        markup=False,
        highlight=False,
    )


def _generative(config: RunConfig) -> RunConfig:
    if config.method != "fgl":
        raise ConfigError(f"method = {config.method!r} has no prompt round: set method to 'fgl'")
    return config


def _query_prompts(config: RunConfig) -> tuple[Any, dict[str, str], list[str]]:
    """Return the plan of a prompt round held in this process, the refused clients with the reasons, and remarks."""
    from flwr.app import ArrayRecord, ConfigRecord, Message, RecordDict

    from clients.client_app import app as client_app
    from fgl_flower.data.sources import load_source
    from fgl_flower.preflight import preflight
    from fgl_flower.records.ledger import Ledger
    from fgl_flower.simulation import InlineGrid
    from fgl_flower.synthesis.generator_checks import notes
    from fgl_flower.synthesis.space import check_space
    from fgl_flower.synthesis.store import SyntheticStore
    from fgl_flower.wire.codec import decode
    from fgl_flower.wire.payload import PromptPayload
    from fgl_flower.wire.sizes import object_bytes
    from strategies.gate import Gate
    from strategies.guarded_grid import GuardedGrid
    from strategies.planning import inquiry_of, limits_for, notes_on, plan_for

    preflight(config)
    source, limits = load_source(config), limits_for(config)
    events: list[dict[str, Any]] = []
    gate = Gate(ArrayRecord(), config.clients, source.classes, source.domains, limits)
    inline = InlineGrid(client_app, config.clients, config.to_flat())
    grid = GuardedGrid(inline, gate, Ledger(config.clients), events.append)
    asked = inquiry_of(config, source.classes, evaluates=config.client_evaluation)
    payloads: list[PromptPayload] = []
    for question in asked.first():
        content = RecordDict({"config": ConfigRecord({"server-round": 0, **question.to_config()})})
        for reply in grid.send_and_receive([Message(content, n, "query.prompts") for n in grid.get_node_ids()]):
            payload = decode(reply.content, limits, source.classes, source.domains)
            if isinstance(payload, PromptPayload):
                payloads.append(payload)
                asked.take(reply.metadata.src_node_id, question, payload, object_bytes(reply.content))
        asked.settle(question)
    if failures := [event["reason"] for event in events if event["event"] == "failure"]:
        raise RunError(f"{len(failures)} clients failed; the last one: {failures[-1]}")
    left_out = [
        f"client {p.partition_id} leaves out images that cannot be read: {p.skipped}" for p in payloads if p.skipped
    ]
    made = plan_for(config, source.classes, asked.payloads() if asked.ladder else payloads)
    remarks = [*source.notes, *notes(config), *left_out, *notes_on(config, made)]
    try:
        store = SyntheticStore(Path(config.store_dir or Path(config.runs_dir) / "store").expanduser())
        check_space(len(made), made.settings, config.image_size, store)
    except RunError as error:
        remarks.append(f"a run would be refused: {error}")
    return made, grid.quarantined, remarks


def _remark(remarks: Sequence[str]) -> None:
    for remark in remarks:
        console.print(remark, style="yellow", soft_wrap=True, markup=False, highlight=False)
