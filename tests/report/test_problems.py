"""Problems of a run as sentences, marks and notes: compact for ten thousand clients, and from old runs, too."""

import csv
import dataclasses
import io
import json
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from experiments.table.files import markdown, write_files
from experiments.table.spec import Table
from fgl_flower.config import RunConfig
from fgl_flower.records.reading import Run, read_run
from fgl_flower.records.result import Failure
from fgl_flower.records.run_folder import RunFolder
from fgl_flower.report.formatting import ranges
from fgl_flower.report.page import render
from fgl_flower.report.problems import Problems
from fgl_flower.report.table.page import render_table_page
from fgl_flower.report.table.rows import Row, TableReport
from tests.made_runs import made_run, run_of
from tests.pages import HOSTILE, Page
from tests.pages import table as cells_of

NO_REPLY = "no reply in time"
DIVERGED = "server training diverged: its loss ended at 2.5e+09, guessing has 2.30; lower server-lr"


def lost(client: object, *rounds: int, why: str = NO_REPLY) -> Failure:
    return Failure(client=str(client), reason=why, rounds=list(rounds))


def bad_run(seed: int = 0) -> Run:
    failures = [lost(1, 1, 2, 3), lost(3, 2, why="ValueError: x")]
    return run_of(seed, failures=failures, skipped={"validation": 1, "client 2": 3}, warnings=[DIVERGED])


def test_every_kind_of_problem_is_a_sentence() -> None:
    run = run_of(failures=[lost(1, 1, 2, 3), lost(0, 2)], quarantined={"4": "NaN"}, skipped={"test": 1}, warnings=["w"])
    assert Problems.of(run).sentences() == [
        f"2 of 5 clients failed: client 1 in rounds 1-3 ({NO_REPLY}); client 0 in round 2 ({NO_REPLY})",
        "1 of 5 clients was quarantined: client 4 (NaN)",
        "1 unreadable image was left out: 1 of test",
        "w",
    ]
    assert not Problems.of(run_of())
    assert Problems.of(run_of()).sentences() == []


def test_ten_thousand_clients_that_fail_alike_are_one_short_sentence() -> None:
    rounds = list(range(1, 201))
    failures = [Failure(client=str(n), reason=NO_REPLY, rounds=rounds) for n in range(9_999)]
    run = run_of(failures=failures)
    run = dataclasses.replace(run, config=run.config.model_copy(update={"clients": 10_000}))
    assert Problems.of(run).sentences() == [
        f"9,999 of 10,000 clients failed: clients 0-9998 in rounds 1-200 ({NO_REPLY})"
    ]
    unlike = [lost(n, n % 200 + 1, why=f"error {n}") for n in range(0, 10_000, 2)]
    run = dataclasses.replace(run, result=run.result and run.result.model_copy(update={"failures": unlike}))
    [sentence] = Problems.of(run).sentences()
    assert sentence.endswith("; 4,997 more")
    assert len(sentence) < 200
    assert len(render([run])) < 200_000


@given(st.sets(st.integers(0, 60)))
def test_ranges_name_every_number_and_no_other(numbers: set[int]) -> None:
    found: set[int] = set()
    for part in filter(None, ranges(numbers, most=99).split(", ")):
        first, _, last = part.partition("-")
        found |= set(range(int(first), int(last or first) + 1))
    assert found == numbers
    assert ranges({1, 2, 3, 7}) == "1-3, 7"


def test_an_old_result_and_a_failed_run_tell_by_their_events(tmp_path: Path) -> None:
    config = RunConfig.parse({"runs-dir": str(tmp_path), "method": "fedavg", "rounds": 3})
    folder = RunFolder.create(config)
    for number in (1, 2):
        folder.log({"event": "failure", "client": "node 7", "reason": NO_REPLY, "round": number})
    folder.log({"event": "quarantine", "client": "2", "reason": "<b>", "round": 2})
    folder.warn("a warning")
    folder.fail("broke")
    failed = read_run(folder.path)
    told = [
        f"1 of 5 clients failed: node 7 in rounds 1-2 ({NO_REPLY})",
        "1 of 5 clients was quarantined: client 2 (<b>)",
        "a warning",
    ]
    assert Problems.of(failed).sentences() == told
    text = render([failed])
    assert Page(text).open == []
    assert "<h3>Warnings</h3>" in text
    assert "node 7 in rounds 1-2" in text
    assert "(&lt;b&gt;)" in text

    path = made_run(tmp_path, "fgl")
    result = json.loads((path / "result.json").read_text(encoding="utf-8"))
    for key in ("failures", "skipped", "warnings"):
        del result[key]
    (path / "result.json").write_text(json.dumps(result), encoding="utf-8")
    with (path / "metrics.jsonl").open("a", encoding="utf-8") as events:
        events.write(json.dumps({"event": "failure", "client": "1", "reason": NO_REPLY, "round": 0}) + "\n")
    assert Problems.of(read_run(path)).sentences() == [f"1 of 5 clients failed: client 1 in round 0 ({NO_REPLY})"]


def test_the_page_shows_failed_clients_images_left_out_and_warnings() -> None:
    text = render([bad_run()])
    clients = text[text.index("<h2>Clients</h2>") :]
    assert "No client failed" not in text
    cards = [title for title in ("Failed", "Quarantined", "Unreadable images left out") if f"<h3>{title}" in clients]
    assert cards == ["Failed", "Unreadable images left out"]
    assert text.index(DIVERGED) < text.index('class="tiles"')
    assert "<h3>Warnings" not in render([run_of()])
    assert "No client failed or was quarantined" in render([run_of()])


def test_what_others_wrote_is_escaped_on_both_pages() -> None:
    run = run_of(
        failures=[lost(HOSTILE, 1, why=HOSTILE)],
        quarantined={HOSTILE: HOSTILE},
        skipped={HOSTILE: 1},
        warnings=[HOSTILE],
    )
    report = TableReport("t", "", ("method",), (Row(("FGL",), {0: run}, {}, {}),), "", {}, "")
    for text in (render([run]), render_table_page(report)):
        page = Page(text)
        assert page.open == []
        assert "script" not in page.tags
        assert not [name for name, _ in page.attributes if name.startswith("on")]


ROWS = (
    Row(("FGL", "even"), {0: run_of(0), 1: run_of(1)}, {}, {}),
    Row(("FedAvg", "even"), {0: bad_run(0), 1: run_of(1), 2: bad_run(2)}, {}, {}),
)


def test_a_cell_whose_runs_have_problems_is_marked_with_a_note_on_the_page() -> None:
    text = render_table_page(TableReport("t", "", ("method", "skew"), ROWS, "", {}, ""))
    assert cells_of(text, "accuracy")[1:] == [["FGL", "50.0 ± 0.0 % 2 of 3 seeds"], ["FedAvg", "50.0 ± 0.0 % 1"]]
    note = text[text.index('<ol class="notes">') : text.index("</ol>")]
    assert "FedAvg · even" in note
    assert f"seeds 0, 2:</span> 2 of 5 clients failed: client 1 in rounds 1-3 ({NO_REPLY}); 1 more" in note
    assert f"seeds 0, 2:</span> {DIVERGED}" in note


def test_a_table_s_files_tell_of_problems(tmp_path: Path) -> None:
    (tmp_path / "t.toml").write_text(
        'title = "t"\nseeds = [0, 1, 2]\n[axes.method.FGL]\n[axes.method.FedAvg]\nmethod = "fedavg"\nrounds = 1\n'
        "[axes.skew.even]\n",
        encoding="utf-8",
    )
    table = Table.load(tmp_path / "t.toml")
    text = markdown(table, ROWS, "how")
    assert "| FGL | 50.0 ± 0.0 (2 of 3) |" in text
    assert "| FedAvg | 50.0 ± 0.0 ! |" in text
    assert (
        f"| FedAvg | even | seeds 0, 2 | 2 of 5 clients failed: client 1 in rounds 1-3 ({NO_REPLY}); 1 more |" in text
    )
    write_files(table, ROWS, [], tmp_path, "how")
    lines: list[dict[str, Any]] = list(csv.DictReader(io.StringIO((tmp_path / "table.csv").read_text("utf-8"))))
    told = [(line["method"], line["seed"], line["failures"], line["skipped"], line["warnings"]) for line in lines]
    assert told[1:3] == [("FGL", "1", "0", "0", ""), ("FedAvg", "0", "2", "4", DIVERGED)]
