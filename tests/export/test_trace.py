"""A trace lists all layers in the order in which they run; each value has a unique name."""

import pytest
import torch

from pellucid.base.errors import PellucidError
from pellucid.combine import Fork, Graph, Sequential, Shared
from pellucid.layers import Concat, Conv2d, Dense, Identity, Tanh
from pellucid.network.traced import trace


def test_traced_layers_are_in_order_with_paths_shapes_and_weights() -> None:
    net = Sequential(conv=Conv2d(4, 3), rest=Sequential(act=Tanh(), same=Identity()))
    params, _ = net.init((2, 5, 6), torch.Generator().manual_seed(0))
    traced = trace(net, params, (2, 5, 6))
    assert [(step.name, step.inputs[0].name, step.output.shape) for step in traced.steps] == [
        ("conv", "input", (4, 3, 4)),
        ("rest.act", "conv", (4, 3, 4)),
        ("rest.same", "rest.act", (4, 3, 4)),
    ]
    assert traced.steps[0].params["weight"] is params["conv"]["weight"]
    assert [value.name for value in traced.outputs] == ["rest.same"]


def test_a_layer_that_runs_again_keeps_its_path_and_weights() -> None:
    net = Sequential(fork=Fork(a=Tanh(), b=Identity()), both=Shared(Dense(3)), join=Concat())
    params, _ = net.init((4,), torch.Generator().manual_seed(0))
    steps = trace(net, params, (4,)).steps
    assert [(step.name, step.path) for step in steps] == [
        ("fork.a", "fork.a"), ("fork.b", "fork.b"), ("both.layer", "both.layer"), ("both.layer:2", "both.layer"),
        ("join", "join"),
    ]  # fmt: skip
    assert steps[2].params is steps[3].params


def test_nested_outputs_are_flattened_and_inputs_are_numbered() -> None:
    net = Graph({"heads": (Fork(Fork(Tanh(), Tanh()), Tanh()), "x")}, ("heads", "z"), ("x", "z"))
    params, _ = net.init(((3,), (4,)), torch.Generator())
    traced = trace(net, params, ((3,), (4,)))
    assert [value.name for value in traced.inputs] == ["input1", "input2"]
    names = [value.name for value in traced.outputs]
    assert names == ["heads.fork1.tanh1", "heads.fork1.tanh2", "heads.tanh1", "input2"]


def test_an_input_of_another_shape_is_refused() -> None:
    with pytest.raises(PellucidError, match="Conv2d takes images"):
        trace(Conv2d(4, 3), {}, (5,))
