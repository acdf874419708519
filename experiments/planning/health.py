"""What this machine is: versions, devices, memory, disks and caches, each judged by what the project asks for."""

import os
import platform
import shutil
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import psutil
from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet

from fgl_flower.cache import cache_dir
from fgl_flower.config import RunConfig
from fgl_flower.errors import ConfigError
from fgl_flower.foundation.miniature import NAMES, weights_dir
from fgl_flower.records.environment import cores
from fgl_flower.report.formatting import human_bytes
from fgl_flower.synthesis.space import free_bytes

PROJECT = "fgl-flower"
_FOR_DEVELOPERS = frozenset({"dev"})  # extras that no run needs


@dataclass(frozen=True)
class Item:
    """One line of a machine's description.

    Attributes
    ----------
    part : str
        "versions", "extras", "devices", "memory", "disk" or "hub".
    name, found : str
    wanted : str
        What the project asks for, or what to do; may be empty.
    broken : bool
        Whether something required is missing or does not fit.
    """

    part: str
    name: str
    found: str
    wanted: str = ""
    broken: bool = False


def versions() -> list[Item]:
    """Return python and the libraries that a run needs beside the ranges of the project's own metadata."""
    try:
        about = metadata.metadata(PROJECT)
    except metadata.PackageNotFoundError:
        how = "install the project: pip install -e ."
        return [Item("versions", PROJECT, "not installed", how, broken=True)]
    python = about["Requires-Python"] or ""
    fits = platform.python_version() in SpecifierSet(python)
    items = [Item("versions", "python", platform.python_version(), python, broken=not fits)]
    items.append(Item("versions", PROJECT, metadata.version(PROJECT)))
    for requirement, extra in requirements():
        if not extra:
            items.append(_library(requirement))
    return items


def extras() -> list[Item]:
    """Return the optional parts of the project, and how to get one that is not here."""
    by_extra: dict[str, list[Item]] = {}
    for requirement, extra in requirements():
        if extra and extra not in _FOR_DEVELOPERS:
            by_extra.setdefault(extra, []).append(_library(requirement))
    result = []
    for extra, libraries in by_extra.items():
        lacking = [library.name for library in libraries if library.broken]
        how = f"pip install '{PROJECT}[{extra}]'" if lacking else ""
        found = "not installed" if lacking else ", ".join(f"{one.name} {one.found}" for one in libraries)
        result.append(Item("extras", extra, found, how))
    return result


def requirements() -> Iterator[tuple[Requirement, str]]:
    """Yield what the installed project requires and the extra that asks for it, "" for none."""
    try:
        lines = metadata.requires(PROJECT) or []
    except metadata.PackageNotFoundError:
        return
    names = metadata.metadata(PROJECT).get_all("Provides-Extra") or []
    for line in lines:
        try:
            requirement = Requirement(line)
        except InvalidRequirement:
            continue
        marker = requirement.marker
        if marker is None or marker.evaluate({"extra": ""}):
            yield requirement, ""
        elif extra := next((name for name in names if marker.evaluate({"extra": name})), ""):
            yield requirement, extra


def _library(requirement: Requirement) -> Item:
    wanted = ", ".join(sorted(map(str, requirement.specifier), reverse=True))
    try:
        found = metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        how = f"pip install '{requirement.name}{requirement.specifier}'"
        return Item("versions", requirement.name, "not installed", how, broken=True)
    fits = requirement.specifier.contains(found, prereleases=True)
    return Item("versions", requirement.name, found, wanted, broken=not fits)


def devices() -> list[Item]:
    """Return processor and accelerators; torch is asked only where there is a driver or a Mac's processor."""
    items = [Item("devices", "cpu", f"{cores()} threads")]
    if sys.platform == "darwin" or _has_driver():
        import torch

        for number in range(torch.cuda.device_count()):
            free, total = torch.cuda.mem_get_info(number)
            name = f"{torch.cuda.get_device_name(number)}, {human_bytes(free)} of {human_bytes(total)} free"
            items.append(Item("devices", f"cuda:{number}", name))
        if torch.backends.mps.is_available():
            items.append(Item("devices", "mps", "available"))
        if len(items) == 1:
            items.append(
                Item("devices", "accelerator", "a driver is here, but torch finds no device", torch.__version__)
            )
    else:
        items.append(Item("devices", "accelerator", "none: no driver is installed"))
    return items


def _has_driver() -> bool:
    return any(map(os.path.exists, ("/proc/driver/nvidia", "/dev/kfd"))) or shutil.which("nvidia-smi") is not None


def memory() -> list[Item]:
    """Return main memory."""
    told = psutil.virtual_memory()
    return [Item("memory", "memory", f"{human_bytes(told.available)} of {human_bytes(told.total)} free")]


def disks(configs: Iterable[RunConfig]) -> list[Item]:
    """Return what is free where runs, stores, the project's cache and the hub's lie, and whether it can be written."""
    places: list[tuple[str, Path]] = []
    for config in configs:
        runs = Path(config.runs_dir).expanduser()
        places.append(("runs", runs))
        places.append(("store", Path(config.store_dir).expanduser() if config.store_dir else runs / "store"))
    places += [("cache", cache_dir()), *(("hub's cache", folder) for folder in hub_caches())]
    items = []
    for name, path in dict.fromkeys(places):
        free = free_bytes(path)
        shown = "unknown" if free is None else human_bytes(free)
        required = name in {"runs", "store"} and not _writable(path)
        how = "cannot be written: set runs-dir and store-dir" if required else ""
        items.append(Item("disk", f"{name}: {path}", f"{shown} free", how, broken=required))
    return items


def _writable(path: Path) -> bool:
    there = next((place for place in (path, *path.absolute().parents) if place.exists()), None)
    return there is not None and os.access(there, os.W_OK)


def hub() -> list[Item]:
    """Return the hub's caches and mode, and whether the models that ship with the project are whole."""
    from huggingface_hub import constants

    items = [
        Item("hub", "offline mode", "on (HF_HUB_OFFLINE)" if constants.HF_HUB_OFFLINE else "off"),
        *(Item("hub", str(folder), human_bytes(folder_bytes(folder))) for folder in hub_caches()),
    ]
    for name in NAMES:
        try:
            weights_dir(name)
        except ConfigError as error:
            items.append(Item("hub", name, "missing", str(error), broken=True))
        else:
            items.append(Item("hub", name, "shipped, here"))
    return items


def hub_caches() -> list[Path]:
    """Return where the hub's libraries keep files, and data sets as they have prepared them."""
    from huggingface_hub import constants

    data = os.environ.get("HF_DATASETS_CACHE") or Path(constants.HF_HOME) / "datasets"
    return [Path(constants.HF_HUB_CACHE), Path(data).expanduser()]


def folder_bytes(folder: Path) -> int:
    """Return the bytes of the files in a folder and below; links are not followed, files that vanish are left out."""
    return sum(_sizes(folder))


def _sizes(folder: Path | str) -> Iterator[int]:
    try:
        entries = list(os.scandir(folder))
    except OSError:
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from _sizes(entry.path)
        elif entry.is_file(follow_symlinks=False):
            try:
                yield entry.stat(follow_symlinks=False).st_size
            except OSError:
                continue
