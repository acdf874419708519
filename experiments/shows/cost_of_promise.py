"""Accuracy against epsilon: `python -m experiments.shows.cost_of_promise TABLE.csv OUT.png`.

For tables of methods with an axis "epsilon", as `experiments/tables/epsilon.toml`: a panel for each value of the axis
between the two, a line a method with its intervals, without a promise ("none") at the right end. A method that was run
without a promise alone, and needs none as clients send nothing or as it has none, is a dashed line across.
"""

import argparse
import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.shows.cost_of_accuracy import COLOURS
from fgl_flower.report.intervals import interval

NONE = "none"  # the value of the axis without a promise

Lines = Mapping[str, Mapping[str, Mapping[str, Sequence[float]]]]
"""From panel, method and epsilon to the accuracy in percent of each seed."""


def read(path: Path) -> Lines:
    """Return the finished runs of a table.

    Raises
    ------
    ValueError
        If it has no axis "epsilon".
    """
    panels: dict[str, dict[str, dict[str, list[float]]]] = {}
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        axes = list(reader.fieldnames or [])
        axes = axes[: axes.index("seed")] if "seed" in axes else axes
        if "epsilon" not in axes[1:]:
            raise ValueError(f"{path} has no axis 'epsilon' after the first: its axes are {', '.join(axes)}")
        others = [axis for axis in axes[1:] if axis != "epsilon"]
        for row in reader:
            panel = panels.setdefault(" · ".join(row[axis] for axis in others), {})
            panel.setdefault(row[axes[0]], {}).setdefault(row["epsilon"], []).append(100 * float(row["accuracy"]))
    return panels


def draw(panels: Lines) -> Figure:
    """Return the figure of what `read` returned."""
    methods = list(dict.fromkeys(method for panel in panels.values() for method in panel))
    colours = {method: COLOURS[i % len(COLOURS)] for i, method in enumerate(methods)}
    found = {epsilon for panel in panels.values() for values in panel.values() for epsilon in values}
    ticks = [*sorted(found - {NONE}, key=float), *({NONE} & found)]
    figure = Figure(figsize=(4.2 * len(panels) + 0.4, 3.9), dpi=150, layout="constrained")
    axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axis, (title, panel) in zip(axes, panels.items(), strict=True):
        for method, values in panel.items():
            _line(axis, method, values, ticks, colours[method])
        axis.set_xticks(range(len(ticks)), ticks)
        axis.set_xlim(-0.3, len(ticks) - 0.7)
        axis.set_ylim(0, 100)
        axis.grid(axis="y", color="#dddddd")
        axis.set_title(title, fontsize=11)
        axis.set_xlabel("epsilon, for each image of a client")
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("test accuracy in percent")
    handles = [axes[0].plot([], [], color=colour, label=method)[0] for method, colour in colours.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=min(3, len(methods)), frameon=False, fontsize=9)
    return figure


def _line(axis: Axes, method: str, values: Mapping[str, Sequence[float]], ticks: Sequence[str], colour: str) -> None:
    means = {epsilon: interval(accuracies) for epsilon, accuracies in values.items()}
    if set(means) == {NONE}:
        axis.axhline(means[NONE].mean, color=colour, linestyle="--", label=method)
        return
    places = [place for place, epsilon in enumerate(ticks) if epsilon in means]
    shown = [means[ticks[place]] for place in places]
    halves = [one.half if one.count > 1 else 0.0 for one in shown]
    axis.errorbar(places, [one.mean for one in shown], halves, fmt="o-", color=colour, capsize=3, label=method)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path)
    parser.add_argument("picture", type=Path)
    arguments = parser.parse_args()
    draw(read(arguments.table)).savefig(arguments.picture)
