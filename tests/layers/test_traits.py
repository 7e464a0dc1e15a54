"""What a layer's traits say is true, on every sample of it."""

from typing import Any

import pytest
import torch
from torch import Tensor

from pellucid.layers import Conv2d, Dense, Layer, Mode, ReLU
from pellucid.layers.base import Trait, states
from tests.cases import each_sample
from tests.layers.samples import SAMPLES
from tests.oracle import Sample, assert_close, is_many, leaves, tree_map


def having(trait: Trait) -> Any:
    """Parametrize a test over the samples of layers with a trait."""
    samples = [sample for sample in SAMPLES if trait in sample.layer.traits]
    assert samples
    return each_sample(samples)


def run(sample: Sample, params: Any, x: Any) -> Any:
    return sample.layer.forward(params, x, sample.mode())[0]


@having(Trait.ELEMENTWISE)
def test_elementwise_outputs_depend_on_one_input_element(sample: Sample) -> None:
    params, x = sample.inputs()
    y = run(sample, params, x)
    changed = x.clone()
    changed.view(-1)[3] += 20.0
    other = run(sample, params, changed)
    assert other.shape == x.shape
    assert set((other != y).flatten().nonzero().flatten().tolist()) <= {3}


@having(Trait.LINEAR)
def test_linear_layers_map_sums_to_sums(sample: Sample) -> None:
    params, x = sample.inputs()
    other = tree_map(lambda leaf: leaf.flip(-1) * 1.5, x)
    pairs = zip(x, other, strict=True) if is_many(sample.shape) else ()
    together = tuple(one + two for one, two in pairs) or x + other
    zero = run(sample, params, tree_map(torch.zeros_like, x))
    assert_close(run(sample, params, together) + zero, run(sample, params, x) + run(sample, params, other), 1e-10, "y")


@having(Trait.WEIGHTED)
def test_weighted_layers_are_linear_up_to_their_bias(sample: Sample) -> None:
    params, x = sample.inputs()
    idle = {name: torch.zeros_like(value) if name == "weight" else value for name, value in params.items()}
    assert "weight" in params
    assert params.keys() <= {"weight", "bias"}
    y = run(sample, idle, x)
    assert Trait.LINEAR in sample.layer.traits
    assert_close(y, y[:1].expand(y.shape).clone(), 0.0, "y")


@having(Trait.RESHAPE)
def test_reshaping_layers_change_no_value(sample: Sample) -> None:
    params, x = sample.inputs()
    assert torch.equal(run(sample, params, x).flatten(), x.flatten())


@having(Trait.RECTIFIER | Trait.ELEMENTWISE)
def test_rectifiers_return_what_is_positive(sample: Sample) -> None:
    x = torch.linspace(0.1, 5.9, 30, dtype=torch.float64)[None]
    assert torch.equal(run(sample, {}, x), x)
    assert bool((run(sample, {}, -x) > -x).all())


@having(Trait.SMOOTH_RECTIFIER | Trait.ELEMENTWISE)
def test_smooth_rectifiers_are_close_to_relu(sample: Sample) -> None:
    x = torch.tensor([[30.0, -30.0]], dtype=torch.float64)
    y = run(sample, {}, x)
    assert_close(y[:, :1], x[:, :1], 1e-6, "y")
    assert -1.0 <= float(y[0, 1]) <= 1e-6


@having(Trait.RESAMPLE)
def test_resampling_layers_keep_channels_and_have_no_parameters(sample: Sample) -> None:
    params, x = sample.inputs()
    image = x[0] if is_many(sample.shape) else x
    y = run(sample, params, x)
    assert params == {}
    assert y.dim() == 4
    assert y.shape[:2] == image.shape[:2]


@having(Trait.NORM)
def test_a_norm_has_the_shape_of_its_input(sample: Sample) -> None:
    params, x = sample.inputs()
    assert run(sample, params, x).shape == x.shape


def test_trainable_layers_are_those_with_parameters() -> None:
    learning = {type(sample.layer) for sample in SAMPLES if set(sample.inputs()[0]) - set(sample.layer.buffers)}
    assert learning == {type(sample.layer) for sample in SAMPLES if Trait.LEARNS in sample.layer.traits}


def test_merge_layers_are_those_with_several_inputs() -> None:
    merging = {type(sample.layer) for sample in SAMPLES if is_many(sample.shape) and len(leaves(floats(sample))) > 1}
    assert merging == {type(sample.layer) for sample in SAMPLES if Trait.MERGE in sample.layer.traits}


def floats(sample: Sample) -> Any:
    _, x = sample.inputs()
    return tuple(one for one in x if one.is_floating_point())


def overlaps(one: Tensor, other: Tensor) -> bool:
    return one.untyped_storage().data_ptr() == other.untyped_storage().data_ptr()


def is_expanded(x: Tensor) -> bool:
    return any(size > 1 and stride == 0 for size, stride in zip(x.shape, x.stride(), strict=True))


@pytest.mark.parametrize("batch", [2, 20])
@pytest.mark.parametrize("train", [False, True])
@having(Trait.NEW_OUTPUT)
def test_layers_with_new_outputs_share_no_memory_with_their_inputs(sample: Sample, train: bool, batch: int) -> None:
    layer = sample.layer
    params, x = sample.inputs(batch)
    y, cache = layer.forward(params, x, Mode(train=train))
    dy = torch.randn_like(y)
    dx, _ = layer.backward(params, cache, dy)
    held = (*(x if isinstance(x, tuple) else (x,)), *leaves(cache).values(), *leaves(params).values())
    assert not any(overlaps(y, one) for one in held)
    assert not is_expanded(y)
    if Trait.NEW_DX in layer.traits:
        assert not any(overlaps(dx, one) for one in (y, dy, *held))
        assert not is_expanded(dx)


@having(Trait.VIEW)
def test_views_share_memory_in_the_forward_and_the_backward_pass(sample: Sample) -> None:
    params, x = sample.inputs()
    x = x.contiguous()
    y, cache = sample.layer.forward(params, x, Mode())
    dy = torch.randn_like(y)
    dx, _ = sample.layer.backward(params, cache, dy)
    assert overlaps(y, x)
    assert overlaps(dx, dy)


def test_a_subclass_has_the_traits_of_its_class_but_states_only_its_own() -> None:
    class Doubled(ReLU):
        pass

    class Stated(ReLU):
        traits = Trait.ELEMENTWISE

    assert Doubled().traits == ReLU.traits
    assert not states(Doubled(), ReLU, Trait.ELEMENTWISE)
    assert states(Stated(), Conv2d, Trait.ELEMENTWISE)
    assert not states(Stated(), Trait.ACTIVATION)
    assert states(ReLU(), Dense, ReLU)


def test_a_layer_states_no_trait_unless_it_says_so() -> None:
    assert Layer.traits == Trait.NONE
