"""`pellucid export` writes only files whose outputs agree with the model's."""

from pathlib import Path

import onnx
import pytest

from pellucid.layers import ReLU
from tests.cli.conftest import Cli


def test_the_onnx_file_is_named_after_the_run_and_its_difference_is_printed(cli: Cli, run_folder: Path, tmp_path: Path):
    output = cli("export", str(run_folder), "--to", "onnx", "--json").json
    assert (output["format"], output["files"]) == ("onnx", ["digits-1.onnx"])
    assert 0 <= output["difference"] <= output["tolerance"] == 1e-5
    assert (tmp_path / "digits-1.onnx").stat().st_size > 1000


def test_export_with_whole_writes_an_onnx_file_and_a_page(cli: Cli, tmp_path: Path) -> None:
    output = cli("export", "mnist-lenet", "--to", "onnx", "--whole", "--json").json
    assert output["files"] == ["mnist-lenet.onnx", "mnist-lenet.html"]
    assert {file.name for file in tmp_path.iterdir()} == set(output["files"])
    assert "--whole is for ONNX files" in cli("export", "mnist-lenet", "--to", "torch", "--whole").error_line


@pytest.mark.slow
def test_export_to_torch_writes_a_module_and_a_weights_file(cli: Cli, run_folder: Path, tmp_path: Path):
    lines = cli("export", str(run_folder), "--to", "torch", "--out", "net.py").out.splitlines()
    assert [line.split(" (")[0] for line in lines[:2]] == ["wrote net.py", "wrote net_weights.safetensors"]
    assert lines[2].startswith("largest difference from the model, on 3 random inputs: ")
    assert lines[2].endswith(" of the largest output (allowed 1e-05)")
    assert {file.name for file in tmp_path.glob("net*")} == {"net.py", "net_weights.safetensors"}


def test_the_size_of_a_free_input_is_said(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "bccd.onnx"
    assert "--size HxW" not in cli("export", "mnist-conv", "--to", "onnx").out
    line = cli("export", "bccd", "--to", "onnx", "--out", str(path)).out.splitlines()[1]
    _, channels, height, width = (axis.dim_value for axis in onnx.load(path).graph.input[0].type.tensor_type.shape.dim)
    assert channels == 3
    assert line == f"the file takes pictures of {height}x{width} pixels; --size HxW writes it for others"


def test_a_file_with_different_outputs_is_not_kept(cli: Cli, monkeypatch, tmp_path: Path):
    monkeypatch.setattr(ReLU, "onnx", lambda layer, n: n.last("Identity", n.x))
    result = cli("export", "mnist-conv", "--to", "onnx")
    assert result.code == 1
    assert result.out == ""
    assert result.err.startswith("pellucid: the ONNX file would differ from the network by ")
    assert result.err.count("\n") == 1
    assert not list(tmp_path.glob("*.onnx"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("mnist-conv",), "the following arguments are required: --to"),
        (("mnist-conv", "--to", "onx"), "unknown format 'onx'; did you mean 'onnx'?"),
        (("mnist-conv", "--to", "onnx", "--out", "net.py"), "--out net.py does not end in .onnx"),
        (("mnist-conv", "--to", "torch", "--out", "none/net.py"), "is in a folder that does not exist"),
        (("mnist-conv", "--to", "torch", "--size", "8x8"), "--size is for ONNX files; leave it out: a PyTorch module"),
        (("mnist-cnv", "--to", "torch"), "did you mean 'mnist-conv'?"),
    ],
)
def test_invalid_arguments_are_refused(words, message, cli: Cli):
    assert message in cli("export", *words).error_line


def test_the_model_itself_is_not_overwritten(cli: Cli, run_folder: Path, tmp_path: Path):
    data = (run_folder / "weights" / "last.safetensors").read_bytes()
    (tmp_path / "net_weights.safetensors").write_bytes(data)
    result = cli("export", "net_weights.safetensors", "--to", "torch", "--out", "net.py")
    assert "net_weights.safetensors is the model itself; give another --out" in result.error_line
    assert (tmp_path / "net_weights.safetensors").read_bytes() == data
