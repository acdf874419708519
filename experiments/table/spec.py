"""A table of runs: a base configuration plus axes, from one TOML file.

    title = "..."                        # required
    about = "..."                        # a paragraph for the reader
    seeds = [0, 1, 2]                    # every cell is run with each
    against = "FedAvg"                   # value of the first axis that the others are compared with, paired by seed
    target = 0.8                         # also tell when validation accuracy first reached this share

    [base]                               # keys of every run (see `fgl config`)
    clients = 5

    [axes.method.FedAvg]                 # axis "method", its value "FedAvg" and the keys that it sets ...
    file = "../methods/fedavg.toml"      # ... those of a file, relative to this one, and further ones
    tune = ["local-lr"]                  # keys chosen on validation, for each combination with the other axes
    only.skew = ["beta 0.01"]            # combine with these values of another axis only

    [axes]
    images-per-class = [50, 100, 200]    # an axis may also be a list of values of one key

    [tune]
    seed = 1000                          # a seed that no cell uses
    rounds = 20                          # tuning runs have at most as many rounds
    grid.local-lr = [0.01, 0.03, 0.1]    # what is tried, for every method alike

    [published]                          # figures of others to stand beside: `experiments.table.published`

The first axis goes down the page, the others across.
"""

import itertools
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from experiments.table.published import Published
from fgl_flower.config import RunConfig
from fgl_flower.errors import ConfigError

Keys = dict[str, Any]

_OWN = {  # keys that a table sets in every run, and what to use instead
    "seed": "the file's seeds",
    "name": "the names of the axes' values",
    "runs-dir": "--runs-dir",
    "store-dir": "--runs-dir, which holds the store",
}


@dataclass(frozen=True)
class Value:
    """One value of an axis."""

    keys: Keys
    tune: tuple[str, ...] = ()
    only: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Cell:
    """One place of the table: a value of each axis.

    Attributes
    ----------
    names : tuple of str
        The values' names, in the order of the axes.
    keys : dict
        What the run's configuration holds, but for the seed and the tuned keys.
    tune : tuple of str
        Keys to be chosen on validation.
    """

    names: tuple[str, ...]
    keys: Keys
    tune: tuple[str, ...]


class Tune(BaseModel):
    """The `[tune]` part of the file."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    seed: int = 1000
    rounds: int = Field(20, ge=1)
    grid: dict[str, Annotated[list[int | float], Field(min_length=1)]]

    def choices(self, keys: Sequence[str]) -> list[dict[str, float]]:
        """Return every combination of the grid's values of these keys."""
        return [dict(zip(keys, values, strict=True)) for values in itertools.product(*(self.grid[k] for k in keys))]


class _Value(BaseModel):
    """One value of an axis as the file has it; what else it holds are the keys that it sets."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)

    file: str = ""
    tune: list[str] = []
    only: dict[str, Annotated[list[str | int | float | bool], Field(min_length=1)]] = {}


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    title: str
    about: str = ""
    seeds: list[int] = Field([0, 1, 2], min_length=1)
    against: str = ""
    target: float = Field(0.0, ge=0, le=1)
    base: Keys = {}
    axes: dict[
        str,
        Annotated[dict[str, _Value], Field(min_length=1)]
        | Annotated[list[str | int | float | bool], Field(min_length=1)],
    ] = Field(min_length=1)
    tune: Tune | None = None
    published: Published | None = None


@dataclass(frozen=True)
class Table:
    """What a table's file says, read and checked.

    Attributes
    ----------
    name : str
        The file's name without its ending.
    axes : tuple of str
        Names of the axes; the seeds are no axis.
    cells : tuple of Cell
        In the order of the file.
    """

    name: str
    title: str
    about: str
    seeds: tuple[int, ...]
    against: str
    target: float
    axes: tuple[str, ...]
    cells: tuple[Cell, ...]
    tune: Tune | None
    published: Published | None = None

    @classmethod
    def load(cls, path: Path, overrides: Keys | None = None) -> "Table":
        """Read a table's file.

        Parameters
        ----------
        path : Path
        overrides : dict, optional
            Kebab-case keys that win over the file, in every cell.

        Raises
        ------
        ConfigError
            If the file cannot be read, or a cell of it is no valid run.
        """
        try:
            file = _File.model_validate(_read(path))
        except ValidationError as error:
            problem = error.errors()[0]
            where, message = ".".join(str(part) for part in problem["loc"] if "[" not in str(part)), problem["msg"]
            raise ConfigError(f"{path}: {where}: {message[0].lower()}{message[1:]}") from None
        if len(set(file.seeds)) != len(file.seeds):
            raise ConfigError(f"{path}: seeds = {file.seeds} names one twice")
        if file.tune and file.tune.seed in file.seeds:
            raise ConfigError(f"{path}: tune.seed = {file.tune.seed} is among the seeds: rates would be chosen on them")
        axes = {name: _values(path, name, given) for name, given in file.axes.items()}
        _check_only(path, axes)
        first = next(iter(axes))
        if file.against and file.against not in axes[first]:
            raise ConfigError(f"{path}: against = {file.against!r} is no value of the first axis, {first!r}")
        table = cls(
            name=path.stem,
            title=file.title,
            about=file.about.strip(),
            seeds=tuple(file.seeds),
            against=file.against,
            target=file.target,
            axes=tuple(axes),
            cells=tuple(_cells(file.base, axes, overrides or {})),
            tune=file.tune,
            published=file.published,
        )
        table._check(path)
        return table

    def config(self, cell: Cell, seed: int, tuned: Mapping[str, float], runs_dir: Path) -> RunConfig:
        """Return the configuration of one run of a cell; its folder lies in `cells` and shares one synthetic store."""
        name = _slug([*cell.names, *(f"{key}-{value:g}" for key, value in tuned.items()), f"seed-{seed}"])
        folders = {"runs-dir": str(runs_dir / "cells"), "store-dir": str(runs_dir / "store"), "name": name}
        return RunConfig.parse({**cell.keys, **tuned, **folders, "seed": seed})

    def tuning(self, cell: Cell, runs_dir: Path) -> list[tuple[dict[str, float], RunConfig]]:
        """Return what is tried for a cell and the short runs that try it; none if nothing is tuned."""
        if not cell.tune or self.tune is None:
            return []
        rounds = min(cell.keys.get("rounds", 0), self.tune.rounds)
        short = Cell(cell.names, {**cell.keys, "rounds": rounds}, ())
        if rounds <= cell.keys.get("prompt-every", 0):
            short.keys.pop("prompt-every", None)  # the short run ends before it would ask again
        return [
            (choice, self.config(short, self.tune.seed, choice, runs_dir)) for choice in self.tune.choices(cell.tune)
        ]

    def _check(self, path: Path) -> None:
        """Refuse what would only fail hours later: every cell must be a valid run, every tuned key have a grid."""
        if self.published:
            try:
                unknown = sorted(self.published.shares().keys() - {cell.names for cell in self.cells})
            except ConfigError as error:
                raise ConfigError(f"{path}: {error}") from None
            if unknown:
                raise ConfigError(f"{path}: published.percent.{'.'.join(unknown[0])} is no cell of the table")
        for cell in self.cells:
            if own := sorted(_OWN.keys() & cell.keys.keys()):
                raise ConfigError(f"{path}: {' · '.join(cell.names)} sets {own[0]}: use {_OWN[own[0]]}")
            if missing := set(cell.tune) - set(self.tune.grid if self.tune else ()):
                raise ConfigError(f"{path}: {cell.names[0]} tunes {sorted(missing)}: [tune.grid] has no such key")
            try:
                for seed in self.seeds:
                    self.config(cell, seed, {}, Path("runs"))
                self.tuning(cell, Path("runs"))
            except ConfigError as error:
                raise ConfigError(f"{path}: {' · '.join(cell.names)}: {error}") from None


def _cells(base: Keys, axes: Mapping[str, Mapping[str, Value]], overrides: Keys) -> list[Cell]:
    result = []
    for names in itertools.product(*axes.values()):
        place = dict(zip(axes, names, strict=True))
        values = [axes[axis][name] for axis, name in place.items()]
        if any(place[axis] not in allowed for value in values for axis, allowed in value.only.items()):
            continue
        keys = dict(base)
        for value in values:
            keys |= value.keys
        tune = tuple(dict.fromkeys(key for value in values for key in value.tune if key not in overrides))
        result.append(Cell(names, keys | overrides, tune))
    return result


def _values(path: Path, axis: str, given: Mapping[str, _Value] | Sequence[Any]) -> dict[str, Value]:
    if not isinstance(given, Mapping):
        if len(set(map(str, given))) != len(given):
            raise ConfigError(f"{path}: axes.{axis} = {given} names one value twice")
        return {str(value): Value({axis: value}) for value in given}
    values = {}
    for name, value in given.items():
        read = _read(path.parent / value.file) if value.file else {}
        read.pop("name", None)  # the cell has its own
        only = {other: [str(one) for one in allowed] for other, allowed in value.only.items()}
        values[name] = Value({**read, **(value.model_extra or {})}, tuple(value.tune), only)
    return values


def _check_only(path: Path, axes: Mapping[str, Mapping[str, Value]]) -> None:
    """Refuse an `only` that names what is not there: its cells would silently be missing."""
    for axis, values in axes.items():
        for name, value in values.items():
            for other, allowed in value.only.items():
                where = f"{path}: axes.{axis}.{name}.only"
                if other not in axes or other == axis:
                    raise ConfigError(f"{where}: {other!r} is no other axis; these are {', '.join(set(axes) - {axis})}")
                if unknown := [one for one in allowed if one not in axes[other]]:
                    raise ConfigError(f"{where}.{other}: {unknown[0]!r} is none of {', '.join(axes[other])}")


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from None


def _slug(parts: Sequence[str]) -> str:
    return "_".join("".join(c if c.isalnum() or c in ".+" else "-" for c in part).strip("-") for part in parts)[-80:]
