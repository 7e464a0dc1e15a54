"""Functions that compute on uint8 codes with oneDNN's int8 kernels.

Tests: tests/fuse/test_int8.py.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.fuse.inference.quantization import Quantization, quantize_weight
from pellucid.fuse.inference.runs import (
    INPLACE_KERNELS,
    AsWritten,
    Convolution,
    MaxPoolRun,
    Pair,
    RunFunction,
    extra_padding,
    onednn_activation,
)
from pellucid.layers import GELU
from pellucid.layers.base import Layer, Params, Trait, declares, pair
from pellucid.layers.checks import window_outputs
from pellucid.layers.conv2d import Conv2d
from pellucid.layers.dense import Dense
from pellucid.layers.maxpool2d import MaxPool2d
from pellucid.layers.pad2d import Pad2d
from pellucid.layers.relu import ReLU

onednn = torch.ops.onednn


@dataclass(frozen=True)
class Quantize:
    """Convert float32 values to codes."""

    quantization: Quantization

    def __call__(self, x: Tensor) -> Tensor:
        """Return the codes."""
        return self.quantization.quantize(x)


@dataclass(frozen=True)
class Dequantize:
    """Convert codes to float32 values."""

    quantization: Quantization

    def __call__(self, codes: Tensor) -> Tensor:
        """Return the values."""
        return self.quantization.dequantize(codes)


@dataclass(eq=False)
class QuantizedWeight:
    """The codes of a weight, and the scale and the zero point (0) of each output, as the kernels expect them."""

    codes: Tensor | None  # int8
    scale: Tensor  # (outputs,)
    zero_point: Tensor  # (outputs,) int64
    # the codes in oneDNN's memory layout for the shape of the first inputs, which replace `codes` and also serve inputs
    # of other shapes
    packed: Tensor | None = None

    def pack(self, prepack: Callable[[Tensor], Tensor]) -> Tensor:
        """Return the packed codes; prepack: the function from codes to packed codes."""
        codes = self.codes  # read once, since another thread may pack them now
        if codes is not None:
            self.packed = prepack(codes)
            self.codes = None
        assert self.packed is not None
        return self.packed


def quantized_weight(weight: Tensor) -> QuantizedWeight:
    """Return the quantized weight."""
    codes, scale = quantize_weight(weight)
    return QuantizedWeight(codes, scale, torch.zeros(len(scale), dtype=torch.int64))


@dataclass(frozen=True)
class QuantizedConvolution:
    """Compute y = act(w ⋆ x + b), or act(w ⋆ x + b + other), for codes x.

    `other` is in float32 or codes like y; it is overwritten.
    """

    layer: Conv2d
    weight: QuantizedWeight
    bias: Tensor | None
    act: Layer | None
    input: Quantization
    output: Quantization | None  # quantization of y, or None for y in float32

    @cached_property
    def extra_padding(self) -> tuple[int, int, int, int] | None:
        """The additional padding on the right and bottom."""
        return extra_padding(self.layer)

    @cached_property
    def kernel_arguments(self) -> tuple[Pair, Pair, Pair, int]:
        """Stride, padding, dilation and groups, in the order of the int8 kernels."""
        left, _, top, _ = self.layer.edges()
        return pair(self.layer.stride), (top, left), pair(self.layer.dilation), self.layer.groups

    @cached_property
    def onednn_activation(self) -> tuple[str, list[int], str] | None:
        """The activation as arguments of the kernel, or None if the kernel does not support it."""
        return None if type(self.act) is GELU else onednn_activation(self.act)

    def __call__(
        self, x: Tensor, other: Tensor | None = None, other_quantization: Quantization | None = None
    ) -> Tensor:
        """Return y."""
        if self.extra_padding is not None:
            x = F.pad(x, self.extra_padding, value=self.input.zero_point)
        activation = self.onednn_activation
        if activation is None:
            y = self._convolve(x, None, ("none", [], ""))
            y = INPLACE_KERNELS[GELU](self.act, y)
            return y if self.output is None else self.output.quantize(y)
        if other is None:
            return self._convolve(x, self.output, activation)
        return onednn.qconv2d_pointwise.binary(
            *self._operands(x),
            other.contiguous(memory_format=torch.channels_last),
            self.bias,
            *self.kernel_arguments,
            *_output_arguments(self.output),
            *_scale_and_zero_point(other_quantization),
            "sum",
            1.0,
            *activation,
        )

    def _convolve(self, x: Tensor, output: Quantization | None, activation: tuple[str, list[int], str]) -> Tensor:
        arguments = (self.bias, *self.kernel_arguments, *_output_arguments(output), *activation)
        return onednn.qconv2d_pointwise(*self._operands(x), *arguments)

    def _operands(self, x: Tensor) -> tuple[Any, ...]:
        """Return the kernel's arguments for x and the weight."""
        weight = self.weight
        x_arguments = _scale_and_zero_point(self.input)

        def prepack(codes: Tensor) -> Tensor:
            return onednn.qconv_prepack(codes, weight.scale, *x_arguments, *self.kernel_arguments, list(x.shape))

        return (x, *x_arguments, weight.pack(prepack), weight.scale, weight.zero_point)


@dataclass(frozen=True)
class DenseRun:
    """Compute y = act(x Wᵀ + b)."""

    layer: Dense
    params: Params
    act: ReLU | None

    @property
    def weight(self) -> Tensor:
        """The weight, (units, n_in)."""
        return self.params["weight"]

    def __call__(self, x: Tensor) -> Tensor:
        """Return y."""
        y = F.linear(x, self.weight, self.params.get("bias"))
        return y if self.act is None else y.relu_()


@dataclass(frozen=True)
class QuantizedDense:
    """Compute y = act(x Wᵀ + b) for codes x."""

    weight: QuantizedWeight
    bias: Tensor | None
    act: ReLU | None
    input: Quantization
    output: Quantization | None  # quantization of y, or None for y in float32

    def __call__(self, x: Tensor) -> Tensor:
        """Return y."""
        weight = self.weight
        return onednn.qlinear_pointwise(
            x,
            *_scale_and_zero_point(self.input),
            weight.pack(lambda codes: onednn.qlinear_prepack(codes, list(x.shape))),
            weight.scale,
            weight.zero_point,
            self.bias,
            *_output_arguments(self.output),
            "none" if self.act is None else "relu",
            [],
            "",
        )


def _scale_and_zero_point(quantization: Quantization | None) -> tuple[float, int]:
    return (1.0, 0) if quantization is None else (quantization.scale, quantization.zero_point)


def _output_arguments(output: Quantization | None) -> tuple[float, int, torch.dtype]:
    return (*_scale_and_zero_point(output), torch.float32 if output is None else torch.uint8)


@dataclass(frozen=True)
class QuantizedResidual:
    """Run two branches and compute act(their sum); the last convolution of one branch adds the other's output.

    The sum is written into the other's output, which must be new memory.
    """

    other_branch: RunFunction
    other_quantization: Quantization | None  # None for float32
    body: RunFunction
    last_convolution: QuantizedConvolution

    def __call__(self, x: Tensor) -> Tensor:
        """Return the block's output."""
        other = self.other_branch(x)
        return self.last_convolution(self.body(x), other, self.other_quantization)


@dataclass(frozen=True)
class QuantizedPad:
    """Pad codes with the code of 0; negative padding crops."""

    layer: Pad2d
    input: Quantization

    def __call__(self, x: Tensor) -> Tensor:
        """Return the padded codes."""
        return F.pad(x, self.layer.edges(), value=self.input.zero_point)


@dataclass(frozen=True)
class QuantizedMaxPool:
    """Compute the maximum of each window of codes, first down the columns, then along the rows.

    PyTorch's kernel is limited to images of 255 pixels if they are uint8.
    """

    layer: MaxPool2d

    def __call__(self, x: Tensor) -> Tensor:
        """Return the codes of the maxima."""
        layer = self.layer
        sizes = (x.shape[2], x.shape[3])
        kernel, step, padding, dilation = map(pair, (layer.kernel, layer.step, layer.padding, layer.dilation))
        outputs = window_outputs(layer, sizes, kernel, step, padding, dilation, layer.ceil_mode)
        # The pixels that the windows cover; with ceil_mode, they may end beyond the padding.
        spans = [(n - 1) * s + d * (k - 1) + 1 for n, s, d, k in zip(outputs, step, dilation, kernel, strict=True)]
        top, left = padding
        bottom, right = (max(span - size - p, 0) for span, size, p in zip(spans, sizes, padding, strict=True))
        if top or left or bottom or right:
            x = F.pad(x, (left, right, top, bottom))  # code 0 is never larger than another code
        for axis in range(2):
            starts = range(0, dilation[axis] * kernel[axis], dilation[axis])
            length = (outputs[axis] - 1) * step[axis] + 1
            x = _maximum([_strided(x, axis + 2, start, length, step[axis]) for start in starts])
        return x


def _strided(x: Tensor, axis: int, start: int, length: int, step: int) -> Tensor:
    return x.narrow(axis, start, length)[(slice(None),) * axis + (slice(None, None, step),)]


def _maximum(tensors: Sequence[Tensor]) -> Tensor:
    first, *others = tensors
    y = first
    for tensor in others:
        y = torch.maximum(y, tensor)
    return y


def keeps_codes(run: RunFunction) -> bool:
    """Return whether a function only returns values of its input, and zeros, so that it can be applied to codes."""
    if not isinstance(run, AsWritten):
        return isinstance(run, MaxPoolRun)
    is_zero_pad = type(run.layer) is Pad2d and run.layer.kind == "zero"
    return is_zero_pad or declares(run.layer, Trait.RESHAPE)


def on_codes(run: RunFunction, input: Quantization) -> RunFunction:
    """Return a function for which `keeps_codes` is true as a function from codes to codes."""
    match run:
        case MaxPoolRun(layer):
            return QuantizedMaxPool(layer)
        case AsWritten(layer=Pad2d() as layer):
            return QuantizedPad(layer, input)
        case _:
            return run


def quantized(run: Convolution | DenseRun, input: Quantization, output: Quantization | None) -> RunFunction:
    """Return the quantized form of a convolution or a dense layer, without its float32 weight."""
    weight = quantized_weight(run.weight)
    if isinstance(run, Convolution):
        return QuantizedConvolution(run.layer, weight, run.bias, run.act, input, output)
    return QuantizedDense(weight, run.params.get("bias"), run.act, input, output)
