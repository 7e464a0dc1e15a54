"""Features, head, new classes, and patterns of paths."""

import copy

import pytest
import torch

from pellucid.combine import Sequential
from pellucid.errors import PellucidError
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
from tests.models.zoo import meta, thin


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_two_parts_in_a_row_are_the_network() -> None:
    net = resnet20()
    params, _ = net.init((3, 32, 32), rng())
    x = torch.randn(2, 3, 32, 32, generator=rng(1))
    maps, _ = features(net).forward(params["features"], x, Mode())
    logits, _ = head(net).forward(params["head"], maps, Mode())
    assert torch.equal(logits, net.forward(params, x, Mode())[0])


@pytest.mark.parametrize("net", [resnet20(), squeezenet1_1(1000)], ids=["dense scores", "convolution's scores"])
def test_a_new_head_keeps_everything_but_the_scores(net: Sequential) -> None:
    params, _ = net.init((3, 32, 32), rng())
    kept = copy.deepcopy(params)
    new, changed = replace_head(net, params, 7, rng(1))
    assert new.init((3, 32, 32), rng())[1] == (7,)
    before, after = flatten(params), flatten(changed)
    assert list(before) == list(after)
    scores = {"head.scores.weight", "head.scores.bias"}
    assert all(after[path] is before[path] for path in before if path not in scores)
    assert after["head.scores.weight"].shape == (7, *before["head.scores.weight"].shape[1:])
    assert after["head.scores.bias"].tolist() == [0.0] * 7
    assert all(torch.equal(leaf, flatten(kept)[path]) for path, leaf in before.items())  # the old net stays as it was
    assert features(new) == features(net)
    x = torch.randn(2, 3, 32, 32, generator=rng(2))
    assert new.forward(changed, x, Mode())[0].shape == (2, 7)


def test_new_scores_are_drawn_like_the_old_ones_from_the_generator() -> None:
    net = resnet20(classes=5)
    params, _ = net.init((3, 32, 32), rng())
    _, one = replace_head(net, params, 4000, rng(1))
    _, same = replace_head(net, params, 4000, rng(1))
    _, other = replace_head(net, params, 4000, rng(2))
    weight = one["head"]["scores"]["weight"]
    assert torch.equal(weight, same["head"]["scores"]["weight"])
    assert not torch.equal(weight, other["head"]["scores"]["weight"])
    assert weight.std().item() == pytest.approx(64**-0.5, rel=0.02)  # LeCun: variance 1 / n_in


def test_new_scores_have_the_type_of_the_old_ones() -> None:
    net = thin(mobilenet_v2(), 8)
    params, _ = net.init((3, 32, 32), rng())
    params["head"]["scores"] = {name: leaf.double() for name, leaf in params["head"]["scores"].items()}
    _, changed = replace_head(net, params, 3, rng())
    assert {leaf.dtype for leaf in changed["head"]["scores"].values()} == {torch.float64}


def test_lenet_learns_other_classes_as_the_others_do() -> None:
    params, _ = lenet().init((1, 28, 28), rng())
    new, changed = replace_head(lenet(), params, 26, rng(1))
    assert new == lenet(26)
    assert changed["features"] is params["features"]
    assert changed["head"]["scores"]["weight"].shape == (26, 84)


def test_auxiliaries_learn_the_new_classes_too() -> None:
    net = googlenet(auxiliary=True)
    new, changed = replace_head(net, meta(net, (3, 224, 224))[0], 6, rng())
    assert meta(new, (3, 224, 224))[1] == ((6,), (6,), (6,))
    assert changed["head"]["auxiliary1"]["scores"]["weight"].shape == (6, 1024)


def test_networks_without_the_two_parts_are_reported() -> None:
    with pytest.raises(PellucidError, match=r"not made of 'features' and 'head', but of conv, flatten, dense;"):
        replace_head(Sequential(conv=Conv2d(2, 3), flatten=Flatten(), dense=Dense(3)), {}, 3, rng())
    with pytest.raises(PellucidError, match="but is a single layer; give a network of the zoo"):
        features(Dense(3))
    mine = Sequential(features=Sequential(conv=Conv2d(2, 3)), head=Sequential(dense=Dense(3)))
    with pytest.raises(PellucidError, match="head has no layer 'scores'"):
        replace_head(mine, {}, 3, rng())


def test_patterns_match_whole_paths() -> None:
    params, _ = meta(resnet20(), (3, 32, 32))
    paths = set(flatten(params))
    assert match(params, "*") == paths
    assert match(params, "head.*") == {"head.scores.weight", "head.scores.bias"}
    assert match(params, "features.*") == paths - match(params, "head.*")
    assert match(params, "features.stem.conv.weight") == {"features.stem.conv.weight"}
    stages = match(params, "features.stage[12].*")
    assert stages == {path for path in paths if path.startswith(("features.stage1.", "features.stage2."))}
    assert {path.rsplit(".", 1)[1] for path in match(params, "*.norm?.running_*")} == {"running_mean", "running_var"}


@pytest.mark.parametrize(
    ("pattern", "nearest"),
    [
        ("feature.*", r"features\.\*"),
        ("features.stage4.*", r"features\.stage[123]\.\*"),
        ("head.score.weight", r"head\.scores\.weight"),
        ("", ""),
    ],
)
def test_a_pattern_of_nothing_names_the_nearest_path(pattern: str, nearest: str) -> None:
    params, _ = meta(resnet20(), (3, 32, 32))
    with pytest.raises(
        PellucidError, match=f"matches '{pattern.replace('*', '[*]')}'; the nearest is '{nearest}"
    ) as one:
        match(params, pattern)
    assert "\n" not in str(one.value)
