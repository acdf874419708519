"""TensorBoard's view of a run, written into the run folder's `tensorboard/` as the run goes (key `tensorboard`).

| tag | step | holds |
|---|---|---|
| `validation/accuracy`, `bytes/total` | round | the "round" events |
| `validation/accuracy_over_bytes` | bytes | the same accuracy over all bytes sent by then |
| `PHASE/loss`, `PHASE/validation_accuracy` | epoch | the "epoch" events of server training and fine-tuning |
| `synthesis/images_per_second/WORKER` | 0 | the "synthesis" event |
| `samples/CLASS/synthetic`, `samples/CLASS/validation` | 0 | the images that the report shows |
| `result/test_accuracy`, `result/bytes_...`, `result/seconds/PHASE` | last round | `result.json` |
| `configuration` | 0 | `config.toml` |

TensorBoard's own writers put the host's name into the name of the file, and a run folder names no host: so its records
are appended here one by one, as `metrics.jsonl` is, with no thread or open file in between.
"""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import indent
from typing import Any

import numpy as np
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter
from torch.utils.tensorboard.summary import image, scalar, text

from fgl_flower.config import RunConfig
from fgl_flower.records.observer import Observer
from fgl_flower.records.result import Result
from fgl_flower.records.samples import Sample

FOLDER = "tensorboard"
FILE = "events.out.tfevents.run"  # TensorBoard reads what has "tfevents" in its name
_GAP = 2  # white pixels between the images of a strip


class Board(Observer):
    """Writes one run's records."""

    name = f"{FOLDER}/"

    def begin(self, folder: Path, config: RunConfig) -> None:
        """Open the file and write the configuration."""
        self.file = folder / FOLDER / FILE
        self.file.parent.mkdir()
        self._epochs: Counter[str] = Counter()
        self._append(Event(wall_time=time.time(), file_version="brain.Event:2"))
        configuration = (folder / "config.toml").read_text(encoding="utf-8")
        self._add(text("configuration", indent(configuration, " " * 4)), 0)  # verbatim in Markdown

    def event(self, event: Mapping[str, Any]) -> None:
        """Write what there is to see of an event of `RunFolder.log`."""
        if event["event"] == "round":
            accuracy, sent = event["validation_accuracy"], event["bytes_total"]
            self._add(scalar("validation/accuracy", accuracy), event["round"])
            self._add(scalar("validation/accuracy_over_bytes", accuracy), sent)
            self._add(scalar("bytes/total", sent), event["round"])
        elif event["event"] == "epoch":
            phase = event["phase"]
            self._epochs[phase] += 1  # fine-tuning starts anew each round, its curve goes on
            for figure in ("loss", "validation_accuracy"):
                if event[figure] is not None:
                    self._add(scalar(f"{phase}/{figure}", event[figure]), self._epochs[phase])
        elif event["event"] == "synthesis":
            for worker, rate in event["images_per_second"].items():
                self._add(scalar(f"synthesis/images_per_second/{worker}", rate), 0)

    def samples(self, samples: Sequence[Sample]) -> None:
        """Write the images of the report, for each class a strip of synthetic and one of validation images."""
        strips: dict[str, list[np.ndarray]] = {}
        for sample in samples:
            strips.setdefault(f"samples/{sample.label}/{sample.kind}", []).append(sample.image)
        for tag, images in strips.items():
            self._add(image(tag, _strip(images), dataformats="HWC"), 0)

    def end(self, folder: Path, result: Result) -> None:
        """Write the figures of a finished run."""
        figures = {} if result.accuracy is None else {"test_accuracy": result.accuracy}
        figures |= {n: getattr(result, n) for n in type(result).model_fields if n.startswith("bytes_")}
        figures |= {f"seconds/{phase}": seconds for phase, seconds in result.seconds.items()}
        for name, value in figures.items():
            self._add(scalar(f"result/{name}", value), result.rounds)

    def _add(self, summary: Summary, step: int) -> None:
        self._append(Event(wall_time=time.time(), step=step, summary=summary))

    def _append(self, event: Event) -> None:
        with self.file.open("ab") as file:
            RecordWriter(file).write(event.SerializeToString())


def _strip(images: Sequence[np.ndarray]) -> np.ndarray:
    """Return (H, W, 3) images side by side as one, (H, sum of W and gaps, 3)."""
    gap = np.full((images[0].shape[0], _GAP, 3), 255, np.uint8)
    return np.concatenate([part for one in images for part in (gap, one)][1:], axis=1)
