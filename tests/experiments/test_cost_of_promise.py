"""The plot of accuracy against epsilon shows the means of a table's runs."""

from pathlib import Path

import pytest

from experiments.shows.cost_of_promise import draw, read

TABLE = """method,data,epsilon,seed,accuracy
names only,world,none,0,0.5
class,world,1,0,0.2
class,world,1,1,0.4
class,world,10,0,0.6
class,world,2,0,0.5
class,world,none,0,0.9
"""


def test_a_line_a_method_in_the_order_of_epsilon_with_none_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text(TABLE)
    lines = read(path)
    assert lines["world"]["class"]["1"] == pytest.approx([20.0, 40.0])
    [axis] = draw(lines).axes
    assert [label.get_text() for label in axis.get_xticklabels()] == ["1", "2", "10", "none"]
    [shown] = [line for line in axis.get_lines() if line.get_linestyle() == "-" and len(line.get_xdata()) == 4]
    assert list(shown.get_ydata()) == pytest.approx([30.0, 50.0, 60.0, 90.0])
    [across] = [line for line in axis.get_lines() if line.get_linestyle() == "--"]
    assert list(across.get_ydata()) == pytest.approx([50.0, 50.0])  # of the control: it sends nothing


def test_a_table_without_epsilon_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("method,skew,seed,accuracy\n")
    with pytest.raises(ValueError, match="no axis 'epsilon'"):
        read(path)
