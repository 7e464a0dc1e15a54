"""Commands that only print lists or help do not import PyTorch, NumPy or other large modules."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pellucid.cli.main import commands
from tests.cases import mostly_heavy

LARGE_MODULES = ("torch", "numpy", "PIL", "sklearn", "matplotlib", "scipy")
RUN_LINES_SCRIPT = """
import sys
from pellucid.cli.main import main
for words in {lines!r}:
    code = main(words)
    found = [name for name in {large!r} if name in sys.modules]
    assert (code, found) == (0, []), (words, code, found)
"""
ACTIONS = {
    "data": ("list", "get", "check", "show", "lint", "convert"),
    "gestures": ("train", "predict", "compare"),
    "weights": ("list", "get", "show"),
}
HELP_LINES = [
    *([name, "--help"] for name in commands()),
    *([name, action, "--help"] for name, actions in ACTIONS.items() for action in actions),
]


def check_no_large_import(*lines: list[str]) -> None:
    """Run command lines in a new process; assert that it imports no large module."""
    code = RUN_LINES_SCRIPT.format(lines=[*lines], large=LARGE_MODULES)
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr[-2000:]


def test_no_help_imports_a_large_module():
    check_no_large_import(*HELP_LINES, ["--help"], ["--version"])


@pytest.mark.parametrize(
    "line", ["data list", "data list --json", "recipes", "recipes digits", "weights list", "lesson"]
)
def test_no_list_imports_a_large_module(line: str):
    check_no_large_import(line.split())


def test_the_package_imports_no_large_module():
    code = f"import pellucid, sys; assert not [name for name in {LARGE_MODULES!r} if name in sys.modules]"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.slow
@pytest.mark.parametrize("package", mostly_heavy(["pellucid.data", "pellucid", "pellucid.weights"], 3))
def test_every_public_name_is_imported_on_first_use(package: str):
    code = f"""
import importlib, sys
package = importlib.import_module({package!r})
for name in package.__all__:
    value = getattr(package, name)
    assert not isinstance(value, type(sys)), name + " is a module"
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.heavy
@pytest.mark.slow
def test_models_and_digits_are_loaded_without_importing_large_modules(tmp_path: Path):
    digit = np.zeros((28, 28), np.uint8)
    digit[6:22, 12:16] = 255
    Image.fromarray(digit).save(tmp_path / "one.png")
    code = (
        "import sys; from pellucid import Model; from pellucid.data import load\n"
        "Model.load('mnist-lenet').predict(sys.argv[1]); load('digits')\n"
        "import pellucid.studio.app\n"
        "assert not {'torch._dynamo', 'matplotlib', 'sklearn'} & {*sys.modules}"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "one.png")], check=True)
