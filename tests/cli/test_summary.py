"""`pellucid summary` of a network of the zoo, its drawing, and its mistakes."""

from pathlib import Path

import pytest
import torch

from pellucid.layers import Dense
from tests.cli.conftest import Say


@pytest.mark.parametrize(
    ("words", "shape", "parameters"),
    [
        (["vgg16"], [3, 224, 224], 138_357_544),
        (["inception_v3"], [3, 299, 299], 23_834_568),
        (["resnet20"], [3, 32, 32], 269_722),
        (["lenet"], [1, 28, 28], 61_706),
        (["lenet", "--input", "3x28x28", "classes=26"], [3, 28, 28], 61_706 + 2 * 6 * 25 + 16 * 85),
        (["mlp", "sizes=[784,30,10]", "--input", "1x28x28"], [1, 28, 28], 23_860),
        (["googlenet", "auxiliary=true"], [3, 224, 224], 13_004_888),
    ],
)
def test_the_zoo_is_known(words: list[str], shape: list[int], parameters: int, say: Say):
    found = say("summary", *words, "--json").json
    assert (found["input_shape"], found["parameters"]) == (shape, parameters)
    assert found["multiply_adds"] > 0
    assert found["memory"] > 0


def test_no_weights_are_drawn(say: Say, monkeypatch: pytest.MonkeyPatch):
    drawn: list[torch.device] = []

    def init(self: Dense, shape: tuple[int, ...], rng: torch.Generator):
        params, out = kept(self, shape, rng)
        drawn.append(params["weight"].device)
        return params, out

    kept = Dense.init
    monkeypatch.setattr(Dense, "init", init)
    for what in ("vgg16", "mnist-deep-sigmoid"):
        assert say("summary", what, "--json").json["parameters"] > 0
    assert {device.type for device in drawn} == {"meta"}


@pytest.mark.parametrize(("name", "begins"), [("net.png", b"\x89PNG"), ("net.svg", b"<?xml")])
def test_the_network_is_drawn(name: str, begins: bytes, say: Say, tmp_path: Path):
    assert say("summary", "lenet", "--draw", name, "--json").json["drawing"] == name
    assert (tmp_path / name).read_bytes().startswith(begins)
    assert f"wrote {name}" in say("summary", "mnist-lenet", "--draw", name).out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["densenet12"], "did you mean 'densenet121'?"),
        (["vgg16", "clases=3"], "did you mean"),
        (["vgg16", "classes=many"], "classes"),
        (["lenet", "--input", "28x28"], "--input '28x28' is no size; write channels, height and width as in 3x1"),
        (["lenet", "--input", "1x28x-28"], "is no size"),
        (["lenet", "--input", "1x4x4"], "lenet: features."),
        (["lenet", "--input", "9x99999x99999"], "more than 16,777,216 values"),
        (["mlp"], "mlp: network.sizes is missing"),
        (["digits", "--input", "1x8x8"], "digits says itself what images it takes"),
        (["mnist-lenet", "--input", "1x28x28"], "mnist-lenet says itself"),
        (["lenet", "--draw", "net.pdf"], "does not end in .png or .svg"),
        (["lenet", "--draw", "nowhere/net.png"], "is in a folder that does not exist"),
    ],
)
def test_mistakes_are_told(words: list[str], said: str, say: Say):
    assert said in say("summary", *words).complaint
