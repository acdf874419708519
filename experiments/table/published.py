"""Figures that others have published, beside those of a table.

[published]
source = "..."                               # where the figures stand, and how exact they are
differs = ["...", "..."]                     # what this table does otherwise, a sentence each
percent."FGL, one shot"."beta 0.5" = 85      # test accuracy of a cell, by its values in the order of the axes
"""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from fgl_flower.errors import ConfigError

__all__ = ["Published"]

Figures = dict[str, Any]


class Published(BaseModel):
    """The `[published]` part of a table's file.

    Attributes
    ----------
    source : str
    differs : list of str
        Differences of protocol.
    percent : dict
        Accuracies in percent, nested as the axes are.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    source: str = Field(min_length=1)
    differs: list[Annotated[str, Field(min_length=1)]] = []
    percent: Figures

    def shares(self) -> dict[tuple[str, ...], float]:
        """Return the accuracies by the names of their cells, 0..1.

        Raises
        ------
        ConfigError
            If one is no percentage.
        """
        result = {}
        for names, value in _flat(self.percent):
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 100:
                raise ConfigError(f"published.percent.{'.'.join(names)} = {value!r} is no percentage")
            result[names] = value / 100
        return result


def _flat(figures: Mapping[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, value in figures.items():
        if isinstance(value, Mapping):
            yield from _flat(value, (*above, name))
        else:
            yield (*above, name), value
