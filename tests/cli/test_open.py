"""`pellucid open` converts files of other libraries: its output, and the use of the models by other commands."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

import pellucid
from pellucid.opening.configured import import_library
from tests.cli.conftest import Cli
from tests.opening.onnxfiles import f32, node, write


@pytest.fixture
def detector(tmp_path: Path) -> Path:
    nodes = [
        node("Conv", ["x", "conv.weight", "conv.bias"], "c"), node("Reshape", "ca", "r"),
        node("Transpose", "r", "boxes", perm=[0, 2, 1]), node("Sigmoid", "r", "scores"),
        node("NonMaxSuppression", ["boxes", "scores", "n"], "y"),
    ]  # fmt: skip
    constants = {
        "conv.weight": f32(4, 3, 1, 1), "conv.bias": f32(4), "a": np.array([0, 4, -1]), "n": np.array([5])
    }  # fmt: skip
    return write(tmp_path / "detector.onnx", nodes, ["N", 3, 2, 5], constants)


def test_layers_parameters_outputs_and_omitted_nodes_are_printed(detector: Path, cli: Cli) -> None:
    path = detector.with_suffix(".safetensors")
    result = cli("open", str(detector), "--out", str(path))
    assert result.code == 0, result.err
    assert "conv" in result.out
    assert "input 3 x 2 x 5; outputs boxes, scores" in result.out
    assert "left out: NonMaxSuppression" in result.out
    assert f"wrote {path}" in result.out
    output = cli("open", str(detector), "--out", str(detector.parent), "--json").json
    assert output["model"] == str(path)
    assert output["cut"] == ["NonMaxSuppression"]
    assert output["parameters"] == 16
    assert (output["input_shape"], output["output_shape"]) == ([3, 2, 5], [[10, 4], [4, 10]])


@pytest.mark.heavy
@pytest.mark.slow
def test_a_saved_model_loads_in_a_new_process_with_equal_outputs(tmp_path: Path, cli: Cli) -> None:
    nodes = [
        node("Conv", ["x", "c.weight"], "c", pads=[0, 0, 1, 1]), node("HardSwish", "c", "h"),
        node("ReduceMean", "h", "m", axes=[2, 3], keepdims=0), node("MatMul", "mw", "y"),
    ]  # fmt: skip
    path = write(tmp_path / "net.onnx", nodes, [1, 3, 8, 8], {"c.weight": f32(4, 3, 3, 3), "w": f32(4, 5)}, opset=14)
    assert cli("open", str(path), "--out", str(tmp_path)).code == 0
    x = f32(1, 3, 8, 8)
    np.save(tmp_path / "x.npy", x)
    program = (
        "import sys, numpy, pellucid, torch; model = pellucid.Model.load('net.safetensors'); "
        "numpy.save('y.npy', model(torch.from_numpy(numpy.load('x.npy')))); print('onnx' in sys.modules)"
    )
    process = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert process.stdout.strip() == "False"
    assert np.array_equal(np.load(tmp_path / "y.npy"), pellucid.open(path)(torch.from_numpy(x)).numpy())
    expected = onnxruntime.InferenceSession(path).run(None, {"x": x})[0]
    assert np.abs(np.load(tmp_path / "y.npy") - expected).max() <= 1e-5


def test_other_commands_accept_the_model(tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.SiLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    dynamic_shapes = ({0: torch.export.Dim.AUTO},)
    torch.export.save(
        torch.export.export(network, (torch.zeros(2, 3, 8, 8),), dynamic_shapes=dynamic_shapes), "net.pt2"
    )
    assert cli("open", "net.pt2").code == 0
    assert cli("verify", "net.safetensors", "--batch", "2", "--samples", "2").code == 0
    assert cli("summary", "net.safetensors", "--json").json["parameters"] == 127
    assert cli("export", "net.safetensors", "--to", "onnx", "--out", "back.onnx").code == 0
    assert cli("open", "back.onnx", "--out", "again.safetensors").code == 0
    x = torch.rand(2, 3, 8, 8)
    torch.testing.assert_close(pellucid.Model.load("again.safetensors")(x), network(x).detach(), rtol=1e-5, atol=1e-5)


def test_free_axes_are_set_by_an_option(tmp_path: Path, cli: Cli) -> None:
    nodes = [node("Flatten", "x", "f"), node("Gemm", "fw", "y", transB=1)]
    path = write(tmp_path / "net.onnx", nodes, ["N", 3, "H", "W"], {"w": f32(4, 90)})
    assert cli("open", str(path), "--out", str(tmp_path)).code == 2
    assert "input 3 x 5 x 6" in cli("open", str(path), "--out", str(tmp_path), "--input", "3x5x6").out


def test_files_that_cannot_be_opened_are_refused_in_one_line(tmp_path: Path, cli: Cli) -> None:
    for words in (["none.onnx"], ["none.pt2"], ["net.pth"], ["none.onnx", "--out", str(tmp_path / "x.onnx")]):
        assert cli("open", *words).error_line
    two = write(tmp_path / "two.onnx", [node("Add", "xz", "y")], {"x": ["N", 3], "z": ["N", 3]})
    assert "has several inputs; open it in Python" in cli("open", str(two), "--out", str(tmp_path)).error_line


@pytest.mark.skipif(find_spec("timm") is None, reason="timm is not installed: pip install -e .[open]")
def test_a_name_of_timm_opens_with_weights_of_a_file(tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    network = import_library("timm").create_model("test_resnet").eval()
    torch.save(network.state_dict(), "trained.pth")
    result = cli("open", "timm:test_resnet.r160_in1k", "--weights", "trained.pth", "--json")
    assert result.json["model"] == "test_resnet.r160_in1k.safetensors"
    x = torch.rand(2, 3, 64, 64)
    outputs = pellucid.Model.load(result.json["model"])(x)
    torch.testing.assert_close(outputs, network((x - 0.5) / 0.5).detach(), rtol=1e-4, atol=1e-5)
    assert "did you mean 'resnet14t'" in cli("open", "timm:resnet14").error_line
