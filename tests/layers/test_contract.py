"""Every layer fulfils the contract of layers on each of its samples."""

import copy
import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor

from pellucid import layers
from pellucid.base.errors import PellucidError
from pellucid.layers import LAYERS, Layer, Trait
from pellucid.sweep import forward
from tests.cases import each_sample
from tests.layers.samples import SAMPLES
from tests.oracle import (
    Sample,
    assert_close,
    autograd,
    bf16_params,
    cast,
    cotangent,
    directional_slopes,
    forward_backward,
    is_shape_tuple,
    leaves,
    strided_copy,
    tree_map,
    with_batch,
)
from tests.references import REFERENCES

CACHES_INPUT = [
    *(kind for kind in LAYERS if Trait.LINEAR in kind.traits and kind is not layers.Identity),
    layers.BatchNorm,
    layers.Multiply,
]
every_sample = each_sample(SAMPLES)


def first_sample_of_each_layer() -> list[Sample]:
    """Return the first sample of each layer."""
    return list({type(sample.layer): sample for sample in reversed(SAMPLES)}.values())


@pytest.mark.parametrize("layer_type", LAYERS, ids=lambda layer_type: layer_type.__name__)
def test_a_layer_has_samples_and_a_reference(layer_type: type[Layer]) -> None:
    missing = f"has no {layer_type.__name__}"
    assert any(type(sample.layer) is layer_type for sample in SAMPLES), f"tests/layers/samples.py {missing}"
    assert layer_type in REFERENCES, f"tests/references.py {missing}; that of an activation is in layers/elementwise.py"


def test_every_exported_layer_is_listed() -> None:
    exported = [value for value in vars(layers).values() if isinstance(value, type) and issubclass(value, Layer)]
    assert set(exported) - {Layer} == set(LAYERS)
    assert len(LAYERS) == len(set(LAYERS))


@every_sample
def test_forward_and_backward_equal_the_reference_and_its_autograd(sample: Sample) -> None:
    for batch in sample.batches:
        params, x = sample.inputs(batch)
        y, dy, dx, dparams = forward_backward(sample.layer, params, x, sample.mode())
        expected_y, expected_dx, expected_dparams = autograd(sample.layer, params, x, sample.mode(), dy)
        assert_close(y, expected_y, 1e-12, "y")
        assert_close(dx, expected_dx, 1e-10, "dx")
        assert_close(dparams, expected_dparams, 1e-10, "dparams")


@each_sample(sample for sample in SAMPLES if sample.smooth)
def test_backward_equals_a_central_difference(sample: Sample) -> None:
    params, x = sample.inputs()
    _, dy, _, _ = forward_backward(sample.layer, params, x, sample.mode())
    explicit, measured = directional_slopes(sample.layer, params, x, sample.mode(), dy)
    assert explicit == pytest.approx(measured, rel=1e-6, abs=1e-6)


@every_sample
def test_float32_agrees_with_float64(sample: Sample) -> None:
    params, x = sample.inputs()
    params, x = cast(cast(params, torch.float32), torch.float64), cast(cast(x, torch.float32), torch.float64)
    y, dy, dx, dparams = forward_backward(sample.layer, params, x, sample.mode())
    single_inputs = [cast(value, torch.float32) for value in (params, x, dy)]
    y32, _, dx32, dparams32 = forward_backward(
        sample.layer, single_inputs[0], single_inputs[1], sample.mode(), single_inputs[2]
    )
    for actual, expected, name in ((y32, y, "y"), (dx32, dx, "dx"), (dparams32, dparams, "dparams")):
        assert all(leaf.dtype is torch.float32 for leaf in leaves(actual).values())
        assert_close(actual, expected, 2e-5, name)


@every_sample
def test_bfloat16_agrees_roughly_and_statistics_stay_float32(sample: Sample) -> None:
    params, x = sample.inputs()
    params, x = cast(cast(params, torch.bfloat16), torch.float64), cast(cast(x, torch.bfloat16), torch.float64)
    y, dy, dx, dparams = forward_backward(sample.layer, params, x, sample.mode())
    half_inputs = bf16_params(sample.layer, params), cast(x, torch.bfloat16), cast(dy, torch.bfloat16)
    y16, _, dx16, dparams16 = forward_backward(
        sample.layer, half_inputs[0], half_inputs[1], sample.mode(), half_inputs[2]
    )
    assert all(leaf.dtype is torch.bfloat16 for leaf in (*leaves(y16).values(), *dx16.values()))
    assert all(leaf.dtype is half_inputs[0][name].dtype for name, leaf in dparams16.items())
    assert_close(y16, y, 0.03, "y")
    assert_close(dx16, dx, 0.05, "dx")
    assert_close(dparams16, dparams, 0.05, "dparams")


@every_sample
def test_channels_last_images_give_equal_outputs_and_gradients(sample: Sample) -> None:
    def reordered(leaf: Tensor) -> Tensor:
        return leaf.contiguous(memory_format=torch.channels_last) if leaf.dim() == 4 else leaf

    check_layout(sample, reordered)


@every_sample
def test_non_contiguous_tensors_give_equal_outputs_and_gradients(sample: Sample) -> None:
    check_layout(sample, strided_copy)


def check_layout(sample: Sample, change_layout: Any) -> None:
    params, x = sample.inputs()
    y, dy, dx, dparams = forward_backward(sample.layer, params, x, sample.mode())
    actual = forward_backward(
        sample.layer, params, tree_map(change_layout, x), sample.mode(), tree_map(change_layout, dy)
    )
    assert_close(actual[0], y, 1e-12, "y")
    assert_close(actual[2], dx, 1e-12, "dx")
    assert_close(actual[3], dparams, 1e-12, "dparams")


@every_sample
def test_an_expanded_dy_gives_equal_gradients(sample: Sample) -> None:
    """The gradient of a mean is one number for all pixels, an expanded tensor."""
    params, x = sample.inputs()
    y = forward_backward(sample.layer, params, x, sample.mode())[0]
    expanded_dy = tree_map(lambda leaf: torch.full((), 0.7, dtype=leaf.dtype).expand(leaf.shape), y)
    _, _, dx, dparams = forward_backward(sample.layer, params, x, sample.mode(), expanded_dy)
    _, _, full_dx, full_dparams = forward_backward(
        sample.layer, params, x, sample.mode(), tree_map(Tensor.contiguous, expanded_dy)
    )
    assert_close(dx, full_dx, 1e-12, "dx")
    assert_close(dparams, full_dparams, 1e-12, "dparams")


@each_sample(sample for sample in SAMPLES if not sample.train)
def test_an_empty_batch_gives_empty_outputs_and_zero_gradients(sample: Sample) -> None:
    """The second stage of a detector receives an empty batch if the first stage proposes no regions."""
    params, x = sample.inputs()
    empty_x = tree_map(lambda leaf: leaf[:0], x)
    y, _, dx, dparams = forward_backward(sample.layer, params, empty_x, sample.mode())
    assert leaf_shapes(y) == shape_list(with_batch(sample.layer.init(sample.shape, torch.Generator())[1], 0))
    assert all(len(leaf) == 0 for leaf in dx.values())
    assert all(leaf.eq(0).all() for leaf in dparams.values())


@pytest.mark.parametrize("layer_type", CACHES_INPUT, ids=lambda layer_type: layer_type.__name__)
def test_the_cache_of_a_linear_layer_contains_its_input(layer_type: type[Layer]) -> None:
    """Layer-wise relevance propagation reads the input from the cache."""
    sample = next(sample for sample in SAMPLES if type(sample.layer) is layer_type)
    params, x = sample.inputs()
    _, cache = sample.layer.forward(params, x, sample.mode())
    cached_input = cache[0]
    assert len(cached_input) == len(x) if isinstance(x, tuple) else cached_input is x
    assert not isinstance(x, tuple) or all(cached is tensor for cached, tensor in zip(cached_input, x, strict=True))


@every_sample
def test_forward_and_backward_change_no_input_and_repeat(sample: Sample) -> None:
    params, x = sample.inputs()
    originals = copy.deepcopy((params, x))
    y, cache = sample.layer.forward(params, x, sample.mode())
    dy = cotangent(y)
    copies = copy.deepcopy((cache, dy))
    first = sample.layer.backward(params, cache, dy)
    first_copy = copy.deepcopy(first)
    second = sample.layer.backward(params, cache, dy)
    assert_close(first, first_copy, 0.0, "first result")
    assert_close(second, first, 0.0, "second result")
    assert_close((cache, dy), copies, 0.0, "(cache, dy)")
    assert_close(x, originals[1], 0.0, "x")
    constant_names = set(params) - set(sample.layer.buffers if sample.train else ())
    assert_close(
        {name: params[name] for name in constant_names},
        {name: originals[0][name] for name in constant_names},
        0.0,
        "params",
    )


@every_sample
def test_shapes_and_types_follow_from_init(sample: Sample) -> None:
    params, x = sample.inputs()
    initial_params, output_shape = sample.layer.init(sample.shape, torch.Generator())
    y, _, dx, dparams = forward_backward(sample.layer, params, x, sample.mode())
    assert leaf_shapes(y) == shape_list(with_batch(output_shape, 3))
    assert all(leaf.dtype is torch.float32 for leaf in initial_params.values())
    assert set(dparams) == set(params) - set(sample.layer.buffers)
    assert leaf_shapes(dparams) == [params[name].shape for name in dparams]
    inputs = [leaf for leaf in leaves(x).values() if leaf.is_floating_point()]
    assert leaf_shapes(dx) == [leaf.shape for leaf in inputs]


def leaf_shapes(tree: Any) -> list[Any]:
    return [tuple(leaf.shape) for leaf in leaves(tree).values()]


def shape_list(shape: Any) -> list[Any]:
    return list(shape) if is_shape_tuple(shape) else [shape]


@every_sample
def test_a_cache_is_a_named_tuple_of_tensors(sample: Sample) -> None:
    params, x = sample.inputs()
    _, cache = sample.layer.forward(params, x, sample.mode())
    assert isinstance(cache, tuple)
    assert type(cache).__name__.endswith("Cache")
    assert set(type(cache)._fields) == set(type(cache).__annotations__)
    for part in cache:
        assert isinstance(part, Tensor) or (type(part) is tuple and all(isinstance(tensor, Tensor) for tensor in part))


@every_sample
def test_hyperparameters_are_stored_as_given(sample: Sample) -> None:
    layer = sample.layer
    hyperparameters = {field.name: getattr(layer, field.name) for field in dataclasses.fields(layer)}
    rebuilt = type(layer)(**hyperparameters)
    assert all(getattr(rebuilt, name) is value for name, value in hyperparameters.items())
    assert eval(repr(layer), vars(layers).copy()) == layer == rebuilt
    assert hash(layer) == hash(rebuilt)
    name = next(iter(hyperparameters), "anything")
    with pytest.raises((dataclasses.FrozenInstanceError, TypeError)):
        setattr(layer, name, 1)


@each_sample(first_sample_of_each_layer())
@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.uint8, torch.bool, torch.complex64, torch.float16])
def test_unsupported_dtypes_are_refused(sample: Sample, dtype: torch.dtype) -> None:
    params, x = sample.inputs()
    cast_x = tree_map(lambda leaf: leaf.to(dtype) if leaf.is_floating_point() else leaf, x)
    with pytest.raises(PellucidError, match=str(dtype).removeprefix("torch.")) as error_info:
        forward(sample.layer, params, cast_x, sample.mode())
    assert "\n" not in str(error_info.value)
