"""Membership audits of whole runs: a table's methods, each run on many halves of the private images.

Every run is the target once, and the others, less the run on the target's other half, are its shadow models. All have
the run's seed: the server, which is the attacker, knows it.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

import numpy as np
import torch

from experiments.table.spec import Cell, Keys, Table
from fgl_flower.config import RunConfig
from fgl_flower.config.learner import LearnerConfig
from fgl_flower.data.audited import canaries, members
from fgl_flower.data.rows import column
from fgl_flower.data.sources import Source, load_source
from fgl_flower.errors import ConfigError
from fgl_flower.learning.building import learner
from fgl_flower.learning.evaluation import predict
from fgl_flower.learning.images import Images, decode_rows
from fgl_flower.privacy.membership import ATTACKS, LEAST_MODELS, Rates, Shadows, rates
from fgl_flower.records.models import MODEL, ROUND_MODELS
from fgl_flower.records.reading import Run

__all__ = ["GROUPS", "Audited", "audit", "shadow_table"]

GROUPS = ("all", "canaries", "hardest")
_HARDEST = 0.05  # share of the images that models which did not see them get most wrong
_AXIS = "half"


@dataclass(frozen=True)
class Audited:
    """What an attacker finds of one method's model.

    Attributes
    ----------
    method : str
        Names of the axes' values.
    models : str
        Which models the attacker sees.
    runs : int
        Each is the target once; two fewer are its shadow models.
    accuracy : float
        Mean of the runs' on the test split; NaN: there are no test images.
    unchanged : bool
        Whether all runs gave the same model, to the bit: then it tells nothing of who took part.
    rates : mapping of (attack, group) to Rates
    """

    method: str
    models: str
    runs: int
    accuracy: float
    unchanged: bool
    rates: Mapping[tuple[str, str], Rates]


def shadow_table(table: Table, choices: Sequence[Mapping[str, float]], models: int) -> Table:
    """Return a table of a run on each of so many halves of the private images, of each cell with its tuned keys.

    Raises
    ------
    ConfigError
        If there are too few models, there is more than one seed, or a cell leaves no model or is an audit's run itself.
    """
    if len(table.seeds) > 1:
        raise ConfigError(f"the table has seeds = {list(table.seeds)}, and an audit has one: halves vary instead")
    if models < LEAST_MODELS or models % 2:
        raise ConfigError(f"--models {models}: an even number from {LEAST_MODELS} on, as halves come in pairs")
    cells = []
    for cell, choice in zip(table.cells, choices, strict=True):
        if cell.keys.get("method") == "local":
            raise ConfigError(f"{cell.names[0]}: method = 'local' has a model a client, and there is no released one")
        if cell.keys.get("private-half"):
            raise ConfigError(f"{cell.names[0]} sets private-half: the audit sets it, use --models")
        for half in range(1, models + 1):
            keys: Keys = {**cell.keys, **choice, "private-half": half}
            cells.append(Cell((*cell.names, str(half)), keys, ()))
    return replace(table, axes=(*table.axes, _AXIS), cells=tuple(cells), tune=None, against="")


@dataclass(frozen=True)
class _Records:
    """The images that the audit asks about, with the labels that runs were given."""

    private: Images
    others: Images
    member: np.ndarray  # (runs, N) bool
    canary: np.ndarray  # (N,) bool

    @classmethod
    def of(cls, config: RunConfig, runs: int) -> "_Records":
        source: Source = load_source(config.model_copy(update={"private_half": 0}))
        private, rows = decode_rows(source.private, config.image_size)
        parts = [decode_rows(split, config.image_size)[0] for split in (source.validation, source.test)]
        whole = len(source.private)
        member = np.stack([members(whole, half)[rows] for half in range(1, runs + 1)])
        chosen, _ = canaries(column(source.private, "label"), config.canaries, len(source.classes))
        return cls(private, Images.concat([one for one in parts if len(one)]), member, np.isin(rows, chosen))


def audit(
    method: str, runs: Sequence[Run], progress: Callable[[int, int], None] = lambda done, total: None
) -> list[Audited]:
    """Return what an attacker finds of the final models of runs, and of those of rounds where runs kept them.

    Parameters
    ----------
    method : str
        For the reader.
    runs : sequence of Run
        On the halves 1, 2, 3, ... of the private images, `LEAST_MODELS` or more.
    progress : callable
        Told how many runs' models have been asked.
    """
    config = runs[0].config
    records = _Records.of(config, len(runs))
    model = learner(config.part(LearnerConfig), len(load_source(config).classes))
    files = [[run.path / MODEL] for run in runs]
    rounds = [sorted((run.path / ROUND_MODELS).glob("round-*.safetensors")) for run in runs]
    seen = {"the final one": files}
    if rounds[0] and len({len(one) for one in rounds}) == 1:
        seen[f"those of {len(rounds[0])} rounds"] = rounds
    tested = [run.result.accuracy for run in runs if run.result and run.result.accuracy is not None]
    accuracy = fmean(tested) if tested else math.nan
    unchanged = len({run_files[0].read_bytes() for run_files in files}) == 1
    total, done = len(runs) * len(seen), 0
    result = []
    for which, all_files in seen.items():
        signals, others = [], []
        for paths in all_files:
            asked = [_signals(model, path, records, config.device) for path in paths]
            signals.append(np.concatenate([one for one, _ in asked]))
            others.append(np.concatenate([one for _, one in asked]))
            done += 1
            progress(done, total)
        found = _attacked(np.stack(signals), np.stack(others), records)
        result.append(Audited(method, which, len(runs), accuracy, unchanged, found))
    return result


def _signals(model: torch.nn.Module, path: Path, records: _Records, device: str) -> tuple[np.ndarray, np.ndarray]:
    """Return logits of the probability of the label of each image and of its mirror image, (2, N) and (2, Z)."""
    from safetensors.torch import load_file

    model.load_state_dict(load_file(path))
    return _logits(model, records.private, device), _logits(model, records.others, device)


def _logits(model: torch.nn.Module, images: Images, device: str) -> np.ndarray:
    views = []
    for mirrored in (False, True):
        parts = []
        for pixels, labels in zip(images.pixels.split(512), images.labels.split(512), strict=True):
            logits = predict(model, pixels.flip(-1) if mirrored else pixels, device=device).double()
            own = logits.gather(1, labels[:, None])
            rest = logits.scatter(1, labels[:, None], -torch.inf)
            parts.append(own[:, 0] - rest.logsumexp(1))  # log p - log(1 - p), without the loss of digits
        views.append(torch.cat(parts).numpy())
    return np.stack(views)


def _attacked(signals: np.ndarray, others: np.ndarray, records: _Records) -> dict[tuple[str, str], Rates]:
    """Return how well each attack does, of (runs, views, N) and (runs, views, Z) logits, over all targets together."""
    member = records.member
    scores: dict[str, list[np.ndarray]] = {name: [] for name in ATTACKS}
    hardest = []
    for target in range(len(signals)):
        rest = [k for k in range(len(signals)) if k // 2 != target // 2]
        world = Shadows(signals[target], signals[rest], member[rest], others[target], others[rest])
        for name, attack in ATTACKS.items():
            scores[name].append(attack(world))
        unseen = world.moments(inside=False)[0].mean(0)
        unseen[records.canary] = np.inf
        hard = np.zeros(member.shape[1], dtype=bool)
        hard[np.argsort(unseen)[: max(1, round(_HARDEST * (~records.canary).sum()))]] = True
        hardest.append(hard)
    plain = np.broadcast_to(~records.canary, member.shape)
    groups = {"all": plain, "canaries": ~plain, "hardest": np.stack(hardest)}
    return {
        (name, group): rates(np.stack(scores[name])[mask], member[mask])
        for group, mask in groups.items()
        if mask.any()
        for name in ATTACKS
    }
