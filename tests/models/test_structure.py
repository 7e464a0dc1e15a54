"""Features and head of a network, heads for new classes, and path patterns."""

import copy

import pytest
import torch

from pellucid.base.errors import PellucidError
from pellucid.combine import Sequential
from pellucid.layers import Conv2d, Dense, Flatten, Mode
from pellucid.models import (
    features,
    googlenet,
    head,
    lenet,
    match,
    mobilenet_v2,
    replace_head,
    resnet20,
    squeezenet1_1,
)
from pellucid.nested import flatten
from tests.models.zoo import init_on_meta, thin_network


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_head_on_the_features_has_the_outputs_of_the_network() -> None:
    net = resnet20()
    params, _ = net.init((3, 32, 32), rng())
    x = torch.randn(2, 3, 32, 32, generator=rng(1))
    maps, _ = features(net).forward(params["features"], x, Mode())
    logits, _ = head(net).forward(params["head"], maps, Mode())
    assert torch.equal(logits, net.forward(params, x, Mode())[0])


@pytest.mark.parametrize("net", [resnet20(), squeezenet1_1(1000)], ids=["dense scores", "convolution's scores"])
def test_a_new_head_changes_only_the_scores(net: Sequential) -> None:
    params, _ = net.init((3, 32, 32), rng())
    initial_params = copy.deepcopy(params)
    new_net, new_params = replace_head(net, params, 7, rng(1))
    assert new_net.init((3, 32, 32), rng())[1] == (7,)
    leaves, new_leaves = flatten(params), flatten(new_params)
    assert list(leaves) == list(new_leaves)
    scores = {"head.scores.weight", "head.scores.bias"}
    assert all(new_leaves[path] is leaves[path] for path in leaves if path not in scores)
    assert new_leaves["head.scores.weight"].shape == (7, *leaves["head.scores.weight"].shape[1:])
    assert new_leaves["head.scores.bias"].tolist() == [0.0] * 7
    assert all(
        torch.equal(leaf, flatten(initial_params)[path]) for path, leaf in leaves.items()
    )  # the old network is unchanged
    assert features(new_net) == features(net)
    x = torch.randn(2, 3, 32, 32, generator=rng(2))
    assert new_net.forward(new_params, x, Mode())[0].shape == (2, 7)


def test_new_scores_are_drawn_like_the_old_ones_from_the_generator() -> None:
    net = resnet20(classes=5)
    params, _ = net.init((3, 32, 32), rng())
    _, first_params = replace_head(net, params, 4000, rng(1))
    _, same_seed_params = replace_head(net, params, 4000, rng(1))
    _, other_seed_params = replace_head(net, params, 4000, rng(2))
    weight = first_params["head"]["scores"]["weight"]
    assert torch.equal(weight, same_seed_params["head"]["scores"]["weight"])
    assert not torch.equal(weight, other_seed_params["head"]["scores"]["weight"])
    assert weight.std().item() == pytest.approx(64**-0.5, rel=0.02)  # LeCun: variance 1 / n_in


def test_new_scores_have_the_type_of_the_old_ones() -> None:
    net = thin_network(mobilenet_v2(), 8)
    params, _ = net.init((3, 32, 32), rng())
    params["head"]["scores"] = {name: leaf.double() for name, leaf in params["head"]["scores"].items()}
    _, new_params = replace_head(net, params, 3, rng())
    assert {leaf.dtype for leaf in new_params["head"]["scores"].values()} == {torch.float64}


def test_replace_head_of_lenet_changes_only_the_scores() -> None:
    params, _ = lenet().init((1, 28, 28), rng())
    new_net, new_params = replace_head(lenet(), params, 26, rng(1))
    assert new_net == lenet(26)
    assert new_params["features"] is params["features"]
    assert new_params["head"]["scores"]["weight"].shape == (26, 84)


def test_replace_head_also_replaces_the_scores_of_auxiliaries() -> None:
    net = googlenet(auxiliary=True)
    new_net, new_params = replace_head(net, init_on_meta(net, (3, 224, 224))[0], 6, rng())
    assert init_on_meta(new_net, (3, 224, 224))[1] == ((6,), (6,), (6,))
    assert new_params["head"]["auxiliary1"]["scores"]["weight"].shape == (6, 1024)


def test_networks_without_features_and_head_are_refused() -> None:
    with pytest.raises(PellucidError, match=r"not made of 'features' and 'head', but of conv, flatten, dense;"):
        replace_head(Sequential(conv=Conv2d(2, 3), flatten=Flatten(), dense=Dense(3)), {}, 3, rng())
    with pytest.raises(PellucidError, match="but is a single layer; give a network of the zoo"):
        features(Dense(3))
    net = Sequential(features=Sequential(conv=Conv2d(2, 3)), head=Sequential(dense=Dense(3)))
    with pytest.raises(PellucidError, match="head has no layer 'scores'"):
        replace_head(net, {}, 3, rng())


def test_patterns_match_whole_paths() -> None:
    params, _ = init_on_meta(resnet20(), (3, 32, 32))
    paths = set(flatten(params))
    assert match(params, "*") == paths
    assert match(params, "head.*") == {"head.scores.weight", "head.scores.bias"}
    assert match(params, "features.*") == paths - match(params, "head.*")
    assert match(params, "features.stem.conv.weight") == {"features.stem.conv.weight"}
    stages = match(params, "features.stage[12].*")
    assert stages == {path for path in paths if path.startswith(("features.stage1.", "features.stage2."))}
    assert {path.rsplit(".", 1)[1] for path in match(params, "*.norm?.running_*")} == {"running_mean", "running_var"}


@pytest.mark.parametrize(
    ("pattern", "nearest_path"),
    [
        ("feature.*", r"features\.\*"),
        ("features.stage4.*", r"features\.stage[123]\.\*"),
        ("head.score.weight", r"head\.scores\.weight"),
        ("", ""),
    ],
)
def test_a_pattern_without_a_match_names_the_nearest_path(pattern: str, nearest_path: str) -> None:
    params, _ = init_on_meta(resnet20(), (3, 32, 32))
    with pytest.raises(
        PellucidError, match=f"matches '{pattern.replace('*', '[*]')}'; the nearest is '{nearest_path}"
    ) as error:
        match(params, pattern)
    assert "\n" not in str(error.value)
