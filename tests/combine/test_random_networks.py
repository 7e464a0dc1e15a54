"""Random networks of all layers and combinators, drawn by hypothesis, agree with PyTorch's autograd."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, assume, event, given, settings
from hypothesis import strategies as st
from torch import Tensor

from pellucid.combine import walk
from pellucid.layers import LAYERS, Layer
from tests.combine.random_networks import DRAWN_SEPARATELY, LAYER_STRATEGIES, MERGE_STRATEGIES, REGION_POOLING, networks
from tests.oracle import Sample, autograd, cast, difference, forward_backward, is_shape_tuple, leaves, normal, tree_map


def inputs(shape: Any, rng: torch.Generator) -> Any:
    """Draw images or vectors; for a pair of shapes, draw (x, switches) of a max pooling by 2."""
    if not is_shape_tuple(shape):
        return normal(shape, rng)
    batch, channels, height, width = shape[0]
    image = normal((batch, channels, 2 * height, 2 * width), rng)
    return torch.nn.functional.max_pool2d(image, 2, return_indices=True)


def tensor_errors(actual: dict[str, Tensor], expected: dict[str, Tensor]) -> Iterator[float]:
    """Yield the error of each tensor; gradients of tensors that no output depends on must be absent or 0."""
    assert actual.keys() <= expected.keys()
    for path, leaf in expected.items():
        yield difference(actual.get(path, torch.zeros_like(leaf)), leaf)


def largest_error(actual: tuple[dict[str, Tensor], ...], expected: tuple[dict[str, Tensor], ...]) -> float:
    """Return the largest error of (y, dx, dparams)."""
    return max(
        error
        for actual_tensors, expected_tensors in zip(actual, expected, strict=True)
        for error in tensor_errors(actual_tensors, expected_tensors)
    )


def autograd_results(net: Layer, params: Any, x: Any, sample: Sample, dy: Any) -> tuple[dict[str, Tensor], ...]:
    y, dx, dparams = autograd(net, params, x, sample.mode(), dy)
    return leaves(y), dx, dparams


def with_jitter(tree: Any, size: float) -> Any:
    rng = torch.Generator().manual_seed(5)

    def jitter(leaf: Tensor) -> Tensor:
        noise = torch.randn(leaf.shape, generator=rng, dtype=torch.float64)
        return leaf + size * noise if leaf.is_floating_point() else leaf

    return tree_map(jitter, tree)


@pytest.mark.slow
@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(network=networks(), train=st.booleans(), batch=st.integers(2, 3))
def test_random_networks_agree_with_autograd(network: tuple[Layer, Any], train: bool, batch: int) -> None:
    net, shape = network
    sample = Sample(net, shape, train=train, make=inputs)
    params, x = sample.inputs(batch)
    y, dy, dx, dparams = forward_backward(net, params, x, sample.mode())
    expected = autograd_results(net, params, x, sample, dy)
    error = largest_error((leaves(y), dx, dparams), expected)
    if error > 1e-9:  # near a tie of max pooling the gradient depends on rounding, which is no error
        jitter_error = largest_error(
            autograd_results(net, with_jitter(params, 1e-9), with_jitter(x, 1e-9), sample, dy), expected
        )
        event("near tie")
        assume(jitter_error < 1e-5)
    assert error <= 1e-9, f"off by {error:.2e}"

    jitter_error = largest_error(
        autograd_results(net, with_jitter(params, 1e-6), with_jitter(x, 1e-6), sample, dy), expected
    )
    if jitter_error < 1e-4:  # float32 must agree unless its rounding errors change the result
        float32_inputs = cast(params, torch.float32), cast(x, torch.float32), cast(dy, torch.float32)
        y32, _, dx32, dparams32 = forward_backward(
            net, float32_inputs[0], float32_inputs[1], sample.mode(), float32_inputs[2]
        )
        event("float32 compared")
        error = largest_error((leaves(y32), dx32, dparams32), expected)
        assert error <= 1e-2, f"float32 is off by {error:.2e}"


def test_every_layer_can_be_drawn() -> None:
    drawn = {*LAYER_STRATEGIES, *MERGE_STRATEGIES, *DRAWN_SEPARATELY, *REGION_POOLING}
    assert drawn == {*LAYERS}, "give a layer of several inputs a line in MERGE_STRATEGIES of random_networks.py"


@pytest.mark.heavy
@pytest.mark.slow
def test_random_networks_contain_every_layer_and_combinator() -> None:
    layer_types: set[type[Layer]] = set()

    @settings(max_examples=400, database=None, suppress_health_check=list(HealthCheck))
    @given(network=networks())
    def record_layers(network: tuple[Layer, Any]) -> None:
        layer_types.update(type(layer) for _, layer in walk(network[0]))

    record_layers()
    assert set(LAYERS) - REGION_POOLING <= layer_types
    assert {"Sequential", "Parallel", "Fork", "Shared", "Graph"} <= {kind.__name__ for kind in layer_types}
