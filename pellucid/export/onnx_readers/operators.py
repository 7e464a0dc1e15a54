"""ONNX operators that compute values, as layers: products, convolutions, pooling, activations, normalization."""

from collections.abc import Callable

import torch
from torch import Tensor

from pellucid import layers
from pellucid.combine import Sequential
from pellucid.export.onnx_readers import shapes
from pellucid.export.onnx_readers.reading import Found, Reading, Unreadable, edges, even, one, plain
from pellucid.layers.base import Layer


def gemm(reading: Reading) -> Found:
    """Read Gemm of a constant matrix and bias as Dense."""
    reading.only(alpha=1.0, beta=1.0, transA=0)
    transposed = reading.take("transB", 0)
    weight = reading.param(1) if transposed else reading.param(1).t().contiguous()
    if weight.dim() != 2 or len(reading.shape) != 1:
        raise Unreadable("is not a product of vectors and a matrix")
    if not transposed:
        reading.names[0] += ".T"
    return reading.found(layers.Dense(len(weight), bias=reading.given(2)), weight=weight, **_bias(reading))


def conv(reading: Reading) -> Found:
    """Read Conv as Conv2d, after a Pad2d for asymmetric padding other than "same"."""
    reading.only(auto_pad="NOTSET")
    weight, bias = _kernel(reading), _bias(reading)
    filters, kernel = weight.shape[0], (weight.shape[2], weight.shape[3])
    stride, dilation = reading.pair("strides", 1), reading.pair("dilations", 1)
    left, right, top, bottom = padding = edges(reading.take("pads", [0, 0, 0, 0]))
    settings = {"dilation": one(dilation), "groups": reading.take("group", 1), "bias": bool(bias)}
    if (left, top) == (right, bottom):
        even = layers.Conv2d(filters, one(kernel), stride=one(stride), padding=one((top, left)), **settings)
        return reading.found(even, weight=weight, **bias)
    if stride == (1, 1):
        same = layers.Conv2d(filters, one(kernel), stride=1, padding="same", **settings)
        if same.edges() == padding:
            return reading.found(same, weight=weight, **bias)
    layer = Sequential(
        pad=layers.Pad2d(padding), conv=layers.Conv2d(filters, one(kernel), stride=one(stride), padding=0, **settings)
    )
    return reading.found(layer, **{f"conv.{name}": tensor for name, tensor in {"weight": weight, **bias}.items()})


def conv_transpose(reading: Reading) -> Found:
    """Read ConvTranspose as ConvTranspose2d."""
    reading.only(auto_pad="NOTSET")
    weight, bias = _kernel(reading), _bias(reading)
    left, right, top, bottom = edges(reading.take("pads", [0, 0, 0, 0]))
    if (left, top) != (right, bottom):
        raise Unreadable("has asymmetric pads")
    groups = reading.take("group", 1)
    layer = layers.ConvTranspose2d(
        weight.shape[1] * groups,
        one((weight.shape[2], weight.shape[3])),
        stride=one(reading.pair("strides", 1)),
        padding=one((top, left)),
        output_padding=one(reading.pair("output_padding", 0)),
        dilation=one(reading.pair("dilations", 1)),
        groups=groups,
        bias=bool(bias),
    )
    return reading.found(layer, weight=weight, **bias)


def _kernel(reading: Reading) -> Tensor:
    weight = reading.param(1)
    if weight.dim() != 4:
        raise Unreadable(f"has a kernel of {weight.dim() - 2} axes, not of height and width")
    reading.only(kernel_shape=[*weight.shape[2:]])
    return weight


def _bias(reading: Reading) -> dict[str, Tensor]:
    return {"bias": reading.param(2)} if reading.given(2) else {}


def pool(reading: Reading) -> Found:
    """Read MaxPool as MaxPool2d, AveragePool as AvgPool2d."""
    reading.only(auto_pad="NOTSET", **({"storage_order": 0} if reading.node.op == "MaxPool" else {}))
    kernel, stride, dilation = _window(reading)
    padding, ceil_mode = even(reading.take("pads", [0, 0, 0, 0])), bool(reading.take("ceil_mode", 0))
    if reading.node.op == "MaxPool":
        return reading.found(layers.MaxPool2d(kernel, stride, padding, dilation, ceil_mode))
    return reading.found(
        layers.AvgPool2d(kernel, stride, padding, ceil_mode, bool(reading.take("count_include_pad", 0)), dilation)
    )


def lp_pool(reading: Reading) -> Found:
    """Read LpPool as LpPool2d."""
    reading.only(auto_pad="NOTSET", pads=[0, 0, 0, 0])
    kernel, stride, dilation = _window(reading)
    return reading.found(
        layers.LpPool2d(kernel, float(reading.take("p", 2)), stride, bool(reading.take("ceil_mode", 0)), dilation)
    )


def _window(reading: Reading) -> tuple[int | tuple[int, int], ...]:
    if "kernel_shape" not in reading.attributes:
        raise Unreadable("has no kernel_shape")
    return one(reading.pair("kernel_shape", 1)), one(reading.pair("strides", 1)), one(reading.pair("dilations", 1))


def clip(reading: Reading) -> Found:
    """Read Clip from 0 to 6."""
    limits = reading.number(1, float("-inf")), reading.number(2, float("inf"))
    if limits != (0.0, 6.0):
        raise Unreadable(f"clips to {limits}, not to (0.0, 6.0)")
    return reading.found(layers.ReLU6())


def dropout(reading: Reading) -> Found:
    """Read Dropout in evaluation mode."""
    reading.take("seed", 0)
    if reading.given(2) and bool(reading.constant(2, torch.bool).any()):
        raise Unreadable("is in training mode")
    return reading.found(layers.Dropout(reading.number(1, 0.5)))


def add(reading: Reading) -> Found:
    """Read Add of computed inputs as Add, and of a constant for each channel as BatchNorm."""
    return (
        reading.merged(layers.Add())
        if reading.flowing == reading.node.inputs
        else _by_channel(reading, lambda c: {"bias": c})
    )


def multiply(reading: Reading) -> Found:
    """Read Mul of computed inputs as Multiply, and by a constant for each channel as BatchNorm."""
    return (
        reading.merged(layers.Multiply())
        if reading.flowing == reading.node.inputs
        else _by_channel(reading, lambda c: {"weight": c})
    )


def _by_channel(reading: Reading, part: Callable[[Tensor], dict[str, Tensor]]) -> Found:
    """Return a BatchNorm that is the identity except for the parameter that `part` returns for the constant."""
    shape, constant = reading.shape, reading.constant(1)
    axes, channels = len(shape) + 1, shape[0] if shape else 0
    sizes = (1,) * (axes - constant.dim()) + tuple(constant.shape)
    if axes not in (2, 4) or sizes not in ((1, channels, *(1,) * (axes - 2)), (1,) * axes):
        raise Unreadable(f"has a constant of shape {tuple(constant.shape)}, not one value for each channel")
    zeros, ones = torch.zeros(channels), torch.ones(channels)
    params = {"weight": ones, "bias": zeros, "running_mean": zeros, "running_var": ones}
    return reading.found(
        layers.BatchNorm(epsilon=0.0), **params | part(constant.reshape(-1).expand(channels).contiguous())
    )


def _axis(reading: Reading) -> int:
    axis = reading.take("axis", -1)
    axis += len(reading.shape) + 1 if axis < 0 else 0
    if axis < 1:
        raise Unreadable("computes along the batch axis")
    return axis


def batch_normalization(reading: Reading) -> Found:
    """Read BatchNormalization in evaluation mode."""
    reading.only(training_mode=0)
    momentum = round(1 - plain(reading.take("momentum", 0.9)), 7)
    names = ("weight", "bias", "running_mean", "running_var")
    params = {name: reading.param(index) for index, name in enumerate(names, start=1)}
    return reading.found(layers.BatchNorm(momentum, _epsilon(reading)), **params)


def group_normalization(reading: Reading) -> Found:
    """Read GroupNormalization of operator set 21 or later, which has a scale for each channel."""
    reading.only(stash_type=1)
    return _scaled(reading, layers.GroupNorm(reading.take("num_groups", 0), _epsilon(reading)))


def layer_normalization(reading: Reading) -> Found:
    """Read LayerNormalization over all or some of the last axes."""
    reading.only(stash_type=1)
    axis, axes = reading.take("axis", -1), len(reading.shape) + 1
    axis += axes if axis < 0 else 0
    if not 1 <= axis < axes:
        raise Unreadable("normalizes along the batch axis")
    shape = reading.shape[axis - 1 :]
    return _scaled(reading, layers.LayerNorm(None if axis == 1 else shape, _epsilon(reading)))


def lrn(reading: Reading) -> Found:
    """Read LRN over an odd number of channels; for an even number, the windows of ONNX and PyTorch differ."""
    size = reading.take("size", 0)
    if size % 2 == 0:
        raise Unreadable(f"has size={size}, which is even")
    alpha, beta, k = (
        plain(reading.take(name, value)) for name, value in (("alpha", 1e-4), ("beta", 0.75), ("bias", 1.0))
    )
    return reading.found(layers.LocalResponseNorm(size, alpha, beta, k))


def _scaled(reading: Reading, layer: Layer) -> Found:
    return reading.found(layer, weight=reading.param(1), bias=reading.param(2))


def _epsilon(reading: Reading) -> float:
    return plain(reading.take("epsilon", 1e-5))


READERS: dict[str, Callable[[Reading], Found]] = {
    "Gemm": gemm,
    "Conv": conv,
    "ConvTranspose": conv_transpose,
    "MaxPool": pool,
    "AveragePool": pool,
    "LpPool": lp_pool,
    "GlobalAveragePool": lambda reading: reading.found(layers.AdaptiveAvgPool2d(1)),
    "Flatten": shapes.flatten,
    "Reshape": shapes.reshape,
    "Pad": shapes.pad,
    "Slice": shapes.cut,
    "Resize": shapes.resize,
    "Concat": shapes.concat,
    "Sigmoid": lambda reading: reading.found(layers.Sigmoid()),
    "Tanh": lambda reading: reading.found(layers.Tanh()),
    "Relu": lambda reading: reading.found(layers.ReLU()),
    "Identity": lambda reading: reading.found(layers.Identity()),
    "LeakyRelu": lambda reading: reading.found(layers.LeakyReLU(plain(reading.take("alpha", 0.01)))),
    "Clip": clip,
    "Elu": lambda reading: reading.found(layers.ELU(plain(reading.take("alpha", 1.0)))),
    "Gelu": lambda reading: reading.found(layers.GELU(reading.take("approximate", "none"))),
    "Softmax": lambda reading: reading.found(layers.Softmax(_axis(reading))),
    "LogSoftmax": lambda reading: reading.found(layers.LogSoftmax(_axis(reading))),
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
