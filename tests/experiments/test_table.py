"""`fgl table`: what a file means, and what a table does when it is killed, fails in a cell or is run again."""

import csv
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from experiments.table.cells import Cells, different
from experiments.table.files import first_at, markdown, revisions
from experiments.table.spec import Table
from experiments.table.workers import Workers
from fgl_flower.config import RunConfig
from fgl_flower.errors import ConfigError
from fgl_flower.foundation.generator import inspect
from fgl_flower.records.reading import read_run
from fgl_flower.report.table.rows import Row
from tests.made_runs import made_run, run_of

FEDAVG = 'method = "fedavg"\nrounds = 2\nlocal-epochs = 1\nname = "ignored"\n'
TINY = """
title = "Tiny"
about = "Two methods, two skews."
seeds = [0, 1]
against = "FedAvg"
[base]
clients = 2
private-images = 60
validation-images = 60
test-images = 60
server-epochs = 1
[axes.method.FedAvg]
file = "fedavg.toml"
tune = ["local-lr"]
only.skew = ["even"]
[axes.method.centralised]
method = "centralised"
[axes.skew.even]
partition = "iid"
[axes.skew.uneven]
beta = 0.5
[tune]
seed = 7
rounds = 1
grid.local-lr = [0.001, 0.1]
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "fedavg.toml").write_text(FEDAVG, encoding="utf-8")
    (tmp_path / "tiny.toml").write_text(TINY, encoding="utf-8")
    return tmp_path / "tiny.toml"


def changed(file: Path, old: str, new: str) -> Path:
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new), encoding="utf-8")
    return file


def fgl(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "experiments.cli.app", "table", *map(str, arguments)]
    environment = {**os.environ, "COLUMNS": "150", "PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, env=environment, check=False)


def lines(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as text:
        return list(csv.DictReader(text))


def test_the_axes_are_multiplied_files_and_overrides_merged_and_only_is_heeded(file: Path) -> None:
    table = Table.load(file, {"private-images": 50})
    assert [cell.names for cell in table.cells] == [
        ("FedAvg", "even"),
        ("centralised", "even"),
        ("centralised", "uneven"),
    ]
    config = table.config(table.cells[0], 1, {"local-lr": 0.1}, Path("runs"))
    assert (config.method, config.rounds, config.partition, config.private_images) == ("fedavg", 2, "iid", 50)
    assert (config.seed, config.local_lr, config.name) == (1, 0.1, "FedAvg_even_local-lr-0.1_seed-1")
    assert (config.runs_dir, config.store_dir) == ("runs/cells", "runs/store")


def test_an_axis_may_be_a_list_of_values_of_a_key(file: Path) -> None:
    changed(file, "[base]", "[axes]\nclients = [2, 3]\n[base]")
    changed(file, "clients = 2\n", "")
    changed(file, 'only.skew = ["even"]', 'only = { skew = ["even"], clients = [3] }')
    changed(file, 'against = "FedAvg"\n', "")
    table = Table.load(file)
    assert table.axes == ("clients", "method", "skew")
    assert [cell.names for cell in table.cells if cell.names[1] == "FedAvg"] == [("3", "FedAvg", "even")]
    assert {cell.keys["clients"] for cell in table.cells} == {2, 3}


def test_tuning_runs_are_short_have_a_seed_of_their_own_and_cover_the_grid(file: Path) -> None:
    table = Table.load(file)
    tried = table.tuning(table.cells[0], Path("runs"))
    assert [choice for choice, _ in tried] == [{"local-lr": 0.001}, {"local-lr": 0.1}]
    assert [(config.seed, config.rounds, config.local_lr) for _, config in tried] == [(7, 1, 0.001), (7, 1, 0.1)]
    assert table.tuning(table.cells[1], Path("runs")) == []
    assert Table.load(file, {"local-lr": 0.5}).cells[0].tune == ()  # what the user sets is not tuned


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('title = "Tiny"', "", "title: field required"),
        ("clients = 2", "klients = 2", "unknown key 'klients' (did you mean 'clients'?)"),
        ('against = "FedAvg"', 'against = "FedSGD"', "'FedSGD' is no value of the first axis"),
        ("seed = 7", "seed = 1", "is among the seeds"),
        ('tune = ["local-lr"]', 'tune = ["server-lr"]', "[tune.grid] has no such key"),
        ('file = "fedavg.toml"', 'file = "nothing.toml"', "nothing.toml: No such file"),
        ("seeds = [0, 1]", "seeds = []", "seeds: list should have at least 1 item"),
        ("seeds = [0, 1]", "seeds = [0, 1, 0]", "names one twice"),
        ("clients = 2", "clients = 2\nseed = 3", "FedAvg · even sets seed: use the file's seeds"),
        ("beta = 0.5", 'runs-dir = "elsewhere"', "centralised · uneven sets runs-dir: use --runs-dir"),
        ("[axes.skew.even]", "[axes]\nclients = []\n[axes.skew.even]", "axes.clients"),
        ("[axes.skew.even]", "[axes]\nclients = [2, 2]\n[axes.skew.even]", "names one value twice"),
        ("grid.local-lr = [0.001, 0.1]", "grid.local-lr = []", "tune.grid.local-lr: list should have at least 1 item"),
        ('only.skew = ["even"]', 'only.skew = ["evn"]', "axes.method.FedAvg.only.skew: 'evn' is none of even, uneven"),
        ('only.skew = ["even"]', 'only.skw = ["even"]', "'skw' is no other axis; these are skew"),
        ('only.skew = ["even"]', 'only.skew = "even"', "axes.method"),
        ('only.skew = ["even"]', 'only = ["even"]', "axes.method"),
        ('file = "fedavg.toml"', "file = 3", "axes.method"),
    ],
)
def test_a_bad_file_is_told_in_a_sentence(file: Path, old: str, new: str, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Table.load(changed(file, old, new))
    assert told in str(caught.value)


def test_runs_are_the_same_wherever_they_lie_and_a_method_without_clients_knows_no_partition(tmp_path: Path) -> None:
    here = RunConfig(method="centralised", partition="iid", name="a")
    there = RunConfig(method="centralised", beta=0.01, clients=9, name="b", runs_dir=str(tmp_path))
    assert different([here, there]) == [here]
    assert len(different([RunConfig(partition="iid"), RunConfig(beta=0.01)])) == 2


def test_the_target_is_met_by_the_first_round_that_reaches_it(tmp_path: Path) -> None:
    run = read_run(made_run(tmp_path, method="fedavg", rounds=9))
    accuracies = [event["validation_accuracy"] for event in run.events if event.get("event") == "round"]
    target = accuracies[len(accuracies) // 2]
    found = first_at(run, target)
    assert found is not None
    assert found["round"] == 1 + next(i for i, a in enumerate(accuracies) if a >= target)
    assert first_at(run, 1.1) is None


@pytest.mark.timeout(400)
def test_a_killed_table_repeats_no_finished_cell_and_gives_the_same_files(file: Path, tmp_path: Path) -> None:
    arguments = (file, "--jobs", "1", "--runs-dir", "runs")
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir()
    killed.mkdir()
    assert fgl(*arguments, cwd=whole).returncode == 0

    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-m", "experiments.cli.app", "table", *map(str, arguments)]
    running = subprocess.Popen(command, cwd=killed, stdout=subprocess.DEVNULL, env=environment)
    while len(list(killed.glob("runs/cells/*/result.json"))) < 3:
        assert running.poll() is None
        time.sleep(0.02)
    running.send_signal(signal.SIGKILL)
    running.wait()
    finished = {path: path.stat().st_mtime_ns for path in killed.glob("runs/cells/*/result.json")}
    time.sleep(1)  # a worker that outlived its table would write on
    assert len(list(killed.glob("runs/cells/*/result.json"))) <= len(finished) + 1

    again = fgl(*arguments, cwd=killed)
    assert again.returncode == 0, again.stderr
    assert {path: path.stat().st_mtime_ns for path in finished} == finished
    results = list(killed.glob("runs/cells/*/result.json"))
    assert len(results) == len({path.parent.name.removesuffix("-2") for path in results}) == 2 + 2 + 2
    for name in ("table.csv", "summary.csv", "tuning.csv", "table.md"):
        assert (killed / "runs/tiny" / name).read_bytes() == (whole / "runs/tiny" / name).read_bytes(), name

    rows = lines(whole / "runs/tiny/table.csv")
    assert [(row["method"], row["skew"], row["seed"]) for row in rows] == [
        (method, skew, seed)
        for method, skew in (("FedAvg", "even"), ("centralised", "even"), ("centralised", "uneven"))
        for seed in "01"
    ]
    tried = {row["local-lr"]: float(row["validation_accuracy"]) for row in lines(whole / "runs/tiny/tuning.csv")}
    assert {row["local-lr"] for row in rows if row["method"] == "FedAvg"} == {max(tried, key=lambda lr: tried[lr])}


@pytest.mark.timeout(300)
def test_a_failed_cell_is_named_and_the_others_go_on(file: Path, tmp_path: Path) -> None:
    broken = '[axes.method.broken]\nfile = "fedavg.toml"\nround-timeout = 1e-9\n'
    changed(file, "[axes.method.centralised]", broken + "[axes.method.centralised]")
    changed(file, 'tune = ["local-lr"]', 'tune = ["round-timeout"]')
    changed(file, "grid.local-lr = [0.001, 0.1]", "grid.round-timeout = [60, 1e-9]")
    done = fgl(file, "--runs-dir", "runs", "--jobs", "2", cwd=tmp_path)
    assert done.returncode == 1
    assert "5 runs failed" in done.stderr  # four cells and a tuning run
    assert {row["method"] for row in lines(tmp_path / "runs/tiny/table.csv")} == {"FedAvg", "centralised"}
    assert [row["failed"] != "" for row in lines(tmp_path / "runs/tiny/tuning.csv")] == [False, True]
    text = (tmp_path / "runs/tiny/table.md").read_text(encoding="utf-8")
    assert "Failed:" in text
    assert "| broken | even | 0 |" in text
    assert "| FedAvg | even | 7 | tuning, round-timeout = 1e-09: " in text
    assert "tuning, round-timeout = 1e-09: " in (tmp_path / "runs/tiny/table.html").read_text(encoding="utf-8")


@pytest.mark.timeout(300)
def test_a_run_whose_process_is_killed_again_and_again_takes_no_other_with_it(tmp_path: Path) -> None:
    base = {"method": "centralised", "private-images": 60, "validation-images": 60, "test-images": 60}
    configs = [
        RunConfig.parse({**base, "server-epochs": 1, "seed": seed, "name": f"c{seed}", "runs-dir": str(tmp_path)})
        for seed in range(3)
    ]

    def tell(name: str, phase: str, done: int, total: int) -> None:
        if name == "c1":
            for process in multiprocessing.active_children():
                if process.name.startswith("SpawnProcess"):  # not the manager of the queue
                    process.kill()

    ended: list[str] = []
    cells = Cells(tmp_path)
    with Workers(2, tell) as workers:
        cells.run(configs, workers, lambda config: ended.append(config.name))
    assert sorted(ended) == ["c0", "c1", "c2"]
    assert [bool(cells.get(config)) for config in configs] == [True, False, True]
    assert "out of memory" in cells.failure(configs[1])


def test_nothing_is_run_by_a_dry_run(file: Path, tmp_path: Path) -> None:
    done = fgl(file, "--dry-run", "--runs-dir", "runs", cwd=tmp_path)
    assert done.returncode == 0
    assert "uneven" in done.stdout
    assert not (tmp_path / "runs").exists()


def test_means_intervals_and_differences_are_those_by_hand(file: Path, tmp_path: Path) -> None:
    table = Table.load(file)
    accuracies = {("FedAvg", "even"): (0.5, 0.6), ("centralised", "even"): (0.7, 0.9)}
    rows = []
    for names, (first, second) in accuracies.items():
        runs = {}
        for seed, accuracy in enumerate((first, second)):
            runs[seed] = read_run(
                made_run(tmp_path / names[0] / str(seed), method="fedavg", rounds=1, accuracy=accuracy)
            )
        rows.append(Row(names, runs, {}, {}))
    text = markdown(table, rows, "fgl table tiny.toml")
    # Student's t for one degree of freedom is 12.7062; the half width of two values is half of it times their distance.
    assert "| FedAvg | 55.0 ± 63.5 |" in text
    assert "| centralised | 80.0 ± 127.1 |" in text
    assert "| centralised | +25.0 ± 63.5 |" in text


def test_names_and_reasons_cannot_break_a_markdown_table(file: Path) -> None:
    rows = [Row(("a|b [x]", "even"), {}, {0: "got <class 'int'> & \\|"}, {})]
    text = markdown(Table.load(file), rows, "fgl table tiny.toml")
    assert "| a\\|b [x] | failed |" in text
    assert "| a\\|b [x] | even | 0 | got &lt;class 'int'> &amp; \\\\\\| |" in text


def test_runs_of_several_revisions_of_the_code_are_told_apart() -> None:
    def row(*states: dict[str, Any]) -> Row:
        return Row(("a",), {seed: run_of(seed, git=state) for seed, state in enumerate(states)}, {}, {})

    clean, dirty = {"revision": "1" * 40, "dirty": False}, {"revision": "2" * 40, "dirty": True}
    assert revisions([row(clean, clean)]) == ""
    assert "1111111111 (2), 2222222222 with changes (1)" in revisions([row(clean, dirty), row(clean)])
    assert "2222222222 with changes (1)" in revisions([row(dirty)])


def test_a_run_whose_generator_has_changed_since_counts_as_not_run(tmp_path: Path) -> None:
    def found(folder: str, revision: str) -> bool:
        models = [{"role": "generator", "id": "miniature-fast", "revision": revision}]
        run = read_run(made_run(tmp_path / folder, models=models))
        return Cells(tmp_path / folder).get(run.config) is not None

    assert found("same", inspect("miniature-fast").revision)
    assert not found("other", "0" * 12)


def test_a_damaged_cell_counts_as_not_run(tmp_path: Path) -> None:
    run = read_run(made_run(tmp_path / "cells", method="fedavg", rounds=1))
    assert Cells(tmp_path / "cells").get(run.config) is not None
    (run.path / "result.json").write_text("{", encoding="utf-8")
    assert Cells(tmp_path / "cells").get(run.config) is None
