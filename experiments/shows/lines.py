"""Lines of JSON that a show prints."""

import json
import math
from typing import Any

from experiments.cli.terminal import console
from fgl_flower.report.intervals import Interval


def mean_and_half(value: Interval) -> list[float | None]:
    """Return mean and half width as JSON can hold them: a single run has no width."""
    return [value.mean, None if math.isnan(value.half) else value.half]


def print_line(line: dict[str, Any]) -> None:
    """Print one line of JSON, numbers to four places."""
    rounded = json.loads(json.dumps(line), parse_float=lambda text: round(float(text), 4))
    console.print(json.dumps(rounded), soft_wrap=True, markup=False, highlight=False)
