"""Functions that compute a network's outputs without a backward pass.

Tests: tests/fuse/test_inference.py.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.combine.base import Combinator
from pellucid.fuse.activations import KERNELS
from pellucid.fuse.single_layers import fast_dilation, is_faster_in_pairs, pool_pairs
from pellucid.layers import ELU, GELU, HardSwish, LeakyReLU, ReLU, ReLU6, SiLU
from pellucid.layers.base import Layer, Mode, Params, memory_format, pair
from pellucid.layers.batchnorm import BatchNorm
from pellucid.layers.conv2d import Conv2d
from pellucid.layers.maxpool2d import MaxPool2d

aten = torch.ops.aten
mkldnn = torch.ops.mkldnn

RunFunction = Callable[[Any], Any]  # inputs -> outputs
Kernel = Callable[[Any, Tensor], Tensor]  # (layer, x) -> y
Pair = tuple[int, int]
EVALUATION = Mode(keep=False)
# oneDNN takes about 50 us to start a convolution. Up to so many multiplications, PyTorch's own kernel is faster: a
# LeNet takes 143 instead of 717 us for one image.
MAX_SMALL_PRODUCTS = 1_500_000


@dataclass(frozen=True)
class RunSequence:
    """Run functions in sequence."""

    runs: tuple[RunFunction, ...]

    def __call__(self, x: Any) -> Any:
        """Return the output of the last function."""
        for run in self.runs:
            x = run(x)
        return x


@dataclass(frozen=True)
class ChannelsLast:
    """Run a function on images in the channels-last memory format, in which convolutions on the CPU are fastest."""

    run: RunFunction

    def __call__(self, x: Any) -> Any:
        """Return the outputs."""
        # oneDNN's layout in blocks of channels had 0.86 to 0.94 of the speed for an image of MobileNetV2
        is_image = isinstance(x, Tensor) and x.dim() == 4
        return self.run(x.contiguous(memory_format=torch.channels_last) if is_image else x)


@dataclass(frozen=True)
class AsWritten:
    """Run a layer with its own `forward`."""

    layer: Layer
    params: Params

    def __call__(self, x: Any) -> Any:
        """Return the layer's output."""
        return self.layer.forward(self.params, x, EVALUATION)[0]


@dataclass(frozen=True)
class MaxPoolRun:
    """Compute the maximum of each window."""

    layer: MaxPool2d

    def __call__(self, x: Tensor) -> Tensor:
        """Return y."""
        return pool_pairs(x) if is_faster_in_pairs(self.layer, x) else self.layer.forward({}, x, EVALUATION)[0]


def _ignoring_layer(kernel: Callable[[Tensor], Tensor]) -> Kernel:
    return lambda layer, x: kernel(x)


# Kernels of activations that write y into x's memory.
INPLACE_KERNELS: dict[type[Layer], Kernel] = {
    **{kind: _ignoring_layer(kernels.forward_inplace) for kind, kernels in KERNELS.items()},
    LeakyReLU: lambda layer, x: F.leaky_relu_(x, layer.slope),
    ELU: lambda layer, x: F.elu_(x, layer.alpha),
    GELU: lambda layer, x: aten.gelu_(x, approximate=layer.approximate),
    SiLU: _ignoring_layer(aten.silu_),
    HardSwish: _ignoring_layer(aten.hardswish_),
}


@dataclass(frozen=True)
class InPlaceActivation:
    """Compute an activation in the memory of its input, which no other layer reads."""

    layer: Layer

    def __call__(self, x: Tensor) -> Tensor:
        """Return x, which contains y afterwards."""
        return INPLACE_KERNELS[type(self.layer)](self.layer, x)


def to_folding_dtype(x: Tensor) -> Tensor:
    """Return x in the precision for folding: float64, but float32 on Apple GPUs, which do not support float64."""
    return x.float() if x.device.type == "mps" else x.double()


def scale_and_shift(norm: BatchNorm, params: Params) -> tuple[Tensor, Tensor]:
    """Return the scale w / σ and the shift b - μ w / σ of a norm, (C,) each, in the precision of `to_folding_dtype`."""
    weight, bias, mean, var = (
        to_folding_dtype(params[name]) for name in ("weight", "bias", "running_mean", "running_var")
    )
    scale = weight / torch.sqrt(var + norm.epsilon)
    return scale, bias - mean * scale


@dataclass(frozen=True)
class Affine:
    """Compute y = act(x scale + shift) per channel."""

    scale: Tensor  # (C,)
    shift: Tensor  # (C,)
    act: Layer | None
    overwrite_x: bool  # whether y is written into x's memory, which no other layer reads

    def __call__(self, x: Tensor) -> Tensor:
        """Return y."""
        shape = (-1, *(1,) * (x.dim() - 2))
        scale, shift = self.scale.view(shape), self.shift.view(shape)
        if x.dtype is not scale.dtype:  # in half precision, a mean far from 0 would leave too few digits
            y = torch.addcmul(shift, x.to(scale.dtype), scale).to(x.dtype)
        else:
            y = torch.addcmul(shift, x, scale, out=x if self.overwrite_x else None)
        return y if self.act is None else INPLACE_KERNELS[type(self.act)](self.act, y)


# Activations that oneDNN's convolution can apply before it writes its output: their oneDNN name, scalars and algorithm.
ONEDNN_ACTIVATIONS: dict[type[Layer], Callable[[Any], tuple[str, list[int], str]]] = {
    ReLU: lambda layer: ("relu", [], ""),
    ReLU6: lambda layer: ("hardtanh", [0, 6], ""),
    GELU: lambda layer: ("gelu", [], layer.approximate),
    SiLU: lambda layer: ("swish", [], ""),
    HardSwish: lambda layer: ("hardswish", [], ""),
}


@dataclass(frozen=True)
class Convolution:
    """Compute y = act(w ⋆ x + b), or act(w ⋆ x + b + other)."""

    layer: Conv2d
    weight: Tensor
    bias: Tensor | None
    act: Layer | None
    # whether oneDNN computes y, with the sum and the activation in the same pass. The weight is then packed once, in
    # oneDNN's layout for the size of the first images, instead of once for each batch. Images of other sizes use the
    # unpacked weight. (Without a size, oneDNN may choose a layout that is ten times slower.) Small convolutions are
    # computed by PyTorch's own kernel.
    is_packable: bool
    packed_weights: dict[torch.Size, Tensor] = field(default_factory=dict, compare=False, repr=False)

    @cached_property
    def extra_padding(self) -> tuple[int, int, int, int] | None:
        """The argument of `F.pad` for the additional zeros of "same" padding on the right and bottom, if any."""
        left, right, top, bottom = self.layer.edges()
        return None if (left, top) == (right, bottom) else (0, right - left, 0, bottom - top)

    @cached_property
    def geometry(self) -> tuple[Pair, Pair, Pair, int]:
        """Padding, stride, dilation and groups."""
        left, _, top, _ = self.layer.edges()
        return (top, left), pair(self.layer.stride), fast_dilation(self.layer), self.layer.groups

    @cached_property
    def plain_arguments(self) -> tuple[Any, ...]:
        """Weight, kernel size, bias, stride and padding, as arguments of PyTorch's own kernel."""
        padding, stride, _, _ = self.geometry
        return _in_plain_format(self.weight), pair(self.layer.kernel), self.bias, stride, padding

    @cached_property
    def max_small_positions(self) -> int:
        """The largest number of positions in the batch for which PyTorch's own kernel is faster; 0 if it cannot be."""
        if self.layer.groups > 1 or pair(self.layer.dilation) != (1, 1):
            return 0
        return MAX_SMALL_PRODUCTS * math.prod(pair(self.layer.stride)) // self.weight.numel()

    @cached_property
    def onednn_activation(self) -> tuple[str, list[int], str]:
        """The activation's name, scalars and algorithm, as arguments of oneDNN's convolution."""
        return ("none", [], "") if self.act is None else ONEDNN_ACTIVATIONS[type(self.act)](self.act)

    def __call__(self, x: Tensor, other: Tensor | None = None) -> Tensor:
        """Return y."""
        if self.extra_padding is not None:
            x = F.pad(x, self.extra_padding)
        geometry = self.geometry
        if self.is_packable and 0 < len(x) * x.shape[2] * x.shape[3] <= self.max_small_positions:
            y = aten._slow_conv2d_forward(_in_plain_format(x), *self.plain_arguments)
        elif self.is_packable:
            x = x.contiguous(memory_format=torch.channels_last)  # after a small convolution
            name, scalars, algorithm = self.onednn_activation
            if not self.packed_weights:
                self.packed_weights[x.shape[1:]] = mkldnn._reorder_convolution_weight(self.weight, *geometry, x.shape)
            weight = self.packed_weights.get(x.shape[1:], self.weight)
            if other is None:
                return mkldnn._convolution_pointwise(x, weight, self.bias, *geometry, name, scalars, algorithm)
            unary = None if self.act is None else name
            return mkldnn._convolution_pointwise(x, other, weight, self.bias, *geometry, "add", 1.0, unary, scalars, "")
        else:
            padding, stride, dilation, groups = geometry
            y = torch.conv2d(x, self.weight, self.bias, stride, padding, dilation, groups)
        if other is not None:
            y += other
        return y if self.act is None else INPLACE_KERNELS[type(self.act)](self.act, y)


def _in_plain_format(x: Tensor) -> Tensor:
    """Return x (N, C, H, W) in the contiguous memory format, also by its strides.

    With a single channel or pixel, a tensor is contiguous in both formats, and its strides decide which one is used.
    """
    return x.contiguous().flatten().view(x.shape)


def convolution(
    layer: Conv2d, params: Params, scale: Tensor | None, shift: Tensor | None, act: Layer | None
) -> Convolution:
    """Return a Convolution whose output is multiplied by `scale` and shifted by `shift`, (filters,) each or None."""
    weight, bias = params["weight"], params.get("bias")
    if scale is not None and shift is not None:
        new_bias = shift if bias is None else shift + to_folding_dtype(bias) * scale
        bias = new_bias.to(weight.dtype)
        weight = (to_folding_dtype(weight) * scale[:, None, None, None]).to(weight.dtype)
    is_packable = weight.device.type == "cpu" and weight.dtype is torch.float32 and torch.backends.mkldnn.is_available()
    if is_packable:
        weight = weight.clone(memory_format=torch.channels_last)
    return Convolution(layer, weight, bias, act, is_packable)


@dataclass(frozen=True)
class Residual:
    """Run two branches and compute act(their sum); the last convolution of one branch adds the other's output."""

    other_branch: RunFunction
    body: RunFunction
    last_convolution: Convolution  # its act is the activation after the sum

    def __call__(self, x: Tensor) -> Tensor:
        """Return the block's output."""
        other_branch = self.other_branch(x)
        return self.last_convolution(self.body(x), other_branch)


@dataclass(frozen=True)
class RunSum:
    """Run branches and compute act(their sum) in the memory of the first output, which no other layer reads."""

    first_branch: RunFunction
    other_branches: tuple[RunFunction, ...]
    act: Layer | None

    def __call__(self, x: Tensor) -> Tensor:
        """Return act(the sum of the branches)."""
        y = self.first_branch(x)
        for branch in self.other_branches:
            y += branch(x)
        return y if self.act is None else INPLACE_KERNELS[type(self.act)](self.act, y)


@dataclass(frozen=True)
class ConvertedCombinator:
    """Run a combinator with converted children."""

    layer: Combinator
    params: Params
    children: Mapping[str, RunFunction]

    def __call__(self, x: Any) -> Any:
        """Return the combinator's output."""

        def step(name: str, child: Layer, params: Params, x: Any, mode: Mode) -> tuple[Any, None]:
            return self.children[name](x), None

        return self.layer.flow(self.params, x, EVALUATION, step)[0]


@dataclass(frozen=True)
class DenseBlockLayer:
    """A layer of a dense block: its norm and activation, the layers after them, and the number of maps it adds."""

    norm_act: Affine
    body: RunFunction
    growth: int


@dataclass(frozen=True)
class DenseBlockRun:
    """Run the consecutive layers of a dense block, with all maps in one tensor."""

    layers: tuple[DenseBlockLayer, ...]

    def __call__(self, x: Tensor) -> Tensor:
        """Return the maps of x and the maps of all layers, concatenated."""
        channels, *size = x.shape[1:]
        n_channels = channels + sum(layer.growth for layer in self.layers)
        layout = memory_format(x)
        maps = torch.empty(len(x), n_channels, *size, dtype=x.dtype, device=x.device, memory_format=layout)
        maps[:, :channels] = x
        for layer in self.layers:
            maps[:, channels : channels + layer.growth] = layer.body(layer.norm_act(maps[:, :channels]))
            channels += layer.growth
        return maps
