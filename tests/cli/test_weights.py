"""`pellucid weights`: list, get and show."""

import hashlib
import os
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch

from pellucid.shipped_files import pretrained_names
from pellucid.weights import catalogue
from tests.cli.conftest import Cli

LICENCES = Path(__file__).resolve().parents[2] / "pretrained" / "LICENCES.md"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "some.safetensors"
    tensors = {"conv.weight": torch.zeros(4, 3, 3, 3), "steps": torch.tensor(3), "odd\n\x1b[31m": torch.zeros(1)}
    safetensors.torch.save_file(tensors, path)
    return path


def test_list_shows_known_and_downloaded_weights(cli: Cli, tmp_path):
    folder = tmp_path / "data" / "weights"
    folder.mkdir(parents=True)
    (folder / "resnet18-f37072fd.pth").touch()
    os.truncate(folder / "resnet18-f37072fd.pth", 46_830_571)  # its published size, as a sparse file
    (folder / "resnet34-b627a593.pth").write_bytes(b"no weights")
    lines = cli("weights", "list").out.split("\nshipped with pellucid")[0].splitlines()
    assert lines[0] == f"folder: {folder}"
    states = {line.split()[0]: line.split("  ")[1:][0] for line in lines[1:]}
    assert set(states) == set(catalogue.CATALOGUE)
    rows = {row["name"]: row for row in cli("weights", "list", "--json").json["weights"]}
    assert rows["resnet18"]["present"]
    assert not rows["vgg16"]["present"]
    assert not rows["resnet34"]["present"]
    assert rows["vgg16"]["path"] == str(folder / "vgg16-397923af.pth")
    assert rows["vgg16"]["download"]
    assert rows["mobilenet_v2-keras"]["checksum"] is None
    assert "resnet18 " in next(line for line in lines if " present " in line)


def test_list_shows_the_licences_of_shipped_weights(cli: Cli):
    lines = cli("weights", "list").out.split("\nshipped with pellucid, ")[1].splitlines()
    assert lines[0] == f"with the licences of their data ({LICENCES}):"
    states = {line.split()[0]: line.split()[1] for line in lines[1:]}
    assert set(states) == set(pretrained_names())
    assert {name for name, state in states.items() if state == "free"} == {"mnist-conv", "mnist-lenet", "mnist-mlp-100"}
    shipped = {row["name"]: row["licence"] for row in cli("weights", "list", "--json").json["shipped"]}
    assert set(shipped) == set(states)
    assert shipped["camvid"]["data"] == {
        "camvid": "no licence found",
        "imagenet": "non-commercial research and education",
    }
    assert not shipped["camvid"]["free"]
    assert shipped["mnist-conv"]["free"]


def test_show_ends_with_the_licences_of_shipped_weights(cli: Cli, file: Path):
    line = cli("weights", "show", "mnist-lenet").out.splitlines()[-1]
    assert line == (
        "trained on mnist (CC BY-SA 3.0): for teaching, research and commercial use, with credit to the authors of the "
        f"data; see {LICENCES}"
    )
    assert cli("weights", "show", "mnist-lenet", "--json").json["licence"]["data"] == {"mnist": "CC BY-SA 3.0"}
    assert "licence" not in cli("weights", "show", str(file), "--json").json


def test_get_without_a_network_names_the_path_for_the_file(cli: Cli, monkeypatch, tmp_path):
    entry = replace(catalogue.CATALOGUE["vgg16"], url="http://127.0.0.1:9/vgg16-397923af.pth")
    monkeypatch.setitem(catalogue.CATALOGUE, "vgg16", entry)
    complaint = cli("weights", "get", "vgg16", "--data", str(tmp_path / "d")).error_line
    assert f"put the file at {tmp_path / 'd' / 'weights' / 'vgg16-397923af.pth'} by hand" in complaint


def test_get_reports_a_different_file_at_the_path(cli: Cli, monkeypatch, tmp_path):
    entry = replace(catalogue.CATALOGUE["vgg16"], url="http://127.0.0.1:9/vgg16-397923af.pth")
    monkeypatch.setitem(catalogue.CATALOGUE, "vgg16", entry)
    path = tmp_path / "data" / "weights" / "vgg16-397923af.pth"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"another")
    complaint = cli("weights", "get", "vgg16").error_line
    assert f"the file at {path} is not the published one, and " in complaint
    assert path.read_bytes() == b"another"


def test_get_keeps_a_file_with_the_right_checksum(cli: Cli, monkeypatch, tmp_path):
    path = tmp_path / "data" / "weights" / "vgg16-397923af.pth"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"right")
    checksum = "sha256:" + hashlib.sha256(b"right").hexdigest()
    monkeypatch.setitem(catalogue.CATALOGUE, "vgg16", replace(catalogue.CATALOGUE["vgg16"], checksum=checksum))
    assert cli("weights", "get", "vgg16", "--json").json == {"name": "vgg16", "path": str(path), "status": "kept"}
    assert cli("weights", "get", "vgg16").out == f"kept: {path}\n"


def test_show_lists_every_tensor(cli: Cli, file):
    lines = cli("weights", "show", str(file)).out.splitlines()
    assert ["conv.weight", "float32", "4x3x3x3"] in [line.split() for line in lines]
    assert ["steps", "int64", "number"] in [line.split() for line in lines]
    assert ["odd\\n\\x1b[31m", "float32", "1"] in [line.split() for line in lines], "nothing reaches the terminal"
    assert lines[-1] == "safetensors: 3 tensors, 110 values"


def test_show_prints_json(cli: Cli, file):
    output = cli("weights", "show", str(file), "--json").json
    assert {**output, "tensors": None} == {"file": str(file), "format": "safetensors", "numbers": 110, "tensors": None}
    assert {"name": "conv.weight", "dtype": "float32", "shape": [4, 3, 3, 3]} in output["tensors"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("weights", "lst"), "no action 'lst'; did you mean 'list'?"),
        (("weights", "list", "vgg16"), "use: pellucid weights get vgg16"),
        (("weights", "get"), "needs a name"),
        (("weights", "show"), "needs a weights file"),
        (("weights", "get", "vgg1666"), "did you mean 'vgg16'?"),
        (("weights", "get", "vgg11"), "by hand and put it at"),
        (("weights", "show", "none.pth"), "none.pth is missing; give a weights file"),
    ],
)
def test_invalid_arguments_are_refused(words, message, cli: Cli):
    assert message in cli(*words).error_line


def test_a_damaged_file_is_refused_with_one_line(cli: Cli, file):
    file.write_bytes(file.read_bytes()[:-3])
    assert f"{file} declares 652 bytes, but has 649" in cli("weights", "show", str(file)).error_line


def test_show_accepts_names_of_pretrained_models(cli: Cli):
    output = cli("weights", "show", "mnist-lenet", "--json").json
    assert output["numbers"] == 61_706  # LeCun et al. 1998, figure 2, fully connected C3
    assert output["format"] == "safetensors"
