"""Each fused form by itself, on every sample of the layer that it replaces."""

import pytest
import torch
from torch import Tensor

from pellucid.combine import Combinator, Sequential
from pellucid.fuse.activations import FusedActivation, FusedLeakyReLU
from pellucid.fuse.context import FROZEN, FusionContext, Rate
from pellucid.fuse.plan import fuse
from pellucid.fuse.single_layers import FusedConcat, FusedConv2d, FusedDense, FusedMaxPool2d, FusedPadChannels
from pellucid.fuse.start import without_dx
from pellucid.layers import (
    BatchNorm,
    Concat,
    Conv2d,
    ConvTranspose2d,
    Dense,
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
from tests.layers.samples import SAMPLES
from tests.oracle import Sample, assert_close, autograd, cast, cotangent, forward_backward, leaves

FUSED_TYPES = {
    Dense: FusedDense,
    Conv2d: FusedConv2d,
    MaxPool2d: FusedMaxPool2d,
    PadChannels: FusedPadChannels,
}


def fused_form(layer: Layer) -> Layer:
    """Return the fused form of `layer` after a trained layer."""
    fused = fuse(Sequential(first=Dense(1), layer=layer))
    assert isinstance(fused, Combinator)
    return fused.layers["layer"]


FUSED_SAMPLES = [sample for sample in SAMPLES if type(fused_form(sample.layer)) in FUSED_TYPES.values()]


@pytest.mark.parametrize("sample", FUSED_SAMPLES, ids=str)
def test_a_fused_form_equals_the_reference_and_its_autograd(sample: Sample) -> None:
    params, x = sample.inputs()
    y, dy, dx, dparams = forward_backward(fused_form(sample.layer), params, x, Mode())
    expected_y, expected_dx, expected_dparams = autograd(sample.layer, params, x, Mode(), dy)
    assert_close(y, expected_y, 1e-12, "y")
    assert_close(dx, expected_dx, 1e-10, "dx")
    assert_close(dparams, expected_dparams, 1e-10, "dparams")


def test_every_fused_form_has_a_sample() -> None:
    assert {type(sample.layer): type(fused_form(sample.layer)) for sample in FUSED_SAMPLES} == FUSED_TYPES


@pytest.mark.parametrize("sample", FUSED_SAMPLES, ids=str)
def test_an_empty_batch_gives_empty_outputs_and_zero_gradients(sample: Sample) -> None:
    params, x = sample.inputs()
    y, _, dx, dparams = forward_backward(fused_form(sample.layer), params, x[:0], Mode())
    assert y.shape[0] == 0
    assert dx[""].shape == (0, *sample.shape)
    assert all(leaf.eq(0).all() for leaf in dparams.values())


@pytest.mark.parametrize("layer", [Dense(3), Dense(3, bias=False)], ids=repr)
def test_a_dense_layer_omits_dx_if_it_is_not_needed(layer: Dense) -> None:
    params, x = Sample(layer, (4,)).inputs()
    fused = FusedDense(layer, need_dx=False)
    y, cache = fused.forward(params, x, Mode())
    dy = cotangent(y)
    dx, dparams = fused.backward(params, cache, dy)
    assert dx is None
    assert_close(dparams, autograd(layer, params, x, Mode(), dy)[2], 1e-10, "dparams")


@pytest.mark.parametrize("bias", [True, False])
def test_a_convolution_omits_dx_if_it_is_not_needed(bias: bool) -> None:
    layer = Conv2d(3, 2, bias=bias)
    params, x = Sample(layer, (2, 4, 5)).inputs()
    fused = FusedConv2d(layer, need_dx=False)
    y, cache = fused.forward(params, x, Mode())
    dy = cotangent(y)
    dx, dparams = fused.backward(params, cache, dy)
    assert dx is None
    assert_close(dparams, autograd(layer, params, x, Mode(), dy)[2], 1e-10, "dparams")


@pytest.mark.parametrize("bias", [True, False])
def test_a_transposed_convolution_omits_dx_if_it_is_not_needed(bias: bool) -> None:
    layer = ConvTranspose2d(3, 2, stride=2, bias=bias)
    params, x = Sample(layer, (2, 4, 5)).inputs()
    fused = fuse(layer)
    y, cache = fused.forward(params, x, Mode())
    dy = cotangent(y)
    dx, dparams = fused.backward(params, cache, dy)
    assert dx is None
    assert_close(dparams, autograd(layer, params, x, Mode(), dy)[2], 1e-10, "dparams")


@pytest.mark.parametrize("first", [Conv2d(3, 2), Dense(3)], ids=repr)
def test_a_network_that_needs_dx_in_some_passes_only_omits_it_in_the_others(first: Layer) -> None:
    net = Sequential(Sequential(first, LeakyReLU(0.2)), BatchNorm())
    params, x = Sample(net, (2,) if isinstance(first, Dense) else (2, 4, 5)).inputs()
    fused = fuse(net, need_dx=True)
    y, cache = fused.forward(params, x, Mode())
    dy = cotangent(y)
    expected_dx = autograd(net, params, x, Mode(), dy)[1]
    _, _, dx, dparams = forward_backward(fused, params, x, Mode(), dy)
    assert_close(dx, expected_dx, 1e-10, "dx")
    dx_of_first, dparams_without_dx = without_dx(fused).backward(params, cache, dy)
    assert dx_of_first is None
    assert_close(leaves(dparams_without_dx), dparams, 1e-12, "dparams")


@pytest.mark.parametrize("layer", [Dense(3), Conv2d(3, 2), Conv2d(3, 1, bias=False)], ids=repr)
def test_a_frozen_layer_returns_only_dx(layer: Dense | Conv2d) -> None:
    params, x = Sample(layer, (4,) if isinstance(layer, Dense) else (2, 4, 5)).inputs()
    fused = FusedDense(layer, True, FROZEN) if isinstance(layer, Dense) else FusedConv2d(layer, True, FROZEN)
    _, dy, dx, dparams = forward_backward(fused, params, x, Mode())
    assert dparams == {}
    assert_close(dx, autograd(layer, params, x, Mode(), dy)[1], 1e-10, "dx")
    assert cached_values(fused, params, x) <= 1  # dx needs only the shape of x


def cached_values(layer: Layer, params: Params, x: Tensor) -> int:
    """Return the number of values that a layer's cache stores."""
    _, cache = layer.forward(params, x, Mode(True))
    return sum(leaf.untyped_storage().nbytes() // leaf.element_size() for leaf in leaves(cache).values())


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_dx_of_a_frozen_convolution_has_the_memory_format_of_dy(memory_format: torch.memory_format) -> None:
    layer = Conv2d(3, 3, padding=1)
    params, x = Sample(layer, (4, 5, 6)).inputs()
    params, x = cast(params, torch.float32), x.float().contiguous(memory_format=memory_format)
    params["weight"] = params["weight"].contiguous(memory_format=memory_format)
    fused = FusedConv2d(layer, True, FROZEN)
    y, cache = fused.forward(params, x, Mode())
    dy = cotangent(y).contiguous(memory_format=memory_format)
    dx, _ = fused.backward(params, cache, dy)
    assert dx is not None
    assert dx.is_contiguous(memory_format=memory_format)
    params64 = cast(params, torch.float64)
    assert_close(dx, autograd(layer, params64, x.double(), Mode(), dy.double())[1][""], 1e-5, "dx")


def test_fused_channel_padding_caches_no_values() -> None:
    layer = fused_form(PadChannels(1, 2))
    assert cached_values(layer, {}, torch.ones(2, 3, 4, 4)) == 0
    assert cached_values(layer.layer, {}, torch.ones(2, 3, 4, 4)) == 96  # the unfused layer caches x for rules


@pytest.mark.parametrize("shrink", [0.0, 0.01])
@pytest.mark.parametrize("layer", [Conv2d(3, 2), Conv2d(4, 1, bias=False), Conv2d(4, 3, groups=2)], ids=repr)
def test_a_convolution_that_updates_in_the_backward_pass_equals_gradient_descent(layer: Conv2d, shrink: float) -> None:
    params, x = Sample(layer, (2, 5, 6)).inputs()
    rate = Rate()
    rate.set(0.3, shrink)
    fused = FusedConv2d(layer, True, FusionContext(rate))
    y, cache = fused.forward(params, x, Mode())
    dy = cotangent(y)
    _, expected_dx, dparams = autograd(layer, params, x, Mode(), dy)
    expected = {"weight": (1 - shrink) * params["weight"] - 0.3 * dparams["weight"]}
    if layer.bias:
        expected["bias"] = params["bias"] - 0.3 * dparams["bias"]

    dx, remaining_dparams = fused.backward(params, cache, dy)

    assert remaining_dparams == {}
    assert_close(dx, expected_dx[""], 1e-10, "dx")
    assert_close(params, expected, 1e-12, "params")


@pytest.mark.parametrize("layer", [Conv2d(6, 1), Conv2d(6, 1, bias=False, padding=1), Conv2d(6, 1, stride=2)], ids=repr)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_convolutions_of_one_pixel_agree_in_every_dtype(dtype: torch.dtype, layer: Conv2d) -> None:
    params, x = Sample(layer, (4, 7, 6)).inputs()
    params, x = cast(params, dtype), x.to(dtype)
    y, dy, dx, dparams = forward_backward(fused_form(layer), params, x, Mode())
    params64 = cast(params, torch.float64)
    expected_y, expected_dx, expected_dparams = autograd(layer, params64, x.double(), Mode(), dy.double())
    tolerance = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 0.02}[dtype]
    assert_close(y, expected_y, tolerance, "y")
    assert_close({**dx, **dparams}, {**expected_dx, **expected_dparams}, tolerance, "gradients")


def shares_memory(first: Tensor, second: Tensor) -> bool:
    return first.data_ptr() == second.data_ptr()


@pytest.mark.parametrize("overwrite_dy", [False, True])
@pytest.mark.parametrize("overwrite_x", [False, True])
@pytest.mark.parametrize("kind", [ReLU, ReLU6, Sigmoid, Tanh, LeakyReLU])
def test_an_activation_overwrites_only_the_tensors_that_it_may(
    kind: type[Layer], overwrite_x: bool, overwrite_dy: bool
) -> None:
    x = torch.linspace(-8, 8, 33, dtype=torch.float64).view(3, 11)  # includes both kinks of ReLU6
    x_given = x.clone()
    flags = overwrite_x, overwrite_dy
    fused = FusedLeakyReLU(LeakyReLU(), *flags) if kind is LeakyReLU else FusedActivation(kind, *flags)
    y, cache = fused.forward({}, x_given, Mode())
    dy = cotangent(y)
    dy_given = dy.clone()
    dx, dparams = fused.backward({}, cache, dy_given)
    expected_y, expected_dx, _ = autograd(kind(), {}, x, Mode(), dy)
    assert_close(y, expected_y, 1e-15, "y")
    assert_close(dx, expected_dx[""], 1e-15, "dx")
    assert dparams == {}
    assert (shares_memory(y, x_given), shares_memory(dx, dy_given)) == (overwrite_x, overwrite_dy)
    assert overwrite_x or torch.equal(x_given, x)
    assert overwrite_dy or torch.equal(dy_given, dy)


def test_a_concat_caches_only_the_shapes_of_its_inputs() -> None:
    fused = fused_form(Concat())
    assert type(fused) is FusedConcat
    inputs = torch.rand(2, 3, 4, 4), torch.rand(2, 5, 4, 4)
    y, cache = fused.forward({}, inputs, Mode())
    dxs, _ = fused.backward({}, cache, y)
    assert all(map(torch.equal, dxs, inputs))
    assert all(part.untyped_storage().nbytes() == part.element_size() for part in cache.xs)
