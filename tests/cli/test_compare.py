"""`pellucid compare` prints a table and writes it and a plot."""

import json
from importlib import import_module
from pathlib import Path

from pellucid.tasks.compare import ClassifierComparison, Compared
from tests.cli.conftest import Say


def test_a_table_and_a_plot_are_written(say: Say, tmp_path: Path) -> None:
    output = say("compare", "digits", "--only", "tree", "nearest-l2", "--out", str(tmp_path), "--json").json
    assert [row["name"] for row in output["rows"]] == ["nearest-l2", "tree"]
    assert json.loads((tmp_path / "comparison.json").read_bytes())["rows"] == output["rows"]
    assert (tmp_path / "comparison.png").read_bytes().startswith(b"\x89PNG")
    text = say("compare", "digits", "--only", "tree", "--out", str(tmp_path)).out
    assert "decision tree" in text
    assert "accuracy" in text
    assert "Hyperparameters chosen on a sixth of the training images: decision tree." in text
    assert "neighbours" not in text


def test_a_file_in_place_of_the_output_folder_is_refused_before_training(say: Say, tmp_path: Path, monkeypatch) -> None:
    for name, work in (("pellucid.tasks.compare", "compare"), ("pellucid.lessons.lesson", "lesson")):
        monkeypatch.setattr(import_module(name), work, None)
    (tmp_path / "notes").write_text("")
    for words in (("compare", "digits"), ("lesson", "neuron")):
        for place in ("notes", "notes/deeper"):
            said = say(*words, "--out", str(tmp_path / place)).complaint
            assert f"--out: {str(tmp_path / 'notes')!r} is a file; name a folder" in said


def test_notes_refer_to_the_rows_of_the_table() -> None:
    def row(name: str, title: str, trained_on: int) -> Compared:
        return Compared(name, title, {}, trained_on, 0.9, 0.9, 1.0, 1.0, 1.0, 1000)

    rows = (row("nearest-l1", "L1", 10_000), row("nearest-l2", "L2", 60_000), row("tree", "tree", 60_000))
    comparison = ClassifierComparison("mnist", 60_000, 10_000, 0, (*rows, row("conv", "conv net", 60_000)))
    assert comparison.notes() == [
        "Hyperparameters chosen on 2,000 training images held out: L1; L2.",  # fewer than a sixth, 10,000
        "Trained on 10,000 images only: L1.",
        "Hyperparameters chosen on a sixth of the training images: tree.",
        "Hyperparameters not chosen but fixed: conv net.",
    ]


def test_an_unknown_classifier_or_data_set_is_refused(say: Say, tmp_path: Path) -> None:
    out = ("--out", str(tmp_path))
    assert "did you mean 'tree'?" in say("compare", "digits", "--only", "tre", *out).complaint
    assert "unknown data set 'nist'; did you mean 'mnist'?" in say("compare", "nist", *out).complaint


def test_a_comparison_that_fails_makes_no_folder(say: Say, tmp_path: Path) -> None:
    assert say("compare", "nosuch", "--out", str(tmp_path / "new")).complaint
    assert not (tmp_path / "new").exists()
