"""Which network a backbone's file is of, told by what is in it."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from pellucid.data import data_root
from pellucid.errors import PellucidError
from pellucid.model import Model
from pellucid.models import airbench
from pellucid.tasks.gestures.backbone import backbone_settings


def torchvision_resnet(*blocks: int) -> dict[str, torch.Tensor]:
    """The names of a basic-block ResNet in torchvision's files; the numbers do not matter."""
    norm = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    names = ["conv1.weight", *(f"bn1.{leaf}" for leaf in norm), "fc.weight", "fc.bias"]
    for stage, count in enumerate(blocks, 1):
        for block in range(count):
            where = f"layer{stage}.{block}"
            for k in (1, 2):
                names += [f"{where}.conv{k}.weight", *(f"{where}.bn{k}.{leaf}" for leaf in norm)]
            if block == 0 and stage > 1:
                names += [f"{where}.downsample.0.weight", *(f"{where}.downsample.1.{leaf}" for leaf in norm)]
    return {name: torch.zeros(1) for name in names}


@pytest.mark.parametrize(("blocks", "model"), [((2, 2, 2, 2), "resnet18"), ((3, 4, 6, 3), "resnet34")])
def test_a_published_file_tells_its_network(tmp_path: Path, blocks: tuple[int, ...], model: str) -> None:
    path = tmp_path / "weights.safetensors"
    save_file(torchvision_resnet(*blocks), path)
    assert backbone_settings(str(path)) == {"start.weights": str(path), "network.model": model, "data.size": 96}


def test_a_file_of_ours_tells_its_network_where_the_zoo_has_it(tmp_path: Path) -> None:
    usual, narrow = tmp_path / "usual.safetensors", tmp_path / "narrow.safetensors"
    Model(airbench(5), input_shape=(3, 16, 16)).save(usual)
    Model(airbench(5, width=4), input_shape=(3, 16, 16)).save(narrow)
    assert backbone_settings(str(usual)) == {"start.weights": str(usual), "network.model": "airbench"}
    assert backbone_settings(str(narrow)) == {"start.weights": str(narrow)}


def test_weights_of_no_known_network_are_one_line(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_file({"layer.weight": torch.zeros(1)}, path)
    with pytest.raises(PellucidError, match="no network that is known"):
        backbone_settings(str(path))
    with pytest.raises(PellucidError, match="no model 'nowhere'"):
        backbone_settings("nowhere")
    with pytest.raises(PellucidError, match="missing"):
        backbone_settings("resnet18", tmp_path)  # its place below the root of the data


@pytest.mark.real
def test_the_real_mobilenet_without_its_top() -> None:
    path = data_root() / "weights" / "mobilenet_v2_imagenet_no_top.h5"
    found = backbone_settings(str(path))
    assert (found["network.model"], found["network.pad"], found["network.epsilon"]) == ("mobilenet_v2", "same", 1e-3)
