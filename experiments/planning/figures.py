"""One line of a forecast: a figure, or that it is unknown, and what it rests on."""

from dataclasses import dataclass
from typing import Literal, Self

from fgl_flower.report.formatting import human_bytes, human_seconds

Part = Literal["images", "bytes", "training", "disk", "memory", "time"]
Unit = Literal["images", "bytes", "steps", "seconds"]
Sign = Literal["", "about", "at most", "at least"]


@dataclass(frozen=True)
class Figure:
    """What a run is expected to do or take.

    Attributes
    ----------
    part : Part
    name : str
    value : float or None
        None: it cannot be known before the run.
    unit : Unit
    basis : str
        What it rests on or, where it is unknown, why.
    sign : Sign
        "" for a count, "about" for an estimate, "at most" or "at least" for a bound.
    """

    part: Part
    name: str
    value: float | None
    unit: Unit
    basis: str
    sign: Sign = ""

    @classmethod
    def unknown(cls, part: Part, name: str, unit: Unit, why: str) -> Self:
        """Return a figure that cannot be known before the run."""
        return cls(part, name, None, unit, why)

    def text(self) -> str:
        """Return the figure as people read it."""
        if self.value is None:
            return "unknown"
        if self.unit == "bytes":
            shown = human_bytes(self.value)
        elif self.unit == "seconds":
            shown = human_seconds(self.value)
        else:
            shown = f"{round(self.value):,}"
        return f"{self.sign} {shown}".strip()
