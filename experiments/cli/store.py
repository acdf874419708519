"""`fgl store`: look into a synthetic store, check it, tidy it, take images out."""

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from experiments.cli.terminal import EXIT_FAILED, console, errors_as_sentences, progress_bars, show
from fgl_flower.errors import ConfigError
from fgl_flower.report.formatting import human_bytes

# pyarrow and the store are imported inside the commands, so that `fgl --help` answers at once.

app = typer.Typer(
    no_args_is_help=True,
    help="Look after a store of synthetic images.",
    context_settings={"help_option_names": ["-h", "--help"]},
)

Store = Annotated[Path, typer.Argument(help="The store's folder.", metavar="STORE")]
Settings = Annotated[str, typer.Option("--settings", metavar="ID", help="Only these settings; see `fgl store ls`.")]
DEFAULT = Path("runs/store")
SHOWN = 3  # nearly constant images that `verify` names


@app.command()
def ls(store: Store = DEFAULT) -> None:
    """List what a store holds: one line for each generator and setting.

    [bold]Example[/]

      fgl store ls runs/store
    """
    with errors_as_sentences(verbose=False):
        from fgl_flower.synthesis.maintenance import contents
        from fgl_flower.synthesis.shards import shard_folder, shard_names

        _exists(store)
        table = Table(box=None, pad_edge=False)
        for heading in ("id", "generator", "drawn with", "images", "prompts", "labels"):
            counts = heading in {"images", "prompts", "labels"}
            table.add_column(heading, justify="right" if counts else "left", no_wrap=counts or heading == "id")
        rows = contents(store)
        for row in rows:
            drawn = row.settings
            guidance = "" if drawn["guidance"] == 1 else f", guidance {drawn['guidance']:g}"
            table.add_row(
                row.settings_id,
                escape(f"{drawn['generator']} {str(drawn['revision'])[:15]}"),
                f"{drawn['steps']} steps{guidance}, {drawn['size']} px, {drawn['precision']}",
                f"{row.images:,}",
                f"{row.prompts:,}",
                f"{row.labels:,}",
            )
        show(table)
        names = shard_names(store)
        size = sum((shard_folder(store) / name).stat().st_size for name in names)
        images = sum(row.images for row in rows)
        console.print(f"{images:,} images in {len(names)} shards, {human_bytes(size)}", highlight=False)


@app.command()
def verify(store: Store = DEFAULT) -> None:
    """Read every image and compare checksums, keys and pixels; exit code 1 if something is wrong.

    Images that are nearly constant (black, white or of one colour) are counted and the first ones shown; they are what
    the generator drew, so the exit code stays 0.

    [bold]Example[/]

      fgl store verify runs/store
    """
    with errors_as_sentences(verbose=False):
        from fgl_flower.synthesis.maintenance import verify as check

        _exists(store)
        with progress_bars(f"verify {store}") as watch:
            verdict = check(store, lambda done, total: watch("shards", done, total))
        for problem in verdict.problems:
            console.print(problem, style="red", markup=False, highlight=False, soft_wrap=True)
        if blank := verdict.nearly_constant:
            console.print(
                f"{len(blank):,} images are nearly constant (black, white or of one colour): "
                + "; ".join(f"{key} of {prompt!r}" for key, prompt in blank[:SHOWN])
                + ("; ..." if len(blank) > SHOWN else ""),
                style="yellow",
                markup=False,
                highlight=False,
                soft_wrap=True,
            )
        state = f"{len(verdict.problems)} problems: `fgl store gc {store}`" if verdict.problems else "all sound"
        console.print(f"{verdict.images:,} images in {verdict.shards} shards: {state}", highlight=False)
    if verdict.problems:
        raise typer.Exit(EXIT_FAILED)


@app.command()
def gc(
    store: Store = DEFAULT,
    drop: Annotated[str, typer.Option(metavar="ID", help="Also remove the images of these settings.")] = "",
) -> None:
    """Merge small shards, keep the sound images of damaged ones, remove what killed runs left behind.

    [bold]Examples[/]

      fgl store gc runs/store

      fgl store gc runs/store --drop 1a2b3c4d
    """
    with errors_as_sentences(verbose=False):
        from fgl_flower.synthesis.maintenance import tidy

        _exists(store)
        with progress_bars(f"gc {store}") as watch:
            done = tidy(store, drop, lambda at, total: watch("shards", at, total))
        console.print(
            f"{done.shards_before} shards became {done.shards_after}, {human_bytes(max(done.bytes_freed, 0))} freed, "
            f"{done.images_dropped:,} images dropped, {done.images_lost:,} damaged ones lost",
            highlight=False,
        )


@app.command()
def export(
    destination: Annotated[Path, typer.Argument(help="New folder; `folder:DESTINATION` is a data set then.")],
    store: Store = DEFAULT,
    settings: Settings = "",
) -> None:
    """Write images as DESTINATION/LABEL/KEY.png, with metadata.jsonl beside.

    [bold]Example[/]

      fgl store export images runs/store --settings 1a2b3c4d
    """
    with errors_as_sentences(verbose=False):
        from fgl_flower.synthesis.maintenance import contents
        from fgl_flower.synthesis.maintenance import export as write

        _exists(store)
        if settings and settings not in (known := [row.settings_id for row in contents(store)]):
            raise ConfigError(f"--settings {settings}: the store has {', '.join(known) or 'no images'}")
        if destination.exists() and (not destination.is_dir() or any(destination.iterdir())):
            raise ConfigError(f"{destination} is not an empty folder: name another")
        count = write(store, destination, settings)
        console.print(f"{count:,} images written to {destination}", highlight=False, soft_wrap=True)


def _exists(store: Path) -> None:
    from fgl_flower.synthesis.shards import shard_folder

    if not shard_folder(store).is_dir():
        raise ConfigError(f"there is no store at {store}: name the folder that a run's store-dir names")
