"""Printed hints name the program as it was started, so they can be copied into the shell."""

import sys
from pathlib import Path

import pytest

from pellucid.command.out import program_command
from tests.cli.conftest import Cli


@pytest.fixture
def script(tmp_path: Path) -> Path:
    """The path of an installed program."""
    path = tmp_path / ".venv/bin/pellucid"
    path.parent.mkdir(parents=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def test_printed_commands_have_the_path_of_a_program_outside_of_path(script: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "argv", [".venv/bin/pellucid", "demo"])
    monkeypatch.setenv("PATH", "/nowhere")
    assert program_command() == ".venv/bin/pellucid"
    monkeypatch.setenv("PATH", str(script.parent))
    assert program_command() == "pellucid"


def test_printed_commands_name_python_if_the_module_was_run(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "argv", ["/lib/pellucid/__main__.py", "demo"])
    monkeypatch.setattr(sys, "orig_argv", ["my python/bin/python3", "-m", "pellucid", "demo"])
    assert program_command() == "'my python/bin/python3' -m pellucid"
    monkeypatch.setattr(sys, "argv", ["-c"])
    assert program_command() == "pellucid"


@pytest.mark.slow
@pytest.mark.usefixtures("no_report")
def test_the_demo_prints_the_next_commands(cli: Cli, script: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "argv", [".venv/bin/pellucid", "demo"])
    assert "Next: .venv/bin/pellucid evaluate runs/digits-1\n" in cli("demo").out
