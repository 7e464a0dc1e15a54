import json

import pytest

from pellucid import registry
from pellucid.cli.main import main
from tests.tasks.colorize.tiny import CUSTOM, colorizer


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    for kind in CUSTOM:
        monkeypatch.setitem(registry.REGISTERED, kind.__name__, kind)


@pytest.fixture
def save(tmp_path, registered):
    """Save a tiny colorizer, and return its file."""

    def saved(*args, **options):
        file = tmp_path / "colours.safetensors"
        colorizer(*args, **options).save(file)
        return str(file)

    return saved


@pytest.fixture
def run(capsys):
    """Run a command line, and return its exit code, the object it prints and what it writes on stderr."""

    def say(*words):
        code = main([*map(str, words), "--json"])
        said = capsys.readouterr()
        return code, json.loads(said.out or "null"), said.err

    return say
