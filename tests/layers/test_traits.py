"""Every layer has the properties that its traits declare, on each of its samples."""

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from pellucid import operators
from pellucid.layers import Conv2d, Dense, Layer, Mode, ReLU
from pellucid.layers.base import Trait, declares
from tests.cases import each_sample
from tests.layers.samples import SAMPLES
from tests.operators.cases import CASES, draw_inputs
from tests.oracle import Sample, assert_close, is_shape_tuple, leaves, tree_map


def samples_with_trait(trait: Trait) -> Any:
    """Return a decorator that runs a test on the samples of all layers with a trait."""
    samples = [sample for sample in SAMPLES if trait in sample.layer.traits]
    assert samples
    return each_sample(samples)


def compute_output(sample: Sample, params: Any, x: Any) -> Any:
    return sample.layer.forward(params, x, sample.mode())[0]


def depends_on_one_element(sample: Sample) -> bool:
    """Return whether an element of the input changes only the same element of the output."""
    params, x = sample.inputs()
    y = compute_output(sample, params, x)
    changed_x = x.clone()
    first = x.numel() // len(x)  # of the second example
    changed_x.view(-1)[first] += 20.0
    changed_y = compute_output(sample, params, changed_x)
    return changed_y.shape == x.shape and set((changed_y != y).flatten().nonzero().flatten().tolist()) <= {first}


def has_parameters_of_positions(sample: Sample) -> bool:
    """Return whether a parameter has values for each row or column of an image."""
    return any(size > 1 for value in sample.inputs()[0].values() if value.ndim > 1 for size in value.shape[-2:])


@samples_with_trait(Trait.ELEMENTWISE)
def test_elementwise_outputs_depend_on_one_input_element(sample: Sample) -> None:
    assert depends_on_one_element(sample)
    assert not has_parameters_of_positions(sample), "explain/incremental.py runs elementwise layers on parts of images"


@samples_with_trait(Trait.LINEAR)
def test_linear_layers_map_sums_to_sums(sample: Sample) -> None:
    params, x = sample.inputs()
    other_x = tree_map(lambda leaf: leaf.flip(-1) * 1.5, x)
    pairs = zip(x, other_x, strict=True) if is_shape_tuple(sample.shape) else ()
    x_sum = tuple(one + two for one, two in pairs) or x + other_x
    zero = compute_output(sample, params, tree_map(torch.zeros_like, x))
    assert_close(
        compute_output(sample, params, x_sum) + zero,
        compute_output(sample, params, x) + compute_output(sample, params, other_x),
        1e-10,
        "y",
    )


@samples_with_trait(Trait.WEIGHTED)
def test_weighted_layers_are_linear_up_to_their_bias(sample: Sample) -> None:
    params, x = sample.inputs()
    zero_weight_params = {
        name: torch.zeros_like(value) if name == "weight" else value for name, value in params.items()
    }
    assert "weight" in params
    assert params.keys() <= {"weight", "bias"}
    y = compute_output(sample, zero_weight_params, x)
    assert Trait.LINEAR in sample.layer.traits
    assert_close(y, y[:1].expand(y.shape).clone(), 0.0, "y")


def weights_of(sample: Sample) -> set[str]:
    """Return the names of the weights that multiply inputs: not those of biases, and of scales of single values."""
    params, _ = sample.inputs()
    weights = {name for name, value in params.items() if name not in sample.layer.buffers and value.ndim > 1}
    if not weights or Trait.NORM in sample.layer.traits:
        return set()
    if is_shape_tuple(sample.shape) or not depends_on_one_element(sample):
        return weights
    # Also of a depthwise convolution of single pixels, whose weight has an axis more than a scale.
    sizes = {name: zip(reversed(params[name].shape), reversed(sample.shape), strict=False) for name in weights}
    scales = {name for name, pairs in sizes.items() if all(size in (1, full) for size, full in pairs)}
    return weights - {name for name in scales if params[name].ndim <= len(sample.shape)}


@each_sample(SAMPLES)
def test_decayed_names_all_weights_that_multiply_inputs(sample: Sample) -> None:
    assert {*sample.layer.decayed} == weights_of(sample), "regularizers act on `decayed` alone"


@dataclass(frozen=True)
class Scale(Layer):
    """A scale and a shift of each value, or of each sum over the values up to it."""

    traits = Trait.LINEAR | Trait.LEARNS
    size: tuple[int, ...]
    sums: bool

    def init(self, shape: Any, rng: torch.Generator) -> tuple[Any, Any]:
        return {name: torch.randn(self.size, generator=rng) for name in ("weight", "bias")}, shape

    def forward(self, params: Any, x: Any, mode: Mode) -> tuple[Any, None]:
        return (x.cumsum(1) if self.sums else x) * params["weight"] + params["bias"], None

    def backward(self, params: Any, cache: None, dy: Any) -> Any:
        raise NotImplementedError


@pytest.mark.parametrize("size", [(2, 3, 4), (2, 1, 1), (1, 3, 4), (3, 4)])
def test_scales_of_single_values_are_no_weights(size: tuple[int, ...]) -> None:
    assert weights_of(Sample(Scale(size, sums=False), (2, 3, 4))) == set()
    assert weights_of(Sample(Scale(size, sums=True), (2, 3, 4))) == {"weight", "bias"}
    assert has_parameters_of_positions(Sample(Scale(size, sums=False), (2, 3, 4))) == (size != (2, 1, 1))


@samples_with_trait(Trait.RESHAPE)
def test_reshaping_layers_change_no_value(sample: Sample) -> None:
    params, x = sample.inputs()
    assert torch.equal(compute_output(sample, params, x).flatten(), x.flatten())


@samples_with_trait(Trait.RECTIFIER | Trait.ELEMENTWISE)
def test_rectifiers_return_positive_inputs_unchanged(sample: Sample) -> None:
    x = torch.linspace(0.1, 5.9, 30, dtype=torch.float64)[None]
    assert torch.equal(compute_output(sample, {}, x), x)
    assert bool((compute_output(sample, {}, -x) > -x).all())


@samples_with_trait(Trait.SMOOTH_RECTIFIER | Trait.ELEMENTWISE)
def test_smooth_rectifiers_are_close_to_relu(sample: Sample) -> None:
    x = torch.tensor([[30.0, -30.0]], dtype=torch.float64)
    y = compute_output(sample, {}, x)
    assert_close(y[:, :1], x[:, :1], 1e-6, "y")
    assert -1.0 <= float(y[0, 1]) <= 1e-6


@samples_with_trait(Trait.RESAMPLE)
def test_resampling_layers_keep_channels_and_have_no_parameters(sample: Sample) -> None:
    params, x = sample.inputs()
    image = x[0] if is_shape_tuple(sample.shape) else x
    y = compute_output(sample, params, x)
    assert params == {}
    assert y.dim() == 4
    assert y.shape[:2] == image.shape[:2]


@samples_with_trait(Trait.NORM)
def test_a_norm_has_the_shape_of_its_input(sample: Sample) -> None:
    params, x = sample.inputs()
    assert compute_output(sample, params, x).shape == x.shape


def test_trainable_layers_are_those_with_parameters() -> None:
    trainable_types = {type(sample.layer) for sample in SAMPLES if set(sample.inputs()[0]) - set(sample.layer.buffers)}
    assert trainable_types == {type(sample.layer) for sample in SAMPLES if Trait.LEARNS in sample.layer.traits}


def test_merge_layers_are_those_with_several_inputs() -> None:
    merge_types = {
        type(sample.layer)
        for sample in SAMPLES
        if is_shape_tuple(sample.shape) and len(leaves(floating_inputs(sample))) > 1
    }
    assert merge_types == {type(sample.layer) for sample in SAMPLES if Trait.MULTIPLE_INPUTS in sample.layer.traits}


# Their further inputs are the scales, slopes, positions or shape with which the first one is changed.
OPERATORS_ON_THEIR_FIRST_INPUT = (
    *(operators.Expand, operators.GridSample, operators.ParametricReLU),
    *(operators.NormalizeChannels, operators.NormalizeGroups, operators.NormalizeLast),
)


def test_operators_that_combine_several_inputs_declare_it() -> None:
    combining = {type(case.layer) for case in CASES if sum(one.is_floating_point() for one in draw_inputs(case)) > 1}
    declared = {type(case.layer) for case in CASES if Trait.MULTIPLE_INPUTS in case.layer.traits}
    assert declared == combining - {*OPERATORS_ON_THEIR_FIRST_INPUT}, (
        "give the others the trait MULTIPLE_INPUTS, or name them in OPERATORS_ON_THEIR_FIRST_INPUT"
    )


def floating_inputs(sample: Sample) -> Any:
    _, x = sample.inputs()
    return tuple(tensor for tensor in x if tensor.is_floating_point())


def shares_memory(first: Tensor, second: Tensor) -> bool:
    return first.untyped_storage().data_ptr() == second.untyped_storage().data_ptr()


def is_expanded(x: Tensor) -> bool:
    return any(size > 1 and stride == 0 for size, stride in zip(x.shape, x.stride(), strict=True))


@pytest.mark.parametrize("batch", [2, 20])
@pytest.mark.parametrize("train", [False, True])
@samples_with_trait(Trait.NEW_OUTPUT)
def test_layers_with_new_outputs_share_no_memory_with_their_inputs(sample: Sample, train: bool, batch: int) -> None:
    layer = sample.layer
    params, x = sample.inputs(batch)
    y, cache = layer.forward(params, x, Mode(train=train))
    dy = torch.randn_like(y)
    dx, _ = layer.backward(params, cache, dy)
    input_tensors = (*(x if isinstance(x, tuple) else (x,)), *leaves(cache).values(), *leaves(params).values())
    assert not any(shares_memory(y, tensor) for tensor in input_tensors)
    assert not is_expanded(y)
    if Trait.NEW_DX in layer.traits:
        assert not any(shares_memory(dx, tensor) for tensor in (y, dy, *input_tensors))
        assert not is_expanded(dx)


@samples_with_trait(Trait.VIEW)
def test_views_share_memory_in_the_forward_and_the_backward_pass(sample: Sample) -> None:
    params, x = sample.inputs()
    x = x.contiguous()
    y, cache = sample.layer.forward(params, x, Mode())
    dy = torch.randn_like(y)
    dx, _ = sample.layer.backward(params, cache, dy)
    assert shares_memory(y, x)
    assert shares_memory(dx, dy)


def test_a_subclass_inherits_traits_but_declares_only_its_own() -> None:
    class InheritedTraits(ReLU):
        pass

    class OwnTraits(ReLU):
        traits = Trait.ELEMENTWISE

    assert InheritedTraits().traits == ReLU.traits
    assert not declares(InheritedTraits(), ReLU, Trait.ELEMENTWISE)
    assert declares(OwnTraits(), Conv2d, Trait.ELEMENTWISE)
    assert not declares(OwnTraits(), Trait.ACTIVATION)
    assert declares(ReLU(), Dense, ReLU)


def test_a_layer_has_no_traits_by_default() -> None:
    assert Layer.traits == Trait.NONE
