"""Hints name the program as it was started, so that they can be copied."""

import sys
from pathlib import Path

import pytest

from pellucid.command.out import command
from tests.cli.conftest import Say


@pytest.fixture
def script(tmp_path: Path) -> Path:
    """An installed program."""
    path = tmp_path / ".venv/bin/pellucid"
    path.parent.mkdir(parents=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def test_a_program_that_the_shell_does_not_find_is_named_by_its_path(script: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "argv", [".venv/bin/pellucid", "demo"])
    monkeypatch.setenv("PATH", "/nowhere")
    assert command() == ".venv/bin/pellucid"
    monkeypatch.setenv("PATH", str(script.parent))
    assert command() == "pellucid"


def test_a_module_is_named_with_its_python(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "argv", ["/lib/pellucid/__main__.py", "demo"])
    monkeypatch.setattr(sys, "orig_argv", ["my python/bin/python3", "-m", "pellucid", "demo"])
    assert command() == "'my python/bin/python3' -m pellucid"
    monkeypatch.setattr(sys, "argv", ["-c"])
    assert command() == "pellucid"


@pytest.mark.slow
@pytest.mark.usefixtures("no_report")
def test_the_demo_says_how_to_go_on(say: Say, script: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "argv", [".venv/bin/pellucid", "demo"])
    assert "Next: .venv/bin/pellucid evaluate runs/digits-1\n" in say("demo").out
