"""The examples run unchanged."""

import runpy
import sys
from pathlib import Path

import pytest
from PIL import Image

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["own_network", "train_by_recipe"])
def test_an_example_runs_and_learns(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
    percents = [float(word.rstrip("%")) for word in capsys.readouterr().out.split() if word.endswith("%")]
    assert percents
    assert min(percents) > 90


def test_the_example_one_sweep_draws_a_given_digit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    out = tmp_path / "sweep.png"
    monkeypatch.setattr(sys, "argv", ["one_sweep.py", "-o", str(out)])
    runpy.run_path(str(EXAMPLES / "one_sweep.py"), run_name="__main__")
    with Image.open(out) as picture:
        assert picture.width > 2 * picture.height
        assert len(set(picture.convert("L").resize((200, 60)).tobytes())) > 50  # the page is not blank
