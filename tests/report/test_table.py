"""The page of a table: its figures are those of the runs, text of others is escaped, gaps are named."""

import dataclasses
import math
import re
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean, stdev

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.table.files import named
from fgl_flower.records.reading import Run, read_run
from fgl_flower.report.table.curves import curve_pairs
from fgl_flower.report.table.page import render_table_page, write_table_page
from fgl_flower.report.table.rows import Row, TableReport
from tests.drawings import dots, lines, texts
from tests.made_runs import made_run, run_of
from tests.pages import HOSTILE, Page, table

T2 = 4.302652729911275  # Student's t, 97.5 %, two degrees of freedom (three seeds)


def row(*names: str, accuracy: Mapping[int, float] | None = None, **more: object) -> Row:
    """Return a row whose runs have these test accuracies by seed."""
    runs = {seed: run_of(seed, accuracy=share) for seed, share in (accuracy or {}).items()}
    return dataclasses.replace(Row(names, runs, {}, {}), **more)  # type: ignore[arg-type]


def report(*rows: Row, axes: tuple[str, ...] = ("method", "skew"), **more: object) -> TableReport:
    """Return a report on `rows`."""
    made = TableReport("A table", "What it is about.", axes, rows, "", {}, "fgl table skew.toml")
    return dataclasses.replace(made, **more)  # type: ignore[arg-type]


def test_accuracy_is_the_mean_over_seeds_with_its_half_width() -> None:
    """0.9, 0.92, 0.94: mean 0.92, standard deviation 0.02, half width t x 0.02 / sqrt(3) = 0.0497."""
    assert round(100 * T2 * 0.02 / math.sqrt(3), 1) == 5.0
    text = render_table_page(
        report(
            row("FGL", "beta 0.01", accuracy={0: 0.9, 1: 0.92, 2: 0.94}),
            row("FGL", "beta 0.1", accuracy={0: 0.5, 1: 0.5, 2: 0.5}),
            row("FedAvg", "beta 0.01", accuracy={0: 0.1}),
            row("FedAvg", "beta 0.1", accuracy={0: 0.6, 1: 0.7}),
        )
    )
    assert table(text, "accuracy") == [
        ["method", "beta 0.01", "beta 0.1"],
        ["FGL", "92.0 ± 5.0 %", "50.0 ± 0.0 %"],
        ["FedAvg", "10.0 % 1 of 3 seeds", "65.0 ± 63.5 % 2 of 3 seeds"],
    ]
    best = re.findall(r'<td class="best">\s*(.*?)\s*<', text)
    assert best[:2] == ["92.0 ± 5.0 %", "65.0 ± 63.5 %"]


def test_differences_are_paired_by_seed() -> None:
    """Seeds 0 to 2 are 0.1, 0.2, 0.3 above FedAvg: mean 20 points, half width t x 0.1 / sqrt(3) = 24.8; seed 3 has no
    counterpart."""
    assert round(100 * T2 * 0.1 / math.sqrt(3), 1) == 24.8
    text = render_table_page(
        report(
            row("FGL", "a", accuracy={0: 0.4, 1: 0.6, 2: 0.8, 3: 0.0}),
            row("FedAvg", "a", accuracy={0: 0.3, 1: 0.4, 2: 0.5}),
            row("Worse", "a", accuracy={0: 0.2, 1: 0.3, 2: 0.4}),
            row("Once", "a", accuracy={2: 0.5}),
            row("Never", "a"),
            against="FedAvg",
        )
    )
    assert table(text, "differences")[1:] == [
        ["FGL", "+20.0 ± 24.8"],
        ["Worse", "−10.0 ± 0.0"],
        ["Once", "0.0 1 of 3 seeds"],
        ["Never", "–"],
    ]
    assert re.search(r'<td class="down">\s*−10.0', text)
    assert 'class="up"' not in text
    assert 'id="differences"' not in render_table_page(report(row("FGL", "a", accuracy={0: 0.4}), against="FedAvg"))
    assert 'id="differences"' not in render_table_page(report(row("FGL", "a", accuracy={0: 0.4})))


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(st.integers(0, 99), st.floats(0, 1), min_size=2, max_size=6))
def test_every_mean_and_half_width_is_students(accuracy: dict[int, float]) -> None:
    from scipy.stats import t

    values = list(accuracy.values())
    half = t.ppf(0.975, len(values) - 1) * stdev(values) / math.sqrt(len(values))
    text = render_table_page(report(row("FGL", accuracy=accuracy), axes=("method",)))
    assert table(text, "accuracy")[1] == ["FGL", f"{100 * fmean(values):.1f} ± {100 * half:.1f} %"]


def test_a_single_seed_has_no_interval() -> None:
    text = render_table_page(report(row("FGL", accuracy={7: 0.9}), row("FedAvg", accuracy={7: 0.5}), axes=("method",)))
    assert table(text, "accuracy") == [["method", "test accuracy"], ["FGL", "90.0 %"], ["FedAvg", "50.0 %"]]
    assert "±" not in text
    assert "One seed tells nothing" in text


def test_rows_without_runs_are_named() -> None:
    failures = {0: "out of memory", 1: "the loss was not finite", 2: "out of memory"}
    text = render_table_page(
        report(
            row("FGL", "a", accuracy={0: 0.9, 1: 0.8}, failures={2: "killed"}),
            row("FedAvg", "a", failures=failures),
            row("MOON", "a"),
        )
    )
    assert table(text, "accuracy")[1:] == [["FGL", "85.0 ± 63.5 % 1"], ["FedAvg", "– 2"], ["MOON", "– not run"]]
    notes = " ".join(re.sub(r"<[^>]*>", " ", text[text.index('<ol class="notes">') : text.index("</ol>")]).split())
    assert notes == (
        "FGL · a seed 2 failed: killed "
        "FedAvg · a seeds 0, 2 failed: out of memory seed 1 failed: the loss was not finite"
    )
    assert "2 finished runs · 4 failed" in text


@pytest.mark.parametrize("rows", [(), (row("FGL", "a"),), (row("FGL", "a", failures={0: "killed"}),)])
def test_a_table_of_which_nothing_finished_has_a_page(rows: tuple[Row, ...]) -> None:
    text = render_table_page(report(*rows, against="FGL"))
    assert Page(text).open == []
    assert "fgl table skew.toml" in text


def test_text_of_others_is_escaped(tmp_path: Path) -> None:
    run = read_run(made_run(tmp_path, "fgl", prompt=HOSTILE, quarantined={HOSTILE: HOSTILE}))
    hostile = Row((HOSTILE, HOSTILE), {0: run}, {1: HOSTILE}, {HOSTILE: 0.1})
    other = Row(("b", HOSTILE), {0: run_of(validation=[0.1, 0.2]), 1: run_of(1)}, {}, {"local-lr": 0.1})
    made = TableReport(HOSTILE, HOSTILE, (HOSTILE, HOSTILE), (hostile, other), "b", {HOSTILE: [0.1, 1]}, HOSTILE)
    text = write_table_page(made, tmp_path / "table.html").read_text(encoding="utf-8")
    page = Page(text)
    assert page.open == []
    assert not {"script", "link", "iframe", "object", "base"} & set(page.tags)
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert "&lt;script&gt;alert(" in text
    sources = [value for name, value in page.attributes if name in {"src", "srcset", "href", "xlink:href"}]
    assert all(value.startswith(("data:image/png;base64,", "#")) for value in sources)
    assert "default-src 'none'" in text


def test_curves_are_means_over_seeds_in_a_band(tmp_path: Path) -> None:
    """Two seeds, rounds 1 and 2 of 0 to 2: means 0.2 and 0.5, from 0.1 to 0.3 and 0.5."""
    runs = {0: run_of(0, validation=[0.1, 0.5]), 1: run_of(1, validation=[0.3, 0.5])}
    one_shot = {0: run_of(0, validation_accuracy=0.75), 1: run_of(1, validation_accuracy=0.25)}
    rows = [
        Row(("FedAvg", "a"), runs, {}, {}),
        Row(("Centralised", "a"), one_shot, {}, {}),
        Row(("x", "b"), one_shot, {}, {}),
    ]
    [pair] = curve_pairs(rows)
    assert pair["title"] == "a"
    assert [one["name"] for one in pair["legend"]] == ["FedAvg", "Centralised"]
    band, [one, two] = lines(pair["over_rounds"], "FedAvg")
    [[at_zero, at_right]] = lines(pair["over_rounds"], "Centralised")
    assert two == pytest.approx(at_right)  # 0.5, at the end of the axis
    assert one[0] - at_zero[0] == pytest.approx(two[0] - one[0])
    tenth = (one[1] - two[1]) / 3
    assert [y for _, y in band[:4]] == pytest.approx([one[1] + tenth, two[1], two[1], one[1] - tenth], abs=1e-3)
    assert dots(pair["over_rounds"], "Centralised") == [pytest.approx(at_zero, abs=1e-3)]
    assert "1 MB" in texts(pair["over_bytes"])
    assert 'id="curves"' not in render_table_page(report(*rows[1:]))


def test_parts_and_costs_are_means_over_seeds() -> None:
    runs: dict[int, Run] = {
        seed: run_of(
            seed,
            accuracy_by_domain={"photo": photo, "sketch": sketch},
            accuracy_by_class={"star": photo},
            bytes_up_per_client=up,
            bytes_total=10 * up,
            seconds={"training": 5.0, "total": up / 1000},
            synthetic_images=images,
        )
        for seed, photo, sketch, up, images in ((0, 0.5, None, 1000, 2000), (1, 0.7, 0.8, 3000, 2200))
    }
    confusions = {0: [[3, 1], [0, 4]], 1: [[1, 3], [2, 2]]}  # together 4 of 8 stars, 6 of 8 rings
    right, total = [[2, 0], [1, 3]], [[4, 0], [2, 4]]
    runs = {
        seed: dataclasses.replace(
            run,
            confusion={"classes": ["star", "ring"], "counts": confusions[seed]},
            breakdown={"classes": ["star", "ring"], "domains": ["photo", "sketch"], "right": right, "total": total},
        )
        for seed, run in runs.items()
    }
    text = render_table_page(report(Row(("FGL", "a"), runs, {}, {})))
    assert table(text, "cost")[1] == ["FGL", "2 kB", "20 kB", "2.0 s", "2,100"]
    assert table(text, "where") == [["", "photo", "sketch"], ["FGL", "60", "80"]]
    assert table(text[text.index("<summary>Confusion") - 30 :].replace("<details>", '<h2 id="c"', 1), "c") == [
        ["", "star", "ring"],
        ["star", "50", "50"],
        ["ring", "25", "75"],
    ]
    assert table(text[text.index("<h4>By class and domain") - 30 :].replace("<h4>", '<h2 id="d"', 1), "d") == [
        ["", "photo", "sketch"],
        ["star", "50", ""],
        ["ring", "50", "75"],
    ]
    assert table(text, "ledger")[1] == ["FGL", "2 kB", "0 B", "0 B", "20 kB", "0 B", "5.0 s", "2.0 s"]


@pytest.mark.parametrize(
    ("event", "marked"),
    [
        ({"event": "synthesis", "reused": 5, "drawn": 1}, True),
        ({"event": "synthesis", "reused": 0, "drawn": 6}, False),
        ({"event": "one-shot-model", "reused": "digest"}, True),
    ],
)
def test_a_time_that_lacks_what_an_earlier_run_made_is_marked(event: dict[str, object], marked: bool) -> None:
    run = dataclasses.replace(run_of(0, seconds={"total": 2.0}), events=[event])
    text = render_table_page(report(Row(("FGL", "a"), {0: run}, {}, {})))
    assert table(text, "cost")[1][3] == ("2.0 s *" if marked else "2.0 s")
    assert table(text, "ledger")[1][-1] == ("2.0 s *" if marked else "2.0 s")
    assert ("A time with * is of runs" in text) == marked


def test_the_tuned_values_stand_beside_their_grid() -> None:
    text = render_table_page(
        report(
            row("FedAvg", "a", accuracy={0: 0.5}, tuned={"local-lr": 0.1}),
            row("FedAvg", "b", accuracy={0: 0.5}, tuned={"local-lr": 0.3}),
            row("FGL", "a", accuracy={0: 0.5}),
            grid={"local-lr": [0.03, 0.1, 0.3]},
        )
    )
    assert table(text, "tuning") == [["method", "a", "b"], ["FedAvg", "0.1", "0.3*"]]
    assert "0.03, 0.1, 0.3." in text
    several = row("FedAdam", accuracy={0: 0.5}, tuned={"local-lr": 0.1, "adaptive-lr": 0.01})
    lines = table(render_table_page(report(several, axes=("method",))), "tuning")
    assert lines[1] == ["FedAdam", "local-lr = 0.1 adaptive-lr = 0.01"]


@pytest.mark.parametrize(
    ("grid", "marked"),
    [
        ([0.03, 0.1, 0.3], False),
        ([0.1, 0.3], True),
        ([0.03, 0.1], True),
        ([0.1], False),
        ([0.1, 0.1], False),
        ([], False),
    ],
)
def test_page_and_files_mark_the_same_values_at_an_end_of_a_grid(grid: list[float], marked: bool) -> None:
    tuned = {"local-lr": 0.1}
    made = report(row("FedAvg", "a", accuracy={0: 0.5}, tuned=tuned), grid={"local-lr": grid})
    assert table(render_table_page(made), "tuning")[1] == ["FedAvg", "0.1*" if marked else "0.1"]
    assert named(tuned, made.grid) == "local-lr = 0.1" + " (an end of the grid)" * marked


def test_partitions_and_galleries_are_shown_once(tmp_path: Path) -> None:
    """Two methods share the partition of a seed, two skews the prompts; the second seed adds neither."""
    rows = []
    for number, beta in enumerate((0.01, 0.5)):
        for method, rounds in (("fgl", 0), ("fedavg", 2)):
            runs = {
                seed: read_run(made_run(tmp_path, method, rounds=rounds, seed=seed, beta=beta))
                for seed in ((0, 1) if number == 0 else (0,))
            }
            rows.append(Row((method, f"beta {beta}"), runs, {}, {}))
    text = write_table_page(report(*rows), tmp_path / "table.html").read_text(encoding="utf-8")
    assert Page(text).open == []
    assert text.count("data:image/png") == 120
    clients = text[text.index('<h2 id="clients"') : text.index('<h2 id="ledger"')]
    assert re.findall(r"<h3>(.*?)</h3>", clients) == ["beta 0.01", "beta 0.5", "Failed"]
    assert "model: generator" in text
    assert text.count("seed = 0\n") == 4  # the configuration of the first run of each row
