"""ONNX operators as layers, with one function for each operator."""

from collections.abc import Callable
from math import prod

import torch
from torch import Tensor

from pellucid import layers
from pellucid.combine import Sequential
from pellucid.layers.base import Layer
from pellucid.onnx_nodes.layers import PAD_MODES
from pellucid.onnx_nodes.resizing import RESIZE_MODES
from pellucid.opening.onnx.reading import NodeReading, ReadLayer, Unreadable, edges, even, plain, single_or_pair

# Kinds of Pad2d and of Upsample, by the mode in ONNX.
KINDS = {mode: kind for kind, mode in PAD_MODES.items()}  # "constant" becomes the kind "constant", not "zero"
RESIZED = {mode: kind for kind, mode in RESIZE_MODES.items()}


def gemm(reading: NodeReading) -> ReadLayer:
    """Read Gemm of a constant matrix and bias as Dense."""
    reading.only(alpha=1.0, beta=1.0, transA=0)
    transposed = reading.take("transB", 0)
    weight = reading.param(1) if transposed else reading.param(1).t().contiguous()
    if weight.dim() != 2 or len(reading.shape) != 1:
        raise Unreadable("is not a product of vectors and a matrix")
    if not transposed:
        reading.names[0] += ".T"
    return reading.layer(layers.Dense(len(weight), bias=reading.has_input(2)), weight=weight, **_bias(reading))


def conv(reading: NodeReading) -> ReadLayer:
    """Read Conv as Conv2d, after a Pad2d for asymmetric padding other than "same"."""
    reading.only(auto_pad="NOTSET")
    weight, bias = _kernel(reading), _bias(reading)
    filters, kernel = weight.shape[0], (weight.shape[2], weight.shape[3])
    stride, dilation = reading.pair("strides", 1), reading.pair("dilations", 1)
    left, right, top, bottom = padding = edges(reading.take("pads", [0, 0, 0, 0]))
    settings = {"dilation": single_or_pair(dilation), "groups": reading.take("group", 1), "bias": bool(bias)}
    if (left, top) == (right, bottom):
        symmetric = layers.Conv2d(
            filters,
            single_or_pair(kernel),
            stride=single_or_pair(stride),
            padding=single_or_pair((top, left)),
            **settings,
        )
        return reading.layer(symmetric, weight=weight, **bias)
    if stride == (1, 1):
        same = layers.Conv2d(filters, single_or_pair(kernel), stride=1, padding="same", **settings)
        if same.edges() == padding:
            return reading.layer(same, weight=weight, **bias)
    layer = Sequential(
        pad=layers.Pad2d(padding),
        conv=layers.Conv2d(filters, single_or_pair(kernel), stride=single_or_pair(stride), padding=0, **settings),
    )
    return reading.layer(layer, **{f"conv.{name}": tensor for name, tensor in {"weight": weight, **bias}.items()})


def conv_transpose(reading: NodeReading) -> ReadLayer:
    """Read ConvTranspose as ConvTranspose2d."""
    reading.only(auto_pad="NOTSET")
    weight, bias = _kernel(reading), _bias(reading)
    left, right, top, bottom = edges(reading.take("pads", [0, 0, 0, 0]))
    if (left, top) != (right, bottom):
        raise Unreadable("has asymmetric pads")
    groups = reading.take("group", 1)
    layer = layers.ConvTranspose2d(
        weight.shape[1] * groups,
        single_or_pair((weight.shape[2], weight.shape[3])),
        stride=single_or_pair(reading.pair("strides", 1)),
        padding=single_or_pair((top, left)),
        output_padding=single_or_pair(reading.pair("output_padding", 0)),
        dilation=single_or_pair(reading.pair("dilations", 1)),
        groups=groups,
        bias=bool(bias),
    )
    return reading.layer(layer, weight=weight, **bias)


def _kernel(reading: NodeReading) -> Tensor:
    weight = reading.param(1)
    if weight.dim() != 4:
        raise Unreadable(f"has a kernel of {weight.dim() - 2} axes, not of height and width")
    reading.only(kernel_shape=[*weight.shape[2:]])
    return weight


def _bias(reading: NodeReading) -> dict[str, Tensor]:
    return {"bias": reading.param(2)} if reading.has_input(2) else {}


def pool(reading: NodeReading) -> ReadLayer:
    """Read MaxPool as MaxPool2d, AveragePool as AvgPool2d."""
    reading.only(auto_pad="NOTSET", **({"storage_order": 0} if reading.node.op == "MaxPool" else {}))
    kernel, stride, dilation = _window(reading)
    padding, ceil_mode = even(reading.take("pads", [0, 0, 0, 0])), bool(reading.take("ceil_mode", 0))
    if reading.node.op == "MaxPool":
        return reading.layer(layers.MaxPool2d(kernel, stride, padding, dilation, ceil_mode))
    return reading.layer(
        layers.AvgPool2d(kernel, stride, padding, ceil_mode, bool(reading.take("count_include_pad", 0)), dilation)
    )


def lp_pool(reading: NodeReading) -> ReadLayer:
    """Read LpPool as LpPool2d."""
    reading.only(auto_pad="NOTSET", pads=[0, 0, 0, 0])
    kernel, stride, dilation = _window(reading)
    return reading.layer(
        layers.LpPool2d(kernel, float(reading.take("p", 2)), stride, bool(reading.take("ceil_mode", 0)), dilation)
    )


def _window(reading: NodeReading) -> tuple[int | tuple[int, int], ...]:
    if "kernel_shape" not in reading.attributes:
        raise Unreadable("has no kernel_shape")
    return (
        single_or_pair(reading.pair("kernel_shape", 1)),
        single_or_pair(reading.pair("strides", 1)),
        single_or_pair(reading.pair("dilations", 1)),
    )


def clip(reading: NodeReading) -> ReadLayer:
    """Read Clip from 0 to 6."""
    limits = reading.number(1, float("-inf")), reading.number(2, float("inf"))
    if limits != (0.0, 6.0):
        raise Unreadable(f"clips to {limits}, not to (0.0, 6.0)")
    return reading.layer(layers.ReLU6())


def dropout(reading: NodeReading) -> ReadLayer:
    """Read Dropout in evaluation mode."""
    reading.take("seed", 0)
    if reading.has_input(2) and bool(reading.constant(2, torch.bool).any()):
        raise Unreadable("is in training mode")
    return reading.layer(layers.Dropout(reading.number(1, 0.5)))


def add(reading: NodeReading) -> ReadLayer:
    """Read Add of computed inputs as Add, and of a constant for each channel as BatchNorm."""
    return (
        reading.merged(layers.Add())
        if reading.flowing == reading.node.inputs
        else _by_channel(reading, lambda c: {"bias": c})
    )


def multiply(reading: NodeReading) -> ReadLayer:
    """Read Mul of computed inputs as Multiply, and by a constant for each channel as BatchNorm."""
    return (
        reading.merged(layers.Multiply())
        if reading.flowing == reading.node.inputs
        else _by_channel(reading, lambda c: {"weight": c})
    )


def _by_channel(reading: NodeReading, part: Callable[[Tensor], dict[str, Tensor]]) -> ReadLayer:
    """Return a BatchNorm that is the identity except for the parameter that `part` returns for the constant."""
    shape, constant = reading.shape, reading.constant(1)
    axes, channels = len(shape) + 1, shape[0] if shape else 0
    sizes = (1,) * (axes - constant.dim()) + tuple(constant.shape)
    if axes not in (2, 4) or sizes not in ((1, channels, *(1,) * (axes - 2)), (1,) * axes):
        raise Unreadable(f"has a constant of shape {tuple(constant.shape)}, not one value for each channel")
    zeros, ones = torch.zeros(channels), torch.ones(channels)
    params = {"weight": ones, "bias": zeros, "running_mean": zeros, "running_var": ones}
    return reading.layer(
        layers.BatchNorm(epsilon=0.0), **params | part(constant.reshape(-1).expand(channels).contiguous())
    )


def _axis(reading: NodeReading) -> int:
    axis = reading.take("axis", -1)
    axis += len(reading.shape) + 1 if axis < 0 else 0
    if axis < 1:
        raise Unreadable("computes along the batch axis")
    return axis


def batch_normalization(reading: NodeReading) -> ReadLayer:
    """Read BatchNormalization in evaluation mode."""
    reading.only(training_mode=0)
    momentum = round(1 - plain(reading.take("momentum", 0.9)), 7)
    names = ("weight", "bias", "running_mean", "running_var")
    params = {name: reading.param(index) for index, name in enumerate(names, start=1)}
    return reading.layer(layers.BatchNorm(momentum, _epsilon(reading)), **params)


def group_normalization(reading: NodeReading) -> ReadLayer:
    """Read GroupNormalization of operator set 21 or later, which has a scale for each channel."""
    reading.only(stash_type=1)
    return _scaled(reading, layers.GroupNorm(reading.take("num_groups", 0), _epsilon(reading)))


def layer_normalization(reading: NodeReading) -> ReadLayer:
    """Read LayerNormalization over all or some of the last axes."""
    reading.only(stash_type=1)
    axis, axes = reading.take("axis", -1), len(reading.shape) + 1
    axis += axes if axis < 0 else 0
    if not 1 <= axis < axes:
        raise Unreadable("normalizes along the batch axis")
    shape = reading.shape[axis - 1 :]
    return _scaled(reading, layers.LayerNorm(None if axis == 1 else shape, _epsilon(reading)))


def lrn(reading: NodeReading) -> ReadLayer:
    """Read LRN over an odd number of channels; for an even number, the windows of ONNX and PyTorch differ."""
    size = reading.take("size", 0)
    if size % 2 == 0:
        raise Unreadable(f"has size={size}, which is even")
    alpha, beta, k = (
        plain(reading.take(name, value)) for name, value in (("alpha", 1e-4), ("beta", 0.75), ("bias", 1.0))
    )
    return reading.layer(layers.LocalResponseNorm(size, alpha, beta, k))


def _scaled(reading: NodeReading, layer: Layer) -> ReadLayer:
    return reading.layer(layer, weight=reading.param(1), bias=reading.param(2))


def _epsilon(reading: NodeReading) -> float:
    return plain(reading.take("epsilon", 1e-5))


def flatten(reading: NodeReading) -> ReadLayer:
    """Read Flatten as Flatten."""
    reading.only(axis=1)
    return reading.layer(layers.Flatten())


def reshape(reading: NodeReading) -> ReadLayer:
    """Read Reshape as Reshape, if the batch axis is unchanged."""
    reading.only(allowzero=0)
    sizes, shape = reading.integers(1), reading.shape
    if not sizes or sizes[0] not in (0, -1) or any(size == 0 and i > len(shape) for i, size in enumerate(sizes)):
        raise Unreadable(f"reshapes to {sizes}, which changes the batch axis")
    rest = [shape[i] if size == 0 else size for i, size in enumerate(sizes[1:])]
    if sizes[0] == -1 and (-1 in rest or prod(rest) != prod(shape)):
        raise Unreadable(f"reshapes to {sizes}, which changes the batch axis")
    return reading.layer(layers.Reshape(tuple(rest)))


def pad(reading: NodeReading) -> ReadLayer:
    """Read Pad of images as Pad2d, or as PadChannels if it adds channels of zeros."""
    mode = reading.take("mode", "constant")
    pads = reading.integers(1)
    if reading.has_input(3) or len(pads) != 8 or pads[0] or pads[4] or mode not in KINDS:
        raise Unreadable("pads other axes than channels, height and width, or has an unknown mode")
    value = reading.number(2, 0.0) if mode == "constant" else 0.0
    before, after = pads[1], pads[5]
    if before or after:
        if (mode, value) != ("constant", 0.0) or min(before, after) < 0 or any(pads[i] for i in (2, 3, 6, 7)):
            raise Unreadable("pads channels with values other than zeros, or together with height and width")
        return reading.layer(layers.PadChannels(before, after))
    kind = KINDS[mode] if value or mode != "constant" else "zero"
    return reading.layer(layers.Pad2d(edges([pads[2], pads[3], pads[6], pads[7]]), kind, value))


def cut(reading: NodeReading) -> ReadLayer:
    """Read Slice of images as Pad2d with negative padding."""
    starts, ends, axes = reading.integers(1), reading.integers(2), reading.integers(3) if reading.has_input(3) else []
    if axes != [2, 3] or len(starts) != 2 or len(ends) != 2 or len(reading.shape) != 3:
        raise Unreadable("slices other axes than height and width")
    if reading.has_input(4) and reading.integers(4) != [1, 1]:
        raise Unreadable("has steps other than 1")
    (top, left), (height, width) = starts, reading.shape[1:]
    bottom, right = (
        size - (end + size if end < 0 else min(end, size)) for end, size in zip(ends, (height, width), strict=True)
    )
    if min(top, left) < 0:
        raise Unreadable("has negative starts")
    return reading.layer(layers.Pad2d((-left, -right, -top, -bottom)))


def resize(reading: NodeReading) -> ReadLayer:
    """Read Resize of images as Upsample: linear and cubic for any size, nearest for integer factors."""
    mode, axes = reading.take("mode", "nearest"), reading.take("axes", None)
    reading.only(antialias=0, exclude_outside=0, cubic_coeff_a=-0.75, extrapolation_value=0.0)
    reading.only(keep_aspect_ratio_policy="stretch")
    coordinates, rounding = (
        reading.take("coordinate_transformation_mode", "half_pixel"),
        reading.take("nearest_mode", None),
    )
    size = _size(reading, axes)
    if mode == "nearest":
        factors = [new / old for new, old in zip(size, reading.shape[1:], strict=True)]
        if (coordinates, rounding) != ("asymmetric", "floor") or not all(factor.is_integer() for factor in factors):
            raise Unreadable(f"uses nearest pixels with {coordinates} and {rounding}, or factors that are not integers")
        return reading.layer(layers.Upsample(size=size))
    if mode not in RESIZED or coordinates not in ("half_pixel", "align_corners"):
        raise Unreadable(f"resizes with the unsupported mode {mode} and {coordinates}")
    return reading.layer(layers.Upsample(size=size, kind=RESIZED[mode], align_corners=coordinates == "align_corners"))


def concat(reading: NodeReading) -> ReadLayer:
    """Read Concat as Concat."""
    axis = reading.take("axis", 0)
    axis += len(reading.shape) + 1 if axis < 0 else 0
    if axis < 1:
        raise Unreadable("concatenates along the batch axis")
    return reading.merged(layers.Concat(axis))


def _size(reading: NodeReading, axes: list[int] | None) -> tuple[int, int]:
    """Return the output's height and width; raises Unreadable unless the sizes or scales are constants."""
    images = reading.shape
    if len(images) != 3 or axes not in (None, [2, 3]):
        raise Unreadable("resizes other axes than height and width")
    skipped = 2 if axes is None else 0
    if reading.has_input(3):
        sizes = reading.integers(3)
        if len(sizes) != skipped + 2 or skipped:
            raise Unreadable("resizes other axes than height and width")
        return sizes[0], sizes[1]
    scales = reading.constant(2).tolist()
    if len(scales) != skipped + 2 or any(scale != 1 for scale in scales[:skipped]):
        raise Unreadable("resizes other axes than height and width")
    sizes = [scale * old for scale, old in zip(scales[skipped:], images[1:], strict=True)]
    if not all(size.is_integer() for size in sizes):
        raise Unreadable("has scales that do not give integer sizes")
    return int(sizes[0]), int(sizes[1])


READERS: dict[str, Callable[[NodeReading], ReadLayer]] = {
    "Gemm": gemm,
    "Conv": conv,
    "ConvTranspose": conv_transpose,
    "MaxPool": pool,
    "AveragePool": pool,
    "LpPool": lp_pool,
    "GlobalAveragePool": lambda reading: reading.layer(layers.AdaptiveAvgPool2d(1)),
    "Flatten": flatten,
    "Reshape": reshape,
    "Pad": pad,
    "Slice": cut,
    "Resize": resize,
    "Concat": concat,
    "Sigmoid": lambda reading: reading.layer(layers.Sigmoid()),
    "Tanh": lambda reading: reading.layer(layers.Tanh()),
    "Relu": lambda reading: reading.layer(layers.ReLU()),
    "Identity": lambda reading: reading.layer(layers.Identity()),
    "LeakyRelu": lambda reading: reading.layer(layers.LeakyReLU(plain(reading.take("alpha", 0.01)))),
    "Clip": clip,
    "Elu": lambda reading: reading.layer(layers.ELU(plain(reading.take("alpha", 1.0)))),
    "Gelu": lambda reading: reading.layer(layers.GELU(reading.take("approximate", "none"))),
    "Softmax": lambda reading: reading.layer(layers.Softmax(_axis(reading))),
    "LogSoftmax": lambda reading: reading.layer(layers.LogSoftmax(_axis(reading))),
    "Dropout": dropout,
    "Add": add,
    "Sum": add,
    "Mul": multiply,
    "Sub": lambda reading: _by_channel(reading, lambda c: {"running_mean": c}),
    "Div": lambda reading: _by_channel(reading, lambda c: {"weight": 1 / c}),
    "BatchNormalization": batch_normalization,
    "InstanceNormalization": lambda reading: _scaled(reading, layers.InstanceNorm2d(_epsilon(reading), affine=True)),
    "GroupNormalization": group_normalization,
    "LayerNormalization": layer_normalization,
    "LRN": lrn,
}
