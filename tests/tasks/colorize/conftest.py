import json

import pytest

from pellucid.cli.main import main
from pellucid.extend import registry
from tests.tasks.colorize.tiny import CUSTOM_OBJECTIVES, colorizer


@pytest.fixture(autouse=True)
def register_custom_objectives(monkeypatch):
    for objective_class in CUSTOM_OBJECTIVES:
        monkeypatch.setitem(registry.REGISTERED, objective_class.__name__, objective_class)


@pytest.fixture
def save(tmp_path, register_custom_objectives):
    """Return a function that saves a tiny colorizer and returns its path."""

    def save_colorizer(*args, **options):
        file = tmp_path / "colours.safetensors"
        colorizer(*args, **options).save(file)
        return str(file)

    return save_colorizer


@pytest.fixture
def run(capsys):
    """Return a function that runs a command and returns its exit code, its JSON output and its stderr."""

    def run_command(*words):
        code = main([*map(str, words), "--json"])
        captured = capsys.readouterr()
        return code, json.loads(captured.out or "null"), captured.err

    return run_command
