"""The settings that a backbone file implies, and recipes adapted to every network."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from pellucid.base.errors import PellucidError
from pellucid.data import data_root
from pellucid.model import Model
from pellucid.models import MODELS, airbench, features, match
from pellucid.nested import flatten
from pellucid.recipe.recipe import load_recipe
from pellucid.tasks.gestures.backbone import adapted_settings, backbone_settings
from tests.models.zoo import IMAGE_NETWORKS, SEGMENTATION_NETWORKS


def torchvision_resnet(*blocks: int) -> dict[str, torch.Tensor]:
    """Return tensors with the names in torchvision's file of a basic-block ResNet, each one zero."""
    norm = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    names = ["conv1.weight", *(f"bn1.{leaf}" for leaf in norm), "fc.weight", "fc.bias"]
    for stage, count in enumerate(blocks, 1):
        for block in range(count):
            prefix = f"layer{stage}.{block}"
            for k in (1, 2):
                names += [f"{prefix}.conv{k}.weight", *(f"{prefix}.bn{k}.{leaf}" for leaf in norm)]
            if block == 0 and stage > 1:
                names += [f"{prefix}.downsample.0.weight", *(f"{prefix}.downsample.1.{leaf}" for leaf in norm)]
    return {name: torch.zeros(1) for name in names}


@pytest.mark.parametrize(("blocks", "model"), [((2, 2, 2, 2), "resnet18"), ((3, 4, 6, 3), "resnet34")])
def test_the_network_of_a_published_file_is_recognized(tmp_path: Path, blocks: tuple[int, ...], model: str) -> None:
    path = tmp_path / "weights.safetensors"
    save_file(torchvision_resnet(*blocks), path)
    assert backbone_settings(str(path)) == {"start.weights": str(path), "network.model": model, "data.size": 96}


def test_the_network_of_our_file_is_recognized_if_it_is_published(tmp_path: Path) -> None:
    standard, narrow = tmp_path / "usual.safetensors", tmp_path / "narrow.safetensors"
    Model(airbench(5), input_shape=(3, 16, 16)).save(standard)
    Model(airbench(5, width=4), input_shape=(3, 16, 16)).save(narrow)
    assert backbone_settings(str(standard)) == {"start.weights": str(standard), "network.model": "airbench"}
    assert backbone_settings(str(narrow)) == {"start.weights": str(narrow)}


def test_weights_of_an_unknown_network_are_reported_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_file({"layer.weight": torch.zeros(1)}, path)
    with pytest.raises(PellucidError, match="weights of an unknown network"):
        backbone_settings(str(path))
    with pytest.raises(PellucidError, match="no model 'nowhere'"):
        backbone_settings("nowhere")
    with pytest.raises(PellucidError, match="missing"):
        backbone_settings("resnet18", tmp_path)  # this data root has no such file


@pytest.mark.real
def test_the_published_mobilenet_without_its_head_is_recognized() -> None:
    path = data_root() / "weights" / "mobilenet_v2_imagenet_no_top.h5"
    result = backbone_settings(str(path))
    assert (result["network.model"], result["network.pad"], result["network.epsilon"]) == ("mobilenet_v2", "same", 1e-3)


ZOO = sorted(set(MODELS) - {"mlp", "vit", "swin", "convnet", "lenet"} - SEGMENTATION_NETWORKS - IMAGE_NETWORKS)
LAST_BLOCKS = {
    "airbench": {"stage3"},
    "airbench96": {"stage3"},
    "resnet18": {"stage4"},
    "vgg16": {"block5"},
    "mobilenet_v2": {"stage6", "stage7", "last"},
    "densenet121": {"transition3", "block4", "norm"},
}


def trained_parts(name: str, patterns: list[str]) -> set[str]:
    """Return the parts of the features with trained parameters; PellucidError for a pattern that matches no path."""
    net = MODELS[name]()
    with torch.device("meta"):
        params, _ = net.init((3, 299, 299), torch.Generator())
    frozen = set[str]().union(*(match(params, pattern) for pattern in patterns))
    return {path.split(".")[1] for path in flatten(params) if path.startswith("features.") and path not in frozen}


@pytest.mark.parametrize("name", ZOO)
def test_the_last_third_is_fine_tuned_by_patterns_that_all_match(name):
    settings = adapted_settings(load_recipe("signs-finetune", {"network.model": name}))
    parts = trained_parts(name, settings["train.frozen"])
    assert 0 < len(parts) <= max(1, len(features(MODELS[name]()).layers) // 3)
    assert parts == LAST_BLOCKS.get(name, parts) - ({"norm"} if name == "densenet121" else set())


@pytest.mark.parametrize("name", ZOO)
def test_frozen_features_remain_frozen_for_every_network(name):
    assert adapted_settings(load_recipe("signs-frozen", {"network.model": name})) == {}


@pytest.mark.parametrize(
    ("name", "whitened"),
    [("airbench", True), ("airbench96", True), ("mobilenet_v2", True), ("vgg16", False), ("squeezenet1_1", False)],
)
def test_filters_are_whitened_where_the_network_has_them(name, whitened):
    settings = adapted_settings(load_recipe("signs-scratch", {"network.model": name}))
    assert settings == ({} if whitened else {"start.whiten": ""})
