"""The names of children form the paths of layers, and invalid connections are reported in one line."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from pellucid.base.errors import PellucidError
from pellucid.combine import Fork, Graph, Parallel, Sequential, Shared, join, walk
from pellucid.layers import Add, Concat, Conv2d, Dense, Flatten, Identity, Layer, ReLU, Tanh


def test_unnamed_children_are_called_by_type_and_count() -> None:
    net = Sequential(Conv2d(2, 3), ReLU(), Conv2d(2, 3), Flatten(), out=Dense(4))
    assert list(net.layers) == ["conv2d1", "relu1", "conv2d2", "flatten1", "out"]


def test_layers_may_come_in_a_list() -> None:
    net = Sequential([Conv2d(2, 3), ReLU(), Conv2d(2, 3), Flatten(), Dense(4)])
    assert net == Sequential(Conv2d(2, 3), ReLU(), Conv2d(2, 3), Flatten(), Dense(4))
    assert list(net.layers) == ["conv2d1", "relu1", "conv2d2", "flatten1", "dense1"]
    assert list(Sequential([ReLU(), Sequential([ReLU()])], out=Dense(4)).layers) == ["relu1", "sequential1", "out"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([Dense(3), ReLU], "Sequential: layer 2 is the class ReLU; give an object of it, such as ReLU(...)"),
        ([Dense(3), "relu"], "Sequential: layer 2 is 'relu', not a layer"),
        ({"a": Dense(3)}, "is a dict; give names as arguments, such as Sequential(**layers)"),
        ([Dense(3), [ReLU()]], "layer 2 is [ReLU()], not a layer"),
    ],
)
def test_children_that_are_not_layers_are_refused(given: Any, message: str) -> None:
    with pytest.raises(PellucidError) as caught:
        Sequential(given)
    assert message in str(caught.value)


def test_paths_join_names() -> None:
    assert join("", "conv") == "conv"
    assert join("block1", "conv") == "block1.conv"


def test_walk_yields_the_network_and_then_every_layer_in_order() -> None:
    body = Sequential(conv=Conv2d(2, 1), act=ReLU())
    net = Sequential(
        block=Parallel({"skip": Identity(), "body": body}, Add()),
        heads=Fork(a=Tanh(), b=ReLU()),
        both=Shared(Flatten()),
        graph=Graph(
            {"join": (Concat(), "x", "z"), "act": (Tanh(), "join"), "again": ("act", "act")}, ("again",), ("x", "z")
        ),
    )
    assert [path for path, _ in walk(net)] == [
        "",
        "block",
        "block.skip",
        "block.body",
        "block.body.conv",
        "block.body.act",
        "block.merge",
        "heads",
        "heads.a",
        "heads.b",
        "both",
        "both.layer",
        "graph",
        "graph.join",
        "graph.act",
    ]
    assert dict(walk(net))["block.body"] is body


def test_params_have_the_paths_of_the_layers() -> None:
    net = Sequential(block=Parallel({"skip": Identity(), "body": Sequential(conv=Conv2d(2, 1))}, Add()))
    params, out = net.init((2, 4, 4), torch.Generator())
    assert params["block"]["body"]["conv"]["weight"].shape == (2, 2, 1, 1)
    assert params["block"]["skip"] == params["block"]["merge"] == {}
    assert out == (2, 4, 4)


def test_a_shared_layer_has_its_parameters_once() -> None:
    params, out = Shared(Dense(3)).init(((4,), (4,)), torch.Generator())
    assert set(params) == {"layer"}
    assert out == ((3,), (3,))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Sequential(Dense(3), dense1=Dense(3)), "two children are called 'dense1'"),
        (lambda: Sequential(**{"a.b": Dense(3)}), "'a.b' cannot be a layer's name"),
        (lambda: Sequential(act="relu"), "child 'act' is 'relu', not a layer"),  # pyright: ignore[reportArgumentType]
        (lambda: Parallel({"merge": Identity()}, Add()), "'merge' cannot be a layer's name"),
        (lambda: Graph({"a": (Dense(1), "inptu")}, ("a",)), "has the input 'inptu', .* did you mean 'input'"),
        (lambda: Graph({"a": (Dense(1), "b"), "b": (Dense(1), "input")}, ("a",)), "'b', which is neither"),
        (lambda: Graph({"input": (Dense(1), "input")}, ("input",)), "'input' is defined twice"),
        (lambda: Graph({"a": ("b", "input")}, ("a",)), "repeats 'b', which is not an earlier node"),
        (lambda: Graph({"a": (Dense(1),)}, ("a",)), "'a' has no input"),
        (lambda: Graph({"conv1": (Dense(1), "input")}, ("conv2",)), "'conv2' is not a node; did you mean 'conv1'"),
        (lambda: Graph({"a": (Dense(1), "input")}, ()), "at least one output"),
        (lambda: Graph({"a": (3, "input")}, ("a",)), "'a' is 3, not a layer"),
    ],
)
def test_graphs_with_invalid_connections_are_refused(build: Callable[[], Layer], message: str) -> None:
    with pytest.raises(PellucidError, match=message) as caught:
        build()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("net", "shape", "message"),
    [
        (Shared(Dense(3)), (4,), "tuple of inputs"),
        (Shared(Dense(3)), ((4,), (5,)), r"\(4,\) and \(5,\) would need different parameters"),
        (Parallel((Dense(2), Dense(3)), Add()), (4,), "inputs of the same shape"),
    ],
)
def test_branches_with_different_shapes_are_refused(net: Layer, shape: Any, message: str) -> None:
    with pytest.raises(PellucidError, match=message) as caught:
        net.init(shape, torch.Generator())
    assert "\n" not in str(caught.value)


def test_a_layer_that_does_not_fit_is_named_by_its_path_and_input() -> None:
    body = Sequential(one=Conv2d(2, 3), two=Conv2d(4, 9))
    net = Sequential(first=Conv2d(2, 3), block=Parallel({"skip": Identity(), "body": body}, Add()))
    with pytest.raises(PellucidError, match=r"^block\.body\.two: Conv2d: .*\(its input is \(2, 4, 4\)\)$"):
        net.init((1, 8, 8), torch.Generator())
