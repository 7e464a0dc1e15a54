"""Every layer keeps the contract, on every sample of it."""

import copy
import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor

from pellucid import layers
from pellucid.errors import PellucidError
from pellucid.layers import LAYERS, Layer
from pellucid.sweep import forward
from tests.cases import each_sample
from tests.layers.samples import SAMPLES
from tests.oracle import (
    Sample,
    assert_close,
    autograd,
    cast,
    cotangent,
    is_many,
    leaves,
    ours,
    scattered,
    slope_along,
    tree_map,
    with_batch,
)
from tests.references import REFERENCES

FULL_PRECISION = (layers.BatchNorm, layers.GroupNorm, layers.InstanceNorm2d, layers.LayerNorm)
KEEP_THEIR_INPUT = (
    layers.Dense,
    layers.Conv2d,
    layers.ConvTranspose2d,
    layers.AvgPool2d,
    layers.AdaptiveAvgPool2d,
    layers.Flatten,
    layers.Reshape,
    layers.Pad2d,
    layers.PadChannels,
    layers.Upsample,
    layers.BatchNorm,
    layers.Add,
    layers.Concat,
    layers.Crop,
    layers.Multiply,
)
samples = each_sample(SAMPLES)


def each_once() -> list[Sample]:
    """The first sample of each layer."""
    return list({type(sample.layer): sample for sample in reversed(SAMPLES)}.values())


@pytest.mark.parametrize("kind", LAYERS, ids=lambda kind: kind.__name__)
def test_a_layer_has_samples_and_a_reference(kind: type[Layer]) -> None:
    assert any(type(sample.layer) is kind for sample in SAMPLES)
    assert kind in REFERENCES


def test_every_exported_layer_is_listed() -> None:
    exported = [value for value in vars(layers).values() if isinstance(value, type) and issubclass(value, Layer)]
    assert set(exported) - {Layer} == set(LAYERS)
    assert len(LAYERS) == len(set(LAYERS))


@samples
def test_forward_and_backward_equal_the_reference_and_its_autograd(sample: Sample) -> None:
    for batch in sample.batches:
        params, x = sample.inputs(batch)
        y, dy, dx, dparams = ours(sample.layer, params, x, sample.mode())
        expected_y, expected_dx, expected_dparams = autograd(sample.layer, params, x, sample.mode(), dy)
        assert_close(y, expected_y, 1e-12, "y")
        assert_close(dx, expected_dx, 1e-10, "dx")
        assert_close(dparams, expected_dparams, 1e-10, "dparams")


@each_sample(sample for sample in SAMPLES if sample.smooth)
def test_backward_equals_a_central_difference(sample: Sample) -> None:
    params, x = sample.inputs()
    _, dy, _, _ = ours(sample.layer, params, x, sample.mode())
    explicit, measured = slope_along(sample.layer, params, x, sample.mode(), dy)
    assert explicit == pytest.approx(measured, rel=1e-6, abs=1e-6)


@samples
def test_float32_agrees_with_float64(sample: Sample) -> None:
    params, x = sample.inputs()
    params, x = cast(cast(params, torch.float32), torch.float64), cast(cast(x, torch.float32), torch.float64)
    y, dy, dx, dparams = ours(sample.layer, params, x, sample.mode())
    single = [cast(value, torch.float32) for value in (params, x, dy)]
    y32, _, dx32, dparams32 = ours(sample.layer, single[0], single[1], sample.mode(), single[2])
    for actual, expected, what in ((y32, y, "y"), (dx32, dx, "dx"), (dparams32, dparams, "dparams")):
        assert all(leaf.dtype is torch.float32 for leaf in leaves(actual).values())
        assert_close(actual, expected, 2e-5, what)


@samples
def test_bfloat16_agrees_roughly_and_statistics_stay_float32(sample: Sample) -> None:
    params, x = sample.inputs()
    params, x = cast(cast(params, torch.bfloat16), torch.float64), cast(cast(x, torch.bfloat16), torch.float64)
    y, dy, dx, dparams = ours(sample.layer, params, x, sample.mode())
    learned_in = torch.float32 if isinstance(sample.layer, FULL_PRECISION) else torch.bfloat16
    half = cast(params, learned_in), cast(x, torch.bfloat16), cast(dy, torch.bfloat16)
    y16, _, dx16, dparams16 = ours(sample.layer, half[0], half[1], sample.mode(), half[2])
    assert all(leaf.dtype is torch.bfloat16 for leaf in (*leaves(y16).values(), *dx16.values()))
    assert all(leaf.dtype is learned_in for leaf in dparams16.values())
    assert_close(y16, y, 0.03, "y")
    assert_close(dx16, dx, 0.05, "dx")
    assert_close(dparams16, dparams, 0.05, "dparams")


@samples
def test_channels_last_images_give_equal_outputs_and_gradients(sample: Sample) -> None:
    def reordered(leaf: Tensor) -> Tensor:
        return leaf.contiguous(memory_format=torch.channels_last) if leaf.dim() == 4 else leaf

    compare_layouts(sample, reordered)


@samples
def test_non_contiguous_tensors_give_equal_outputs_and_gradients(sample: Sample) -> None:
    compare_layouts(sample, scattered)


def compare_layouts(sample: Sample, change: Any) -> None:
    params, x = sample.inputs()
    y, dy, dx, dparams = ours(sample.layer, params, x, sample.mode())
    moved = ours(sample.layer, params, tree_map(change, x), sample.mode(), tree_map(change, dy))
    assert_close(moved[0], y, 1e-12, "y")
    assert_close(moved[2], dx, 1e-12, "dx")
    assert_close(moved[3], dparams, 1e-12, "dparams")


@samples
def test_an_expanded_dy_gives_equal_gradients(sample: Sample) -> None:
    """A mean hands back one number for a whole image, expanded in memory."""
    params, x = sample.inputs()
    y = ours(sample.layer, params, x, sample.mode())[0]
    one = tree_map(lambda leaf: torch.full((), 0.7, dtype=leaf.dtype).expand(leaf.shape), y)
    _, _, dx, dparams = ours(sample.layer, params, x, sample.mode(), one)
    _, _, full_dx, full_dparams = ours(sample.layer, params, x, sample.mode(), tree_map(Tensor.contiguous, one))
    assert_close(dx, full_dx, 1e-12, "dx")
    assert_close(dparams, full_dparams, 1e-12, "dparams")


@each_sample(sample for sample in SAMPLES if not sample.train)
def test_an_empty_batch_gives_empty_outputs_and_zero_gradients(sample: Sample) -> None:
    """A detector may find nothing; its second stage then receives no images, and no gradient comes of it."""
    params, x = sample.inputs()
    none = tree_map(lambda leaf: leaf[:0], x)
    y, _, dx, dparams = ours(sample.layer, params, none, sample.mode())
    assert leaf_shapes(y) == leaf_shapes_of(with_batch(sample.layer.init(sample.shape, torch.Generator())[1], 0))
    assert all(len(leaf) == 0 for leaf in dx.values())
    assert all(leaf.eq(0).all() for leaf in dparams.values())


@pytest.mark.parametrize("kind", KEEP_THEIR_INPUT, ids=lambda kind: kind.__name__)
def test_a_linear_layer_keeps_its_input(kind: type[Layer]) -> None:
    """Layer-wise relevance propagation needs it."""
    sample = next(sample for sample in SAMPLES if type(sample.layer) is kind)
    params, x = sample.inputs()
    _, cache = sample.layer.forward(params, x, sample.mode())
    kept = cache[0]
    assert len(kept) == len(x) if isinstance(x, tuple) else kept is x
    assert not isinstance(x, tuple) or all(one is other for one, other in zip(kept, x, strict=True))


@samples
def test_forward_and_backward_change_no_input_and_repeat(sample: Sample) -> None:
    params, x = sample.inputs()
    before = copy.deepcopy((params, x))
    y, cache = sample.layer.forward(params, x, sample.mode())
    dy = cotangent(y)
    kept = copy.deepcopy((cache, dy))
    first = sample.layer.backward(params, cache, dy)
    first_kept = copy.deepcopy(first)
    second = sample.layer.backward(params, cache, dy)
    assert_close(first, first_kept, 0.0, "first result")
    assert_close(second, first, 0.0, "second result")
    assert_close((cache, dy), kept, 0.0, "(cache, dy)")
    assert_close(x, before[1], 0.0, "x")
    lasting = set(params) - set(sample.layer.buffers if sample.train else ())
    assert_close({name: params[name] for name in lasting}, {name: before[0][name] for name in lasting}, 0.0, "params")


@samples
def test_shapes_and_types_follow_from_init(sample: Sample) -> None:
    params, x = sample.inputs()
    fresh, out = sample.layer.init(sample.shape, torch.Generator())
    y, _, dx, dparams = ours(sample.layer, params, x, sample.mode())
    assert leaf_shapes(y) == leaf_shapes_of(with_batch(out, 3))
    assert all(leaf.dtype is torch.float32 for leaf in fresh.values())
    assert set(dparams) == set(params) - set(sample.layer.buffers)
    assert leaf_shapes(dparams) == [params[name].shape for name in dparams]
    inputs = [leaf for leaf in leaves(x).values() if leaf.is_floating_point()]
    assert leaf_shapes(dx) == [leaf.shape for leaf in inputs]


def leaf_shapes(tree: Any) -> list[Any]:
    return [tuple(leaf.shape) for leaf in leaves(tree).values()]


def leaf_shapes_of(shape: Any) -> list[Any]:
    return list(shape) if is_many(shape) else [shape]


@samples
def test_a_cache_is_a_named_tuple_of_tensors(sample: Sample) -> None:
    params, x = sample.inputs()
    _, cache = sample.layer.forward(params, x, sample.mode())
    assert isinstance(cache, tuple)
    assert type(cache).__name__.endswith("Cache")
    assert set(type(cache)._fields) == set(type(cache).__annotations__)
    for part in cache:
        assert isinstance(part, Tensor) or (type(part) is tuple and all(isinstance(one, Tensor) for one in part))


@samples
def test_hyperparameters_are_stored_as_given(sample: Sample) -> None:
    layer = sample.layer
    given = {field.name: getattr(layer, field.name) for field in dataclasses.fields(layer)}
    again = type(layer)(**given)
    assert all(getattr(again, name) is value for name, value in given.items())
    assert eval(repr(layer), vars(layers).copy()) == layer == again
    assert hash(layer) == hash(again)
    name = next(iter(given), "anything")
    with pytest.raises((dataclasses.FrozenInstanceError, TypeError)):
        setattr(layer, name, 1)


@each_sample(each_once())
@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.uint8, torch.bool, torch.complex64, torch.float16])
def test_unsupported_dtypes_are_refused(sample: Sample, dtype: torch.dtype) -> None:
    params, x = sample.inputs()
    unfit = tree_map(lambda leaf: leaf.to(dtype) if leaf.is_floating_point() else leaf, x)
    with pytest.raises(PellucidError, match=str(dtype).removeprefix("torch.")) as caught:
        forward(sample.layer, params, unfit, sample.mode())
    assert "\n" not in str(caught.value)
