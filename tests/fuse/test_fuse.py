"""A fused network is the same network: outputs and gradients equal those of the layers as they are written."""

from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pellucid.combine import Parallel, Sequential, walk
from pellucid.combine.base import Combinator
from pellucid.fuse import Rate, fuse
from pellucid.fuse.activations import FusedActivation
from pellucid.fuse.conv2d import FusedConv2d
from pellucid.fuse.dense import FusedDense
from pellucid.fuse.entrance import EntranceLayer
from pellucid.fuse.maxpool2d import FusedMaxPool2d
from pellucid.fuse.plan import NEW_MEMORY, NEW_OUTPUT
from pellucid.fuse.recompute import NormReLUConv
from pellucid.fuse.residual import FusedResidual
from pellucid.layers import (
    AdaptiveAvgPool2d,
    Add,
    AvgPool2d,
    BatchNorm,
    Conv2d,
    Dense,
    Flatten,
    Identity,
    Layer,
    MaxPool2d,
    Mode,
    ReLU,
    Sigmoid,
    Tanh,
)
from pellucid.sweep import backward
from tests.combine.random_networks import networks
from tests.combine.test_random_networks import inputs
from tests.oracle import Sample, difference, leaves, randomized, tree_map


def copied(tree: Any) -> Any:
    return tree_map(torch.clone, tree)


def learned(net: Layer, params: Any, x: Any, mode: Mode, dy: Any) -> tuple[Any, dict[str, torch.Tensor]]:
    """Return the output and the gradients of the parameters, on copies that the network may write over."""
    given = copied(x)
    y, cache = net.forward(params, given, mode)
    y = copied(y)  # before the sweep may write over it
    _, dparams = backward(net, params, cache, copied(dy), consume=True)
    assert all(torch.equal(leaves(given)[path], leaf) for path, leaf in leaves(x).items()), "the data changed"
    return y, leaves(dparams)


def compare(net: Layer, params: Any, x: Any, mode: Any, dy: Any) -> None:
    y, dparams = learned(net, copied(params), x, mode(), dy)
    fused_y, fused_dparams = learned(fuse(net), copied(params), x, mode(), dy)
    assert fused_dparams.keys() == dparams.keys()
    for path, leaf in leaves(y).items():
        assert difference(leaves(fused_y)[path], leaf) < 1e-11, f"output {path}"
    for path, leaf in dparams.items():
        assert difference(fused_dparams[path], leaf) < 1e-11, path


@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(network=networks(), train=st.booleans(), batch=st.integers(2, 3))
def test_random_networks_fused_are_the_same(network: tuple[Layer, Any], train: bool, batch: int) -> None:
    net, shape = network
    sample = Sample(net, shape, train=train, make=inputs)
    params, x = sample.inputs(batch)
    y, _ = net.forward(copied(params), x, sample.mode())
    dy = tree_map(lambda leaf: torch.randn(leaf.shape, dtype=leaf.dtype), y)
    compare(net, params, x, sample.mode, dy)


POINTWISE = st.sampled_from([ReLU(), Sigmoid(), Tanh(), Identity()])


@st.composite
def vision_networks(draw: Any) -> Layer:
    """Draw the patterns that fusing looks for, in any order: convolution, norm, activation, pool, residual."""
    children: list[Layer] = []
    for _ in range(draw(st.integers(1, 6))):
        kind = draw(st.sampled_from(["conv", "norm", "act", "relu+pool", "norm+relu", "residual", "average"]))
        if kind == "conv":
            children.append(Conv2d(draw(st.sampled_from([2, 3])), 3, padding=1))
        elif kind == "norm":
            children.append(BatchNorm())
        elif kind == "act":
            children.append(draw(POINTWISE))
        elif kind == "relu+pool":
            children += [ReLU(), MaxPool2d(2, 1)]
        elif kind == "norm+relu":
            children += [BatchNorm(), ReLU()]
        elif kind == "average":
            children.append(AvgPool2d(3, 1, 1))
        else:
            ends = draw(st.lists(POINTWISE, max_size=2)) + draw(st.sampled_from([[], [ReLU(), MaxPool2d(1)]]))
            starts = draw(st.lists(POINTWISE, max_size=1))
            body = Sequential(*starts, Conv2d(3, 3, padding=1), *ends)
            skip = draw(st.sampled_from([Identity(), ReLU(), Conv2d(3, 1), Sequential(BatchNorm(), ReLU())]))
            children += [Conv2d(3, 1), Parallel(draw(st.permutations([skip, body])), Add())]
        if draw(st.booleans()):  # what is nested must be the same as what is not
            children = [Sequential(*children)]
    if draw(st.booleans()):
        children.append(AdaptiveAvgPool2d(draw(st.sampled_from([1, 2]))))
    return Sequential(*children, Flatten(), *draw(st.lists(POINTWISE, max_size=1)), Dense(3), draw(POINTWISE))


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(net=vision_networks(), train=st.booleans())
def test_vision_networks_fused_are_the_same(net: Layer, train: bool) -> None:
    rng = torch.Generator().manual_seed(1)
    params, out = net.init((2, 9, 8), rng)
    params = randomized(params, rng)
    x = torch.randn(2, 2, 9, 8, dtype=torch.float64, generator=rng)
    dy = torch.randn(2, *out, dtype=torch.float64, generator=rng)
    compare(net, params, x, lambda: Mode(train=train), dy)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (Dense(3), (4,)),
        (Dense(30), (4,)),
        (Conv2d(3, 1), (2, 5, 5)),
        (BatchNorm(), (2, 5, 5)),
        (BatchNorm(), (4,)),
        (MaxPool2d(2), (2, 5, 5)),
        (AvgPool2d(1), (2, 5, 5)),
        (AdaptiveAvgPool2d(1), (2, 5, 5)),
        (AdaptiveAvgPool2d(5), (2, 5, 5)),
    ],
    ids=repr,
)
@pytest.mark.parametrize("train", [False, True])
def test_memory_that_is_called_new_is_new(layer: Layer, shape: tuple[int, ...], train: bool) -> None:
    sample = Sample(layer, shape)
    params, x = sample.inputs(20)
    y, cache = layer.forward(params, x, Mode(train=train))
    dy = torch.randn_like(y)
    dx, _ = layer.backward(params, cache, dy)

    def shares(one: torch.Tensor, other: torch.Tensor) -> bool:
        return one.untyped_storage().data_ptr() == other.untyped_storage().data_ptr()

    assert isinstance(layer, NEW_OUTPUT)
    assert not any(shares(y, held) for held in (x, *leaves(cache).values(), *leaves(params).values()))
    assert torch._debug_has_internal_overlap(y) == 0
    if isinstance(layer, NEW_MEMORY):
        assert not any(shares(dx, held) for held in (x, y, dy, *leaves(cache).values(), *leaves(params).values()))
        assert torch._debug_has_internal_overlap(dx) == 0


def test_every_kind_of_new_memory_is_tried() -> None:
    assert set(NEW_OUTPUT) == {Dense, Conv2d, BatchNorm, MaxPool2d, AvgPool2d, AdaptiveAvgPool2d}


@pytest.mark.parametrize("rows", [3, 40])
@pytest.mark.parametrize("shape", [(7,), (2, 5), (300,)])
def test_dense_learns_in_the_sweep_what_gradient_descent_learns(rows: int, shape: tuple[int, ...]) -> None:
    net = Sequential(Dense(6), Sigmoid(), Dense(4, bias=False))
    rng = torch.Generator().manual_seed(0)
    params, out = net.init(shape, rng)
    params = tree_map(torch.Tensor.double, params)
    x = torch.randn(rows, *shape, dtype=torch.float64, generator=rng)
    dy = torch.randn(rows, *out, dtype=torch.float64, generator=rng)
    wanted = {}
    _, dparams = learned(net, params, x, Mode(), dy)
    for path, leaf in leaves(params).items():
        decay = 0.01 if path.endswith("weight") else 0.0
        wanted[path] = (1 - decay) * leaf - 0.3 * dparams[path]

    rate = Rate()
    rate.set(0.3, 0.01)
    _, rest = learned(fuse(net, rate), params, x, Mode(), dy)

    assert not rest
    for path, leaf in leaves(params).items():
        torch.testing.assert_close(leaf, wanted[path], rtol=1e-12, atol=1e-13)


def test_a_typical_network_takes_every_fused_form() -> None:
    body = Sequential(Conv2d(4, 3, padding=1), BatchNorm(), ReLU(), Conv2d(4, 3, padding=1), BatchNorm())
    block = Parallel((Identity(), body), Add())
    net = Sequential(Identity(), Conv2d(4, 3), ReLU(), MaxPool2d(2), block, Flatten(), Dense(3))
    kinds = [type(layer) for _, layer in walk(fuse(net)) if not isinstance(layer, Combinator)]
    assert kinds[:4] == [EntranceLayer, FusedConv2d, FusedMaxPool2d, FusedActivation]
    assert {FusedDense, NormReLUConv} <= set(kinds)
    assert any(isinstance(layer, FusedResidual) for _, layer in walk(fuse(net)))
