"""The plots of a table of runs: means with intervals, and curves over rounds and bytes with a band over the seeds."""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from fgl_flower.records.reading import Run
from fgl_flower.report.charts import Curve, line_chart
from fgl_flower.report.cost_plot import Cost, cost_plot
from fgl_flower.report.dot_plot import Dot, dot_plot, scale_of
from fgl_flower.report.intervals import interval
from fgl_flower.report.table.rows import Column, Row, columns_of, methods_of


def dot_plots(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return a plot of test accuracy for each column, all on one scale and with the same lines."""
    accuracies = {row.names: list(row.accuracies.values()) for row in rows}
    columns = []
    for column in columns_of(rows):
        cells = [(method, accuracies.get((method.name, *column.names), [])) for method in methods_of(rows)]
        dots = [Dot(m.name, m.series, tuple(values), interval(values) if values else None) for m, values in cells]
        columns.append((column.title, dots))
    everything = [dot for _, dots in columns for dot in dots if dot.interval]
    if not everything:
        return []
    scale = scale_of(everything)
    return [{"title": title, "svg": dot_plot(dots, scale)} for title, dots in columns]


def cost_plots(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return a plot of accuracy against bytes up per client for each column in which a method sends anything."""
    series = {method.name: method.series for method in methods_of(rows)}
    plots = []
    for column in columns_of(rows):
        costs = [
            Cost(row.names[0], series[row.names[0]], fmean(r.bytes_up_per_client for r in results), interval(shares))
            for row in column.rows
            if (results := list(row.results.values())) and (shares := list(row.accuracies.values()))
        ]
        if svg := cost_plot(costs):
            legend = [{"name": cost.name, "series": cost.series} for cost in costs]
            plots.append({"title": column.title, "legend": legend, "svg": svg})
    return plots


def curve_pairs(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return the charts over rounds and over bytes of each column in which a method has rounds."""
    series = {method.name: method.series for method in methods_of(rows)}
    pairs = []
    for column in columns_of(rows):
        over_rounds, over_bytes = _curves(column, series)
        if not any(len(curve.points) > 1 for curve in over_rounds):
            continue
        pairs.append(
            {
                "title": column.title,
                "legend": [{"name": curve.name, "series": curve.series} for curve in over_rounds if curve.points],
                "over_rounds": line_chart(over_rounds, "rounds"),
                "over_bytes": line_chart(over_bytes, "bytes"),
            }
        )
    return pairs


def _curves(column: Column, series: Mapping[str, int]) -> tuple[list[Curve], list[Curve]]:
    over_rounds: list[Curve] = []
    over_bytes: list[Curve] = []
    for row in column.rows:
        by_seed = [points for run in row.runs.values() if (points := _by_round(run))]
        if not by_seed:
            continue
        shared = sorted(set.intersection(*(set(points) for points in by_seed)))
        shares = {number: [points[number][0] for points in by_seed] for number in shared}
        sent = {number: fmean(points[number][1] for points in by_seed) for number in shared}
        for curves, x in ((over_rounds, {number: float(number) for number in shared}), (over_bytes, sent)):
            line = tuple((x[number], fmean(shares[number])) for number in shared)
            band = tuple((x[number], min(shares[number]), max(shares[number])) for number in shared)
            name = row.names[0]
            curves.append(Curve(name, series[name], line, band=band if len(by_seed) > 1 else ()))
    return over_rounds, over_bytes


def _by_round(run: Run) -> dict[int, tuple[float, float]]:
    """Return validation accuracy and bytes so far by round; for a method without rounds, its end as round 0."""
    points = {
        int(event["round"]): (float(event["validation_accuracy"]), float(event.get("bytes_total", 0)))
        for event in run.events
        if event.get("event") == "round" and isinstance(event.get("validation_accuracy"), int | float)
    }
    if not points and run.result is not None and run.result.validation_accuracy is not None:
        return {0: (run.result.validation_accuracy, float(run.result.bytes_total))}
    return points
