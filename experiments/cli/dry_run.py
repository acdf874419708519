"""`fgl run --dry-run`: what a run would do and cost, and what it lacks here. Downloads, writes and asks nothing."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich import box
from rich.markup import escape
from rich.table import Table

from experiments.cli.terminal import console, show
from fgl_flower.config import RunConfig

if TYPE_CHECKING:
    from experiments.planning.forecast import Forecast
    from experiments.planning.needs import Found


def dry_run(config: RunConfig, file: Path) -> bool:
    """Print what a run would do and cost, and what is missing; return whether it could start."""
    with console.status("looking at data, models and the store"):
        from experiments.planning.forecast import forecast
        from experiments.planning.needs import look

        found = look(config, file)
        told = forecast(config, found)
    _show(told)
    for note in told.notes:
        console.print(note, style="yellow", markup=False, highlight=False, soft_wrap=True)
    return show_missing(found, "the run could start: nothing was downloaded, written or asked")


def _show(told: "Forecast") -> None:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column("", no_wrap=True)
    table.add_column("what", no_wrap=True)
    table.add_column("expected", justify="right", no_wrap=True)
    table.add_column("basis")
    before = ""
    for figure in told.figures:
        style = "dim" if figure.value is None else None
        part = "" if figure.part == before else figure.part
        table.add_row(part, escape(figure.name), figure.text(), escape(figure.basis), style=style)
        before = figure.part
    show(table)


def show_missing(found: "Sequence[Found]", otherwise: str) -> bool:
    """Print what is missing and what to do about it, or `otherwise`; return whether a run could start."""
    for item in found:
        if item.note:
            console.print(
                f"{item.need.role}: {item.note}", style="yellow", markup=False, highlight=False, soft_wrap=True
            )
    faults = [item for item in found if item.fault]
    for item in faults:
        remedy = f"; {item.remedy}" if item.remedy else ""
        line = f"missing, {item.need.role}: {item.fault}{remedy}"
        console.print(line, style="red", markup=False, highlight=False, soft_wrap=True)
    if not faults:
        console.print(otherwise, markup=False, highlight=False)
    return not faults
