"""Numbers as people read them."""


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
