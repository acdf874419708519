"""`fgl audit copies`: is what a run drew nearer to private images than to images that it has never seen?"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.table import Table

from experiments.cli.terminal import console, errors_as_sentences, progress_bars, quiet, show
from fgl_flower.errors import ConfigError

if TYPE_CHECKING:
    from experiments.audit.copies import Compared
    from experiments.audit.distances import Distances, Share

EncoderOption = Annotated[
    str,
    typer.Option(
        metavar="ID", help="Image encoder of the hub, or a folder (CLIP, DINOv2, ...); default: the captioner's tower."
    ),
]


def copies(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run that drew images.", metavar="RUN")],
    encoder: EncoderOption = "",
    into: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="For the page with private images; default: RUN-owner-only, beside RUN."),
    ] = None,
) -> None:
    """Look for copies of private images among those that a run drew. Needs the private images: a simulation's.

    For each image drawn, the nearest private image and the nearest of as many held-out images of the same classes
    (validation and test), by embeddings of an image encoder and by 1 - SSIM. Without copies half of the images are
    nearer to a private one. The page [bold]audit-copies.html[/] shows the most suspicious pairs; it holds private
    images, so it lies in a folder of its own, for the owner of the data alone. The run's report gets the shares alone.

    Distance does not predict membership risk (arXiv 2505.01524): this stands beside fgl audit membership.

    [bold]Examples[/]

      fgl audit copies runs/demo/fgl

      fgl audit copies runs/demo/fgl --encoder facebook/dinov2-small --into ~/for-owners
    """
    quiet(False)
    with errors_as_sentences(verbose=False):
        from experiments.audit.copies import examine
        from experiments.audit.copies_page import write_page
        from experiments.audit.recording import record
        from fgl_flower.records.reading import read_run

        one = read_run(run)
        folder = _page_folder(one.path, into)
        with progress_bars(f"copies in {run}") as watch:
            found = examine(one, encoder, watch)
        show(_table(found.distances))
        for distances in found.distances:
            console.print(_sentence(distances, distances.nearer()), soft_wrap=True, markup=False, highlight=False)
        compared, private = (len(found.images[part]) for part in ("compared", "private"))
        if compared < private:
            console.print(
                f"compared are {compared:,} of {private:,} private images, as fewer are held out of some classes; "
                "the page looks at all",
                soft_wrap=True,
                markup=False,
            )
        record(one.path, "copies", _summary(found), _figures(found))
        try:
            page = write_page(found, one.name, folder)
        except OSError as error:
            raise ConfigError(f"--into {folder}: the page cannot be written ({error.strerror or error})") from None
        console.print(f"for the owner of the data alone: {page}", soft_wrap=True, markup=False, highlight=False)


def _page_folder(run: Path, into: Path | None) -> Path:
    """Return where the page goes: never into a run's folder, which others may see."""
    folder = (into or run.with_name(f"{run.name}-owner-only")).expanduser().resolve()
    if any((place / "status.json").is_file() for place in (folder, *folder.parents)):
        raise ConfigError(f"--into {folder} lies in a run's folder, and the page shows private images: name another")
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"--into {folder} is no folder: name another")
    return folder


def _table(measures: "tuple[Distances, ...]") -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column("images below", justify="right", no_wrap=True)
    for measure in measures:
        for heading in ("private", "held out", "ratio"):
            table.add_column(f"{heading}\n({measure.name})", justify="right", no_wrap=True)
    for rows in zip(*(measure.quantiles() for measure in measures), strict=True):
        cells = [f"{value:.3f}" for _, *values in rows for value in values]
        table.add_row(f"{rows[0][0]:.0%}" if rows[0][0] else "least", *cells)
    return table


def _sentence(distances: "Distances", share: "Share") -> str:
    return (
        f"{distances.name}: {share.value:.1%} of {share.count:,} images are nearer to a private than to a held-out one "
        f"(95 %: {share.low:.1%} to {share.high:.1%}); chance: 50 % ({share.chance_low:.1%} to {share.chance_high:.1%})"
    )


def _summary(found: "Compared") -> str:
    told = "; ".join(_sentence(distances, distances.nearer()) for distances in found.distances)
    return f"{told}; embeddings by {found.encoder}. Distance does not predict membership risk (arXiv 2505.01524)"


def _figures(found: "Compared") -> dict[str, Any]:
    sizes = {part.replace(" ", "-"): len(images) for part, images in found.images.items()}
    shares = {}
    for distances in found.distances:
        share = distances.nearer()
        shares[distances.name] = {
            "nearer": share.value,
            "interval": [share.low, share.high],
            "by-chance": [share.chance_low, share.chance_high],
            "ratio": {f"{q:g}": ratio for q, _, _, ratio in distances.quantiles()},
        }
    return {"encoder": found.encoder, **sizes, "distances": shares}
