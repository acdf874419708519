"""Which runs of a folder are finished: of the same settings, on the same data, with the same models.

`fgl compare` and `fgl table` ask here, and nowhere else, whether a configuration has to be run.
"""

import json
from collections import defaultdict
from functools import cache
from pathlib import Path

from fgl_flower.config import METHODS_WITHOUT_CLIENTS, RunConfig
from fgl_flower.errors import ConfigError, ModelError
from fgl_flower.foundation.origin import Origin
from fgl_flower.records.fingerprint import data_fingerprint
from fgl_flower.records.reading import Run, read_run

_PLACES = {"name", "runs-dir", "store-dir", "tensorboard", "resume", "node-timeout", "ray-address"}  # change no figure
_FEDERATION = {"clients", "partition", "beta", "fraction", "rounds"}  # ignored by methods without clients


def run_key(config: RunConfig) -> str:
    """Return what decides whether two configurations give the same result on this machine, as it is now."""
    return f"{_settings(config)} {data_fingerprint(config.dataset) or config.dataset}"


class FinishedRuns:
    """The finished runs below a folder, as they were when it was looked through.

    Parameters
    ----------
    folder : Path
        Holds the run folders.
    """

    def __init__(self, folder: Path) -> None:
        self._runs: defaultdict[str, list[Run]] = defaultdict(list)
        for file in sorted(folder.glob("*/result.json")):
            self.add(file.parent)

    def add(self, folder: Path) -> None:
        """Take in a run folder; one that is damaged, or of another version, does not count."""
        try:
            run = read_run(folder)
        except ConfigError:
            return
        if run.result is not None:
            self._runs[_settings(run.config)].append(run)

    def get(self, config: RunConfig) -> Run | None:
        """Return the finished run of a configuration, whatever its name; of several one that has this name."""
        matches = [run for run in self._runs.get(_settings(config), []) if not outdated(run, config)]
        return min(matches, key=lambda run: run.config.name != config.name, default=None)

    def note(self, config: RunConfig) -> str:
        """Return why a run of the same keys does not count as finished; empty where there is none, or one counts."""
        if self.get(config) is not None:
            return ""
        same = [r for r in self._runs.get(_settings(config), []) if r.config.dataset == config.dataset]
        return next((f"{run.name}: {outdated(run, config)}; it is run again" for run in reversed(same)), "")


def outdated(run: Run, config: RunConfig) -> str:
    """Return why the figures of a run of these settings are not those that a run would give now; empty if they are.

    Runs made before data were fingerprinted count, except on data in folders.
    """
    assert run.result is not None
    now, then = data_fingerprint(config.dataset), run.result.data_fingerprint
    if not then and now.startswith("files:"):
        return "it was made before data were fingerprinted"
    if (then != now) if then else (run.config.dataset != config.dataset):
        return "its data have changed since, or lie elsewhere"
    for model in run.result.models:
        if model["revision"] and model["revision"] != _revision(model["role"], config):
            return f"its {model['role']} has changed since"
    return ""


def _settings(config: RunConfig) -> str:
    """Return the keys that change what comes out; of the data only the kind: where they lie is fingerprinted."""
    ignored = _PLACES | (_FEDERATION if config.method in METHODS_WITHOUT_CLIENTS else set())
    keys = {key: value for key, value in config.to_flat().items() if key not in ignored}
    return json.dumps({**keys, "dataset": config.dataset.partition(":")[0]}, sort_keys=True)


def _revision(role: str, config: RunConfig) -> str:
    if role == "captioner":
        return _captioner(config.captioner, config.captioner_revision)
    if role == "model":
        return _learner(config.model, config.model_revision)
    return _generator(Origin.configured(config))


@cache
def _generator(origin: Origin) -> str:
    from fgl_flower.foundation.generator import inspect

    try:
        return inspect(origin).revision
    except ModelError:
        return ""  # no longer there: the run that asks for it will say so


@cache
def _learner(name: str, revision: str) -> str:
    from fgl_flower.learning.building import model_revision

    try:
        return model_revision(name, revision)
    except ModelError:
        return ""  # no longer there: the run that asks for it will say so


@cache
def _captioner(model_id: str, revision: str) -> str:
    from fgl_flower.foundation.captioner import captioner_revision

    return captioner_revision(model_id, revision)
