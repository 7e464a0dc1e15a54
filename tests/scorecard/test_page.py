"""The scorecard's page and README line: a hand edit of either is seen, with or without a run."""

from pathlib import Path

import pytest

from pellucid.errors import PellucidError
from pellucid.layers import ReLU
from pellucid.scorecard import page
from pellucid.scorecard.coverage import Entry
from pellucid.scorecard.tally import Row

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
    (tmp_path / "README.md").write_text(f"# Title\n\n{page.OPEN}\n{page.CLOSE}\n\nMore.\n", encoding="utf-8")
    page.write(ROWS, ENTRIES, tmp_path)
    return tmp_path


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new, 1), encoding="utf-8")


def test_what_the_command_wrote_is_not_an_edit(project: Path) -> None:
    assert page.edits(project) == []
    assert page.differences(ROWS, ENTRIES, project) == []


def test_the_page_tells_counts_bounds_reasons_and_what_no_suite_reaches(project: Path) -> None:
    text = (project / "docs/scorecard.md").read_text(encoding="utf-8")
    assert "| 9 | 8 | 1 | 0 | 1e-12 | pellucid/layers/relu.py | 1 option inplace |" in text
    assert "| Hinge | loss | pellucid/losses/hinge.py | tests/losses: by hand |" in text
    assert "8 samples of PyTorch's own test inputs, 2 ONNX cases" in text


def test_the_readme_keeps_all_but_its_line(project: Path) -> None:
    text = (project / "README.md").read_text(encoding="utf-8")
    assert text.startswith("# Title\n\n<!-- scorecard")
    assert text.endswith("<!-- end of scorecard -->\n\nMore.\n")
    assert page.summary(ROWS) in text


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("docs/scorecard.md", "| 9 | 8 |", "| 9 | 9 |"),
        ("docs/scorecard.md", "1e-12", "1e-13"),
        ("docs/scorecard.md", "typed by hand", "typed by hands"),
        ("docs/scorecard.md", "\n| onnx node Relu", "| onnx node Relu"),
        ("README.md", "8 samples", "9 samples"),
        ("README.md", page.OPEN, ""),
    ],
)
def test_a_hand_edit_is_seen_without_a_run(project: Path, file: str, old: str, new: str) -> None:
    edit(project / file, old, new)
    assert page.edits(project)


def test_a_resealed_page_is_held_against_the_run(project: Path) -> None:
    path = project / "docs/scorecard.md"
    edit(path, "| 9 | 8 |", "| 10 | 9 |")
    text = path.read_text(encoding="utf-8")
    path.write_text(page.seal(text[: text.rfind("<!-- sha256")]), encoding="utf-8")
    assert page.edits(project) == []
    assert len(page.differences(ROWS, ENTRIES, project)) == 2  # a line too many, and one missing


def test_rounding_on_another_processor_is_no_difference(project: Path) -> None:
    other = (Row(*ROWS[0].__dict__.values()), ROWS[1])
    other[0].worst_error = 4e-14
    assert page.differences(other, ENTRIES, project) == []
    other[0].worst_error = 4e-8
    assert page.differences(other, ENTRIES, project)


def test_a_page_that_is_not_there_is_said_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(PellucidError, match="run `pellucid scorecard`"):
        page.edits(tmp_path)


def test_what_is_committed_was_written_by_the_command() -> None:
    assert page.edits(ROOT) == []
