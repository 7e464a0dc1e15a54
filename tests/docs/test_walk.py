"""The commands and the code of the documentation run with an installed wheel, without downloaded data sets."""

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

from pellucid.cli.main import main

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.real


def load_walk_tool() -> Any:
    spec = importlib.util.spec_from_file_location("walk_docs", ROOT / "tools/walk_docs.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["walk_docs"] = module
    spec.loader.exec_module(module)
    return module


WALK = load_walk_tool()
FIRST_PAGES = WALK.PAGES[:3]
HOW_TO_PARTS = [WALK.PAGES[3 + part :: 4] for part in range(4)]  # four parts, for parallel processes


@pytest.fixture(scope="session")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a virtual environment in which the package is installed from a wheel."""
    return WALK.environment(tmp_path_factory.mktemp("wheel"))


@pytest.mark.heavy
def test_the_first_pages_run_unchanged(python: Path, tmp_path: Path) -> None:
    assert WALK.walk(FIRST_PAGES, python, tmp_path) == []


@pytest.mark.long
@pytest.mark.parametrize("pages", HOW_TO_PARTS, ids=range(4))
def test_the_how_tos_run_unchanged(pages: tuple[str, ...], python: Path, tmp_path: Path) -> None:
    assert WALK.walk(pages, python, tmp_path) == []


def test_at_most_five_commands_need_downloaded_data() -> None:
    commands = {step.text for page in WALK.PAGES for step in WALK.steps_of(page) if step.kind == "sh"}
    assert len(WALK.NEED_DATA) <= 5
    assert set(WALK.NEED_DATA) <= commands


@pytest.mark.long
@pytest.mark.parametrize("command", WALK.NEED_DATA)
def test_a_command_that_needs_data_runs(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = ["train.epochs=1", "data.limit=64", "recipe.threads=1"] if " train " in command else []
    assert main([*command.split()[1:], *settings]) == 0
