"""Numbers as people read them."""

import math
from collections.abc import Iterable, Sequence

from fgl_flower.report.intervals import Interval


def human_bytes(count: float) -> str:
    """Return a byte count with a decimal unit: 812 B, 3.4 kB, 42.7 MB."""
    value, unit = float(count), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 1000:
            break
        value, unit = value / 1000, larger
    return f"{value:.0f} {unit}" if unit == "B" else f"{value:.3g} {unit}" if value < 100 else f"{value:.0f} {unit}"


def human_seconds(seconds: float) -> str:
    """Return a duration: 4.2 s, 3 min 20 s, 2 h 5 min."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def percent(share: float | None) -> str:
    """Return a share of one as a percentage with one decimal, a dash for None."""
    return "–" if share is None else f"{100 * share:.1f} %"


def percent_interval(interval: Interval | None) -> str:
    """Return 92.4 ± 0.6 %; 92.4 % for a single value, a dash for None."""
    if interval is None or math.isnan(interval.half):
        return percent(interval.mean if interval else None)
    return f"{100 * interval.mean:.1f} ± {100 * interval.half:.1f} %"


def points_interval(interval: Interval | None) -> str:
    """Return a difference of shares in points: +71.2 ± 3.1; +71.2 for a single value, a dash for None."""
    if interval is None:
        return "–"
    points = round(100 * interval.mean, 1)
    sign = "+" if points > 0 else "−" if points < 0 else ""
    half = "" if math.isnan(interval.half) else f" ± {100 * interval.half:.1f}"
    return f"{sign}{abs(points):.1f}{half}"


def ranges(numbers: Iterable[int], most: int = 12) -> str:
    """Return whole numbers with neighbours drawn together, at most so many parts: '1-3, 7'."""
    spans: list[list[int]] = []
    for number in sorted(set(numbers)):
        if spans and number == spans[-1][1] + 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    parts = [f"{first}-{last}" if last > first else f"{first}" for first, last in spans]
    return ", ".join(shortened(parts, most))


def shortened(items: Sequence[object], most: int, what: str = "") -> list[str]:
    """Return the texts of the first items and, for the rest, how many more there are."""
    rest = len(items) - most
    more = [f"{rest:,} more {what}".rstrip()] if rest > 0 else []
    return [str(item) for item in items[:most]] + more


def seeds_text(seeds: Iterable[int]) -> str:
    """Return 'seed 3' or 'seeds 0, 1, 4'."""
    listed = sorted(seeds)
    return f"seed{'s' if len(listed) > 1 else ''} {', '.join(map(str, listed))}"
