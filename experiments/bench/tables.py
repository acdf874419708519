"""The figures of `fgl bench` as a table in the terminal and as Markdown for a document."""

from typing import Any

from rich.table import Table


def table(results: dict[str, Any]) -> Table:
    """Return the contestants, one a row."""
    shown = Table(title=f"{results['generator']} on {results['device']}")
    for heading in ("", "drawn with", "images/s", "ratio", "memory", "MFU"):
        shown.add_column(heading, justify="left" if heading in {"", "drawn with"} else "right")
    for row in results["contestants"]:
        rate, ratio, drawn = row["images_per_second"], row["ratio"], row["settings"]
        shown.add_row(
            row["name"],
            f"{drawn['steps']} steps, guidance {drawn['guidance']:g}\nbatch {row['batch']}, {drawn['precision']}",
            f"{rate['median']:.2f}\n{rate['low']:.2f}-{rate['high']:.2f}",
            f"{ratio['median']:.1f}\n{ratio['low']:.1f}-{ratio['high']:.1f}",
            f"{row['memory_bytes'] / 2**20:,.0f} MiB",
            _percent(row.get("mfu")),
        )
    return shown


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.0f} %"


def markdown(results: dict[str, Any]) -> str:
    """Return the figures as tables for a document."""
    lines = [f"{results['generator']} on {results['device']}", ""]
    lines += ["| | steps | guidance | batch | precision | images/s | ratio | memory | MFU |", "|---|" + "---:|" * 8]
    for row in results.get("contestants", []):
        drawn, rate, ratio = row["settings"], row["images_per_second"], row["ratio"]
        lines.append(
            f"| {row['name']} | {drawn['steps']} | {drawn['guidance']:g} | {row['batch']} | {drawn['precision']} "
            f"| {rate['median']:.2f} ({rate['low']:.2f}-{rate['high']:.2f}) "
            f"| {ratio['median']:.1f} ({ratio['low']:.1f}-{ratio['high']:.1f}) "
            f"| {row['memory_bytes'] / 2**20:,.0f} MiB | {_percent(row.get('mfu'))} |"
        )
    if "ablation" in results:
        lines += ["", "| setting, alone | images/s | gain | memory |", "|---|---:|---:|---:|"]
    for row in results.get("ablation", []):
        gain = row["gain"]
        lines.append(
            f"| {row['name']} | {row['images_per_second']:.2f} "
            f"| {gain['median']:.2f} ({gain['low']:.2f}-{gain['high']:.2f}) | {row['memory_bytes'] / 2**20:,.0f} MiB |"
        )
    if "accuracy" in results:
        lines += ["", "| trained on images of | test accuracy, by seed |", "|---|---:|"]
    for name, figures in results.get("accuracy", {}).items():
        lines.append(f"| {name} | {', '.join(f'{100 * value:.1f} %' for value in figures)} |")
    return "\n".join(lines) + "\n"
