"""Fixtures that run command lines inside the test process, and a trained run that all tests share."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from pellucid.cli.main import main


@dataclass(frozen=True)
class CliResult:
    """The exit code and the output of one command line."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        assert self.code == 0, self.err
        assert self.out.endswith("\n")
        assert self.out.count("\n") == 1, "one JSON object, on one line"
        return json.loads(self.out, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))

    @property
    def error_line(self) -> str:
        """The single line on stderr of a command line with an error."""
        assert self.code == 2
        assert self.err.count("\n") == 1, self.err
        assert self.err.startswith("pellucid")
        assert "Traceback" not in self.err
        return self.err


Cli = Callable[..., CliResult]


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    """Run `pellucid WORDS...`."""

    def run(*words: str) -> CliResult:
        capsys.readouterr()
        code = main(words)
        out, err = capsys.readouterr()
        return CliResult(code, out, err)

    return run


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of the recipe `digits`, trained for three epochs."""
    out = tmp_path_factory.mktemp("cli") / "runs"
    assert main(["train", "digits", "train.epochs=3", "--out", str(out), "--json"]) == 0
    return out / "digits-1"


@pytest.fixture(scope="session")
def seven(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A picture of a 7, black on white, 90x70."""
    pixels = torch.full((90, 70), 255, dtype=torch.uint8)
    pixels[10:20, 10:60] = 0
    for row in range(65):
        pixels[15 + row, 48 - row // 2 : 58 - row // 2] = 0
    path = tmp_path_factory.mktemp("pictures") / "seven.png"
    Image.fromarray(pixels.numpy()).save(path)
    return path


@pytest.fixture(autouse=True)
def empty_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Change to an empty working folder, in which only the bundled data are available."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PELLUCID_DATA", str(tmp_path / "data"))
