"""A fused network has the outputs and gradients of the unfused layers."""

from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st

from pellucid.base.errors import PellucidError
from pellucid.combine import Parallel, Sequential, walk
from pellucid.combine.base import Combinator, buffer_paths
from pellucid.fuse import Rate, freeze, fuse
from pellucid.fuse.activations import FusedActivation
from pellucid.fuse.combinators import FusedResidual
from pellucid.fuse.dense_block import DenseBlock
from pellucid.fuse.recompute import NormActConv
from pellucid.fuse.single_layers import FusedConv2d, FusedDense, FusedMaxPool2d
from pellucid.fuse.start import EntranceLayer
from pellucid.layers import (
    AdaptiveAvgPool2d,
    Add,
    AvgPool2d,
    BatchNorm,
    Concat,
    Conv2d,
    Dense,
    Flatten,
    Identity,
    Layer,
    MaxPool2d,
    Mode,
    ReLU,
    ReLU6,
    Sigmoid,
    Tanh,
)
from pellucid.sweep import backward
from tests.combine.random_networks import networks
from tests.combine.test_random_networks import inputs
from tests.oracle import Sample, difference, leaves, randomized, tree_map


def clone_tree(tree: Any) -> Any:
    return tree_map(torch.clone, tree)


def outputs_and_gradients(net: Layer, params: Any, x: Any, mode: Mode, dy: Any) -> tuple[Any, dict[str, torch.Tensor]]:
    """Return the output and the gradients of the parameters, computed on copies that may be overwritten."""
    x_copy = clone_tree(x)
    y, cache = net.forward(params, x_copy, mode)
    y = clone_tree(y)  # the backward pass may overwrite it
    _, dparams = backward(net, params, cache, clone_tree(dy), consume=True)
    assert all(torch.equal(leaves(x_copy)[path], leaf) for path, leaf in leaves(x).items()), "the data changed"
    return y, leaves(dparams)


def compare_with_fused(net: Layer, params: Any, x: Any, mode: Any, dy: Any) -> None:
    y, dparams = outputs_and_gradients(net, clone_tree(params), x, mode(), dy)
    fused_y, fused_dparams = outputs_and_gradients(fuse(net), clone_tree(params), x, mode(), dy)
    assert fused_dparams.keys() == dparams.keys()
    for path, leaf in leaves(y).items():
        assert difference(leaves(fused_y)[path], leaf) < 1e-11, f"output {path}"
    for path, leaf in dparams.items():
        assert difference(fused_dparams[path], leaf) < 1e-11, path


@pytest.mark.slow
@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(network=networks(), train=st.booleans(), batch=st.integers(2, 3))
def test_fused_random_networks_give_equal_outputs_and_gradients(
    network: tuple[Layer, Any], train: bool, batch: int
) -> None:
    net, shape = network
    sample = Sample(net, shape, train=train, make=inputs)
    params, x = sample.inputs(batch)
    y, _ = net.forward(clone_tree(params), x, sample.mode())
    dy = tree_map(lambda leaf: torch.randn(leaf.shape, dtype=leaf.dtype), y)
    compare_with_fused(net, params, x, sample.mode, dy)


POINTWISE = st.sampled_from([ReLU(), ReLU6(), Sigmoid(), Tanh(), Identity()])
PATTERNS = ["conv", "norm", "act", "relu+pool", "norm+relu", "residual", "average", "dense", "shrink"]


@st.composite
def vision_networks(draw: Any) -> Layer:
    """Draw a network of patterns that `fuse` replaces, in any order: convolution, norm, activation, pool, residual."""
    children: list[Layer] = []
    for _ in range(draw(st.integers(1, 6))):
        pattern = draw(st.sampled_from(PATTERNS))
        if pattern == "conv":
            children.append(Conv2d(draw(st.sampled_from([2, 3])), 3, padding=1))
        elif pattern == "norm":
            children.append(BatchNorm())
        elif pattern == "act":
            children.append(draw(POINTWISE))
        elif pattern == "relu+pool":
            children += [ReLU(), MaxPool2d(2, 1)]
        elif pattern == "norm+relu":
            children += [BatchNorm(), draw(st.sampled_from([ReLU(), ReLU6()]))]
            children += draw(st.sampled_from([[], [Conv2d(3, 3, padding=1)]]))
        elif pattern == "average":
            children.append(AvgPool2d(3, 1, 1))
        elif pattern == "dense":
            dense_body = [BatchNorm(), draw(st.sampled_from([ReLU(), ReLU6(), Sigmoid()])), Conv2d(3, 1)]
            dense_body += draw(st.sampled_from([[], [BatchNorm(), ReLU(), Conv2d(2, 3, padding=1)]]))
            children.append(Parallel({"before": Identity(), "added": Sequential(*dense_body)}, Concat()))
        elif pattern == "shrink":  # DenseNet transitions, and similar layers that are not fused as one
            children += draw(st.sampled_from([[], [BatchNorm(), ReLU()]]))
            children.append(draw(st.sampled_from([Conv2d(3, 1), Conv2d(3, 1, padding=1), Conv2d(2, (1, 2))])))
            pools = [AvgPool2d(2, 1), AvgPool2d(3, 1, 1), AvgPool2d(2, 2, ceil_mode=True), AvgPool2d(1)]
            children.append(draw(st.sampled_from(pools)))
        else:
            ends = draw(st.lists(POINTWISE, max_size=2)) + draw(st.sampled_from([[], [ReLU(), MaxPool2d(1)]]))
            starts = draw(st.lists(POINTWISE, max_size=1))
            body = Sequential(*starts, Conv2d(3, 3, padding=1), *ends)
            skip = draw(st.sampled_from([Identity(), ReLU(), Conv2d(3, 1), Sequential(BatchNorm(), ReLU())]))
            children += [Conv2d(3, 1), Parallel(draw(st.permutations([skip, body])), Add())]
        if draw(st.booleans()):  # nesting must not change the results
            children = [Sequential(*children)]
    if draw(st.booleans()):
        children.append(AdaptiveAvgPool2d(draw(st.sampled_from([1, 2]))))
    return Sequential(*children, Flatten(), *draw(st.lists(POINTWISE, max_size=1)), Dense(3), draw(POINTWISE))


@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(net=vision_networks(), train=st.booleans())
def test_fused_vision_networks_give_equal_outputs_and_gradients(net: Layer, train: bool) -> None:
    params, x, dy = vision_inputs(net)
    compare_with_fused(net, params, x, lambda: Mode(train=train), dy)


def vision_inputs(net: Layer) -> tuple[Any, torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(1)
    try:
        params, out = net.init((2, 9, 8), rng)
    except PellucidError:  # the image is too small for the pools
        reject()
    params = randomized(params, rng)
    x = torch.randn(2, 2, 9, 8, dtype=torch.float64, generator=rng)
    return params, x, torch.randn(2, *out, dtype=torch.float64, generator=rng)


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(net=vision_networks(), data=st.data())
def test_fused_networks_with_frozen_parts_have_equal_gradients(net: Layer, data: st.DataObject) -> None:
    params, x, dy = vision_inputs(net)
    paths = sorted(leaves(params).keys() - buffer_paths(net))
    groups = sorted({path.rpartition(".")[0] for path in paths})
    frozen_layers = set(
        data.draw(st.lists(st.sampled_from(groups), unique=True)) if data.draw(st.booleans()) else groups[:-1]
    )
    frozen = {path for path in paths if path.rpartition(".")[0] in frozen_layers}
    frozen_net = freeze(net, params, frozen)  # test_frozen.py tests each of its layers
    before = clone_tree(params)
    y, dparams = outputs_and_gradients(frozen_net, clone_tree(params), x, Mode(train=True), dy)

    fused_y, fused_dparams = outputs_and_gradients(fuse(frozen_net), params, x, Mode(train=True), dy)

    assert difference(fused_y, y) < 1e-11
    assert fused_dparams.keys() == dparams.keys() == set(paths) - frozen
    for path, leaf in dparams.items():
        assert difference(fused_dparams[path], leaf) < 1e-11, path
    for path, leaf in leaves(before).items():
        if path.rpartition(".")[0] in frozen_layers:
            assert torch.equal(leaves(params)[path], leaf), path


@pytest.mark.parametrize("rows", [3, 40])
@pytest.mark.parametrize("shape", [(7,), (2, 5), (300,)])
def test_dense_that_updates_in_the_backward_pass_equals_gradient_descent(rows: int, shape: tuple[int, ...]) -> None:
    net = Sequential(Dense(6), Sigmoid(), Dense(4, bias=False))
    rng = torch.Generator().manual_seed(0)
    params, out = net.init(shape, rng)
    params = tree_map(torch.Tensor.double, params)
    x = torch.randn(rows, *shape, dtype=torch.float64, generator=rng)
    dy = torch.randn(rows, *out, dtype=torch.float64, generator=rng)
    expected = {}
    _, dparams = outputs_and_gradients(net, params, x, Mode(), dy)
    for path, leaf in leaves(params).items():
        decay = 0.01 if path.endswith("weight") else 0.0
        expected[path] = (1 - decay) * leaf - 0.3 * dparams[path]

    rate = Rate()
    rate.set(0.3, 0.01)
    _, remaining = outputs_and_gradients(fuse(net, rate), params, x, Mode(), dy)

    assert not remaining
    for path, leaf in leaves(params).items():
        torch.testing.assert_close(leaf, expected[path], rtol=1e-12, atol=1e-13)


def test_fusing_a_typical_network_uses_every_fused_form() -> None:
    body = Sequential(Conv2d(4, 3, padding=1), BatchNorm(), ReLU(), Conv2d(4, 3, padding=1), BatchNorm())
    block = Parallel((Identity(), body), Add())
    dense_body = Sequential(BatchNorm(), ReLU(), Conv2d(4, 1))
    dense_layer = Parallel((Identity(), dense_body), Concat())
    net = Sequential(Identity(), Conv2d(4, 3), ReLU(), MaxPool2d(2), block, dense_layer, Flatten(), Dense(3))
    types = [type(layer) for _, layer in walk(fuse(net)) if not isinstance(layer, Combinator)]
    assert types[:4] == [EntranceLayer, FusedConv2d, FusedMaxPool2d, FusedActivation]
    assert {FusedDense, NormActConv} <= set(types)
    assert {FusedResidual, DenseBlock} <= {type(layer) for _, layer in walk(fuse(net))}


def test_only_activations_before_convolutions_with_many_multiply_adds_are_recomputed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.undo()  # the limit of the package, not that of these tests

    def is_recomputed(conv: Conv2d) -> bool:
        fused = fuse(Sequential(Conv2d(32, 1), BatchNorm(), ReLU(), conv))
        return any(type(layer) is NormActConv for layer in fused.layers.values())

    assert is_recomputed(Conv2d(16, 3, padding=1))  # 144 multiply-adds per value
    assert not is_recomputed(Conv2d(32, 3, padding=1, groups=32))  # 9
    assert not is_recomputed(Conv2d(32, 3, stride=2, padding=1))  # 72
    assert not is_recomputed(Conv2d(64, 1))  # 64


@pytest.mark.parametrize("pool", [[], [AvgPool2d(2)]], ids=repr)
def test_gradients_have_the_structure_of_the_parameters(pool: list[Layer]) -> None:
    net = Sequential(Conv2d(2, 1), BatchNorm(), ReLU(), Conv2d(3, 1), *pool)
    params, x = Sample(net, (2, 4, 4)).inputs()
    fused = fuse(net)
    assert {type(layer) for layer in fused.layers.values()} == {FusedConv2d, NormActConv}
    y, cache = fused.forward(params, x, Mode(train=True))
    assert fused.backward(params, cache, y)[1].keys() == params.keys()
    assert fused.init((2, 4, 4), torch.Generator())[0].keys() == params.keys()
