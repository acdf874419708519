"""The observers that every run has: the page, and TensorBoard where it is asked for."""

from pathlib import Path

from fgl_flower.config import RunConfig
from fgl_flower.records.observer import Observer
from fgl_flower.records.result import Result
from fgl_flower.report.page import write_report


class Page(Observer):
    """Writes `report.html` at the end of a run."""

    name = "report.html"

    def end(self, folder: Path, result: Result) -> None:
        """Write the page."""
        write_report([folder])


def observers_of(config: RunConfig) -> list[Observer]:
    """Return the observers of a run."""
    if not config.tensorboard:
        return [Page()]
    from fgl_flower.records.tensorboard import Board  # an extra, which need not be installed

    return [Board(), Page()]
