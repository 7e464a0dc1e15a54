"""New heads on the features of a network, such as the heads on VGG-16 that courses compare."""

import itertools

import pytest
import torch

from pellucid.base.errors import PellucidError
from pellucid.combine import Sequential
from pellucid.models import MODELS, features, match, transfer
from pellucid.nested import flatten
from pellucid.recipe.recipe import load_recipe
from tests.models.zoo import init_on_meta


def test_the_features_are_those_of_the_network() -> None:
    assert features(transfer("mobilenet_v2", epsilon=1e-3, pad="same")) == features(
        MODELS["mobilenet_v2"](epsilon=1e-3, pad="same")
    )


@pytest.mark.parametrize(
    ("units", "dropout", "layers"),
    [
        ((128, 128, 128), 0.5, "flatten dense1 relu1 dropout1 dense2 relu2 dropout2 dense3 relu3 dropout3 scores"),
        ((256,), 0.0, "flatten dense1 relu1 scores"),
    ],
)
def test_the_head_has_the_requested_layers_and_sizes(units: tuple[int, ...], dropout: float, layers: str) -> None:
    net = transfer("vgg16", 5, units, dropout)
    head = net.layers["head"]
    assert isinstance(head, Sequential)
    assert " ".join(head.layers) == layers
    params, out = init_on_meta(net, (3, 224, 224))
    assert out == (5,)
    sizes = [512 * 7 * 7, *units, 5]  # from VGG-16's maps of 7 x 7; units and classes have biases
    n_head_params = sum(leaf.numel() for path, leaf in flatten(params).items() if path.startswith("head."))
    assert n_head_params == sum(n_inputs * n_outputs + n_outputs for n_inputs, n_outputs in itertools.pairwise(sizes))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"backbone": "vg16"}, "no backbone 'vg16'; did you mean 'vgg16'"),
        ({"backbone": "vgg16", "pad": "same"}, "the backbone vgg16 has no argument pad"),
        ({"backbone": "vgg16", "epsilon": 0.001}, "the backbone vgg16 has no argument epsilon"),
    ],
)
def test_invalid_arguments_are_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(PellucidError, match=message):
        transfer(**arguments)  # pyright: ignore[reportArgumentType]


def test_only_block_5_and_the_head_learn_in_the_fifth_recipe() -> None:
    recipe = load_recipe("signs-vgg16-5")
    with torch.device("meta"):
        params, _ = recipe.build("network").init((3, 224, 224), torch.Generator())
    frozen = set().union(*(match(params, pattern) for pattern in recipe.train.frozen))
    learned_paths = sorted({".".join(path.split(".")[:3]) for path in flatten(params) if path not in frozen})
    assert learned_paths == [
        "features.block5.conv1", "features.block5.conv2", "features.block5.conv3",
        "head.dense1.bias", "head.dense1.weight", "head.scores.bias", "head.scores.weight",
    ]  # fmt: skip
