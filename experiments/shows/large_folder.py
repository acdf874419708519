"""What a run on a large image folder holds in memory: `python -m experiments.shows.large_folder --images 10000`.

Makes a folder of JPEGs of which some are damaged, runs a method on it with the command line and prints, of the server
and of the processes of clients, the peak of two figures. `resident` is all that is mapped in memory, pages of files
included, which the kernel drops when somebody needs the room. `own` is what it cannot drop (RssAnon; a forked client's
holds what it shares with the server until one of them writes): this is what ends a process when memory runs out.
"""

import argparse
import io
import json
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import psutil
from PIL import Image

from experiments.shows.lines import print_line

CLASSES = ("bird", "boat", "car", "cat", "chair", "cup", "dog", "house", "plant", "sheep")
_SPLITS = {"train": 0.8, "validation": 0.1, "test": 0.1}
_ROUNDLESS = ("fgl", "mixed", "centralised")
_SAMPLE_SECONDS = 0.05


def make_folder(root: Path, count: int, pixels: int, damaged: float) -> dict[str, int]:
    """Write `count` JPEGs in class folders and return how many of each split are damaged: cut off in the middle."""
    rng, lost = np.random.default_rng(0), dict[str, int]()
    for split, share in _SPLITS.items():
        images = round(count * share)
        broken = set(rng.permutation(images)[: round(damaged * images)].tolist())
        for name in CLASSES:
            (root / split / name).mkdir(parents=True, exist_ok=True)
        for i in range(images):
            label = i % len(CLASSES)
            coarse = rng.integers(0, 128, (6, 6, 3)) + np.array([12, 6, 3]) * label  # classes differ in colour
            picture = Image.fromarray(coarse.astype(np.uint8)).resize((pixels, pixels), Image.Resampling.BILINEAR)
            buffer = io.BytesIO()
            picture.save(buffer, "JPEG", quality=90)
            content = buffer.getvalue()
            path = root / split / CLASSES[label] / f"{i:06}.jpg"
            path.write_bytes(content[: len(content) // 2] if i in broken else content)
        lost[split] = len(broken)
    return lost


def memory(process: psutil.Process) -> tuple[int, int]:
    """Return what a process holds, in bytes: resident, and its own."""
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    fields = {name: value for name, _, value in (line.partition(":") for line in lines)}
    return tuple(1024 * int(fields[name].split()[0]) for name in ("VmRSS", "RssAnon"))  # type: ignore[return-value]


def watch(command: list[str]) -> tuple[float, dict[str, list[float]]]:
    """Run a command and return its seconds and the peaks of its processes by role, in MB: resident, own."""
    peaks: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    began = time.monotonic()
    process = subprocess.Popen(command)
    main = psutil.Process(process.pid)
    while process.poll() is None:
        for one in [main, *main.children(recursive=True)]:
            try:
                held, role = memory(one), _role(one, main)
            except (OSError, KeyError, psutil.Error):  # it ended meanwhile
                continue
            if role:
                peaks[role] = [max(old, new / 1e6) for old, new in zip(peaks[role], held, strict=True)]
        time.sleep(_SAMPLE_SECONDS)
    if process.returncode:
        raise SystemExit(f"the run failed with exit code {process.returncode}")
    return time.monotonic() - began, peaks


def _role(process: psutil.Process, main: psutil.Process) -> str:
    if process.pid == main.pid:
        return "server"
    command = process.cmdline()
    if command and command[0].startswith("ray::"):
        return "actor"
    return "client" if command == main.cmdline() else ""


def main() -> None:
    """Print the figures of one run as a line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=10_000, help="80 %% of them train")
    parser.add_argument("--pixels", type=int, default=256, help="side of the JPEGs")
    parser.add_argument("--image-size", type=int, default=224, help="side of the classifier's input")
    parser.add_argument("--damaged", type=float, default=0.01, help="share of each split")
    parser.add_argument("--method", default="fedavg")
    parser.add_argument("--engine", default="inline")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--clients", type=int, default=5, help="two of them train, one after the other or side by side")
    parser.add_argument("--folder", type=Path, help="where the images are kept for the next call; default: nowhere")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        root = given.folder or Path(scratch, "images")
        marker = root / "damaged.json"
        if not marker.exists():
            marker.write_text(json.dumps(make_folder(root, given.images, given.pixels, given.damaged)))
        damaged = json.loads(marker.read_text())
        config = Path(scratch, "run.toml")
        config.write_text(
            f'dataset = "folder:{root}"\nmethod = "{given.method}"\nimage-size = {given.image_size}\n'
            f'runs-dir = "{scratch}/runs"\nbatch-size = {given.batch_size}\nclients = {given.clients}\n'
            # Two clients train; more take more time, not more memory.
            f'partition = "iid"\nfraction = {min(1.0, 2 / given.clients)}\n'
            f"rounds = {int(given.method not in _ROUNDLESS)}\nlocal-epochs = 1\nserver-epochs = 1\n"
            'generator = "miniature-fast"\nimages-per-class = 20\n'
        )
        seconds, peaks = watch([sys.executable, "-m", "experiments.cli", "run", str(config), "--engine", given.engine])
        (result,) = Path(scratch, "runs").glob("*/result.json")
        skipped = json.loads(result.read_text())["skipped"]
    print_line(
        {
            **{
                name: getattr(given, name) for name in ("method", "engine", "images", "pixels", "image_size", "clients")
            },
            "seconds": round(seconds, 1),
            "damaged": damaged,
            "skipped": skipped,
            **{f"{role}, MB resident / own": [round(size) for size in held] for role, held in peaks.items()},
        }
    )


if __name__ == "__main__":
    main()
