"""Commands that compute with a model refuse a `--device` that this machine lacks."""

from pathlib import Path

import pytest
import torch

from tests.cli.conftest import Cli

COMMANDS = {
    "evaluate": ("mnist-lenet",),
    "predict": ("mnist-lenet", "IMAGE"),
    "trace": ("mnist-lenet", "IMAGE"),
    "explain": ("mnist-lenet", "IMAGE"),
    "explain --page": ("mnist-lenet", "--page", "page"),
    "segment": ("camvid", "IMAGE", "--out", "out"),
    "verify": ("mnist-lenet",),
    "doctor": ("mnist-lenet",),
    "train": ("digits",),
}


@pytest.mark.skipif(torch.backends.mps.is_available(), reason="this machine has mps")
@pytest.mark.parametrize("command", COMMANDS)
def test_an_unavailable_device_is_refused(cli: Cli, seven: Path, command: str) -> None:
    words = [str(seven) if word == "IMAGE" else word for word in COMMANDS[command]]
    result = cli(command.split(maxsplit=1)[0], *words, "--device", "mps")
    assert "this machine has no mps devices" in result.error_line


@pytest.mark.parametrize("command", COMMANDS)
def test_an_unknown_device_is_refused(cli: Cli, seven: Path, command: str) -> None:
    words = [str(seven) if word == "IMAGE" else word for word in COMMANDS[command]]
    result = cli(command.split(maxsplit=1)[0], *words, "--device", "cude")
    assert "not 'cude'" in result.error_line
