"""Uses of layers that read the network's input, found in networks of every structure."""

from typing import Any

import pytest
import torch

from pellucid.combine import Fork, Graph, Parallel, Sequential, Shared
from pellucid.explain import lrp
from pellucid.layers import (
    Add,
    BatchNorm,
    Concat,
    Conv2d,
    Dense,
    Flatten,
    Identity,
    Layer,
    MaxPool2d,
    Mode,
    Pad2d,
    ReLU,
)
from pellucid.operators import AffineMap, Convolve, Learned
from pellucid.rules import Entrance, Epsilon, Flat, Pass, Rule, ZBox, at_entrance, composite, own, relevance
from pellucid.sweep import backward, forward
from tests.oracle import assert_close


def same_size_conv(channels: int = 2) -> Conv2d:
    return Conv2d(channels, 3, padding=1)


def relu_conv() -> Layer:
    return Sequential(relu=ReLU(), conv=same_size_conv())


NETWORKS: dict[str, tuple[Layer, set[str]]] = {
    "in a row": (Sequential(a=same_size_conv(), relu=ReLU(), b=same_size_conv()), {"a"}),
    "behind what has no weights": (
        Sequential(norm=BatchNorm(), pad=Pad2d(1), pool=MaxPool2d(2), a=same_size_conv(), b=same_size_conv()),
        {"a"},
    ),
    "nested": (
        Sequential(stem=Sequential(deep=Sequential(a=same_size_conv()), b=same_size_conv()), c=same_size_conv()),
        {"stem.deep.a"},
    ),
    "in every branch": (Parallel({"a": same_size_conv(), "b": relu_conv()}, Concat()), {"a", "b.conv"}),
    "past a skip": (
        Sequential(block=Parallel({"skip": Identity(), "a": same_size_conv()}, Add()), b=same_size_conv()),
        {"block.a"},
    ),
    "past a join of the input with itself": (
        Sequential(block=Parallel({"skip": Identity(), "pool": MaxPool2d(3, 1, 1)}, Concat()), b=same_size_conv()),
        {"b"},
    ),
    "in heads": (Fork(a=same_size_conv(), b=Sequential(c=same_size_conv(), d=same_size_conv())), {"a", "b.c"}),
    "in a graph": (
        Graph(
            {
                "b": (same_size_conv(), "input"),
                "r": (ReLU(), "b"),
                "s": (Add(), "r", "b"),
                "c": (same_size_conv(), "s"),
            },
            ("c",),
        ),
        {"b"},
    ),
    "dense behind flattening": (Sequential(flat=Flatten(), a=Dense(3), b=Dense(2)), {"a"}),
}


CONVOLVE = Convolve((1, 1), (1, 1), (1, 1))


@pytest.mark.parametrize("rule", [Flat(), ZBox(-4.0, 4.0)], ids=str)
def test_a_convolution_with_computed_weights_is_an_entrance(rule: Rule) -> None:
    conv = same_size_conv()
    params, _ = conv.init((2, 6, 6), torch.Generator().manual_seed(0))
    x = torch.randn(1, 2, 6, 6, generator=torch.Generator().manual_seed(1))
    nodes = {"w": (Learned((2, 2, 3, 3)),), "b": (Learned((2,)),), "scaled": (AffineMap(2.0), "w")}
    operator_net = Graph(
        {**nodes, "a": (CONVOLVE, "input", "scaled", "b"), "c": (CONVOLVE, "a", "scaled", "b")}, ("c",)
    )
    layer_net = Sequential(a=conv, c=conv)
    values = {"w": {"": params["weight"] / 2}, "b": {"": params["bias"]}, "scaled": {}, "a": {}, "c": {}}
    maps = [
        lrp(net, weights, x, 1, lambda entrance: at_entrance(entrance, rule, relevance(Epsilon(), Epsilon())))
        for net, weights in ((operator_net, values), (layer_net, {"a": params, "c": params}))
    ]
    assert_close(maps[0], maps[1], 1e-5)


@pytest.mark.parametrize(("net", "expected"), NETWORKS.values(), ids=NETWORKS.keys())
def test_the_first_layers_with_weights_on_every_way_are_found(net: Layer, expected: set[str]) -> None:
    params, _ = net.init((2, 6, 6), torch.Generator().manual_seed(0))
    x = torch.randn(1, 2, 6, 6)
    entrance = Entrance(x)
    forward(net, params, x, Mode(), watch=entrance)
    assert entrance.paths == expected


def entrance_uses(net: Layer, x: Any) -> list[tuple[str, bool]]:
    """Run a backward pass and return the type of each use of a convolution, and whether it had the input rule."""
    params, _ = net.init(
        tuple(part.shape[1:] for part in x) if isinstance(x, tuple) else x.shape[1:], torch.Generator()
    )
    uses: list[tuple[str, bool]] = []

    def recording_rule(entrance: bool) -> Any:
        def rule(layer: Layer, params: Any, cache: Any, dy: Any) -> Any:
            uses.append((type(layer).__name__, entrance))
            return own(layer, params, cache, dy)

        return rule

    entrance = Entrance(x)
    y, cache = forward(net, params, x, Mode(), watch=entrance)
    table = composite((Conv2d, recording_rule(False)))
    backward(net, params, cache, y, at_entrance(entrance, recording_rule(True), table))
    return uses


def test_only_the_use_that_reads_the_input_of_a_repeated_graph_layer_has_the_input_rule() -> None:
    net = Graph({"a": (same_size_conv(), "input"), "r": (ReLU(), "a"), "again": ("a", "r")}, ("again",))
    assert entrance_uses(net, torch.randn(2, 2, 4, 4)) == [("Conv2d", False), ("Conv2d", True)]


def test_both_uses_of_a_shared_layer_that_read_inputs_have_the_input_rule() -> None:
    first, second = torch.randn(2, 2, 4, 4), torch.randn(2, 2, 4, 4)
    assert entrance_uses(Shared(same_size_conv()), (first, second)) == [("Conv2d", True), ("Conv2d", True)]


def test_only_the_use_that_reads_the_input_of_a_shared_layer_has_the_input_rule() -> None:
    net = Sequential(fork=Fork(first=same_size_conv(), skip=Identity()), shared=Shared(same_size_conv()), sum=Add())
    # backward: the shared layer on the skip, the shared layer on the output of `first`, `first`
    assert entrance_uses(net, torch.randn(2, 2, 4, 4)) == [("Conv2d", True), ("Conv2d", False), ("Conv2d", True)]


def test_layers_without_weights_are_no_entrance() -> None:
    entrance = Entrance(torch.ones(1))
    assert at_entrance(entrance, Pass(), composite())("relu", ReLU()) is own
