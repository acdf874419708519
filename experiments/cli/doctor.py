"""`fgl doctor`: whether this machine has what runs need, and what is missing for a file."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.markup import escape
from rich.table import Table

from experiments.cli.dry_run import show_missing
from experiments.cli.options import SetOption, load_all
from experiments.cli.terminal import EXIT_FAILED, console, errors_as_sentences, quiet, show
from fgl_flower.config import RunConfig

if TYPE_CHECKING:
    from experiments.planning.health import Item


def doctor(
    file: Annotated[Path | None, typer.Argument(help="A run's file, or a table's.", metavar="[FILE]")] = None,
    set_: SetOption = None,
) -> None:
    """Say what this machine has: versions, devices, memory, disks, caches; with FILE also what that lacks.

    Downloads nothing and asks no network. Exit code 1: something required is missing or broken.

    [bold]Examples[/]

      fgl doctor

      fgl doctor experiments/reproduce/fgl-imagenet.toml     names what is missing and the command that fetches it
    """
    quiet(verbose=False)
    ready = False
    with errors_as_sentences(verbose=False):
        configs = load_all(file, set_) if file else [RunConfig()]
        ready = not any(item.broken for item in _show(configs))
        if file is not None:
            with console.status("looking for data and models"):
                from experiments.planning.needs import look_all

                found = look_all(configs, file)
            ready &= show_missing(found, f"{file}: nothing is missing")
    if not ready:
        raise typer.Exit(EXIT_FAILED)


def _show(configs: list[RunConfig]) -> "list[Item]":
    """Print the machine's description and return it."""
    from experiments.planning.health import devices, disks, extras, hub, memory, versions

    looks: dict[str, Callable[[], list[Item]]] = {
        "versions": versions,
        "extras": extras,
        "devices": devices,
        "memory": memory,
        "disks": partial(disks, configs),
        "the hub's caches": hub,
    }
    items: list[Item] = []
    with console.status("") as status:  # of devices and large caches it takes seconds
        for name, look in looks.items():
            status.update(f"looking at {name}")
            items += look()
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for heading in ("", "what", "found", "wanted"):
        table.add_column(heading, no_wrap=not heading)
    before = ""
    for item in items:
        part = "" if item.part == before else item.part
        name = f"! {item.name}" if item.broken else item.name
        style = "red" if item.broken else None
        table.add_row(part, escape(name), escape(item.found), escape(item.wanted), style=style)
        before = item.part
    show(table)
    return items
