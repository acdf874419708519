"""`fgl audit prompts`: what the clients' prompts say about them."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.table import Table

from experiments.cli.audit_copies import EncoderOption
from experiments.cli.options import SetOption, load
from experiments.cli.terminal import console, errors_as_sentences, progress_bars, quiet, show

if TYPE_CHECKING:
    from experiments.audit.attributes import Inferred
    from experiments.audit.prompts import Told
    from experiments.audit.reconstruction import Rebuilt

CLIENTS_SHOWN = 30


def prompts(
    file: Annotated[Path, typer.Argument(help="Run configuration (flat TOML).", metavar="FILE")],
    reconstruct: Annotated[
        int, typer.Option(metavar="N", min=0, help="Draw the prompts of N images of each client again.")
    ] = 0,
    encoder: EncoderOption = "",
    set_: SetOption = None,
) -> None:
    """Show what the clients' prompts say about them. The prompts are made; nothing is sent or trained.

    For each client: prompts that stand for one image alone, or for fewer than five, by which a rare image can be found;
    and how many words of an image's true caption (where the data have such) a prompt of its class and style names,
    beside what the true caption of another, held-out image of that class and style names: what anybody could guess.

    On the built-in worlds, by attribute: how often the value that a client's prompts of a class and style name most is
    that of an image of the client, beside the most frequent value of held-out images.

    With [bold]--reconstruct N[/]: what stands for an image (caption, embedding, learned token) is drawn by the run's
    generator; how like is the drawing to that image, and to other private images of its class and style? By an image
    encoder, and by SSIM, in which no model has a say. An AUC of 0.5 is chance.

    Below it, what the scrubber takes out of captions with planted names and numbers. For RUN/config.toml of a finished
    run the figures are added to its report.

    [bold]Examples[/]

      fgl audit prompts experiments/demo/fgl.toml

      fgl audit prompts experiments/demo/fgl.toml --set prompt-level=instance --reconstruct 50
    """
    quiet(False)
    with errors_as_sentences(verbose=False):
        from experiments.audit.answers import answers_of
        from experiments.audit.attributes import infer
        from experiments.audit.copies import encoder_of
        from experiments.audit.prompts import examine, scrubbed
        from experiments.audit.reconstruction import nothing_to_rebuild, rebuild
        from experiments.audit.recording import record, run_of
        from fgl_flower.preflight import preflight

        config = load(file, set_)
        preflight(config)
        rebuilt: list[Rebuilt] = []
        with progress_bars(f"the prompts of {file}") as watch:
            eye = encoder_of(config, encoder) if reconstruct else None  # before clients have worked for it
            answers = answers_of(config, lambda done, total: watch("clients", done, total))
            rows, inferred = examine(config, answers), infer(config, answers)
            why = nothing_to_rebuild(config, answers) if eye else ""
            if eye and not why:
                rebuilt = rebuild(config, answers, reconstruct, eye, watch)
        show(_told(rows))
        if len(rows) > CLIENTS_SHOWN:
            console.print(f"and {len(rows) - CLIENTS_SHOWN:,} clients more")
        if config.prompt_level == "names":
            console.print("prompt-level = 'names': clients send nothing", markup=False)
        if inferred:
            show(_inferred(inferred))
        if why:
            console.print(f"nothing to reconstruct: {why}", markup=False, highlight=False, soft_wrap=True)
        if rebuilt and eye:
            show(_rebuilt(rebuilt))
            console.print(f"cosines of embeddings by {eye.name}", markup=False, highlight=False)
        show(_scrubbed(scrubbed()))
        if (run := run_of(file, set_)) is not None:
            figures = _figures(rows, inferred, rebuilt, eye.name if eye else "")
            record(run, "prompts", _summary(rows, inferred, rebuilt), figures)


def _told(rows: "list[Told]") -> Table:
    from experiments.audit.prompts import FEW

    table = _table("client", "images", "prompts", "of one image", f"of fewer than {FEW}", "words told", "guessed")
    for row in rows[:CLIENTS_SHOWN]:
        figures = (row.client, row.images, row.prompts, row.alone, row.few)
        table.add_row(*(f"{figure:,}" for figure in figures), _percent(row.words), _percent(row.guessed))
    return table


def _inferred(inferred: "dict[str, Inferred]") -> Table:
    table = _table("attribute", "told", "guessed", "images")
    for kind, one in inferred.items():
        table.add_row(kind, f"{one.told:.1%}", f"{one.guessed:.1%}", f"{one.images:,}")
    return table


def _rebuilt(rows: "list[Rebuilt]") -> Table:
    table = _table("drawn again, client", "images", "like its own", "like another", "AUC", "95 %", "AUC by SSIM")
    for row in [*rows[:-1][:CLIENTS_SHOWN], rows[-1]]:
        name = "all" if row.client is None else str(row.client)
        figures = (f"{figure:.3f}" for figure in (row.own, row.other, row.auc))
        table.add_row(name, f"{row.images:,}", *figures, _ends(row), f"{row.ssim:.3f}")
    return table


def _scrubbed(taken_out: dict[str, tuple[int, int]]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for heading in ("planted in captions", "taken out", "of"):
        table.add_column(heading, justify="left" if heading.startswith("planted") else "right")
    for kind, (taken, count) in taken_out.items():
        table.add_row(kind, str(taken), str(count))
    return table


def _table(*headings: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def _summary(rows: "list[Told]", inferred: "dict[str, Inferred]", rebuilt: "list[Rebuilt]") -> str:
    """Return what the report says of it: of all clients together."""
    prompts, alone = sum(row.prompts for row in rows), sum(row.alone for row in rows)
    parts = [f"{alone:,} of {prompts:,} prompts stand for one image alone"]
    if inferred:
        told = ", ".join(f"{kind} {one.told:.0%} ({one.guessed:.0%})" for kind, one in inferred.items())
        parts.append(f"attributes told (guessed): {told}")
    if rebuilt:
        last = rebuilt[-1]
        aucs = f"AUC {last.auc:.3f} ({_ends(last)}), by SSIM {last.ssim:.3f}, chance is 0.5"
        parts.append(f"reconstruction of {last.images:,} images: {aucs}")
    return "; ".join(parts)


def _figures(
    rows: "list[Told]", inferred: "dict[str, Inferred]", rebuilt: "list[Rebuilt]", encoder: str
) -> dict[str, Any]:
    figures: dict[str, Any] = {
        "images": sum(row.images for row in rows),
        "prompts": sum(row.prompts for row in rows),
        "of-one-image": sum(row.alone for row in rows),
        "of-few-images": sum(row.few for row in rows),
        "attributes": {kind: {"told": one.told, "guessed": one.guessed} for kind, one in inferred.items()},
    }
    if rebuilt:
        last = rebuilt[-1]
        interval = [last.low, last.high]
        by_encoder = {"auc": last.auc, "interval": interval, "encoder": encoder}
        figures["reconstruction"] = {"images": last.images, **by_encoder, "auc-by-ssim": last.ssim}
    return figures


def _ends(row: "Rebuilt") -> str:
    return f"{row.low:.3f} to {row.high:.3f}"


def _percent(share: float) -> str:
    return "" if math.isnan(share) else f"{share:.0%}"
