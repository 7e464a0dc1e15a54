"""Only layers of exactly a known type are fused: a subclass keeps its own forward and backward passes."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.combine import Fork, Graph, Parallel, Sequential, Shared
from pellucid.combine.base import Combinator, map_layers
from pellucid.explain.incremental import IncrementalNetwork
from pellucid.explain.lrp import lrp
from pellucid.explain.receptive_field import marking_rules
from pellucid.fuse import Rate, freeze, fuse
from pellucid.fuse.inference import inference
from pellucid.layers import (
    ELU,
    GELU,
    LAYERS,
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
    PadChannels,
    Params,
    ReLU,
    ReLU6,
    Sigmoid,
    Tanh,
)
from pellucid.rules import Epsilon, fold
from pellucid.sweep import backward
from tests.oracle import difference, leaves, randomized, tree_map


@cache
def doubled(kind: type[Layer]) -> type[Layer]:
    """Return a subclass of a layer, as a user would write it, whose output and gradients are doubled."""

    def forward(self: Any, params: Params, x: Any, mode: Mode) -> tuple[Any, Any]:
        y, cache_ = kind.forward(self, params, x, mode)
        return tree_map(lambda leaf: 2 * leaf, y), cache_

    def backward(self: Any, params: Params, cache: Any, dy: Any) -> tuple[Any, Params]:
        return kind.backward(self, params, cache, tree_map(lambda leaf: 2 * leaf, dy))

    return type(f"Twice{kind.__name__}", (kind,), {"forward": forward, "backward": backward})


@cache
def doubled_flow(kind: type[Combinator]) -> type[Layer]:
    """Return a subclass of a combinator whose `flow` returns twice the output."""

    def flow(self: Any, params: Params, x: Any, mode: Mode, step: Any) -> tuple[Any, Any]:
        y, cache_ = kind.flow(self, params, x, mode, step)
        return tree_map(lambda leaf: 2 * leaf, y), cache_

    def sweep(self: Any, params: Params, cache: Any, dy: Any, back: Any) -> tuple[Any, Params]:
        return kind.sweep(self, params, cache, tree_map(lambda leaf: 2 * leaf, dy), back)

    return type(f"Rewired{kind.__name__}", (kind,), {"flow": flow, "sweep": sweep})


def fusible_networks() -> dict[str, Layer]:
    """Return networks, by name, with every pattern that `fuse` replaces."""
    dense_layer = Parallel(
        {
            "before": Identity(),
            "body": Sequential(norm=BatchNorm(), act=ReLU(), conv=Conv2d(4, 1), act2=ReLU(), last=Conv2d(2, 1)),
        },
        Concat(),
    )
    residual = Parallel({"skip": Identity(), "body": Sequential(conv=Conv2d(3, 1), norm=BatchNorm())}, Add())
    sums = Parallel({"skip": Sequential(pool=AvgPool2d(1)), "body": Sequential(conv=Conv2d(3, 1), act=ELU())}, Add())
    graph = Graph(
        {"conv": (Conv2d(3, 1), "input"), "act": (ReLU(), "conv"), "sum": (Add(), "act", "input")}, outputs=("sum",)
    )
    shared = Sequential(fork=Fork(a=Conv2d(2, 1), b=Conv2d(2, 1)), arm=Shared(Conv2d(2, 1)), add=Add())
    last = {"flat": Flatten(), "out": Dense(4)}
    return {
        "pooled": Sequential(
            conv=Conv2d(3, 3), act=ReLU(), pool=MaxPool2d(2), **last, act2=Tanh(), drop=Dropout(0.5), out2=Dense(3)
        ),
        "normed": Sequential(conv=Conv2d(3, 1), norm=BatchNorm(), act=ReLU6(), conv2=Conv2d(2, 1), **last),
        "averaged": Sequential(
            conv=Conv2d(3, 1), norm=BatchNorm(), act=ReLU(), pool=AvgPool2d(2), conv2=Conv2d(2, 1), **last
        ),
        "commuting": Sequential(first=Conv2d(3, 3), conv=Conv2d(4, 1), pool=AvgPool2d(2), act=GELU(), **last),
        "grown": Sequential(first=Conv2d(3, 3), one=dense_layer, two=dense_layer, act=Sigmoid(), **last),
        "residual": Sequential(first=Conv2d(3, 3), act0=LeakyReLU(), block=residual, act=ReLU(), pad=PadChannels(1, 2)),
        "sums": Sequential(first=Conv2d(3, 3), block=sums, act=ReLU(), nested=Sequential(act=ELU(), conv=Conv2d(2, 1))),
        "entrance": Sequential(pool=MaxPool2d(2), pad=PadChannels(1, 0), act=ReLU(), conv=Conv2d(3, 1), shared=shared),
        "graph": Sequential(pad=PadChannels(1, 0), graph=graph, **last),
    }


def with_subclass(net: Layer, kind: type[Layer], subclass: Callable[[type[Any]], type[Layer]]) -> Layer | None:
    """Return the network with each layer of exactly type `kind` replaced by a subclass; None without such layers."""
    is_replaced = False

    def replace(layer: Layer) -> Layer:
        nonlocal is_replaced
        if isinstance(layer, Combinator):
            layer = layer.rebuild({name: replace(child) for name, child in layer.layers.items()})
        if type(layer) is not kind:
            return layer
        is_replaced = True
        replacement = object.__new__(subclass(kind))
        for name, value in vars(layer).items():
            object.__setattr__(replacement, name, value)
        return replacement

    changed = replace(net)
    return changed if is_replaced else None


FUSED_TYPES = (Sequential, Parallel, Graph, Fork, Shared, *LAYERS)
CASES = [
    pytest.param(net, id=f"{name} with {subclass.__name__} {kind.__name__}")
    for name, written in fusible_networks().items()
    for kind in FUSED_TYPES
    for subclass in ((doubled, doubled_flow) if issubclass(kind, Combinator) else (doubled,))
    if (net := with_subclass(written, kind, subclass)) is not None
]


def params_and_x(net: Layer) -> tuple[Params, Tensor]:
    rng = torch.Generator().manual_seed(3)
    params = randomized(net.init((2, 8, 8), rng)[0], rng)
    return params, torch.randn(5, 2, 8, 8, generator=rng, dtype=torch.float64)


def outputs_and_gradients(net: Layer, params: Params, x: Tensor, train: bool) -> tuple[Any, dict[str, Tensor]]:
    """Return the output and the gradients of the parameters; `params` may be overwritten."""
    x_copy = x.clone()
    y, cache_ = net.forward(params, x_copy, Mode(train, torch.Generator().manual_seed(1)))
    y = y.clone()
    dy = torch.randn(y.shape, generator=torch.Generator().manual_seed(2), dtype=y.dtype)
    _, dparams = backward(net, params, cache_, dy, consume=True)
    assert torch.equal(x_copy, x), "the data changed"
    return y, leaves(dparams)


@pytest.mark.parametrize("net", CASES)
def test_a_subclass_trains_as_written(net: Layer) -> None:
    params, x = params_and_x(net)
    for train in (True, False):
        params_written = tree_map(torch.clone, params)
        y, expected = outputs_and_gradients(net, params_written, x, train)
        params_fused = tree_map(torch.clone, params)
        fused_y, actual = outputs_and_gradients(fuse(net), params_fused, x, train)
        assert difference(fused_y, y) < 1e-11
        assert actual.keys() == expected.keys()
        for path, leaf in expected.items():
            assert difference(actual[path], leaf) < 1e-11, path
        for path, leaf in leaves(params_written).items():  # running statistics too
            assert difference(leaves(params_fused)[path], leaf) < 1e-11, path
        rate = Rate(0.5, 0.25)
        params_updated = tree_map(torch.clone, params)
        _, remaining = outputs_and_gradients(fuse(net, rate), params_updated, x, train)
        for path in expected.keys() - remaining.keys():
            initial = leaves(params)[path]
            shrink_factor = 0.75 if path.endswith("weight") else 1.0
            assert difference(leaves(params_updated)[path], shrink_factor * initial - 0.5 * expected[path]) < 1e-11, (
                path
            )


@pytest.mark.parametrize("net", CASES)
def test_a_subclass_predicts_as_written(net: Layer) -> None:
    params, x = params_and_x(net)
    y, _ = net.forward(params, x, Mode())
    assert difference(inference(net, params)(x.clone()), y) < 1e-11
    params = tree_map(torch.Tensor.float, params)
    assert difference(inference(net, params)(x.float()).double(), y) < 1e-4


@pytest.mark.parametrize("net", CASES)
def test_a_subclass_folds_as_written(net: Layer) -> None:
    params, x = params_and_x(net)
    y, _ = net.forward(params, x, Mode())
    folded, values = fold(net, params)
    assert difference(folded.forward(values, x, Mode())[0], y) < 1e-11


@pytest.mark.parametrize("kind", [BatchNorm, Conv2d, Dense, ReLU])
def test_relevance_adds_up_to_the_score_of_a_subclass(kind: type[Layer]) -> None:
    base_net = Sequential(conv=Conv2d(3, 3, bias=False), norm=BatchNorm(), act=ReLU(), flat=Flatten(), out=Dense(3))
    net = with_subclass(base_net, kind, doubled)
    assert net is not None
    params, x = params_and_x(net)
    leaves(params)["out.bias"].zero_()
    for name in ("running_mean", "bias"):
        leaves(params)[f"norm.{name}"].zero_()  # offsets would receive relevance
    relevance = lrp(net, params, x, 0, "epsilon", epsilon=0.0, stabilizer=0.0)
    assert difference(relevance.flatten(1).sum(1), net.forward(params, x, Mode())[0][:, 0]) < 1e-10


def test_epsilon_refuses_a_subclass_of_batch_normalization() -> None:
    norm = doubled(BatchNorm)()
    params, x = params_and_x(norm)
    _, cache = norm.forward(params, x, Mode())
    with pytest.raises(PellucidError, match="TwiceBatchNorm"):
        Epsilon()(norm, params, cache, x)


@pytest.mark.parametrize("net", CASES)
def test_explanations_use_the_passes_of_a_subclass(net: Layer) -> None:
    params, x = params_and_x(net)
    y, cache = net.forward(params, x, Mode())
    expected = net.backward(params, cache, torch.ones_like(y))[0]
    assert difference(net.pull(params, cache, torch.ones_like(y)), expected) < 1e-11
    filled = x[0].clone()
    filled[:, 2:4, 3:5] = 0
    actual = IncrementalNetwork(net, params, x[0], filled).run(torch.tensor([[2, 3, 4, 5]]), 2, 1)
    assert difference(actual, net.forward(params, filled[None], Mode())[0]) < 1e-11


@pytest.mark.parametrize("kind", [Conv2d, MaxPool2d, BatchNorm, Flatten])
def test_the_receptive_field_of_a_subclass_is_refused(kind: type[Any]) -> None:
    with pytest.raises(PellucidError, match=f"Twice{kind.__name__}"):
        marking_rules("layer", object.__new__(doubled(kind)))


def test_every_combinator_keeps_the_type_and_fields_of_a_subclass_when_it_is_rebuilt() -> None:
    @dataclass(frozen=True, init=False)
    class Block(Sequential):
        width: int

        def __init__(self, width: int) -> None:
            super().__init__(first=Dense(width), second=Dense(2))
            object.__setattr__(self, "width", width)

    result = map_layers(Block(7), lambda layer: layer)
    assert result == Block(7)
    assert type(result) is Block
    for kind in (Sequential, Parallel, Graph, Fork, Shared):
        subclass = next(
            net
            for net in (with_subclass(pattern, kind, doubled_flow) for pattern in fusible_networks().values())
            if net
        )
        assert map_layers(subclass, lambda layer: layer) == subclass


@dataclass(frozen=True)
class Scale(Layer):
    """A user-defined layer that multiplies each channel by a learned factor."""

    def init(self, shape: Any, rng: torch.Generator) -> tuple[Params, Any]:
        return {"scale": torch.ones(shape[0])}, shape

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, Any]:
        return x * params["scale"][:, None, None], (x,)

    def backward(self, params: Params, cache: Any, dy: Tensor) -> tuple[Tensor, Params]:
        return dy * params["scale"][:, None, None], {"scale": (dy * cache[0]).sum((0, 2, 3))}


def test_a_user_defined_first_layer_is_trained() -> None:
    net = Sequential(scale=Scale(), conv=Conv2d(2, 3), flat=Flatten(), out=Dense(3))
    params, x = params_and_x(net)
    _, expected = outputs_and_gradients(net, params, x, True)
    _, actual = outputs_and_gradients(fuse(net), params, x, True)
    assert actual.keys() == expected.keys()
    assert difference(actual["scale.scale"], expected["scale.scale"]) < 1e-11
    frozen = freeze(net, params, {"scale.scale", "conv.weight", "conv.bias"})
    _, actual = outputs_and_gradients(fuse(frozen), params, x, True)
    assert {path: leaf.shape for path, leaf in actual.items()} == {
        path: leaf.shape for path, leaf in expected.items() if path.startswith("out")
    }
