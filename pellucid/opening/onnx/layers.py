"""Conversion of ONNX operators to layers with weights, pooling, norms and activations, with one function for each."""

import math
from collections.abc import Callable
from typing import Any

import torch

from pellucid import layers
from pellucid.base.limits import MAX_ONNX_POOLED_PIXELS
from pellucid.layers.base import Layer
from pellucid.opening.onnx.convolutions import conv, conv_transpose, image_padding
from pellucid.opening.onnx.reading import NodeReading, Reader, derived_constant, shortest_decimal, single_or_pair
from pellucid.opening.onnx.tensors import to_shape
from pellucid.opening.onnx.values import Unreadable, Value, constant
from pellucid.operators import (
    AffineMap,
    Clip,
    Largest,
    LinearMap,
    MatMul,
    Mean,
    NormalizeLast,
    ParametricReLU,
    Permute,
    Plus,
    Times,
    ToShape,
)

FLOAT32_MIN = torch.finfo(torch.float32).min


def gemm(r: NodeReading) -> Value:
    """Read Gemm with a constant matrix and vector as Dense or LinearMap, else as MatMul and Plus."""
    alpha, beta = shortest_decimal(r.attribute("alpha", 1.0)), shortest_decimal(r.attribute("beta", 1.0))
    x = r.inner("transpose", Permute((1, 0))) if r.attribute("transA", 0) else r.x
    transposed = r.attribute("transB", 0)
    matrix = r.value(1)
    bias = r.value(2) if r.has_input(2) and beta else None
    if matrix.constant is None or (bias is not None and (bias.constant is None or bias.rank != 1)):
        if (alpha, beta) != (1.0, 1.0):
            raise Unreadable(f"has alpha={alpha} and beta={beta} with computed matrices")
        matrix = r.inner("transpose_b", Permute((1, 0)), matrix) if transposed else matrix
        product = r.inner("product", MatMul(), x, matrix) if bias is not None else r.layer(MatMul(), x, matrix)
        return product if bias is None else r.layer(Plus(), product, bias)
    r.constant(1)
    weight = matrix if transposed else derived_constant(matrix, ".T", matrix.tensors[0].t().contiguous())
    if weight.rank != 2 or x.rank != 2:
        raise Unreadable("is not a product of vectors and a matrix")
    weight = weight if alpha == 1 else derived_constant(weight, f"*{alpha}", weight.tensors[0] * alpha)
    return dense(
        r, x, weight, bias if bias is None or beta == 1 else derived_constant(bias, "*", bias.tensors[0] * beta)
    )


def dense(r: NodeReading, x: Value, weight: Value, bias: Value | None) -> Value:
    """Return the output of Dense for x (..., n_in) and a weight (units, n_in), or of LinearMap without a batch axis."""
    units = weight.tensors[0].shape[0]
    if bias is not None and bias.tensors[0].shape != (units,):
        bias = derived_constant(bias, "expanded", bias.tensors[0].expand(units).contiguous())
    params = {"weight": weight} if bias is None else {"weight": weight, "bias": bias}
    if x.rank < 2 or not x.has_batch:
        return r.layer(LinearMap(), x, *params.values())
    return r.layer(layers.Dense(units, bias=bias is not None, pixels=x.rank == 4), x, **params)


def matmul(r: NodeReading) -> Value:
    """Read MatMul with a constant matrix, and the bias found by `Patterns`, as Dense, else as MatMul."""
    left, right = r.value(0), r.value(1)
    bias = r.param(2) if r.has_input(2) else None
    if right.constant is not None and right.rank == 2 and right.is_float and left.rank >= 2:
        return dense(r, left, derived_constant(right, ".T", right.tensors[0].t().contiguous()), bias)
    if min(left.rank, right.rank) < 2:
        return _vector_product(r, left, right)
    if bias is not None:
        return r.layer(Plus(), r.inner("product", MatMul(), left, right), bias)
    return r.layer(MatMul(), left, right)


def _vector_product(r: NodeReading, left: Value, right: Value) -> Value:
    """Return the product of a vector and a matrix, or of two vectors, as MatMul of a row and a column."""
    shapes = [
        (*(a[:-1] if left.rank > 1 else ()), *(b[:-2] + b[-1:] if right.rank > 1 else ()))
        for a, b in zip(left.sizes, right.sizes, strict=True)
    ]
    row = r.inner("row", ToShape((1, -1)), left) if left.rank < 2 else left
    column = r.inner("column", ToShape((-1, 1)), right) if right.rank < 2 else right
    return to_shape(r, r.inner("product", MatMul(), row, column), (shapes[0], shapes[1]))


def max_pool(r: NodeReading) -> Value:
    """Read MaxPool as MaxPool2d, after a Pad2d for asymmetric padding."""
    r.check_attributes(storage_order=0)
    kernel, stride, dilation, padding, ceil_mode = _window(r)
    left, right, top, bottom = padding
    if (left, top) == (right, bottom):
        symmetric = single_or_pair((top, left))
        return r.layer(
            layers.MaxPool2d(
                single_or_pair(kernel), single_or_pair(stride), symmetric, single_or_pair(dilation), ceil_mode
            )
        )
    padded = r.inner("pad", layers.Pad2d(padding, "constant", FLOAT32_MIN))
    layer = layers.MaxPool2d(single_or_pair(kernel), single_or_pair(stride), 0, single_or_pair(dilation), ceil_mode)
    return r.layer(layer, padded)


def average_pool(r: NodeReading) -> Value:
    """Read AveragePool as AvgPool2d, after a Pad2d for asymmetric padding."""
    kernel, stride, dilation, padding, ceil_mode = _window(r)
    with_padding = bool(r.attribute("count_include_pad", 0))
    left, right, top, bottom = padding
    window = single_or_pair(kernel), single_or_pair(stride)
    if (left, top) == (right, bottom):
        symmetric = single_or_pair((top, left))
        return r.layer(layers.AvgPool2d(*window, symmetric, ceil_mode, with_padding, single_or_pair(dilation)))
    pad = layers.Pad2d(padding)
    layer = layers.AvgPool2d(*window, 0, ceil_mode, True, single_or_pair(dilation))
    padded = r.inner("pad", pad)
    if with_padding:
        return r.layer(layer, padded)
    if math.prod(r.shape[1:]) > MAX_ONNX_POOLED_PIXELS:
        raise Unreadable(f"has images of more than {MAX_ONNX_POOLED_PIXELS:,} pixels")
    mode = layers.Mode(keep=False)
    ones, _ = pad.forward({}, torch.ones(1, 1, *r.shape[1:]), mode)
    image_share, _ = layer.forward({}, ones, mode)  # the fraction of each window that is not padding
    return r.layer(Times(), r.inner("mean", layer, padded), constant(1 / image_share))


def lp_pool(r: NodeReading) -> Value:
    """Read LpPool as LpPool2d."""
    kernel, stride, dilation, padding, ceil_mode = _window(r)
    x = r.inner("pad", layers.Pad2d(padding)) if any(padding) else r.x
    exponent = float(r.attribute("p", 2))
    layer = layers.LpPool2d(
        single_or_pair(kernel), exponent, single_or_pair(stride), ceil_mode, single_or_pair(dilation)
    )
    return r.layer(layer, x)


def _window(r: NodeReading) -> tuple[Any, ...]:
    """Return kernel, stride, dilation, padding (left, right, top, bottom) and whether output sizes are rounded up."""
    if "kernel_shape" not in r.attributes:
        raise Unreadable("has no kernel_shape")
    kernel, stride, dilation = r.pair("kernel_shape", 1), r.pair("strides", 1), r.pair("dilations", 1)
    return kernel, stride, dilation, image_padding(r, kernel, stride, dilation), bool(r.attribute("ceil_mode", 0))


def global_average(r: NodeReading) -> Value:
    """Read GlobalAveragePool as AdaptiveAvgPool2d, or as Mean for other inputs than images."""
    if r.x.rank == 4:
        return r.layer(layers.AdaptiveAvgPool2d(1))
    return r.layer(Mean(tuple(range(2, r.x.rank)), keep=True))


def global_max(r: NodeReading) -> Value:
    """Read GlobalMaxPool as Largest."""
    return r.layer(Largest(tuple(range(2, r.x.rank)), keep=True))


def clip(r: NodeReading) -> Value:
    """Read Clip as ReLU6 or Clip."""
    limits = (r.attribute("min", None), r.attribute("max", None))  # attributes before operator set 11
    low = shortest_decimal(limits[0]) if limits[0] is not None else r.number(1, float("-inf"))
    high = shortest_decimal(limits[1]) if limits[1] is not None else r.number(2, float("inf"))
    if (low, high) == (0.0, 6.0):
        return r.layer(layers.ReLU6())
    bounds = [None if abs(limit) >= -FLOAT32_MIN else limit for limit in (low, high)]
    return r.layer(Clip(*bounds))


def hard_sigmoid(r: NodeReading) -> Value:
    """Read HardSigmoid with a slope of 1/6 as HardSigmoid, else as AffineMap and Clip."""
    alpha, beta = shortest_decimal(r.attribute("alpha", 0.2)), shortest_decimal(r.attribute("beta", 0.5))
    if abs(alpha - 1 / 6) < 1e-7 and beta == 0.5:
        return r.layer(layers.HardSigmoid())
    return r.layer(Clip(0.0, 1.0), r.inner("line", AffineMap(alpha, beta)))


def swish(r: NodeReading) -> Value:
    """Read Swish as SiLU."""
    r.check_attributes(alpha=1.0)
    return r.layer(layers.SiLU())


def prelu(r: NodeReading) -> Value:
    """Read PRelu with one slope as LeakyReLU, and with a slope for each channel as ParametricReLU.

    For slopes of other shapes, return max(x, 0) + slope min(x, 0).
    """
    slope = r.value(1)
    rank = r.x.rank
    slope_constant = slope.constant
    if slope_constant is not None and slope_constant.numel() == 1:
        return r.layer(layers.LeakyReLU(shortest_decimal(slope_constant.item())))
    first, second = slope.sizes
    channels = r.x.sizes[0][1:2]
    if first == second and rank > 1 and first[max(slope.rank - rank, 0) :] in ((*channels, *(1,) * (rank - 2)),):
        return r.layer(ParametricReLU(), r.x, to_shape(r, slope, (channels, channels), "slopes"))
    negative = r.inner("scaled", Times(), r.inner("negative", Clip(None, 0.0)), r.value(1))
    return r.layer(layers.Add(), r.inner("positive", layers.ReLU()), negative)


def dropout(r: NodeReading) -> Value:
    """Read Dropout; raises Unreadable if it is in training mode."""
    r.attribute("seed", 0)
    r.attribute("is_test", 1)
    if r.has_input(2) and bool(r.constant(2, torch.bool).any()):
        raise Unreadable("is in training mode")
    ratio = r.attribute("ratio", None)
    return r.layer(layers.Dropout(shortest_decimal(ratio) if ratio is not None else r.number(1, 0.5)))


def softmax(make_layer: Callable[[int], Layer]) -> Reader:
    """Return the reader of Softmax or LogSoftmax; before operator set 13, all axes from `axis` on form one axis."""

    def read(r: NodeReading) -> Value:
        flattens = r.opset < 13
        axis = r.axis(1 if flattens else -1)
        sizes = r.x.sizes
        if axis < 1:
            return _first_axis_softmax(r, make_layer, flattens)
        if not flattens or all(size == 1 for size in sizes[0][axis + 1 :]):
            return r.layer(make_layer(axis))
        first, second = ((*size[:axis], math.prod(size[axis:])) for size in sizes)
        rows = to_shape(r, r.x, (first, second), "rows")
        return to_shape(r, r.inner("classes", make_layer(axis), rows), sizes, "")

    return read


def _first_axis_softmax(r: NodeReading, make_layer: Callable[[int], Layer], flattens: bool) -> Value:
    """Return a softmax between two Permutes, along a first axis that is not the batch axis."""
    if flattens or r.x.rank < 2 or r.x.batch_axis in (0, None):
        raise Unreadable("computes along the batch axis")
    swap = Permute((1, 0, *range(2, r.x.rank)))
    return r.layer(swap, r.inner("classes", make_layer(1), r.inner("order", swap)))


def batch_normalization(r: NodeReading) -> Value:
    """Read BatchNormalization; raises Unreadable if it is in training mode."""
    r.check_attributes(training_mode=0, spatial=1)
    # ONNX's is the share of the old statistics, and 1 - 0.9 is not exactly 0.1
    momentum = round(1 - shortest_decimal(r.attribute("momentum", 0.9)), 7)
    names = ("weight", "bias", "running_mean", "running_var")
    params = {name: r.param(index) for index, name in enumerate(names, start=1)}
    return r.layer(layers.BatchNorm(momentum, _epsilon(r)), **params)


def group_normalization(r: NodeReading) -> Value:
    """Read GroupNormalization of operator set 21 or later, which has a scale for each channel."""
    r.check_attributes(stash_type=1)
    params = {"weight": r.param(1), "bias": r.param(2)}
    return r.layer(layers.GroupNorm(r.attribute("num_groups", 0), _epsilon(r)), **params)


def layer_normalization(r: NodeReading) -> Value:
    """Read LayerNormalization over the last axes as LayerNorm, or as NormalizeLast if its scale is computed."""
    r.check_attributes(stash_type=1)
    axis = r.axis(-1)
    if not axis:
        raise Unreadable("normalizes along the batch axis")
    shape = r.shape[axis - 1 :]
    if any(value.constant is None for value in r.input_values[1:]):
        return r.layer(NormalizeLast(shape, _epsilon(r)), *r.input_values)
    weight = r.param(1)
    bias = r.param(2) if r.has_input(2) else constant(torch.zeros(shape))
    return r.layer(layers.LayerNorm(None if axis == 1 else shape, _epsilon(r)), weight=weight, bias=bias)


def instance_normalization(r: NodeReading) -> Value:
    """Read InstanceNormalization as InstanceNorm2d; sequences (N, C, T) are reshaped to images with one column."""
    layer = layers.InstanceNorm2d(_epsilon(r), affine=True)
    params = {"weight": r.param(1), "bias": r.param(2)}
    if r.x.rank != 3:
        return r.layer(layer, **params)
    first, second = ((*size, 1) for size in r.x.sizes)
    normed = r.inner("norm", layer, to_shape(r, r.x, (first, second), "image"), **params)
    return to_shape(r, normed, r.x.sizes)


def lrn(r: NodeReading) -> Value:
    """Read LRN over an odd number of channels; raises Unreadable for even ones, where ONNX and PyTorch differ."""
    size = r.attribute("size", 0)
    if size % 2 == 0:
        raise Unreadable(f"has size={size}, which is even")
    alpha, beta, k = (
        shortest_decimal(r.attribute(name, value)) for name, value in (("alpha", 1e-4), ("beta", 0.75), ("bias", 1.0))
    )
    return r.layer(layers.LocalResponseNorm(size, alpha, beta, k))


def _epsilon(r: NodeReading) -> float:
    return shortest_decimal(r.attribute("epsilon", 1e-5))


READERS: dict[str, Reader] = {
    "Gemm": gemm,
    "MatMul": matmul,
    "Conv": conv,
    "ConvTranspose": conv_transpose,
    "MaxPool": max_pool,
    "AveragePool": average_pool,
    "LpPool": lp_pool,
    "GlobalAveragePool": global_average,
    "GlobalMaxPool": global_max,
    "Sigmoid": lambda r: r.layer(layers.Sigmoid()),
    "Tanh": lambda r: r.layer(layers.Tanh()),
    "Relu": lambda r: r.layer(layers.ReLU()),
    "LeakyRelu": lambda r: r.layer(layers.LeakyReLU(shortest_decimal(r.attribute("alpha", 0.01)))),
    "PRelu": prelu,
    "Clip": clip,
    "Elu": lambda r: r.layer(layers.ELU(shortest_decimal(r.attribute("alpha", 1.0)))),
    "Gelu": lambda r: r.layer(layers.GELU(r.attribute("approximate", "none"))),
    "HardSigmoid": hard_sigmoid,
    "Swish": swish,
    "HardSwish": lambda r: r.layer(layers.HardSwish()),
    "Softmax": softmax(layers.Softmax),
    "LogSoftmax": softmax(layers.LogSoftmax),
    "Dropout": dropout,
    "BatchNormalization": batch_normalization,
    "InstanceNormalization": instance_normalization,
    "GroupNormalization": group_normalization,
    "LayerNormalization": layer_normalization,
    "LRN": lrn,
}
