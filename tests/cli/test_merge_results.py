"""The partial results of many pictures are merged into one file."""

import csv
import json
from pathlib import Path

import pytest

from pellucid.command.many import merge


def test_names_that_are_not_utf_8_are_escaped_in_tables(tmp_path: Path) -> None:
    (tmp_path / "part").write_text(json.dumps({"image": "a\udcff.png", "score": 0.5}) + "\n")
    merge(tmp_path / "a.csv", [tmp_path / "part"])
    merge(tmp_path / "a.parquet", [tmp_path / "part"])
    (row,) = csv.DictReader((tmp_path / "a.csv").read_text(encoding="utf-8").splitlines())
    assert row == {"image": r"a\udcff.png", "score": "0.5"}
    parquet = pytest.importorskip("pyarrow.parquet", reason="it reads the table")
    assert parquet.read_table(tmp_path / "a.parquet").to_pylist() == [{"image": r"a\udcff.png", "score": 0.5}]
