"""`pellucid samples` lists what it writes, with a command for each."""

import shlex
from pathlib import Path

import pytest

from pellucid.cli.main import commands
from tests.cli.conftest import Say


@pytest.mark.slow
def test_samples_are_written_with_commands_that_exist(say: Say, tmp_path: Path):
    folder = tmp_path / "a folder"
    output = say("samples", str(folder), "--json").json
    assert output["folder"] == str(folder)
    for row in output["samples"]:
        program, command, *rest = shlex.split(row["command"])
        assert (program, command in commands()) == ("pellucid", True)
        assert row["path"] in rest
        assert Path(row["path"]).exists()
    digit = next(row for row in output["samples"] if row["path"].endswith("digit.png"))
    assert "3  (" in say(*shlex.split(digit["command"])[1:]).out
    assert "is not empty" in say("samples", str(folder)).complaint


def test_a_file_in_place_of_the_folder_is_refused(say: Say, tmp_path: Path):
    (tmp_path / "file").write_text("")
    assert "cannot be created (File exists)" in say("samples", str(tmp_path / "file")).complaint
