"""The folders that are plugged into the core: the rest of the package works without any one of them."""

import os
import re
import subprocess
import sys
from pathlib import Path
from shutil import copytree, rmtree

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("lessons", "studio", "tuning", "estimators", "doctor", "tasks")
QUICK_FOLDERS = FOLDERS[4:]
LONG_MARKS = (pytest.mark.slow, pytest.mark.heavy)
COMMANDS = {
    "lessons": ["lesson", "softmax"],
    "studio": ["studio"],
    "tuning": ["sweep", "digits"],
    "doctor": ["doctor", "mnist-lenet"],
    "tasks": ["predict", "mnist-lenet", "docs/street.jpg"],
}
USE = "import pellucid; pellucid.Model; pellucid.register; print(pellucid.__file__)"


def checkout_without(folder: str, path: Path) -> Path:
    """Return a copy of the checkout whose package lacks a folder and its tests; what is not code are links."""
    for each in ROOT.iterdir():
        if each.name not in ("pellucid", "tests", ".venv", ".git"):
            (path / each.name).symlink_to(each)
    for package in ("pellucid", "tests"):
        copytree(ROOT / package, path / package)  # with the compiled files, which save seconds
        rmtree(path / package / folder)
    return path


def run_in(path: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(path), **environment}
    command = [sys.executable, *words]
    return subprocess.run(command, cwd=path, env=env, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "folder",
    [pytest.param(one, marks=() if one == "tasks" else (pytest.mark.slow, pytest.mark.heavy)) for one in FOLDERS],
)
def test_the_package_and_its_help_need_no_folder_that_is_plugged_in(folder: str, tmp_path: Path) -> None:
    """The command of the folder, if it has one, says in one line what the installation lacks."""
    copy = checkout_without(folder, tmp_path)
    command = COMMANDS.get(folder, ["--version"])
    result = run_in(copy, "-c", f"{USE}; from pellucid.cli.process import run; run()", *command)
    assert result.stdout.splitlines()[:1] == [str(copy / "pellucid" / "__init__.py")], result.stderr
    if folder in COMMANDS:
        expected = rf"pellucid: this needs pellucid\.{folder}[.\w]*, which this installation lacks; .*\n"
        assert result.returncode == 2
        assert re.fullmatch(expected, result.stderr)
    result = run_in(copy, "-m", "pellucid", "--help")
    assert (result.returncode, result.stderr) == (0, "")


# In `make test` the folder with the fewest connections, and the tests of one room.
CASES = [("lessons", ["tests/combine"]), *(pytest.param(one, ["tests"], marks=pytest.mark.long) for one in FOLDERS[:5])]


@pytest.mark.parametrize(("folder", "paths"), CASES)
def test_the_tests_of_all_others_pass_without_a_folder(folder: str, paths: list[str], tmp_path: Path) -> None:
    copy = checkout_without(folder, tmp_path)
    words = ["-m", "pytest", "-p", "tests.missing_folder", "-p", "no:cacheprovider", *paths]
    if paths == ["tests"]:
        words += ["-n", "auto", "--dist", "worksteal"]
    result = run_in(copy, *words, MISSING_FOLDER=folder, OMP_NUM_THREADS="1")
    assert result.returncode == 0, result.stdout[-5000:]
