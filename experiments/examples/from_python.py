"""A run from Python: configure, run, read the result.

python -m experiments.examples.from_python
"""

from typing import Any

from experiments import run
from fgl_flower import Result, RunConfig
from fgl_flower.records.reading import read_run


def main(**changes: Any) -> dict[str, Result]:
    """Run one-shot FGL with two prompt levels and return their results by level."""
    results = {}
    for level in ("class", "class-style"):
        config = RunConfig(**{"prompt_level": level, "name": f"from-python-{level}", **changes})
        results[level] = run(config)
    return results


def read_again(folder: str) -> Result | None:
    """Return the result that a run folder holds, of this or any earlier run."""
    return read_run(folder).result


if __name__ == "__main__":
    for level, result in main().items():
        up = f"{result.bytes_up_per_client:,.0f} bytes up a client"
        print(f"{level}: test accuracy {result.accuracy:.3f}, {up}")
