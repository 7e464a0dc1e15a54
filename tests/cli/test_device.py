"""Commands that compute with a model refuse a `--device` that this machine lacks."""

import re
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
def test_a_gpu_that_this_machine_lacks_is_refused_by_its_number(cli: Cli, seven: Path, command: str) -> None:
    words = [str(seven) if word == "IMAGE" else word for word in COMMANDS[command]]
    result = cli(command.split(maxsplit=1)[0], *words, "--device", "cuda:97")
    assert re.search("this machine has (no|[0-9]+) cuda devices", result.error_line)


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(("name", "message"), [("cude:1", "did you mean 'cuda'"), ("cuda:x", "write cuda or cuda:0")])
def test_an_unknown_device_with_a_number_is_refused(
    cli: Cli, seven: Path, command: str, name: str, message: str
) -> None:
    words = [str(seven) if word == "IMAGE" else word for word in COMMANDS[command]]
    assert message in cli(command.split(maxsplit=1)[0], *words, "--device", name).error_line


@pytest.mark.parametrize("command", COMMANDS)
def test_an_unknown_device_is_refused(cli: Cli, seven: Path, command: str) -> None:
    words = [str(seven) if word == "IMAGE" else word for word in COMMANDS[command]]
    result = cli(command.split(maxsplit=1)[0], *words, "--device", "cude")
    assert "not 'cude'" in result.error_line
