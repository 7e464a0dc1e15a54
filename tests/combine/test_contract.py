"""Every combinator fulfils the contract of layers: outputs, gradients, caches and shapes."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

from pellucid import combine
from pellucid.combine import Combinator, Sequential, walk
from pellucid.combine.base import uses_flow
from pellucid.layers import Dense, Mode
from pellucid.sweep import backward, forward
from tests.combine.samples import NETWORKS
from tests.oracle import (
    Sample,
    assert_close,
    autograd,
    cast,
    cotangent,
    directional_slopes,
    forward_backward,
    leaves,
    strided_copy,
    tree_map,
    with_batch,
)

networks = pytest.mark.parametrize("sample", [pytest.param(sample, id=name) for name, sample in NETWORKS.items()])


def without_zeros(expected: dict[str, Tensor], actual: dict[str, Tensor]) -> dict[str, Tensor]:
    """Drop expected gradients without a counterpart in `actual`; they must be 0, since no output depends on them."""
    assert all(leaf.abs().max() == 0 for path, leaf in expected.items() if path not in actual)
    return {path: leaf for path, leaf in expected.items() if path in actual}


def test_every_combinator_has_samples() -> None:
    combinator_types = {
        value for value in vars(combine).values() if isinstance(value, type) and issubclass(value, Combinator)
    }
    sampled_types = {type(layer) for sample in NETWORKS.values() for _, layer in walk(sample.layer)}
    assert combinator_types - {Combinator} <= sampled_types


@networks
@pytest.mark.parametrize("batch", [3, 1])
def test_forward_and_backward_equal_the_reference_and_its_autograd(sample: Sample, batch: int) -> None:
    params, x = sample.inputs(batch)
    y, dy, dx, dparams = forward_backward(sample.layer, params, x, sample.mode())
    expected_y, expected_dx, expected_dparams = autograd(sample.layer, params, x, sample.mode(), dy)
    assert_close(y, expected_y, 1e-12, "y")
    assert_close(dx, without_zeros(expected_dx, dx), 1e-10, "dx")
    assert_close(dparams, without_zeros(expected_dparams, dparams), 1e-10, "dparams")


@pytest.mark.parametrize("name", [name for name in NETWORKS if "unused" not in name])
def test_backward_equals_a_central_difference(name: str) -> None:
    sample = NETWORKS[name]
    params, x = sample.inputs()
    _, dy, _, _ = forward_backward(sample.layer, params, x, sample.mode())
    derivative, central_difference = directional_slopes(sample.layer, params, x, sample.mode(), dy)
    assert derivative == pytest.approx(central_difference, rel=1e-5, abs=1e-5)


@networks
def test_float32_and_channels_last_give_equal_results(sample: Sample) -> None:
    params, x = sample.inputs()
    y, dy, dx, dparams = forward_backward(sample.layer, params, x, sample.mode())
    strided = forward_backward(
        sample.layer, params, tree_map(strided_copy, x), sample.mode(), tree_map(strided_copy, dy)
    )
    assert_close(strided[0], y, 1e-11, "y")
    assert_close((strided[2], strided[3]), (dx, dparams), 1e-11, "gradients")
    params, x, dy = (cast(value, torch.float32) for value in (params, x, dy))
    float32_results = forward_backward(sample.layer, params, x, sample.mode(), dy)
    assert_close(float32_results[0], y, 1e-4, "y")
    assert_close((float32_results[2], float32_results[3]), (dx, dparams), 1e-3, "gradients")


@networks
def test_shapes_follow_from_init(sample: Sample) -> None:
    params, x = sample.inputs()
    _, out = sample.layer.init(sample.shape, torch.Generator())
    y = forward_backward(sample.layer, params, x, sample.mode())[0]
    assert tree_map(lambda leaf: tuple(leaf.shape), y) == with_batch(out, 3)


@networks
def test_the_sweep_changes_no_input_and_repeats(sample: Sample) -> None:
    params, x = sample.inputs()
    y, cache = forward(sample.layer, params, x, sample.mode())
    dy = cotangent(y)
    copies = copy.deepcopy((params, x, cache, dy))
    first_gradients = backward(sample.layer, params, cache, dy)
    second_gradients = backward(sample.layer, params, cache, dy)
    by_own_backward = sample.layer.backward(params, cache, dy)
    assert_close((params, x, cache, dy), copies, 0.0, "inputs")
    assert_close(second_gradients, first_gradients, 0.0, "second sweep")
    assert_close(by_own_backward, first_gradients, 0.0, "own backward")


@networks
def test_no_cache_is_kept_without_a_backward_pass(sample: Sample) -> None:
    params, x = sample.inputs()
    y, _ = forward(sample.layer, copy.deepcopy(params), x, sample.mode())
    mode = sample.mode()
    y_without_cache, cache = forward(sample.layer, params, x, Mode(train=mode.train, rng=mode.rng, keep=False))
    assert_close(y_without_cache, y, 0.0, "y")
    assert not cache_leaves(cache)


def cache_leaves(cache: Any) -> list[Any]:
    if isinstance(cache, dict):
        return [leaf for part in cache.values() for leaf in cache_leaves(part)]
    return [] if cache is None else [cache]


@networks
def test_rebuilding_with_the_same_children_gives_an_equal_combinator(sample: Sample) -> None:
    net = sample.layer
    assert isinstance(net, Combinator)
    assert net.rebuild(net.layers) == net
    params, x = sample.inputs()
    assert set(params) == set(net.layers)
    rebuilt = net.rebuild({name: copy.deepcopy(layer) for name, layer in net.layers.items()})
    assert_close(
        leaves(forward_backward(rebuilt, params, x, sample.mode())[0]),
        leaves(forward_backward(net, params, x, sample.mode())[0]),
        0.0,
    )


class OwnForward(Sequential):
    def forward(self, params, x, mode):
        return super().forward(params, x, mode)


class OwnBackward(Sequential):
    def backward(self, params, cache, dy):
        return super().backward(params, cache, dy)


@pytest.mark.parametrize(("combinator", "expected"), [(Sequential, True), (OwnForward, False), (OwnBackward, False)])
def test_a_combinator_with_a_custom_pass_is_not_a_plain_container(combinator, expected):
    assert uses_flow(combinator(dense=Dense(2))) is expected
