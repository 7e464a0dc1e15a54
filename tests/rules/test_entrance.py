"""Which uses of which layers read the input, in networks of every form."""

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


def same(channels: int = 2) -> Conv2d:
    return Conv2d(channels, 3, padding=1)


def relu_conv() -> Layer:
    return Sequential(relu=ReLU(), conv=same())


NETWORKS: dict[str, tuple[Layer, set[str]]] = {
    "in a row": (Sequential(a=same(), relu=ReLU(), b=same()), {"a"}),
    "behind what has no weights": (
        Sequential(norm=BatchNorm(), pad=Pad2d(1), pool=MaxPool2d(2), a=same(), b=same()),
        {"a"},
    ),
    "nested": (Sequential(stem=Sequential(deep=Sequential(a=same()), b=same()), c=same()), {"stem.deep.a"}),
    "in every branch": (Parallel({"a": same(), "b": relu_conv()}, Concat()), {"a", "b.conv"}),
    "past a skip": (Sequential(block=Parallel({"skip": Identity(), "a": same()}, Add()), b=same()), {"block.a"}),
    "past a join of the input with itself": (
        Sequential(block=Parallel({"skip": Identity(), "pool": MaxPool2d(3, 1, 1)}, Concat()), b=same()),
        {"b"},
    ),
    "in heads": (Fork(a=same(), b=Sequential(c=same(), d=same())), {"a", "b.c"}),
    "in a graph": (
        Graph({"b": (same(), "input"), "r": (ReLU(), "b"), "s": (Add(), "r", "b"), "c": (same(), "s")}, ("c",)),
        {"b"},
    ),
    "dense behind flattening": (Sequential(flat=Flatten(), a=Dense(3), b=Dense(2)), {"a"}),
}


GIVEN = Convolve((1, 1), (1, 1), (1, 1))


@pytest.mark.parametrize("rule", [Flat(), ZBox(-4.0, 4.0)], ids=str)
def test_a_convolution_with_computed_weights_is_an_entrance(rule: Rule) -> None:
    own = same()
    params, _ = own.init((2, 6, 6), torch.Generator().manual_seed(0))
    x = torch.randn(1, 2, 6, 6, generator=torch.Generator().manual_seed(1))
    nodes = {"w": (Learned((2, 2, 3, 3)),), "b": (Learned((2,)),), "scaled": (AffineMap(2.0), "w")}
    given = Graph({**nodes, "a": (GIVEN, "input", "scaled", "b"), "c": (GIVEN, "a", "scaled", "b")}, ("c",))
    plain = Sequential(a=own, c=own)
    values = {"w": {"": params["weight"] / 2}, "b": {"": params["bias"]}, "scaled": {}, "a": {}, "c": {}}
    found = [
        lrp(net, weights, x, 1, lambda entrance: at_entrance(entrance, rule, relevance(Epsilon(), Epsilon())))
        for net, weights in ((given, values), (plain, {"a": params, "c": params}))
    ]
    assert_close(found[0], found[1], 1e-5)


@pytest.mark.parametrize(("net", "expected"), NETWORKS.values(), ids=NETWORKS.keys())
def test_the_first_layers_with_weights_on_every_way_are_found(net: Layer, expected: set[str]) -> None:
    params, _ = net.init((2, 6, 6), torch.Generator().manual_seed(0))
    x = torch.randn(1, 2, 6, 6)
    entrance = Entrance(x)
    forward(net, params, x, Mode(), watch=entrance)
    assert entrance.paths == expected


def swept(net: Layer, x: Any) -> list[tuple[str, bool]]:
    """Sweep with one rule for entrances and one for the rest, and return who got which."""
    params, _ = net.init(tuple(one.shape[1:] for one in x) if isinstance(x, tuple) else x.shape[1:], torch.Generator())
    seen: list[tuple[str, bool]] = []

    def rule(entrance: bool) -> Any:
        def taken(layer: Layer, params: Any, cache: Any, dy: Any) -> Any:
            seen.append((type(layer).__name__, entrance))
            return own(layer, params, cache, dy)

        return taken

    entrance = Entrance(x)
    y, cache = forward(net, params, x, Mode(), watch=entrance)
    backward(net, params, cache, y, at_entrance(entrance, rule(True), composite((Conv2d, rule(False)))))
    return seen


def test_of_a_layer_used_twice_in_a_graph_only_the_use_on_the_input_counts() -> None:
    net = Graph({"a": (same(), "input"), "r": (ReLU(), "a"), "again": ("a", "r")}, ("again",))
    assert swept(net, torch.randn(2, 2, 4, 4)) == [("Conv2d", False), ("Conv2d", True)]


def test_of_a_shared_layer_both_uses_count_where_both_read_inputs() -> None:
    one, two = torch.randn(2, 2, 4, 4), torch.randn(2, 2, 4, 4)
    assert swept(Shared(same()), (one, two)) == [("Conv2d", True), ("Conv2d", True)]


def test_of_a_shared_layer_one_use_counts_where_one_reads_the_input() -> None:
    net = Sequential(fork=Fork(first=same(), skip=Identity()), shared=Shared(same()), sum=Add())
    # backward: the shared layer on the skip, then on what `first` made, then `first`
    assert swept(net, torch.randn(2, 2, 4, 4)) == [("Conv2d", True), ("Conv2d", False), ("Conv2d", True)]


def test_layers_without_weights_are_no_entrance() -> None:
    entrance = Entrance(torch.ones(1))
    assert at_entrance(entrance, Pass(), composite())("relu", ReLU()) is own
