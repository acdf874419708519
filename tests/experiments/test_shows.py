"""Programs that show something at full size, run here at the smallest."""

import json
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from experiments.examples import own_dataset
from experiments.shows import digits_folder, held_out, large_folder, quickstart, quickstart_app
from experiments.table.spec import Table
from fgl_flower.config import RunConfig
from fgl_flower.data.decoded import decoded
from fgl_flower.data.rows import Rows
from fgl_flower.data.sources import load_source
from fgl_flower.learning.building import build_model
from fgl_flower.learning.images import normalise
from fgl_flower.records.reading import read_run
from fgl_flower.records.result import Result
from fgl_flower.records.run_folder import RunFolder

TINY = {
    "private-images": 60,
    "validation-images": 60,
    "test-images": 60,
    "clients": 2,
    "partition": "iid",
    "local-epochs": 1,
    "device": "cpu",
}


Lines = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Lines:
    """Return a function that calls a show on the tiny world and returns the JSON lines that it prints."""
    torch.set_num_threads(1)

    def call(main: Callable[[], None], *words: str, **changes: object) -> list[dict[str, Any]]:
        sets = [word for key, value in {**TINY, **changes}.items() for word in ("--set", f"{key}={value}")]
        monkeypatch.setattr(sys, "argv", ["show", "--runs-dir", str(tmp_path), *words, *sets])
        main()
        return [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]

    return call


@pytest.mark.parametrize("what", ["classes", "style"])
def test_the_accuracy_on_what_the_generator_never_saw_is_read_from_a_table(
    what: str, lines: Lines, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = Path(held_out.__file__).parents[1] / "tables" / f"held-out-{what}.toml"
    with pytest.raises(SystemExit):
        lines(held_out.main, str(file))
    assert "run `fgl table" in capsys.readouterr().err
    table = Table.load(file, TINY)
    right: dict[str, list[float]] = {}
    for cell in table.cells:
        for seed in table.seeds:
            config = table.config(cell, seed, {}, tmp_path)
            share = (len(cell.names[0]) + seed) / 20
            right.setdefault(cell.names[0], []).append(share)
            by_class = dict.fromkeys(["bolt", "fish"], share) | {"star": 1.0}
            result = Result.of(
                config, accuracy=0.5, accuracy_by_class=by_class, accuracy_by_domain={"neon": share, "photo": 1.0}
            )
            with RunFolder.create(config) as folder:
                folder.finish(result)
    rows = lines(held_out.main, str(file))
    assert {row["prompts"]: row["held_out_accuracy"][0] for row in rows} == pytest.approx(
        {name: sum(shares) / 3 for name, shares in right.items()}, abs=1e-4
    )
    # Student's t with two degrees of freedom: half width 4.303 s / sqrt(3), where s is 1/20.
    assert [row["held_out_accuracy"][1] for row in rows] == pytest.approx([0.1242] * len(rows), abs=1e-4)


def test_our_fedavg_stands_beside_flowers_quickstart(lines: Lines, tmp_path: Path) -> None:
    *rows, last = lines(quickstart.main, "--rounds", "1", "--seeds", "2")
    assert [row["seed"] for row in rows] == [0, 1]
    for row in rows:
        run = read_run(tmp_path / f"fedavg-{row['seed']}")
        assert run.result is not None
        assert row["ours"] == pytest.approx(run.result.accuracy, abs=1e-4)
        assert row["difference"] == pytest.approx(row["ours"] - row["quickstart"], abs=2e-4)
        assert 60 * row["quickstart"] == pytest.approx(round(60 * row["quickstart"]), abs=0.01)  # of 60 test images
    # Mean of two and, by Student's t with one degree of freedom (12.706), half width 12.706 |a - b| / 2.
    a, b = (row["difference"] for row in rows)
    assert last["seeds"] == 2
    assert last["difference"] == pytest.approx([(a + b) / 2, 12.706 * abs(a - b) / 2], abs=2e-3)
    for who in ("ours", "quickstart"):
        assert last["seconds_a_round"][who] == pytest.approx(sum(row["seconds"][who] for row in rows) / 2, abs=1e-3)
    (again, _) = lines(quickstart.main, "--rounds", "1", "--seeds", "1")
    assert again["quickstart"] == rows[0]["quickstart"]  # trained anew; ours is read from its run folder
    assert again["ours"] == rows[0]["ours"]


def test_the_plain_input_and_augmentation_are_the_projects() -> None:
    config = RunConfig.parse({**TINY, "method": "fedavg", "rounds": 1})
    pictures = quickstart_app.Pictures(load_source(config).validation)
    raw = pictures.images[0].float()
    torch.testing.assert_close(pictures[0][0], normalise(raw[None])[0], atol=1e-5, rtol=1e-4)
    padded = F.pad(raw, (4, 4, 4, 4), mode="reflect")
    windows = {padded[:, y : y + 32, x : x + 32].numpy().tobytes() for y in range(9) for x in range(9)}
    torch.manual_seed(0)
    drawn = [quickstart_app.augmented(raw) for _ in range(200)]
    kept = [image.numpy().tobytes() in windows for image in drawn]
    assert all(
        seen or image.flip(-1).contiguous().numpy().tobytes() in windows
        for seen, image in zip(kept, drawn, strict=True)
    )
    assert 60 < sum(kept) < 140  # about half are flipped
    assert len({image.numpy().tobytes() for image in drawn}) > 80  # of 162


def test_the_plain_loop_is_sgd_worked_by_hand() -> None:
    """Two steps on one batch: v1 = g1 + d w0, w1 = w0 - lr v1; v2 = m v1 + g2 + d w1, w2 = w1 - lr v2."""
    images, labels = torch.randn(4, 3, 32, 32), torch.tensor([0, 1, 2, 3])
    model, own = (build_model("small-resnet", 10, seed=0) for _ in range(2))
    quickstart_app.fit(model, [(images, labels)], epochs=2, lr=0.1, momentum=0.5, weight_decay=0.01)  # type: ignore[arg-type]
    velocity = [torch.zeros_like(weight) for weight in own.parameters()]
    for _ in range(2):
        gradients = torch.autograd.grad(F.cross_entropy(own(images), labels), list(own.parameters()))
        with torch.no_grad():
            for weight, gradient, v in zip(own.parameters(), gradients, velocity, strict=True):
                v.mul_(0.5).add_(gradient + 0.01 * weight)
                weight.sub_(0.1 * v)
    for weight, expected in zip(model.parameters(), own.parameters(), strict=True):
        torch.testing.assert_close(weight, expected, atol=1e-5, rtol=1e-4)


def test_the_large_folder_has_as_many_damaged_images_as_it_says(tmp_path: Path) -> None:
    told = large_folder.make_folder(tmp_path, 100, 24, 0.1)
    source = load_source(RunConfig(dataset=f"folder:{tmp_path}"))
    splits = {"train": source.private, "validation": source.validation, "test": source.test}
    assert told == {"train": 8, "validation": 1, "test": 1}
    assert {name: len(decoded(Rows.of(split), 16).unread) for name, split in splits.items()} == told
    assert sum(map(len, splits.values())) == 100


def test_the_peak_of_a_command_is_that_of_its_processes() -> None:
    hold = "import time; held = bytearray(b'x') * 80_000_000; time.sleep(0.5)"
    _, peaks = large_folder.watch([sys.executable, "-c", hold])
    resident, own = peaks["server"]
    assert 80 < own <= resident < 200
    with pytest.raises(SystemExit, match="exit code 3"):
        large_folder.watch([sys.executable, "-c", "raise SystemExit(3)"])


def test_digits_become_a_folder_that_is_the_same_data_set(tmp_path: Path) -> None:
    digits_folder.main(tmp_path)
    names = [path.name for path in (tmp_path / "train").iterdir()]
    assert sorted(names) == sorted(own_dataset.NAMES)
    config = RunConfig(dataset=f"folder:{tmp_path}")
    source, own = load_source(config), own_dataset.digits(config)
    for split in ("private", "validation", "test"):
        counts = [
            Counter(one.classes[label] for label in getattr(one, split)["label"])  # folders are in order of their names
            for one in (source, own)
        ]
        assert counts[0] == counts[1]
