"""What hears of a run while it goes on: the report's page, TensorBoard, or a user's own."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fgl_flower.config import RunConfig
from fgl_flower.records.result import Result
from fgl_flower.records.samples import Sample


class Observer:
    """Does nothing; derive from it and define what is of interest.

    What an observer raises never ends a run: it becomes a warning of the run. After an error in `begin` or `event` the
    observer hears nothing more.

    Attributes
    ----------
    name : str
        What the observer writes, for such a warning.
    """

    name = "an observer's output"

    def begin(self, folder: Path, config: RunConfig) -> None:
        """The run begins; its folder holds `config.toml` and `environment.json`."""

    def event(self, event: Mapping[str, Any]) -> None:
        """Something happened, see `RunFolder.log`: a round, an epoch, a synthesis, a failure, a warning."""

    def samples(self, samples: Sequence[Sample]) -> None:
        """These images are what the report will show."""

    def end(self, folder: Path, result: Result) -> None:
        """The run is finished; its folder holds everything. Not called for a run that fails."""
