"""Networks of timm by name and from its folders: outputs against timm's, weights, and names that are refused."""

import json
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from PIL import Image
from torch import Tensor

import pellucid
from pellucid.base.errors import PellucidError
from pellucid.opening.configured import import_library
from pellucid.tasks.pictures import read_picture

pytestmark = [
    pytest.mark.usefixtures("no_connection"),
    pytest.mark.skipif(find_spec("timm") is None, reason="timm is not installed: pip install -e .[open]"),
]
NAME = "test_resnet"  # 470,000 parameters
DATA_MEAN_AND_STD = torch.tensor([0.5, 0.5, 0.5])[:, None, None]  # both the mean and the standard deviation


@pytest.fixture(scope="module")
def timm() -> Any:
    return import_library("timm")


def images(count: int) -> Tensor:
    return torch.rand(count, 3, 96, 96, generator=torch.Generator().manual_seed(count))


def test_inputs_are_standardized_with_the_statistics_of_the_networks_data(timm: Any) -> None:
    model = pellucid.open(f"timm:{NAME}", classes=4)
    assert model.preprocess == {"mean": [0.5] * 3, "std": [0.5] * 3, "size": [160, 160]}
    network = timm.create_model(NAME, num_classes=4).eval()
    network.load_state_dict(model.state_dict())
    x = images(3)
    torch.testing.assert_close(
        model(x), network((x - DATA_MEAN_AND_STD) / DATA_MEAN_AND_STD).detach(), rtol=1e-4, atol=1e-5
    )


def test_random_weights_depend_only_on_the_seed(capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    first = pellucid.open(f"timm:{NAME}", seed=1).weights["fc.weight"]
    assert torch.equal(torch.rand(1), expected)  # the global generator is unchanged
    assert "timm:test_resnet has random weights" in capsys.readouterr().err
    assert torch.equal(first, pellucid.open(f"timm:{NAME}", seed=1).weights["fc.weight"])
    assert not torch.equal(first, pellucid.open(f"timm:{NAME}", seed=2).weights["fc.weight"])


@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
def test_weights_come_from_a_file(timm: Any, suffix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    network, path = timm.create_model(NAME, num_classes=4).eval(), tmp_path / f"weights.{suffix}"
    save = safetensors.torch.save_file if suffix == "safetensors" else torch.save
    save(network.state_dict(), path)
    model = pellucid.open(f"timm:{NAME}", weights=path, classes=["ant", "bee", "cat", "dog"])
    assert model.classes == ("ant", "bee", "cat", "dog")
    x = images(2)
    torch.testing.assert_close(
        model(x), network((x - DATA_MEAN_AND_STD) / DATA_MEAN_AND_STD).detach(), rtol=1e-4, atol=1e-5
    )
    assert capsys.readouterr().err == ""
    with pytest.raises(PellucidError, match=r"does not fit the network: fc\.weight is float32 4x96, not float32 1000x"):
        pellucid.open(f"timm:{NAME}", weights=path)


def test_an_example_sets_the_size_and_the_precision() -> None:
    model = pellucid.open("timm:test_vit", torch.rand(1, 3, 160, 160, dtype=torch.float64))
    assert model.precision == "float64"
    assert model.input_shape == (3, 160, 160)


def test_a_picture_is_resized_to_the_input_size_of_the_network(tmp_path: Path) -> None:
    model = pellucid.open(f"timm:{NAME}", classes=4)
    assert model.input_shape == (3, None, None)
    Image.new("RGB", (400, 300)).save(tmp_path / "plain.png")
    assert read_picture(model, tmp_path / "plain.png").shape == (3, 160, 160)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("test_resnt", r"timm [\d.]+ has no network 'test_resnt'; did you mean 'test_resnet'"),
        ("", "has no network ''; timm.list_models"),
        ("hf-hub:timm/resnet18", "has no network 'hf-hub:timm/resnet18'"),
        ("../resnet18", "has no network '../resnet18'"),
        (f"{NAME}.none", f"timm cannot build timm:{NAME}.none"),
    ],
)
def test_unknown_names_are_refused_in_one_line(name: str, message: str) -> None:
    with pytest.raises(PellucidError, match=message) as caught:
        pellucid.open(f"timm:{name}")
    assert "\n" not in str(caught.value)


def test_weights_for_a_source_that_is_no_timm_name_are_refused() -> None:
    for source in (torch.nn.Flatten(), "net.onnx", "."):
        with pytest.raises(PellucidError, match="weights is accepted only for a source of the form timm:NAME"):
            pellucid.open(source, torch.rand(1, 3, 8, 8), weights="weights.pth")


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(PellucidError, match=r"networks of timm need timm: pip install 'pellucid\[open\]'"):
        pellucid.open(f"timm:{NAME}")


def save_folder(timm: Any, folder: Path, **changes: Any) -> Any:
    """Write a folder as timm does for Hugging Face, with changes to config.json, and return the network."""
    network = timm.create_model(NAME, num_classes=2).eval()
    timm.models.save_for_hf(network, folder, model_config={"label_names": ["ant", "bee"]}, safe_serialization=True)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))
    return network


def test_a_folder_of_timm_has_weights_and_classes(timm: Any, tmp_path: Path) -> None:
    network, x = save_folder(timm, tmp_path), images(2)
    model = pellucid.open(tmp_path)
    assert model.classes == ("ant", "bee")
    torch.testing.assert_close(
        model(x), network((x - DATA_MEAN_AND_STD) / DATA_MEAN_AND_STD).detach(), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architecture": "test_resnt"}, "has no network 'test_resnt'"),
        ({"num_classes": 3}, "does not fit the network: fc.weight"),
        ({"num_classes": "x"}, "timm cannot build"),
        ({"model_args": {"checkpoint_path": "evil.pth"}}, "checkpoint_path names another file of weights"),
        ({"model_args": {"pretrained": True}}, "multiple values for keyword argument 'pretrained'"),
        ({"label_names": ["ant", ["bee"]]}, "label_names must be a list of names, not"),
        ({"architecture": ["x"]}, "has no network \\['x'\\]"),
    ],
)
def test_folders_of_timm_with_invalid_settings_are_refused(
    timm: Any, changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    save_folder(timm, tmp_path, **changes)
    with pytest.raises(PellucidError, match=message) as caught:
        pellucid.open(tmp_path)
    assert "\n" not in str(caught.value)
