"""`--custom FILE.py` executes a file that registers user-defined classes before a command loads a model of them."""

from pathlib import Path

import pytest

from pellucid import Dense, Flatten, Model, Sequential
from pellucid.extend.registry import REGISTERED
from tests.cli.conftest import Cli

PARTS_SOURCE = """from __future__ import annotations
from dataclasses import dataclass
from typing import NamedTuple

import torch
import pellucid
from near import START


class Cache(NamedTuple):
    x: torch.Tensor


@pellucid.register
@dataclass(frozen=True)
class Factor(pellucid.Layer):
    start: float = START

    def init(self, shape, rng):
        return {"factor": torch.full((shape[0], 1, 1), self.start)}, shape

    def forward(self, params, x, mode):
        return params["factor"] * x, Cache(x)

    def backward(self, params, cache, dy):
        return params["factor"] * dy, {"factor": (cache.x * dy).sum((0, 2, 3)).view(-1, 1, 1)}


if __name__ == "__main__":
    raise SystemExit("it is run as a module")
"""


@pytest.fixture(autouse=True)
def restored_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pellucid.extend.registry.REGISTERED", dict(REGISTERED))


@pytest.fixture
def parts_file(tmp_path: Path) -> Path:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/near.py").write_text("START = 2.0")
    file = tmp_path / "mine/parts.py"
    file.write_text(PARTS_SOURCE)
    return file


@pytest.fixture
def saved_model(parts_file: Path, cli: Cli, tmp_path: Path) -> str:
    """The file of a model with a layer whose class is no longer registered in this process."""
    assert cli("recipes", "--custom", str(parts_file)).code == 0
    from pellucid.extend import registry

    net = Sequential(factor=registry.REGISTERED["Factor"](), flat=Flatten(), scores=Dense(10))
    Model(net, input_shape=(1, 8, 8), classes=10, preprocess={"data": "digits"}).save(tmp_path / "own.safetensors")
    registry.REGISTERED.clear()
    return "own.safetensors"


def test_every_command_accepts_a_file_that_registers_classes(
    cli: Cli, saved_model: str, parts_file: Path, seven: Path
) -> None:
    error_line = cli("evaluate", saved_model).error_line
    assert "no layer is called 'Factor'" in error_line
    assert "--custom FILE.py" in error_line
    assert cli("evaluate", saved_model, "--json", "--custom", str(parts_file)).json["n"] == 359
    assert (
        len(cli("predict", "--custom", str(parts_file), saved_model, str(seven), "--json").json["probabilities"]) == 10
    )
    assert cli("verify", saved_model, f"--custom={parts_file}").code == 0
    assert "Factor" in cli("summary", saved_model, "--custom", str(parts_file)).out


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 / 0", "--custom wrong.py raised ZeroDivisionError: division by zero"),
        ("import pellucid\npellucid.register(int)", "int"),
        ("def f(:", "--custom wrong.py raised SyntaxError"),
        (None, "--custom: no file 'wrong.py'; give the file that registers your own parts"),
    ],
)
def test_a_file_that_cannot_be_executed_is_reported_in_one_line(cli: Cli, text: str | None, message: str) -> None:
    if text is not None:
        Path("wrong.py").write_text(text)
    assert message in cli("recipes", "--custom", "wrong.py").error_line


@pytest.mark.parametrize("words", [("--custom",), ("--custom", "model.safetensors"), ("--custom=",)])
def test_a_path_that_is_not_a_python_file_is_refused(cli: Cli, words: tuple[str, ...]) -> None:
    assert "--custom takes a file of Python code, FILE.py" in cli("recipes", *words).error_line
