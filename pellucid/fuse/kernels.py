"""PyTorch's kernels for the backward passes of layers: the gradients of the layers' own formulas, in less time.

A kernel takes the layer's own parameters and cache, so it can replace the layer's `backward` in any network.

Tests: tests/fuse/test_kernels.py.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.layers.adaptiveavgpool2d import AdaptiveAvgPool2d, AdaptiveAvgPool2dCache
from pellucid.layers.avgpool2d import AvgPool2d, AvgPool2dCache
from pellucid.layers.base import Layer, Params, memory_format, pair
from pellucid.layers.batchnorm import BatchCache, BatchNorm, RunningCache
from pellucid.layers.conv2d import Conv2d, Conv2dCache
from pellucid.layers.convtranspose2d import ConvTranspose2d, ConvTranspose2dCache
from pellucid.layers.gelu import GELU
from pellucid.layers.groupnorm import GroupNorm, GroupNormCache, kernel_format
from pellucid.layers.hardsigmoid import HardSigmoid
from pellucid.layers.hardswish import HardSwish
from pellucid.layers.instancenorm2d import InstanceNorm2d
from pellucid.layers.layernorm import LayerNorm, LayerNormCache
from pellucid.layers.lppool2d import LpPool2d, LpPool2dCache
from pellucid.layers.maxpool2d import MaxPool2d, MaxPool2dCache
from pellucid.layers.pad2d import Pad2d, Pad2dCache
from pellucid.layers.relu import ReLU
from pellucid.layers.relu6 import ReLU6
from pellucid.layers.silu import SiLU
from pellucid.layers.upsample import Upsample, UpsampleCache, at_least_float32
from pellucid.layers.windows import sum_dtype
from pellucid.operators.convolution import Convolve
from pellucid.operators.moves import InputsCache
from pellucid.operators.norms import (
    NormalizeCache,
    NormalizeChannels,
    NormalizeGroups,
    NormalizeLast,
    axis_sizes,
    weight_and_bias,
)

aten = torch.ops.aten


def conv2d_gradients(layer: Conv2d, params: Params, cache: Conv2dCache, dy: Tensor) -> tuple[Tensor, Params]:
    """Return (dx, dparams) of a Conv2d."""
    left, right, top, bottom = layer.edges()
    height, width = cache.x.shape[2:]
    extra_padding = (0, right - left, 0, bottom - top)
    x = F.pad(cache.x, extra_padding) if any(extra_padding) else cache.x
    dx, dweight, dbias = aten.convolution_backward(
        dy,
        x,
        params["weight"],
        [layer.filters] if layer.bias else None,
        pair(layer.stride),
        (top, left),
        pair(layer.dilation),
        False,  # not transposed
        (0, 0),  # output padding
        layer.groups,
        (True, True, layer.bias),
    )
    if any(extra_padding):
        dx = dx[:, :, :height, :width]  # drop the gradient of the padding
    return dx, {"weight": dweight, "bias": dbias} if layer.bias else {"weight": dweight}


def transposed_gradients(
    layer: ConvTranspose2d, params: Params, cache: ConvTranspose2dCache, dy: Tensor, need_dx: bool = True
) -> tuple[Any, Params]:
    """Return (dx, dparams) of a ConvTranspose2d; dx is None unless `need_dx`."""
    dx, dweight, dbias = aten.convolution_backward(
        dy,
        cache.x,
        params["weight"],
        [layer.filters] if layer.bias else None,
        pair(layer.stride),
        pair(layer.padding),
        pair(layer.dilation),
        True,  # transposed
        pair(layer.output_padding),
        layer.groups,
        (need_dx, True, layer.bias),
    )
    return dx, {"weight": dweight, "bias": dbias} if layer.bias else {"weight": dweight}


def batch_norm_gradients(
    layer: BatchNorm, params: Params, cache: BatchCache | RunningCache, dy: Tensor
) -> tuple[Tensor, Params]:
    """Return (dx, dparams) of a BatchNorm."""
    if not dy.numel():  # the kernel would divide by the number of values
        return layer.backward(params, cache, dy)
    dy = dy.contiguous(memory_format=memory_format(cache.x))  # the kernel is 10 times as slow for a Concat's dy
    is_training = isinstance(cache, BatchCache)
    empty = params["running_mean"].new_empty(0)  # the kernels of GPUs take no None
    mean, invstd = (cache.mean, cache.invstd) if is_training else (empty, empty)
    dx, dweight, dbias = aten.native_batch_norm_backward(
        dy,
        cache.x,
        params["weight"],
        params["running_mean"],
        params["running_var"],
        mean,
        invstd,
        is_training,
        layer.epsilon,
        (True, True, True),
    )
    return dx, {"weight": dweight, "bias": dbias}


def layer_norm_gradients(layer: LayerNorm, params: Params, cache: LayerNormCache, dy: Tensor) -> tuple[Tensor, Params]:
    """Return (dx, dparams) of a LayerNorm."""
    weight = params["weight"]
    dx, dweight, dbias = aten.native_layer_norm_backward(
        dy, cache.x, weight.shape, cache.mean, cache.invstd, weight, params["bias"], (True, True, True)
    )
    return dx, {"weight": dweight, "bias": dbias}


def group_norm_gradients(
    layer: GroupNorm | InstanceNorm2d, params: Params, cache: GroupNormCache, dy: Tensor
) -> tuple[Tensor, Params]:
    """Return (dx, dparams) of a GroupNorm, or of an InstanceNorm2d, which has a group for each channel."""
    x, mean, invstd = cache
    weight = params.get("weight")
    has_weight = weight is not None
    dy = dy.contiguous(memory_format=kernel_format(x))
    dx, dweight, dbias = aten.native_group_norm_backward(
        dy, x, mean, invstd, weight, *axis_sizes(x), mean.shape[1], (True, has_weight, has_weight)
    )
    return dx, {"weight": dweight, "bias": dbias} if has_weight else {}


def max_pool2d_gradients(layer: MaxPool2d, params: Params, cache: MaxPool2dCache, dy: Tensor) -> tuple[Tensor, Params]:
    """Return dx of a MaxPool2d."""
    if dy.device.type == "mps":  # the MPS kernel recomputes the maxima, but the input is not cached
        return layer.backward(params, cache, dy)
    switches, x = cache
    layout = memory_format(switches)
    x_placeholder = torch.empty(x.shape, dtype=dy.dtype, device=dy.device, memory_format=layout)
    window = pair(layer.kernel), pair(layer.step), pair(layer.padding), pair(layer.dilation), layer.ceil_mode
    return aten.max_pool2d_with_indices_backward(dy, x_placeholder, *window, switches), {}


def avg_pool2d_gradients(layer: AvgPool2d, params: Params, cache: AvgPool2dCache, dy: Tensor) -> tuple[Tensor, Params]:
    """Return dx of an AvgPool2d; PyTorch has no kernel with dilation."""
    if pair(layer.dilation) != (1, 1):
        return layer.backward(params, cache, dy)
    window = pair(layer.kernel), pair(layer.step), pair(layer.padding), layer.ceil_mode, layer.count_include_pad
    # None: divide by the number of values in the window
    return aten.avg_pool2d_backward(dy, cache.x, *window, None), {}


def lp_pool2d_gradients(layer: LpPool2d, params: Params, cache: LpPool2dCache, dy: Tensor) -> tuple[Tensor, Params]:
    """Return dx of an LpPool2d; PyTorch has no kernel with dilation."""
    if pair(layer.dilation) != (1, 1):
        return layer.backward(params, cache, dy)
    x, y = (tensor.to(sum_dtype(tensor.dtype)) for tensor in cache)
    weighted_dy = torch.where(y > 0, dy * y ** (1 - layer.p), 0)  # (N, C, H', W')
    window = pair(layer.kernel), pair(layer.step), (0, 0), layer.ceil_mode, True
    dy_sums = aten.avg_pool2d_backward(weighted_dy, x, *window, 1)  # divided by 1: (N, C, H, W)
    return (x.sign() * x.abs() ** (layer.p - 1) * dy_sums).to(dy.dtype), {}


def adaptive_avg_pool2d_gradients(
    layer: AdaptiveAvgPool2d, params: Params, cache: AdaptiveAvgPool2dCache, dy: Tensor
) -> tuple[Tensor, Params]:
    """Return dx of an AdaptiveAvgPool2d; for the mean over all pixels, the layer's own dx needs no memory."""
    if pair(layer.size) == (1, 1):
        return layer.backward(params, cache, dy)
    return aten._adaptive_avg_pool2d_backward(dy, cache.x), {}


UPSAMPLING = {
    "nearest": aten.upsample_nearest2d_backward,
    "nearest-exact": aten._upsample_nearest_exact2d_backward,
    "bilinear": aten.upsample_bilinear2d_backward,
    "bicubic": aten.upsample_bicubic2d_backward,
}
ANTIALIASED_UPSAMPLING = {
    "bilinear": aten._upsample_bilinear2d_aa_backward,
    "bicubic": aten._upsample_bicubic2d_aa_backward,
}


def upsample_gradients(layer: Upsample, params: Params, cache: UpsampleCache, dy: Tensor) -> tuple[Tensor, Params]:
    """Return dx of an Upsample."""
    x = cache.x
    output_size = layer.output_size(*x.shape[2:])
    arguments = layer.kernel_arguments(x, output_size)
    if layer.antialias:
        kernel = ANTIALIASED_UPSAMPLING[layer.kind]
        return kernel(at_least_float32(dy), output_size, x.shape, *arguments).to(dy.dtype), {}
    computed_size = layer.computed_size(x, output_size)
    dy = dy if computed_size == output_size else F.pad(dy, (0, 0, 0, 1))
    return UPSAMPLING[layer.kind](dy, computed_size, x.shape, *arguments), {}


PADDING = {"reflect": aten.reflection_pad2d_backward, "replicate": aten.replication_pad2d_backward}


def pad2d_gradients(layer: Pad2d, params: Params, cache: Pad2dCache, dy: Tensor) -> tuple[Tensor, Params]:
    """Return dx of a Pad2d; PyTorch has kernels for two kinds."""
    if layer.kind not in PADDING:
        return layer.backward(params, cache, dy)
    return PADDING[layer.kind](dy, cache.x, layer.edges()), {}


def convolve_gradients(
    layer: Convolve, params: Params, cache: InputsCache, dy: Tensor
) -> tuple[tuple[Tensor, ...], Params]:
    """Return the gradients with respect to the inputs of a Convolve."""
    x, weight, *bias = cache.xs
    bias_sizes = list(bias[0].shape) if bias else None
    gradients = aten.convolution_backward(
        dy, x, weight, bias_sizes, *layer.settings(x, weight), (True, True, bool(bias))
    )
    return tuple(gradients[: len(cache.xs)]), {}


def normalize_last_gradients(
    layer: NormalizeLast, params: Params, cache: NormalizeCache, dy: Tensor
) -> tuple[Any, Params]:
    """Return the gradients with respect to the inputs of a NormalizeLast."""
    x = cache.xs[0]
    n_inputs = len(cache.xs)
    output_mask = True, n_inputs > 1, n_inputs > 2
    return _input_gradients(
        aten.native_layer_norm_backward(
            dy, x, layer.shape, cache.mean, cache.invstd, *weight_and_bias(cache.xs), output_mask
        ),
        n_inputs,
    )


def normalize_groups_gradients(
    layer: NormalizeGroups, params: Params, cache: NormalizeCache, dy: Tensor
) -> tuple[Any, Params]:
    """Return the gradients with respect to the inputs of a NormalizeGroups."""
    x = cache.xs[0]
    n_inputs = len(cache.xs)
    weight, _ = weight_and_bias(cache.xs)
    output_mask = True, n_inputs > 1, n_inputs > 2
    return _input_gradients(
        aten.native_group_norm_backward(
            dy.contiguous(), x, cache.mean, cache.invstd, weight, *axis_sizes(x), layer.groups, output_mask
        ),
        n_inputs,
    )


def normalize_channels_gradients(
    layer: NormalizeChannels, params: Params, cache: NormalizeCache, dy: Tensor
) -> tuple[Any, Params]:
    """Return the gradients with respect to the inputs of a NormalizeChannels."""
    x = cache.xs[0]
    n_inputs = len(cache.xs)
    weight, _ = weight_and_bias(cache.xs)
    output_mask = True, n_inputs > 1, n_inputs > 2
    return _input_gradients(
        aten.native_batch_norm_backward(
            dy, x, weight, None, None, cache.mean, cache.invstd, True, layer.epsilon, output_mask
        ),
        n_inputs,
    )


def _input_gradients(gradients: Any, n_inputs: int) -> tuple[Any, Params]:
    """Return the gradients with respect to the inputs: a tensor for one input, else a tuple."""
    return gradients[0] if n_inputs == 1 else tuple(gradients[:n_inputs]), {}


# By type of the layer, the function that returns (dx, dparams) from the layer, its params, its cache and dy.
BACKWARD_KERNELS: dict[type[Layer], Callable[[Any, Params, Any, Any], tuple[Any, Params]]] = {
    AdaptiveAvgPool2d: adaptive_avg_pool2d_gradients,
    AvgPool2d: avg_pool2d_gradients,
    BatchNorm: batch_norm_gradients,
    Conv2d: conv2d_gradients,
    ConvTranspose2d: transposed_gradients,
    GELU: lambda layer, params, cache, dy: (aten.gelu_backward(dy, cache.x, approximate=layer.approximate), {}),
    GroupNorm: group_norm_gradients,
    HardSigmoid: lambda layer, params, cache, dy: (aten.hardsigmoid_backward(dy, cache.x), {}),
    HardSwish: lambda layer, params, cache, dy: (aten.hardswish_backward(dy, cache.x), {}),
    InstanceNorm2d: group_norm_gradients,
    LayerNorm: layer_norm_gradients,
    LpPool2d: lp_pool2d_gradients,
    MaxPool2d: max_pool2d_gradients,
    Pad2d: pad2d_gradients,
    ReLU: lambda layer, params, cache, dy: (aten.threshold_backward(dy, cache.y, 0), {}),
    ReLU6: lambda layer, params, cache, dy: (aten.hardtanh_backward(dy, cache.y, 0, 6), {}),
    SiLU: lambda layer, params, cache, dy: (aten.silu_backward(dy, cache.x), {}),
    Upsample: upsample_gradients,
    Convolve: convolve_gradients,
    NormalizeChannels: normalize_channels_gradients,
    NormalizeGroups: normalize_groups_gradients,
    NormalizeLast: normalize_last_gradients,
}
