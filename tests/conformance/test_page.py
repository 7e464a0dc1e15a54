"""The scorecard's page and its tables: manual edits are found, with or without a run."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from conformance import committed, page
from conformance.coverage import Entry
from conformance.tally import Row
from pellucid.base.errors import PellucidError
from pellucid.layers import ReLU

ROOT = Path(__file__).resolve().parents[2]
ROWS = (
    Row(
        "torch OpInfo nn.functional.relu float64",
        "2.13.0",
        "pellucid/layers/relu.py",
        ReLU,
        9,
        8,
        3e-13,
        {"option inplace": 1},
    ),
    Row("onnx node Relu", "1.23.2", "pellucid/layers/relu.py", ReLU, 2, 2, 0.0),
)
ENTRIES = (Entry("Hinge", "loss", "pellucid/losses/hinge.py", "tests/losses: by hand"),)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    committed.write(ROWS, ENTRIES, tmp_path)
    return tmp_path


def replace_in_file(file: Path, old: str, new: str) -> None:
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new, 1), encoding="utf-8")


def test_an_unchanged_page_is_not_a_manual_edit(project: Path) -> None:
    assert committed.manual_edits(project) == []
    assert committed.differences(ROWS, ENTRIES, project) == []


def test_the_files_contain_counts_bounds_reasons_and_independent_checks(project: Path) -> None:
    cases = (project / "docs/scorecard.csv").read_text(encoding="utf-8")
    assert ",9,8,1,0,1e-12,pellucid/layers/relu.py,1 option inplace\n" in cases
    checks = (project / "docs/scorecard-checks.csv").read_text(encoding="utf-8")
    assert "Hinge,loss,pellucid/losses/hinge.py,tests/losses: by hand\n" in checks
    text = (project / "docs/scorecard.md").read_text(encoding="utf-8")
    assert "| PyTorch's own samples (OpInfo, ModuleInfo) | 8 | 0 | 1 |" in text
    assert "| ONNX's backend cases | 2 | 0 | 0 |" in text
    assert "| **all** | 10 | 0 | 1 |" in text
    assert "No suite reaches 1 public classes" in text


def test_the_table_has_a_row_for_each_suite_that_ran_and_no_other(project: Path) -> None:
    rows = (project / "docs/scorecard.csv").read_text(encoding="utf-8").splitlines()[1:]  # without the heading
    assert [line.split(",")[0] for line in rows] == [row.suite for row in ROWS]


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("docs/scorecard.csv", ",9,8,", ",9,9,"),
        ("docs/scorecard.csv", "1e-12", "1e-13"),
        ("docs/scorecard.csv", "\nonnx node Relu", "onnx node Relu"),
        ("docs/scorecard-checks.csv", "by hand", "by hands"),
        ("docs/scorecard.md", "typed by hand", "typed by hands"),
        ("docs/scorecard.md", "| 10 | 0 | 1 |", "| 11 | 0 | 1 |"),
    ],
)
def test_a_manual_edit_of_the_page_is_found_without_a_run(project: Path, file: str, old: str, new: str) -> None:
    replace_in_file(project / file, old, new)
    assert committed.manual_edits(project)


def test_a_page_that_the_command_did_not_write_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/scorecard.md").write_text("# Football\n", encoding="utf-8")
    with pytest.raises(PellucidError, match="not a scorecard's page"):
        committed.check_writable(tmp_path)


@pytest.mark.parametrize(
    "forge",
    [
        lambda text: text.replace(",9,8,", ",10,9,"),
        lambda text: text.replace("onnx node Relu", f"{ROWS[0].suite},2.13.0\nonnx node Relu"),
        lambda text: "\n".join(sorted(text.splitlines())) + "\n",
        lambda text: text.replace("1e-12", "1e-2"),
    ],
)
def test_tables_with_a_new_checksum_are_compared_with_the_run(project: Path, forge: Callable[[str], str]) -> None:
    cases, checks = project / "docs/scorecard.csv", project / "docs/scorecard-checks.csv"
    cases.write_text(forge(cases.read_text(encoding="utf-8")), encoding="utf-8")
    path = project / "docs/scorecard.md"
    text = path.read_text(encoding="utf-8")
    body = text[: text.rfind("<!-- sha256")].replace("# Scorecard", "# Score card")
    tables = {file.name: file.read_text(encoding="utf-8") for file in (cases, checks)}
    path.write_text(page.with_checksum(body, tables), encoding="utf-8")
    assert committed.manual_edits(project) == []
    problems = committed.differences(ROWS, ENTRIES, project)
    assert any(line.startswith("docs/scorecard.csv") for line in problems)
    assert any(line.startswith("docs/scorecard.md") for line in problems)


def test_rounding_on_another_processor_is_no_difference(project: Path) -> None:
    changed_rows = tuple(replace(row) for row in ROWS)
    changed_rows[0].worst_error = 4e-14
    assert committed.differences(changed_rows, ENTRIES, project) == []
    changed_rows[1].worst_error = 1e-7  # a float32 row, whose error on the page is 0
    assert committed.differences(changed_rows, ENTRIES, project) == []
    changed_rows[0].worst_error = 4e-8
    assert committed.differences(changed_rows, ENTRIES, project)


def test_a_missing_page_is_reported_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(PellucidError, match="run `pellucid scorecard`"):
        committed.manual_edits(tmp_path)


def test_the_committed_page_was_written_by_the_command() -> None:
    assert committed.manual_edits(ROOT) == []
