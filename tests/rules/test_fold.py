"""Batch normalization folded into the layer before it: equal outputs, and norms that cannot be folded."""

import pytest
import torch

from pellucid.combine import Fork, Graph, Parallel, Sequential, Shared, walk
from pellucid.layers import Add, BatchNorm, Concat, Conv2d, ConvTranspose2d, Dense, Identity, Layer, Mode, ReLU
from pellucid.models.mobilenet import mobilenet_v2
from pellucid.models.resnet import resnet18
from pellucid.rules import fold
from tests.oracle import assert_close, normal, randomized, tree_map
from tests.references import reference_forward

IMAGE = (4, 6, 6)


def with_norm_and_relu(layer: Layer) -> Sequential:
    return Sequential(layer=layer, norm=BatchNorm(), relu=ReLU())


FOLDED_NETS: dict[str, tuple[Layer, tuple[int, ...]]] = {
    "dense": (with_norm_and_relu(Dense(3)), (5,)),
    "dense without bias": (with_norm_and_relu(Dense(3, bias=False)), (5,)),
    "conv": (with_norm_and_relu(Conv2d(6, 3, groups=2)), IMAGE),
    "conv without bias": (with_norm_and_relu(Conv2d(6, 3, bias=False)), IMAGE),
    "transposed": (with_norm_and_relu(ConvTranspose2d(6, 3, stride=2)), IMAGE),
    "transposed in groups": (with_norm_and_relu(ConvTranspose2d(6, 3, stride=2, groups=2, bias=False)), IMAGE),
    "across the edges of nested rows": (
        Sequential(first=Sequential(relu=ReLU(), conv=Conv2d(3, 3)), second=Sequential(BatchNorm(), ReLU())),
        IMAGE,
    ),
    "in branches": (Parallel({"a": with_norm_and_relu(Conv2d(4, 1)), "b": Identity()}, Add()), IMAGE),
    "in a shared layer": (Sequential(Fork(Identity(), ReLU()), Shared(with_norm_and_relu(Conv2d(4, 1))), Add()), IMAGE),
    "in a graph": (
        Graph({"c": (Conv2d(4, 3), "input"), "n": (BatchNorm(), "c"), "r": (ReLU(), "n")}, ("r",)),
        IMAGE,
    ),
}
UNFOLDED_NETS: dict[str, tuple[Layer, tuple[int, ...]]] = {
    "nothing before": (Sequential(BatchNorm(), Conv2d(3, 3)), IMAGE),
    "ReLU before": (Sequential(Conv2d(3, 3), ReLU(), BatchNorm()), IMAGE),
    "a sum before": (Sequential(Parallel((Conv2d(4, 1), Identity()), Add()), BatchNorm()), IMAGE),
    "read by another too": (
        Graph({"c": (Conv2d(4, 3), "input"), "n": (BatchNorm(), "c"), "s": (Concat(), "c", "n")}, ("s",)),
        IMAGE,
    ),
    "an output itself": (Graph({"c": (Conv2d(4, 3), "input"), "n": (BatchNorm(), "c")}, ("c", "n")), IMAGE),
    "a convolution used twice": (
        Graph({"c": (Conv2d(4, 1), "input"), "n": (BatchNorm(), "c"), "again": ("c", "n")}, ("again",)),
        IMAGE,
    ),
    "a normalization used twice": (
        Graph({"c": (Conv2d(4, 1), "input"), "n": (BatchNorm(), "c"), "again": ("n", "n")}, ("again",)),
        IMAGE,
    ),
}


def remaining_norms(net: Layer, shape: tuple[int, ...]) -> list[str]:
    """Check that folding keeps the outputs, and return the paths of the norms that are not folded."""
    rng = torch.Generator().manual_seed(0)
    params = randomized(net.init(shape, rng)[0], rng)
    before = tree_map(torch.clone, params)
    folded, values = fold(net, params)
    x = normal((2, *shape), rng)
    assert_close(reference_forward(folded, values, x, Mode()), reference_forward(net, params, x, Mode()), 1e-12)
    assert_close(params, before, 0.0)
    assert [path for path, _ in walk(folded)] == [path for path, _ in walk(net)]
    return [path for path, layer in walk(folded) if isinstance(layer, BatchNorm)]


@pytest.mark.parametrize(("net", "shape"), FOLDED_NETS.values(), ids=FOLDED_NETS.keys())
def test_normalization_behind_weights_goes_and_the_outputs_stay(net: Layer, shape: tuple[int, ...]) -> None:
    assert remaining_norms(net, shape) == []


@pytest.mark.parametrize(("net", "shape"), UNFOLDED_NETS.values(), ids=UNFOLDED_NETS.keys())
def test_norms_without_an_exclusive_weighted_layer_before_them_are_not_folded(
    net: Layer, shape: tuple[int, ...]
) -> None:
    assert len(remaining_norms(net, shape)) == 1


@pytest.mark.slow
@pytest.mark.parametrize("net", [resnet18(5), mobilenet_v2(5, 0.25)], ids=["resnet18", "mobilenet_v2"])
def test_all_norms_of_resnet18_and_mobilenet_are_folded(net: Layer) -> None:
    assert remaining_norms(net, (3, 32, 32)) == []
