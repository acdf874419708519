"""What TensorBoard shows of a run is what the run's own files say."""

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import STORE_EVERYTHING_SIZE_GUIDANCE, EventAccumulator

from experiments.runner import run, run_folder
from fgl_flower.config import RunConfig
from fgl_flower.errors import ConfigError
from fgl_flower.records.reading import Run, read_run

SMALL = {
    "method": "fgl",
    "tensorboard": True,
    "rounds": 2,
    "fine-tune-epochs": 2,
    "clients": 3,
    "private-images": 120,
    "validation-images": 60,
    "test-images": 60,
    "local-epochs": 1,
    "server-epochs": 3,
    "images-per-class": 6,
    "device": "cpu",
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, tiny_checkpoint: Path) -> Run:
    """One prompt round and two federated ones, on images of a random-weight pipeline."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("runs")
    return read_run(run_folder(RunConfig.parse({**SMALL, "generator": str(tiny_checkpoint), "runs-dir": str(folder)})))


@pytest.fixture(scope="module")
def board(finished: Run) -> EventAccumulator:
    read = EventAccumulator(str(finished.path / "tensorboard"), size_guidance=STORE_EVERYTHING_SIZE_GUIDANCE)
    return read.Reload()


def points(board: EventAccumulator, tag: str) -> list[tuple[int, float]]:
    return [(event.step, event.value) for event in board.Scalars(tag)]


def near(rows: list[tuple[int, float]]) -> list[tuple[int, object]]:
    """Return the points as `pytest.approx` ones: TensorBoard keeps single precision."""
    return [(step, pytest.approx(value, rel=1e-6)) for step, value in rows]


def test_every_round_is_a_point_over_rounds_and_over_bytes(finished: Run, board: EventAccumulator) -> None:
    rounds = [event for event in finished.events if event["event"] == "round"]
    assert [event["round"] for event in rounds] == [0, 1, 2]
    accuracy = [event["validation_accuracy"] for event in rounds]
    sent = [event["bytes_total"] for event in rounds]
    assert points(board, "validation/accuracy") == near(list(zip((0, 1, 2), accuracy, strict=True)))
    assert points(board, "bytes/total") == near(list(zip((0, 1, 2), sent, strict=True)))
    assert points(board, "validation/accuracy_over_bytes") == near(list(zip(sent, accuracy, strict=True)))


def test_server_training_is_a_curve_over_its_epochs(finished: Run, board: EventAccumulator) -> None:
    for phase, count in (("server-training", 3), ("fine-tuning", 2 * 2)):  # two epochs after each of two rounds
        epochs = [event for event in finished.events if event["event"] == "epoch" and event["phase"] == phase]
        assert len(epochs) == count
        for figure in ("loss", "validation_accuracy"):
            rows = [(i + 1, event[figure]) for i, event in enumerate(epochs)]
            assert points(board, f"{phase}/{figure}") == near(rows)
    best = max(event["validation_accuracy"] for event in finished.events if event.get("phase") == "server-training")
    first = next(event for event in finished.events if event["event"] == "round")
    assert first["validation_accuracy"] == best  # the epoch that did best was kept


def test_the_result_and_the_speed_of_synthesis_are_those_of_the_files(finished: Run, board: EventAccumulator) -> None:
    result = finished.result
    assert result is not None
    assert points(board, "result/test_accuracy") == near([(2, result.accuracy)])
    for name in ("bytes_up_per_client", "bytes_down_per_client", "bytes_once_per_client", "bytes_total"):
        assert points(board, f"result/{name}") == near([(2, getattr(result, name))])
    for phase, seconds in result.seconds.items():
        assert points(board, f"result/seconds/{phase}") == near([(2, seconds)])
    (synthesis,) = [event for event in finished.events if event["event"] == "synthesis"]
    assert synthesis["images_per_second"]
    for worker, rate in synthesis["images_per_second"].items():
        assert points(board, f"synthesis/images_per_second/{worker}") == near([(0, rate)])


def test_the_images_of_the_report_stand_side_by_side(finished: Run, board: EventAccumulator) -> None:
    strips: dict[str, list[np.ndarray]] = {}
    for sample in finished.samples:
        pixels = np.asarray(Image.open(finished.path / sample["file"]))
        strips.setdefault(f"samples/{sample['label']}/{sample['kind']}", []).append(pixels)
    assert sorted(board.Tags()["images"]) == sorted(strips)
    assert len(strips) == 10 * 2  # synthetic and validation images of ten classes
    for tag, images in strips.items():
        (event,) = board.Images(tag)
        shown = np.asarray(Image.open(io.BytesIO(event.encoded_image_string)))
        assert shown.shape == (32, len(images) * (32 + 2) - 2, 3)
        for number, pixels in enumerate(images):
            left = number * (32 + 2)
            np.testing.assert_array_equal(shown[:, left : left + 32], pixels)


def test_the_configuration_can_be_read_and_the_file_names_no_host(finished: Run, board: EventAccumulator) -> None:
    (text,) = board.Tensors("configuration/text_summary")[0].tensor_proto.string_val
    lines = (finished.path / "config.toml").read_text(encoding="utf-8").splitlines()
    assert [line.removeprefix("    ") for line in text.decode().splitlines()] == lines
    (file,) = (finished.path / "tensorboard").iterdir()
    assert file.name == "events.out.tfevents.run"  # TensorBoard's own writers would put the host's name there


def test_runs_that_do_not_ask_for_it_never_import_it(tmp_path: Path) -> None:
    code = (
        "import sys; from fgl_flower.config import RunConfig; from fgl_flower.records.run_folder import RunFolder\n"
        "RunFolder.create(RunConfig.parse({'runs-dir': sys.argv[1], 'name': 'plain'}))\n"
        "assert 'tensorboard' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
    assert not (tmp_path / "plain" / "tensorboard").exists()


def test_without_the_package_it_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)  # how Python itself says that there is no such package
    with pytest.raises(ConfigError, match=r"pip install 'fgl-flower\[tensorboard\]'"):
        run(RunConfig.parse({**SMALL, "runs-dir": str(tmp_path / "runs")}))
    assert not (tmp_path / "runs").exists()
