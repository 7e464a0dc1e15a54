"""A comparison of candidates on the same examples: its table, its intervals and its files."""

import json
from pathlib import Path

import pytest
import torch

from pellucid.base.text import percent
from pellucid.metrics.bootstrap import weighted_mean
from pellucid.tasks.comparison import ComparedColumn, ComparedRow, Comparison

COLUMNS = (
    ComparedColumn("accuracy", "accuracy", percent, ranking_title="Accuracy", in_percent=True),
    ComparedColumn("time.fit", "fit", "{:.1f} s".format, ranking_title="Seconds"),
)
RIGHT = {
    "all": torch.ones(100),
    "most": (torch.arange(100) % 10 > 0).float(),  # 90 of 100
    "half": (torch.arange(100) % 2).float(),
}


def compared(known_examples: bool = True) -> Comparison:
    rows = [
        ComparedRow(
            name, name, {"accuracy": float(right.mean()), "time": {"fit": 2.0}},
            {"accuracy": (0.4, 0.6)} if name == "half" else {},
            weighted_mean(right) if known_examples else None, run="runs/half-1" if name == "half" else "",
        )
        for name, right in RIGHT.items()
    ]  # fmt: skip
    return Comparison("Candidates", "candidate", {"data": "made"}, COLUMNS, tuple(rows), 100, ["A note."])


def test_differences_are_paired_and_from_the_best_row() -> None:
    comparison = compared()
    assert comparison.best.name == "all"
    assert comparison.intervals["all"] == {"interval": (1.0, 1.0), "difference": (0.0, 0.0)}
    # The best is right everywhere, so the difference is minus the error rate, whose deviation is binomial.
    low, high = comparison.intervals["most"]["difference"]
    assert [low, high] == pytest.approx([-0.1 - 1.96 * 0.03, -0.1 + 1.96 * 0.03], abs=0.015)


def test_the_table_has_intervals_and_the_range_over_trainings() -> None:
    table = compared().table()
    assert table.head == ["candidate", "accuracy", "interval", "difference", "fit"]
    assert table.rows[0] == ["all", "100.00 %", "100.0 to 100.0", "-", "2.0 s"]
    assert table.rows[1][3].startswith("-10.0 (-1")
    assert table.rows[2][1] == "50.00 % (40.00 % to 60.00 %)"


def test_without_figures_of_examples_there_are_no_intervals() -> None:
    comparison = compared(known_examples=False)
    assert comparison.intervals == {}
    assert [row[2:4] for row in comparison.table().rows] == [["-", "-"]] * 3
    assert comparison.to_json()["rows"][0] == {"name": "all", "title": "all", "accuracy": 1.0, "time": {"fit": 2.0}}


def test_page_table_and_figures_are_written(tmp_path: Path) -> None:
    page, values = compared().write(tmp_path, "pellucid compare made")
    assert "pellucid compare made" in page.read_text(encoding="utf-8")
    assert json.loads(values.read_bytes())["rows"][1]["difference"][1] < 0
    assert "Run: `runs/half-1`" in (tmp_path / "comparison.md").read_text(encoding="utf-8")
    assert {path.name for path in (tmp_path / "figures").iterdir()} == {"accuracy.png", "time-fit.png"}
    assert (tmp_path / "comparison.png").read_bytes() == (tmp_path / "figures/accuracy.png").read_bytes()


def test_a_row_without_a_figure_is_not_the_best() -> None:
    rows = [ComparedRow(name, name, {"ap": ap, "f1": 0.0}) for name, ap in (("none", float("nan")), ("some", 0.1))]
    columns = (ComparedColumn("ap", "AP", in_percent=True), ComparedColumn("f1", "F1"))
    assert Comparison("Detectors", "detector", {}, columns, tuple(rows), 3).best.name == "some"
