"""Recipes written for one network, in all the others."""

import pytest
import torch

from pellucid.models import MODELS, features, match
from pellucid.recipe.recipe import load_recipe
from pellucid.tasks.gestures.adapted import adapted
from pellucid.tree import flatten
from tests.models.zoo import DENSE

ZOO = sorted(set(MODELS) - {"mlp", "convnet", "lenet"} - DENSE)
LAST = {
    "airbench": {"stage3"},
    "airbench96": {"stage3"},
    "resnet18": {"stage4"},
    "vgg16": {"block5"},
    "mobilenet_v2": {"stage6", "stage7", "last"},
    "densenet121": {"transition3", "block4", "norm"},
}


def learning(name: str, patterns: list[str]) -> set[str]:
    """Return the parts of the features in which something learns; PellucidError for a pattern of no path."""
    net = MODELS[name]()
    with torch.device("meta"):
        params, _ = net.init((3, 299, 299), torch.Generator())
    frozen = set[str]().union(*(match(params, pattern) for pattern in patterns))
    return {path.split(".")[1] for path in flatten(params) if path.startswith("features.") and path not in frozen}


@pytest.mark.parametrize("name", ZOO)
def test_the_last_third_is_fine_tuned_by_patterns_that_all_match(name):
    found = adapted(load_recipe("signs-finetune", {"network.model": name}))
    parts = learning(name, found["train.frozen"])
    assert 0 < len(parts) <= max(1, len(features(MODELS[name]()).layers) // 3)
    assert parts == LAST.get(name, parts) - ({"norm"} if name == "densenet121" else set())


@pytest.mark.parametrize("name", ZOO)
def test_frozen_features_stay_all_frozen(name):
    assert adapted(load_recipe("signs-frozen", {"network.model": name})) == {}


@pytest.mark.parametrize(
    ("name", "whitened"),
    [("airbench", True), ("airbench96", True), ("mobilenet_v2", True), ("vgg16", False), ("squeezenet1_1", False)],
)
def test_filters_are_whitened_where_the_network_has_them(name, whitened):
    found = adapted(load_recipe("signs-scratch", {"network.model": name}))
    assert found == ({} if whitened else {"start.whiten": ""})
