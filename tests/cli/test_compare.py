"""`pellucid compare` prints a table, and writes the table and a plot."""

import json
from importlib import import_module
from pathlib import Path

from pellucid.tasks.compare import notes
from pellucid.tasks.comparison import ComparedRow
from tests.cli.conftest import Cli


def test_a_table_and_a_plot_are_written(cli: Cli, tmp_path: Path) -> None:
    output = cli("compare", "digits", "--only", "tree", "nearest-l2", "--out", str(tmp_path), "--json").json
    assert [row["name"] for row in output["rows"]] == ["nearest-l2", "tree"]
    assert json.loads((tmp_path / "comparison.json").read_bytes())["rows"] == output["rows"]
    assert (tmp_path / "comparison.png").read_bytes().startswith(b"\x89PNG")
    assert "nearest neighbours, L2" in (tmp_path / "comparison.html").read_text(encoding="utf-8")
    text = cli("compare", "digits", "--only", "tree", "--out", str(tmp_path)).out
    assert "decision tree" in text
    assert "accuracy" in text
    assert "Hyperparameters chosen on a sixth of the training images: decision tree." in text
    assert "neighbours" not in text


def test_a_file_in_place_of_the_output_folder_is_refused_before_training(cli: Cli, tmp_path: Path, monkeypatch) -> None:
    for name, work in (("pellucid.tasks.compare", "compare"), ("pellucid.lessons.lesson", "lesson")):
        monkeypatch.setattr(import_module(name), work, None)
    (tmp_path / "notes").write_text("")
    for words in (("compare", "digits"), ("lesson", "neuron")):
        for folder_name in ("notes", "notes/deeper"):
            error = cli(*words, "--out", str(tmp_path / folder_name)).error_line
            assert f"--out: {str(tmp_path / 'notes')!r} is a file; name a folder" in error


def test_notes_refer_to_the_rows_of_the_table() -> None:
    def row(name: str, title: str, trained_on: int) -> ComparedRow:
        return ComparedRow(name, title, {"trained_on": trained_on})

    rows = (row("nearest-l1", "L1", 10_000), row("nearest-l2", "L2", 60_000), row("tree", "tree", 60_000))
    assert notes([*rows, row("conv", "conv net", 60_000)], 60_000) == [
        "Hyperparameters chosen on 2,000 training images held out: L1; L2.",  # limit: 10,000, a sixth
        "Trained on 10,000 images only: L1.",
        "Hyperparameters chosen on a sixth of the training images: tree.",
        "Hyperparameters not chosen but fixed: conv net.",
    ]


def test_an_unknown_classifier_or_data_set_is_refused(cli: Cli, tmp_path: Path) -> None:
    out = ("--out", str(tmp_path))
    assert "did you mean 'tree'?" in cli("compare", "digits", "--only", "tre", *out).error_line
    assert "unknown data set 'nist'; did you mean 'mnist'?" in cli("compare", "nist", *out).error_line


def test_a_comparison_that_fails_makes_no_folder(cli: Cli, tmp_path: Path) -> None:
    assert cli("compare", "nosuch", "--out", str(tmp_path / "new")).error_line
    assert not (tmp_path / "new").exists()
