"""`pellucid summary` of networks of the zoo: its tables, its drawings, and its error messages."""

from pathlib import Path

import pytest
import torch

from pellucid.combine import Sequential
from pellucid.layers import Conv2d, Dense, MaxPool2d
from pellucid.model import Model
from tests.cli.conftest import Cli


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
def test_networks_are_summarized_by_name(words: list[str], shape: list[int], parameters: int, cli: Cli):
    output = cli("summary", *words, "--json").json
    assert (output["input_shape"], output["parameters"]) == (shape, parameters)
    assert output["multiply_adds"] > 0
    assert output["memory"] > 0


def test_a_summary_draws_no_initial_weights(cli: Cli, monkeypatch: pytest.MonkeyPatch):
    devices: list[torch.device] = []

    def init(self: Dense, shape: tuple[int, ...], rng: torch.Generator):
        params, out = original(self, shape, rng)
        devices.append(params["weight"].device)
        return params, out

    original = Dense.init
    monkeypatch.setattr(Dense, "init", init)
    for what in ("vgg16", "mnist-deep-sigmoid"):
        assert cli("summary", what, "--json").json["parameters"] > 0
    assert {device.type for device in devices} == {"meta"}


def test_the_depth_folds_modules(cli: Cli):
    all_layers, folded_layers = (cli("summary", "resnet50", *words, "--json").json for words in ([], ["--depth", "1"]))
    assert [row["path"] for row in folded_layers["layers"]] == ["features", "head"]
    assert len(all_layers["layers"]) == sum(int(row["layer"].split()[0]) for row in folded_layers["layers"])
    assert folded_layers["parameters"] == all_layers["parameters"]


@pytest.mark.parametrize(("name", "file_start"), [("net.png", b"\x89PNG"), ("net.svg", b"<?xml")])
def test_a_summary_draws_the_network(name: str, file_start: bytes, cli: Cli, tmp_path: Path):
    assert cli("summary", "lenet", "--draw", name, "--json").json["drawing"] == name
    assert (tmp_path / name).read_bytes().startswith(file_start)
    assert f"wrote {name}" in cli("summary", "mnist-lenet", "--draw", name).out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["densenet12"], "did you mean 'densenet121'?"),
        (["vgg16", "clases=3"], "did you mean"),
        (["vgg16", "classes=many"], "classes"),
        (["lenet", "--input", "28x28"], "--input '28x28' is not a size; write channels, height and width as in 3x1"),
        (["lenet", "--input", "1x28x-28"], "is not a size"),
        (["lenet", "--input", "1x4x4"], "lenet: features."),
        (["lenet", "--input", "9x99999x99999"], "more than 16,777,216 values"),
        (["mlp"], "mlp: network.sizes is missing"),
        (["digits", "--input", "1x9x9"], "--input: digits takes inputs of 1 x 8 x 8, not 1 x 9 x 9"),
        (["digits", "--input", "3x8x8"], "digits takes inputs of 1 x any x any, not 3 x 8 x 8"),
        (["mnist-lenet", "--input", "1x32x32"], "mnist-lenet takes inputs of 1 x 28 x 28, not 1 x 32 x 32"),
        (["free.safetensors", "--input", "1x64x64"], "takes inputs of 3 x any x any, not 1 x 64 x 64"),
        (["free.safetensors", "--input", "3x1x1"], "--input: free.safetensors: "),
        (["lenet", "--depth", "0"], "depth must be a whole number of at least 1, not 0"),
        (["lenet", "--draw", "net.pdf"], "does not end in .png or .svg"),
        (["lenet", "--draw", "nowhere/net.png"], "is in a folder that does not exist"),
    ],
)
def test_invalid_arguments_are_refused(words: list[str], message: str, cli: Cli):
    if words[0] == "free.safetensors":
        any_size_model().save(words[0])
    assert message in cli("summary", *words).error_line


def any_size_model() -> Model:
    """Return a network of two convolutions for images of any size of at least 4 x 4 pixels."""
    net = Sequential(conv=Conv2d(2, 3, padding=1), pool=MaxPool2d(4), scores=Conv2d(5, 1))
    return Model(net, input_shape=(3, None, None))


def test_the_input_size_is_printed_and_can_be_chosen(cli: Cli):
    any_size_model().save("free.safetensors")
    out = cli("summary", "free.safetensors").out
    assert out.startswith("for one input of 3 x 224 x 224, which may have any size (--input chooses it)\n")
    out = cli("summary", "free.safetensors", "--input", "3x64x40").out
    assert out.startswith("for one input of 3 x 64 x 40, which")
    output = cli("summary", "free.safetensors", "--input", "3x64x40", "--json").json
    assert output["input_shape"] == [3, 64, 40]
    assert output["multiply_adds"] == 64 * 40 * 2 * 27 + 16 * 10 * 5 * 2
    assert cli("summary", "lenet").out.startswith("for one input of 1 x 28 x 28\n")


def test_a_recipe_of_any_size_is_summarized_at_the_size_given(cli: Cli):
    words = ("summary", "camvid-fcn32", "network.backbone=airbench96", "--json")
    narrow, wide = (cli(*words, "--input", size).json for size in ("3x64x96", "3x128x96"))
    assert (narrow["input_shape"], wide["input_shape"]) == ([3, 64, 96], [3, 128, 96])
    assert narrow["parameters"] == wide["parameters"]
    assert wide["multiply_adds"] > narrow["multiply_adds"] > 0
