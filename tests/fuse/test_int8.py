"""Functions of uint8 codes are equal to float64 on the values of the codes, to half a step of the output."""

import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.fuse.inference.int8_runs import (
    DenseRun,
    QuantizedConvolution,
    QuantizedDense,
    QuantizedMaxPool,
    QuantizedPad,
    QuantizedResidual,
    quantized,
)
from pellucid.fuse.inference.quantization import Quantization, Range, quantize_weight
from pellucid.fuse.inference.runs import RunSequence, convolution
from pellucid.layers import GELU, Conv2d, Dense, HardSwish, MaxPool2d, Pad2d, ReLU, ReLU6, SiLU
from pellucid.layers.base import Layer, pair

needs_vnni = pytest.mark.skipif(not torch.cpu._is_vnni_supported(), reason="the processor has no VNNI instructions")

INPUT = Quantization(0.02, 100)  # values from -2 to 3.1
OUTPUT = Quantization(0.03, 90)  # values from -2.7 to 4.95: some outputs saturate
OTHER = Quantization(0.01, 30)
HALF_STEP = 0.5 + 1e-4  # with the rounding errors of float32


def codes(*shape: int) -> Tensor:
    drawn = torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    return drawn.contiguous(memory_format=torch.channels_last) if len(shape) == 4 else drawn


def values(codes: Tensor, quantization: Quantization) -> Tensor:
    return quantization.scale * (codes.double() - quantization.zero_point)


def assert_output(y: Tensor, expected: Tensor, output: Quantization | None) -> None:
    """Compare with the exact values: codes to half a step after saturation, float32 values to rounding errors."""
    if output is None:
        assert y.dtype is torch.float32
        torch.testing.assert_close(y.double(), expected, rtol=1e-5, atol=1e-5)
        return
    assert y.dtype is torch.uint8
    exact_codes = (expected / output.scale + output.zero_point).clamp(0, 255)
    assert (y.double() - exact_codes).abs().max() <= HALF_STEP
    assert y.min() < y.max()


def test_values_have_the_nearest_of_256_codes_and_saturate_outside_the_range() -> None:
    """PyTorch's fake quantization is the same in one step, from values to values."""
    x = torch.linspace(-4.0, 6.0, 997)  # no value is halfway between two codes
    x_codes = INPUT.quantize(x)
    expected = torch.fake_quantize_per_tensor_affine(x, INPUT.scale, INPUT.zero_point, 0, 255)
    torch.testing.assert_close(INPUT.dequantize(x_codes), expected, rtol=0, atol=INPUT.scale / 1e4)
    assert x_codes[0] == 0
    assert x_codes[-1] == 255


@pytest.mark.parametrize(("low", "high"), [(-1.0, 3.0), (0.5, 3.0), (-3.0, -1.0), (0.0, 0.0), (-1e-30, 1e30)])
def test_a_range_is_covered_by_codes_with_one_for_zero(low: float, high: float) -> None:
    observed = Range()
    observed.update(torch.tensor([low, high]))
    quantization = observed.quantization()
    assert 0 <= quantization.zero_point <= 255
    x = torch.tensor([low, 0.0, high])
    y = quantization.dequantize(quantization.quantize(x))
    assert y[1] == 0
    assert (y - x).abs().max() <= quantization.scale * HALF_STEP
    assert quantization.scale == pytest.approx((max(high, 0) - min(low, 0)) / 255, rel=1e-6, abs=1e-37)


def test_a_range_covers_all_tensors_and_is_not_finite_after_nan() -> None:
    observed = Range()
    for x in (torch.tensor([1.0, 2.0]), torch.tensor([-3.0, 0.0])):
        observed.update(x)
    assert (observed.low, observed.high, observed.is_finite) == (-3.0, 2.0, True)
    observed.update(torch.tensor([float("nan")]))
    observed.update(torch.tensor([5.0]))
    assert not observed.is_finite


def test_each_filter_has_its_own_scale() -> None:
    """A small filter beside a large one loses no more of its precision; a filter of zeros stays zero."""
    weight = torch.randn(4, 3, 3, 3, generator=torch.Generator().manual_seed(0))
    weight *= torch.tensor([1e-3, 1.0, 50.0, 0.0]).view(4, 1, 1, 1)
    weight_codes, scale = quantize_weight(weight)
    zeros = torch.zeros(4, dtype=torch.int32)
    expected = torch.fake_quantize_per_channel_affine(weight, scale, zeros, 0, -127, 127)
    torch.testing.assert_close(weight_codes * scale.view(4, 1, 1, 1), expected)
    assert weight_codes.abs().flatten(1).amax(1).tolist() == [127, 127, 127, 0]
    assert torch.isfinite(scale).all()


CONVOLUTIONS = [
    Conv2d(8, 3, padding=1),
    Conv2d(8, 1),
    Conv2d(8, 3, stride=2, padding=1, bias=False),
    Conv2d(8, 2, padding="same"),
    Conv2d(8, (1, 3), padding="same", dilation=2),
    Conv2d(8, 3, groups=2),
    Conv2d(4, 3, padding=1, groups=4),  # depthwise
    Conv2d(8, 3, groups=4, padding=2),
]
ACTIVATIONS: dict[Layer | None, Callable[[Tensor], Tensor]] = {
    None: lambda x: x,
    ReLU(): F.relu,
    ReLU6(): F.relu6,
    HardSwish(): F.hardswish,
    SiLU(): F.silu,
    GELU(): F.gelu,
    GELU("tanh"): lambda x: F.gelu(x, approximate="tanh"),
}


def draw(layer: Conv2d) -> tuple[dict[str, Tensor], Tensor]:
    """Return parameters for 4 channels, and the values of the weight's codes in float64."""
    rng = torch.Generator().manual_seed(1)
    params, _ = layer.init((4, 7, 6), rng)
    params = {name: 0.4 * torch.randn(tensor.shape, generator=rng) for name, tensor in params.items()}
    params["weight"][0] *= 10  # another scale than the other filters
    weight_codes, scale = quantize_weight(params["weight"])
    return params, weight_codes.double() * scale.double().view(-1, 1, 1, 1)


def convolved(layer: Conv2d, params: dict[str, Tensor], weight: Tensor, x: Tensor) -> Tensor:
    """Return the convolution in float64, for values x whose border is padded with 0."""
    left, right, top, bottom = layer.edges()
    bias = params["bias"].double() if "bias" in params else None
    x = F.pad(x, (left, right, top, bottom))
    return torch.conv2d(x, weight, bias, pair(layer.stride), 0, pair(layer.dilation), layer.groups)


@needs_vnni
@pytest.mark.parametrize("output", [None, OUTPUT], ids=["float32", "codes"])
@pytest.mark.parametrize("act", ACTIVATIONS, ids=repr)
@pytest.mark.parametrize("layer", CONVOLUTIONS, ids=repr)
def test_a_convolution_of_codes(layer: Conv2d, act: Layer | None, output: Quantization | None) -> None:
    """For any size of the images, though the weight is packed for the first one."""
    params, weight = draw(layer)
    convolve = quantized(convolution(layer, params, None, None, act), INPUT, output)
    for shape in ((2, 4, 7, 6), (1, 4, 12, 9), (3, 4, 7, 6)):
        x = codes(*shape)
        expected = ACTIVATIONS[act](convolved(layer, params, weight, values(x, INPUT)))
        assert_output(convolve(x), expected, output)


@needs_vnni
def test_a_filter_of_zeros_outputs_its_bias() -> None:
    params = {"weight": torch.zeros(2, 4, 1, 1), "bias": torch.tensor([0.5, -0.25])}
    convolve = quantized(convolution(Conv2d(2, 1), params, None, None, None), INPUT, None)
    expected = params["bias"].double().view(1, 2, 1, 1).expand(1, 2, 3, 3)
    assert_output(convolve(codes(1, 4, 3, 3)), expected, None)


@needs_vnni
@pytest.mark.parametrize("output", [None, OUTPUT], ids=["float32", "codes"])
@pytest.mark.parametrize("act", [None, ReLU()], ids=repr)
def test_a_residual_sum_of_codes(act: Layer | None, output: Quantization | None) -> None:
    """The kernel adds codes to codes with their own scale, and float32 to float32."""
    layer = Conv2d(4, 3, padding=1)
    params, weight = draw(layer)
    convolve = quantized(convolution(layer, params, None, None, act), INPUT, output)
    assert isinstance(convolve, QuantizedConvolution)
    x = codes(2, 4, 6, 5)
    before = x.clone()

    def other_branch(x: Tensor) -> Tensor:
        return OTHER.dequantize(255 - x) if output is None else 255 - x

    quantization = None if output is None else OTHER
    y = QuantizedResidual(other_branch, quantization, RunSequence(()), convolve)(x)
    expected = convolved(layer, params, weight, values(x, INPUT)) + values(255 - x, OTHER)
    assert_output(y, ACTIVATIONS[act](expected), output)
    assert torch.equal(x, before)


@needs_vnni
@pytest.mark.parametrize("shape", [(5, 12), (2, 3, 12)], ids=str)
@pytest.mark.parametrize("output", [None, OUTPUT], ids=["float32", "codes"])
@pytest.mark.parametrize("act", [None, ReLU()], ids=repr)
@pytest.mark.parametrize("bias", [True, False])
def test_a_dense_layer_of_codes(
    bias: bool, act: ReLU | None, output: Quantization | None, shape: tuple[int, ...]
) -> None:
    rng = torch.Generator().manual_seed(0)
    params: dict[str, Tensor] = {"weight": torch.randn(7, 12, generator=rng)}
    if bias:
        params["bias"] = torch.randn(7, generator=rng)
    run = quantized(DenseRun(Dense(7, bias=bias), params, act), INPUT, output)
    weight_codes, scale = quantize_weight(params["weight"])
    exact_bias = params["bias"].double() if bias else None
    for x in (codes(*shape), codes(9, *shape[1:])):
        expected = F.linear(values(x, INPUT), weight_codes.double() * scale.double()[:, None], exact_bias)
        assert_output(run(x), ACTIVATIONS[act](expected), output)


@needs_vnni
def test_only_the_packed_weight_is_kept() -> None:
    """In turn, the float32 weight, its packed forms and the int8 codes are dropped."""
    params = {"weight": torch.randn(4, 4, 3, 3)}
    float_run = convolution(Conv2d(4, 3, bias=False), params, None, None, None)
    float_run(torch.rand(64, 4, 64, 64).contiguous(memory_format=torch.channels_last))
    assert float_run.packed_weights
    dense_run = DenseRun(Dense(7, bias=False), {"weight": torch.randn(7, 12)}, None)
    float_weights = [weakref.ref(t) for t in (float_run.weight, *float_run.packed_weights.values(), dense_run.weight)]
    convolve, dense = quantized(float_run, INPUT, None), quantized(dense_run, INPUT, None)
    del float_run, dense_run
    assert [weight() for weight in float_weights] == [None] * 3
    assert isinstance(convolve, QuantizedConvolution)
    assert isinstance(dense, QuantizedDense)
    int8_codes = [weakref.ref(run.weight.codes) for run in (convolve, dense)]
    convolve(codes(1, 4, 6, 6))
    dense(codes(2, 12))
    assert [weight() for weight in int8_codes] == [None] * 2


@pytest.mark.parametrize(
    "layer",
    [
        MaxPool2d(2),
        MaxPool2d(3, 2, padding=1),
        MaxPool2d((2, 3), (3, 1)),
        MaxPool2d(3, 2, ceil_mode=True),
        MaxPool2d(2, 2, padding=1, ceil_mode=True),
        MaxPool2d(2, 1, dilation=2),
        MaxPool2d(1, 2),
        MaxPool2d(5, 1, padding=2),
    ],
    ids=repr,
)
@pytest.mark.parametrize("size", [(8, 7), (5, 12), (20, 20)], ids=str)  # PyTorch's kernel refuses the last one
def test_the_maximum_of_codes(layer: MaxPool2d, size: tuple[int, int]) -> None:
    x = codes(2, 3, *size)
    window = (layer.kernel, layer.step, layer.padding, layer.dilation, layer.ceil_mode)
    assert torch.equal(QuantizedMaxPool(layer)(x).double(), F.max_pool2d(x.double(), *window))


@pytest.mark.parametrize("padding", [1, (0, 1, 2, 0), (-1, 1, 0, -2)])
def test_codes_are_padded_with_the_code_of_zero(padding: Any) -> None:
    layer, x = Pad2d(padding), codes(2, 3, 5, 6)
    expected = F.pad(values(x, INPUT), layer.edges())
    assert torch.equal(values(QuantizedPad(layer, INPUT)(x), INPUT), expected)
