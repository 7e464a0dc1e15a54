"""`pellucid compare` prints a table and writes it and a plot."""

import json
from pathlib import Path

from tests.cli.conftest import Say


def test_a_table_and_a_plot_are_written(say: Say, tmp_path: Path) -> None:
    found = say("compare", "digits", "--only", "tree", "nearest-l2", "--out", str(tmp_path), "--json").json
    assert [row["name"] for row in found["rows"]] == ["nearest-l2", "tree"]
    assert json.loads((tmp_path / "comparison.json").read_bytes())["rows"] == found["rows"]
    assert (tmp_path / "comparison.png").read_bytes().startswith(b"\x89PNG")
    text = say("compare", "digits", "--only", "tree", "--out", str(tmp_path)).out
    assert "decision tree" in text
    assert "accuracy" in text


def test_an_unknown_classifier_or_data_set_is_refused(say: Say, tmp_path: Path) -> None:
    out = ("--out", str(tmp_path))
    assert "did you mean 'tree'?" in say("compare", "digits", "--only", "tre", *out).complaint
    assert "unknown data set 'nist'; did you mean 'mnist'?" in say("compare", "nist", *out).complaint
