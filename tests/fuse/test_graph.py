"""A fused graph has the outputs and gradients of the graph, whatever its connections, and overwrites no data."""

from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from pellucid.combine import Graph, Parallel, Sequential, walk
from pellucid.fuse import Rate, freeze, fuse
from pellucid.fuse.activations import FusedActivation
from pellucid.fuse.combinators import FusedAdd, chains_of
from pellucid.fuse.recompute import NormActConv
from pellucid.layers import (
    Add,
    AvgPool2d,
    BatchNorm,
    Concat,
    Conv2d,
    Dense,
    Dropout,
    Flatten,
    Identity,
    Layer,
    LeakyReLU,
    MaxPool2d,
    Mode,
    ReLU,
    Reshape,
    Sigmoid,
    Tanh,
)
from pellucid.layers.base import Params
from pellucid.operators import Learned, Times
from tests.fuse.test_fuse import clone_tree, compare_with_fused, outputs_and_gradients, vision_inputs
from tests.oracle import leaves

SHAPE = (2, 9, 8)
CONV = Conv2d(2, 1)
RESIDUAL = Parallel({"skip": Identity(), "body": Sequential(CONV)}, Add())
TWO_OUTPUTS = Graph({"one": (CONV, "input"), "other": (ReLU(), "one")}, ("one", "other"))
LAYERS = [
    *(Conv2d(2, 3, padding=1), Conv2d(2, 1), BatchNorm(), BatchNorm(), ReLU(), ReLU(), LeakyReLU(), Sigmoid(), Tanh()),
    *(MaxPool2d(3, 1, 1), AvgPool2d(3, 1, 1), Reshape(SHAPE), Identity(), Dropout(0.5)),
    *(Sequential(ReLU(), Conv2d(2, 1)), Sequential(BatchNorm(), ReLU())),
    *(Parallel({"skip": Identity(), "body": body}, Add()) for body in (Sequential(Conv2d(2, 1)), Tanh())),
]


@st.composite
def graphs(draw: Any) -> Graph:
    """Draw a graph of layers that keep the shape: sequences, sums, repeated layers, unused nodes, several outputs."""
    nodes: dict[str, tuple[Any, ...]] = {}
    names = ["input"]
    for k in range(draw(st.integers(1, 12))):
        is_next = draw(st.sampled_from([True, True, True, False]))  # reads the node before
        source = names[-1] if is_next else draw(st.sampled_from(names))
        kind = draw(st.sampled_from(["layer"] * 5 + ["sum", "sum", "concat", "repeated"]))
        owners = [name for name, node in nodes.items() if isinstance(node[0], Layer) and name in names]
        others = draw(st.lists(st.sampled_from(names), min_size=1, max_size=2))
        if kind == "repeated" and owners:
            owner = draw(st.sampled_from(owners))
            count = len(nodes[owner]) - 1
            nodes[f"n{k}"] = (owner, *[source, *others, *others][:count])
        elif kind == "sum":
            nodes[f"n{k}"] = (Add(), *draw(st.permutations([source, *others])))
        elif kind == "concat":
            nodes[f"n{k}.concat"] = (Concat(), *draw(st.permutations([source, *others])))
            nodes[f"n{k}.one"] = (Conv2d(2, 1), f"n{k}.concat")
            nodes[f"n{k}"] = (Reshape(SHAPE), f"n{k}.one")  # the first of the three with the shape of the others
        else:
            nodes[f"n{k}"] = (draw(st.sampled_from(LAYERS)), source)
        names.append(f"n{k}")
    outputs = draw(st.lists(st.sampled_from(names[1:]), min_size=1, max_size=2, unique=True))
    return Graph(nodes, tuple(outputs))


def graph_inputs(net: Graph) -> tuple[Params, Tensor, Any]:
    """Return params, an input, and a gradient with respect to the output."""
    params, x, dy = vision_inputs(Sequential(net=net, sum=Add() if len(net.outputs) > 1 else Identity()))
    return params["net"], x, dy if len(net.outputs) == 1 else tuple(dy * (k + 1) for k in range(len(net.outputs)))


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(net=graphs(), train=st.booleans())
def test_fused_graphs_give_equal_outputs_and_gradients(net: Graph, train: bool) -> None:
    params, x, dy = graph_inputs(net)
    compare_with_fused(net, params, x, lambda: Mode(train, torch.Generator().manual_seed(2)), dy)


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(net=graphs(), data=st.data())
def test_fused_graphs_with_frozen_layers_have_equal_gradients(net: Graph, data: st.DataObject) -> None:
    params, x, dy = graph_inputs(net)
    frozen_layers = data.draw(st.lists(st.sampled_from(sorted(net.layers)), unique=True))
    frozen = {path for path in leaves(params) if path.partition(".")[0] in frozen_layers}
    frozen_net = freeze(net, params, frozen)
    compare_with_fused(frozen_net, params, x, lambda: Mode(True, torch.Generator().manual_seed(2)), dy)


@pytest.mark.parametrize(
    "nodes",
    [
        pytest.param(
            {"a": (CONV, "input"), "b": (ReLU(), "a"), "c": (CONV, "b"), "d": (ReLU(), "c"), "unused": (CONV, "d"),
             "sum": (Add(), "b", "d")},
            id="a value that an unused convolution reads",
        ),
        pytest.param(
            {"a": (CONV, "input"), "b": (CONV, "a"), "c": (CONV, "b"), "d": (Identity(), "b"),
             "sum": (Add(), "a", "c", "d")},
            id="a value read by a layer that returns its dy",
        ),
        pytest.param(
            {"a": (CONV, "input"), "b": (BatchNorm(), "a"), "c": (ReLU(), "b"), "sum": (Add(), "b", "c")},
            id="a value read by a rectifier and a sum",
        ),
        pytest.param(
            {"a": (CONV, "input"), "b": (RESIDUAL, "input"), "c": (RESIDUAL, "input"), "sum": (Add(), "a", "b", "c")},
            id="residual blocks whose dx is not needed",
        ),
        pytest.param(
            {"two": (TWO_OUTPUTS, "input"), "b": (CONV, "input"), "c": (Add(), "two"), "sum": (Add(), "c", "b"),
             "unused": (Parallel({"one": Add(), "other": Add()}, Add()), "two")},
            id="a sum of one source, a tuple",
        ),
    ],
)  # fmt: skip
def test_memory_that_is_read_again_is_not_overwritten(nodes: dict[str, tuple[Any, ...]]) -> None:
    net = Graph(nodes, ("sum",))
    params, x, dy = graph_inputs(net)
    compare_with_fused(net, params, x, lambda: Mode(train=True), dy)


def test_a_frozen_parameter_is_a_node_without_inputs() -> None:
    nodes = {"factors": (Learned((1, 2, 1, 1)),), "conv": (CONV, "input"), "scaled": (Times(), "conv", "factors")}
    net = Graph(nodes, ("scaled",))
    params, x, dy = graph_inputs(net)
    frozen = {path for path in leaves(params) if path.startswith("factors")}
    assert frozen
    compare_with_fused(freeze(net, params, frozen), params, x, lambda: Mode(train=True), dy)


def test_sums_are_computed_in_the_memory_of_an_input_that_nothing_else_reads() -> None:
    block = {
        "conv": (Conv2d(4, 3), "input"), "norm": (BatchNorm(), "conv"), "act": (ReLU(), "norm"),
        "conv2": (Conv2d(4, 1), "act"), "norm2": (BatchNorm(), "conv2"), "skip": (Conv2d(4, 3), "input"),
        "sum": (Add(), "skip", "norm2"), "act2": (ReLU(), "sum"), "sum2": (Add(), "act2", "skip"),
    }  # fmt: skip
    net = Graph({"first": (Conv2d(4, 1), "input"), **block}, ("sum2",))
    assert chains_of(net) == [
        ("first",), ("conv", "norm", "act", "conv2", "norm2"), ("skip",), ("sum", "act2"), ("sum2",),
    ]  # fmt: skip

    layers = dict(walk(fuse(net)))

    assert type(layers["norm2.norm"]) is NormActConv
    assert layers["act2.sum"] == FusedAdd(Add(), count=2, target=1)
    assert layers["act2.act2"] == FusedActivation(ReLU, overwrite_x=True, overwrite_dy=False)
    assert layers["sum2.sum2"] == FusedAdd(Add(), count=2, target=None)


def test_layers_of_a_graph_that_are_used_once_are_updated_in_the_backward_pass() -> None:
    nodes = {"flat": (Flatten(), "input"), "one": (Dense(4), "flat"), "two": (Dense(4), "one"), "again": ("two", "two")}
    net = Graph({**nodes, "sum": (Add(), "one", "again")}, ("sum",))
    params, x, _ = vision_inputs(net)
    dy = torch.ones(2, 4, dtype=torch.float64)
    _, dparams = outputs_and_gradients(net, params, x, Mode(), dy)
    expected = params["one"]["weight"] - 0.5 * dparams["one.weight"]
    rate = Rate()
    rate.set(0.5, 0.0)

    _, remaining = outputs_and_gradients(fuse(net, rate), params := clone_tree(params), x, Mode(), dy)

    assert remaining.keys() == {"two.weight", "two.bias"}
    torch.testing.assert_close(params["one"]["weight"], expected, rtol=1e-12, atol=1e-13)
