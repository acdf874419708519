"""Accuracy against bytes up per client: `python -m experiments.shows.cost_of_accuracy TABLE.csv OUT.png`.

A panel for each value of the table's second axis, a point a method with its interval; for the README. The page of every
table has the same plot, with names under the pointer.
"""

import argparse
import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from fgl_flower.report.formatting import human_bytes
from fgl_flower.report.intervals import interval

COLOURS = ("#2a6fdb", "#d95f2b", "#12875a", "#9a5bd0", "#b88200", "#c2387f", "#3a8ea5", "#6b6b6b")  # the report's
NOTHING = 30.0  # bytes at which a method stands that sends nothing

Cells = Mapping[str, Mapping[str, Sequence[tuple[float, float]]]]
"""From panel and method to (accuracy in percent, bytes up per client) of each seed."""


def read(path: Path) -> Cells:
    """Return the finished runs of a table of methods by one more axis."""
    cells: dict[str, dict[str, list[tuple[float, float]]]] = {}
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        other = (reader.fieldnames or [])[1]
        for row in reader:
            point = 100 * float(row["accuracy"]), float(row["bytes_up_per_client"])
            cells.setdefault("" if other == "seed" else row[other], {}).setdefault(row["method"], []).append(point)
    return cells


def draw(cells: Cells) -> Figure:
    """Return the figure of what `read` returned."""
    methods = list(dict.fromkeys(method for panel in cells.values() for method in panel))
    colours = {method: COLOURS[i % len(COLOURS)] for i, method in enumerate(methods)}
    figure = Figure(figsize=(3.3 * len(cells) + 0.4, 3.7), dpi=150, layout="constrained")
    panels = figure.subplots(1, len(cells), sharey=True, squeeze=False)[0]
    for axis, (title, panel) in zip(panels, cells.items(), strict=True):
        _panel(axis, title, panel, colours)
    panels[0].set_ylabel("test accuracy in percent")
    handles = [panels[0].plot([], [], "o", color=colour, label=method)[0] for method, colour in colours.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=min(4, len(methods)), frameon=False, fontsize=9)
    return figure


def _panel(
    axis: Axes, title: str, panel: Mapping[str, Sequence[tuple[float, float]]], colours: Mapping[str, str]
) -> None:
    for method, points in panel.items():
        accuracy, sent = interval([accuracy for accuracy, _ in points]), fmean(sent for _, sent in points)
        half = accuracy.half if len(points) > 1 else 0.0
        axis.errorbar(sent or NOTHING, accuracy.mean, half, fmt="o", color=colours[method], capsize=3, markersize=6)
    axis.set_xscale("log")
    axis.set_xlim(NOTHING / 2, 3e8)
    axis.set_ylim(0, 100)
    axis.set_xticks([NOTHING, 1e3, 1e5, 1e7])
    axis.xaxis.set_major_formatter(FuncFormatter(lambda x, _: human_bytes(0 if x == NOTHING else x)))
    axis.minorticks_off()
    axis.grid(axis="y", color="#dddddd")
    axis.set_title(title, fontsize=11)
    axis.set_xlabel("bytes up per client")
    axis.spines[["top", "right"]].set_visible(False)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path)
    parser.add_argument("picture", type=Path)
    arguments = parser.parse_args()
    draw(read(arguments.table)).savefig(arguments.picture)
