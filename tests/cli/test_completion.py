"""Shell completion: the completions of an incomplete command line, and the script for bash, run by bash."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pellucid.cli.completion import completions_of
from tests.cli.conftest import Cli


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["tra"], ["trace", "train"]),
        (["--h"], ["--help"]),
        (["train", "mnist-le"], ["mnist-lenet"]),
        (["predict", "mnist-l"], ["mnist-lenet"]),
        (["export", "mnist-lenet", "--wh"], ["--whole"]),
        (["completion", "--line"], ["--line"]),
        (["gestures", "tr"], ["train"]),
        (["gestures", "train", "--ba"], ["--backbone"]),
        (["nothing", ""], []),
        (["predict", "mnist-lenet", "picture"], []),
    ],
)
def test_commands_options_and_names_are_completed(words: list[str], expected: list[str]) -> None:
    assert completions_of(words) == expected


def test_run_folders_complete_a_model_argument(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "runs" / "mine-1").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert completions_of(["evaluate", "runs/"]) == ["runs/mine-1"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_script_is_printed(shell: str, cli: Cli) -> None:
    result = cli("completion", shell)
    assert result.code == 0
    assert "complete " in result.out


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
@pytest.mark.parametrize(("line", "expected"), [("pellucid recip", "recipes"), ("pellucid predict cifa", "cifar")])
def test_bash_completes(line: str, expected: str, tmp_path: Path) -> None:
    command = tmp_path / "pellucid"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m pellucid "$@"\n')
    command.chmod(0o755)
    words = " ".join(f"'{word}'" for word in line.split())
    script = (
        f'eval "$(pellucid completion bash)"; COMP_WORDS=({words}); COMP_CWORD={len(line.split()) - 1}; '
        '_pellucid; echo "${COMPREPLY[@]}"'
    )
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    process = subprocess.run(
        ["bash", "-c", script], env={**os.environ, "PATH": path}, capture_output=True, text=True, check=True
    )
    assert process.stdout.split() == [expected]
