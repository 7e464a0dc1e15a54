"""`pellucid samples` writes sample data, and prints a command that uses each."""

import shlex
from pathlib import Path

import pytest

from pellucid.cli.main import commands
from tests.cli.conftest import Cli


@pytest.mark.slow
def test_samples_are_written_with_commands_that_exist(cli: Cli, tmp_path: Path):
    folder = tmp_path / "a folder"
    output = cli("samples", str(folder), "--json").json
    assert output["folder"] == str(folder)
    for row in output["samples"]:
        program, command, *arguments = shlex.split(row["command"])
        assert (program, command in commands()) == ("pellucid", True)
        assert row["path"] in arguments
        assert Path(row["path"]).exists()
    digit = next(row for row in output["samples"] if row["path"].endswith("digit.png"))
    assert "3  (" in cli(*shlex.split(digit["command"])[1:]).out
    assert "is not empty" in cli("samples", str(folder)).error_line


def test_a_file_in_place_of_the_folder_is_refused(cli: Cli, tmp_path: Path):
    (tmp_path / "file").write_text("")
    assert "cannot be created (File exists)" in cli("samples", str(tmp_path / "file")).error_line
