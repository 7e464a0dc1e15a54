"""ONNX operators that are layers with weights, windows, norms and activations, with one function for each."""

import math
from collections.abc import Callable
from typing import Any

import torch

from pellucid import layers
from pellucid.layers.base import Layer
from pellucid.opening.onnx.reading import NodeReading, Reader, changed, edges, plain, single_or_pair
from pellucid.opening.onnx.tensors import to_shape
from pellucid.opening.onnx.values import Unreadable, Value, constant
from pellucid.operators import AffineMap, Clip, Largest, LinearMap, MatMul, Mean, Permute, Plus, Times

MAX_PIXELS = 1 << 24  # of an image for which the padding of each window is counted
PADDINGS = ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER")
LOWEST = torch.finfo(torch.float32).min


def gemm(r: NodeReading) -> Value:
    """Read Gemm of a constant matrix and vector as Dense, of others as LinearMap."""
    alpha, beta = plain(r.take("alpha", 1.0)), plain(r.take("beta", 1.0))
    x = r.inner("transpose", Permute((1, 0))) if r.take("transA", 0) else r.x
    transposed, matrix = r.take("transB", 0), r.value(1)
    bias = r.value(2) if r.has_input(2) and beta else None
    if matrix.constant is None or (bias is not None and (bias.constant is None or bias.rank != 1)):
        if (alpha, beta) != (1.0, 1.0):
            raise Unreadable(f"has alpha={alpha} and beta={beta} with computed matrices")
        matrix = r.inner("transpose_b", Permute((1, 0)), matrix) if transposed else matrix
        product = r.inner("product", MatMul(), x, matrix) if bias is not None else r.layer(MatMul(), x, matrix)
        return product if bias is None else r.layer(Plus(), product, bias)
    r.constant(1)
    weight = matrix if transposed else changed(matrix, ".T", matrix.tensors[0].t().contiguous())
    if weight.rank != 2 or x.rank != 2:
        raise Unreadable("is not a product of vectors and a matrix")
    weight = weight if alpha == 1 else changed(weight, f"*{alpha}", weight.tensors[0] * alpha)
    return dense(r, x, weight, bias if bias is None or beta == 1 else changed(bias, "*", bias.tensors[0] * beta))


def dense(r: NodeReading, x: Value, weight: Value, bias: Value | None) -> Value:
    """Return the output of Dense for x (..., n_in) and a weight matrix (units, n_in)."""
    units = weight.tensors[0].shape[0]
    if bias is not None and bias.tensors[0].shape != (units,):
        bias = changed(bias, "expanded", bias.tensors[0].expand(units).contiguous())
    params = {"weight": weight} if bias is None else {"weight": weight, "bias": bias}
    if x.rank < 2 or not x.has_batch:
        return r.layer(LinearMap(), x, *params.values())
    return r.layer(layers.Dense(units, bias=bias is not None, pixels=x.rank == 4), x, **params)


def matmul(r: NodeReading) -> Value:
    """Read MatMul by a constant matrix, with the bias that `Patterns` found, as Dense, else as MatMul."""
    one, other = r.value(0), r.value(1)
    bias = r.param(2) if r.has_input(2) else None
    if other.constant is not None and other.rank == 2 and other.is_float and one.rank >= 2:
        return dense(r, one, changed(other, ".T", other.tensors[0].t().contiguous()), bias)
    if min(one.rank, other.rank) < 2:
        raise Unreadable("multiplies a vector")
    if bias is not None:
        return r.layer(Plus(), r.inner("product", MatMul(), one, other), bias)
    return r.layer(MatMul(), one, other)


def conv(r: NodeReading) -> Value:
    """Read Conv as Conv2d, after a Pad2d for asymmetric padding other than "same"."""
    weight, bias = _kernel(r), r.bias(2)
    filters, _, *kernel = weight.tensors[0].shape
    stride, dilation = r.pair("strides", 1), r.pair("dilations", 1)
    left, right, top, bottom = padding = _padding(r, (kernel[0], kernel[1]), stride, dilation)
    options: dict[str, Any] = {
        "dilation": single_or_pair(dilation), "groups": r.take("group", 1), "bias": bool(bias)
    }  # fmt: skip
    window = single_or_pair((kernel[0], kernel[1]))
    if (left, top) == (right, bottom):
        even = layers.Conv2d(
            filters, window, stride=single_or_pair(stride), padding=single_or_pair((top, left)), **options
        )
        return r.layer(even, weight=weight, **bias)
    if stride == (1, 1):
        same = layers.Conv2d(filters, window, stride=1, padding="same", **options)
        if same.edges() == padding:
            return r.layer(same, weight=weight, **bias)
    padded = r.inner("pad", layers.Pad2d(padding))
    layer = layers.Conv2d(filters, window, stride=single_or_pair(stride), padding=0, **options)
    return r.layer(layer, padded, weight=weight, **bias)


def conv_transpose(r: NodeReading) -> Value:
    """Read ConvTranspose as ConvTranspose2d."""
    weight, bias = _kernel(r), r.bias(2)
    _, filters, *kernel = weight.tensors[0].shape
    stride, dilation, extra = r.pair("strides", 1), r.pair("dilations", 1), r.pair("output_padding", 0)
    mode, shape = r.take("auto_pad", "NOTSET"), r.take("output_shape", None)
    pads = r.take("pads", [0, 0, 0, 0])
    if mode in ("SAME_UPPER", "SAME_LOWER") or shape is not None:
        wanted = shape[-2:] if shape is not None else [size * s for size, s in zip(r.shape[-2:], stride, strict=True)]
        zipped = zip(r.shape[-2:], wanted, stride, kernel, dilation, extra, strict=True)
        total = [s * (size - 1) + o + d * (k - 1) + 1 - out for size, out, s, k, d, o in zipped]
        halves = [(max(each, 0) // 2, max(each, 0) - max(each, 0) // 2) for each in total]
        ends = halves if mode != "SAME_LOWER" else [(after, before) for before, after in halves]
        pads = [before for before, _ in ends] + [after for _, after in ends]
    elif mode == "VALID":
        pads = [0, 0, 0, 0]
    elif mode != "NOTSET":
        raise Unreadable(f"has auto_pad={mode!r}")
    left, right, top, bottom = edges(pads)
    groups = r.take("group", 1)
    even = (left, top) == (right, bottom)
    layer = layers.ConvTranspose2d(
        filters * groups,
        single_or_pair((kernel[0], kernel[1])),
        stride=single_or_pair(stride),
        padding=single_or_pair((top, left)) if even else 0,
        output_padding=single_or_pair(extra),
        dilation=single_or_pair(dilation),
        groups=groups,
        bias=bool(bias),
    )
    if even:
        return r.layer(layer, weight=weight, **bias)
    wide = r.inner("uncropped", layer, weight=weight, **bias)
    return r.layer(layers.Pad2d((-left, -right, -top, -bottom)), wide)


def _kernel(r: NodeReading) -> Value:
    weight = r.param(1)
    if weight.rank != 4:
        raise Unreadable(f"has a kernel of {weight.rank - 2} axes, not of height and width")
    r.only(kernel_shape=[*weight.tensors[0].shape[2:]])
    return weight


def _padding(
    r: NodeReading, kernel: tuple[int, int], stride: tuple[int, int], dilation: tuple[int, int]
) -> tuple[int, int, int, int]:
    """Return (left, right, top, bottom) of "pads" or "auto_pad"."""
    mode, pads = r.take("auto_pad", "NOTSET"), r.take("pads", [0, 0, 0, 0])
    if mode not in PADDINGS:
        raise Unreadable(f"has auto_pad={mode!r}")
    if mode in ("NOTSET", "VALID"):
        return edges(pads if mode == "NOTSET" else [0, 0, 0, 0])
    if len(r.shape) != 3:
        raise Unreadable("has inputs that are not images")
    ends: list[tuple[int, int]] = []
    for size, k, s, d in zip(r.shape[1:], kernel, stride, dilation, strict=True):
        total = max((-(-size // s) - 1) * s + d * (k - 1) + 1 - size, 0)
        less, more = total // 2, total - total // 2
        ends.append((less, more) if mode == "SAME_UPPER" else (more, less))
    (top, bottom), (left, right) = ends
    return left, right, top, bottom


def max_pool(r: NodeReading) -> Value:
    """Read MaxPool as MaxPool2d, after a Pad2d for asymmetric padding."""
    r.only(storage_order=0)
    kernel, stride, dilation, padding, ceil_mode = _window(r)
    left, right, top, bottom = padding
    if (left, top) == (right, bottom):
        even = single_or_pair((top, left))
        return r.layer(
            layers.MaxPool2d(single_or_pair(kernel), single_or_pair(stride), even, single_or_pair(dilation), ceil_mode)
        )
    padded = r.inner("pad", layers.Pad2d(padding, "constant", LOWEST))
    layer = layers.MaxPool2d(single_or_pair(kernel), single_or_pair(stride), 0, single_or_pair(dilation), ceil_mode)
    return r.layer(layer, padded)


def average_pool(r: NodeReading) -> Value:
    """Read AveragePool as AvgPool2d, after a Pad2d for asymmetric padding."""
    kernel, stride, dilation, padding, ceil_mode = _window(r)
    with_padding = bool(r.take("count_include_pad", 0))
    left, right, top, bottom = padding
    window = single_or_pair(kernel), single_or_pair(stride)
    if (left, top) == (right, bottom):
        even = single_or_pair((top, left))
        return r.layer(layers.AvgPool2d(*window, even, ceil_mode, with_padding, single_or_pair(dilation)))
    pad, layer = layers.Pad2d(padding), layers.AvgPool2d(*window, 0, ceil_mode, True, single_or_pair(dilation))
    padded = r.inner("pad", pad)
    if with_padding:
        return r.layer(layer, padded)
    if math.prod(r.shape[1:]) > MAX_PIXELS:
        raise Unreadable(f"has images of more than {MAX_PIXELS:,} pixels")
    mode = layers.Mode(keep=False)
    ones, _ = pad.forward({}, torch.ones(1, 1, *r.shape[1:]), mode)
    share, _ = layer.forward({}, ones, mode)  # of each window that is not padding
    return r.layer(Times(), r.inner("mean", layer, padded), constant(1 / share))


def lp_pool(r: NodeReading) -> Value:
    """Read LpPool as LpPool2d."""
    kernel, stride, dilation, padding, ceil_mode = _window(r)
    x = r.inner("pad", layers.Pad2d(padding)) if any(padding) else r.x
    exponent = float(r.take("p", 2))
    layer = layers.LpPool2d(
        single_or_pair(kernel), exponent, single_or_pair(stride), ceil_mode, single_or_pair(dilation)
    )
    return r.layer(layer, x)


def _window(r: NodeReading) -> tuple[Any, ...]:
    """Return kernel, stride, dilation, (left, right, top, bottom) and whether sizes are rounded up."""
    if "kernel_shape" not in r.attributes:
        raise Unreadable("has no kernel_shape")
    kernel, stride, dilation = r.pair("kernel_shape", 1), r.pair("strides", 1), r.pair("dilations", 1)
    return kernel, stride, dilation, _padding(r, kernel, stride, dilation), bool(r.take("ceil_mode", 0))


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
    given = (r.take("min", None), r.take("max", None))  # attributes before operator set 11
    low = plain(given[0]) if given[0] is not None else r.number(1, float("-inf"))
    high = plain(given[1]) if given[1] is not None else r.number(2, float("inf"))
    if (low, high) == (0.0, 6.0):
        return r.layer(layers.ReLU6())
    bounds = [None if abs(limit) >= -LOWEST else limit for limit in (low, high)]
    return r.layer(Clip(*bounds))


def hard_sigmoid(r: NodeReading) -> Value:
    """Read HardSigmoid with a slope of 1/6 as HardSigmoid, else as AffineMap and Clip."""
    alpha, beta = plain(r.take("alpha", 0.2)), plain(r.take("beta", 0.5))
    if abs(alpha - 1 / 6) < 1e-7 and beta == 0.5:
        return r.layer(layers.HardSigmoid())
    return r.layer(Clip(0.0, 1.0), r.inner("line", AffineMap(alpha, beta)))


def swish(r: NodeReading) -> Value:
    """Read Swish as SiLU."""
    r.only(alpha=1.0)
    return r.layer(layers.SiLU())


def prelu(r: NodeReading) -> Value:
    """Read PRelu of one slope as LeakyReLU, else as the sum of both parts, of which the negative one is scaled."""
    slope = r.constant(1)
    if slope.numel() == 1:
        return r.layer(layers.LeakyReLU(plain(slope.item())))
    negative = r.inner("scaled", Times(), r.inner("negative", Clip(None, 0.0)), r.value(1))
    return r.layer(layers.Add(), r.inner("positive", layers.ReLU()), negative)


def dropout(r: NodeReading) -> Value:
    """Read Dropout in evaluation mode."""
    r.take("seed", 0)
    r.take("is_test", 1)
    if r.has_input(2) and bool(r.constant(2, torch.bool).any()):
        raise Unreadable("is in training mode")
    ratio = r.take("ratio", None)
    return r.layer(layers.Dropout(plain(ratio) if ratio is not None else r.number(1, 0.5)))


def softmax(make: Callable[[int], Layer]) -> Reader:
    """Return the reader of Softmax or LogSoftmax; before operator set 13, the axes from `axis` on are one."""

    def read(r: NodeReading) -> Value:
        old = r.opset < 13
        axis = r.axis(1 if old else -1)
        if axis < 1:
            raise Unreadable("computes along the batch axis")
        sizes = r.x.sizes
        if not old or all(size == 1 for size in sizes[0][axis + 1 :]):
            return r.layer(make(axis))
        one, other = ((*size[:axis], math.prod(size[axis:])) for size in sizes)
        rows = to_shape(r, r.x, (one, other), "rows")
        return to_shape(r, r.inner("classes", make(axis), rows), sizes, "")

    return read


def batch_normalization(r: NodeReading) -> Value:
    """Read BatchNormalization in evaluation mode."""
    r.only(training_mode=0, spatial=1)
    momentum = round(1 - plain(r.take("momentum", 0.9)), 7)
    names = ("weight", "bias", "running_mean", "running_var")
    params = {name: r.param(index) for index, name in enumerate(names, start=1)}
    return r.layer(layers.BatchNorm(momentum, _epsilon(r)), **params)


def group_normalization(r: NodeReading) -> Value:
    """Read GroupNormalization of operator set 21 or later, which has a scale for each channel."""
    r.only(stash_type=1)
    params = {"weight": r.param(1), "bias": r.param(2)}
    return r.layer(layers.GroupNorm(r.take("num_groups", 0), _epsilon(r)), **params)


def layer_normalization(r: NodeReading) -> Value:
    """Read LayerNormalization over all or some of the last axes."""
    r.only(stash_type=1)
    axis = r.axis(-1)
    if not axis:
        raise Unreadable("normalizes along the batch axis")
    shape = r.shape[axis - 1 :]
    weight = r.param(1)
    bias = r.param(2) if r.has_input(2) else constant(torch.zeros(shape))
    return r.layer(layers.LayerNorm(None if axis == 1 else shape, _epsilon(r)), weight=weight, bias=bias)


def instance_normalization(r: NodeReading) -> Value:
    """Read InstanceNormalization as InstanceNorm2d, of sequences (N, C, T) as of images with one column."""
    layer, params = layers.InstanceNorm2d(_epsilon(r), affine=True), {"weight": r.param(1), "bias": r.param(2)}
    if r.x.rank != 3:
        return r.layer(layer, **params)
    one, other = ((*size, 1) for size in r.x.sizes)
    normed = r.inner("norm", layer, to_shape(r, r.x, (one, other), "image"), **params)
    return to_shape(r, normed, r.x.sizes)


def lrn(r: NodeReading) -> Value:
    """Read LRN over an odd number of channels; for an even number, the windows of ONNX and PyTorch differ."""
    size = r.take("size", 0)
    if size % 2 == 0:
        raise Unreadable(f"has size={size}, which is even")
    alpha, beta, k = (plain(r.take(name, value)) for name, value in (("alpha", 1e-4), ("beta", 0.75), ("bias", 1.0)))
    return r.layer(layers.LocalResponseNorm(size, alpha, beta, k))


def _epsilon(r: NodeReading) -> float:
    return plain(r.take("epsilon", 1e-5))


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
    "LeakyRelu": lambda r: r.layer(layers.LeakyReLU(plain(r.take("alpha", 0.01)))),
    "PRelu": prelu,
    "Clip": clip,
    "Elu": lambda r: r.layer(layers.ELU(plain(r.take("alpha", 1.0)))),
    "Gelu": lambda r: r.layer(layers.GELU(r.take("approximate", "none"))),
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
