"""Operators of ONNX that compute, as layers: products, convolutions, pooling, elementwise functions, normalization."""

from collections.abc import Callable

import torch
from torch import Tensor

from pellucid import layers
from pellucid.combine import Sequential
from pellucid.export.onnx_readers import shapes
from pellucid.export.onnx_readers.reading import Found, Reading, Unreadable, edges, even, one, plain
from pellucid.layers.base import Layer


def gemm(it: Reading) -> Found:
    """Read Gemm of a constant matrix and bias as Dense."""
    it.only(alpha=1.0, beta=1.0, transA=0)
    turned = it.take("transB", 0)
    weight = it.param(1) if turned else it.param(1).t().contiguous()
    if weight.dim() != 2 or len(it.shape) != 1:
        raise Unreadable("multiplies something else than rows by a matrix")
    if not turned:
        it.names[0] += ".T"
    return it.found(layers.Dense(len(weight), bias=it.given(2)), weight=weight, **_bias(it))


def conv(it: Reading) -> Found:
    """Read Conv as Conv2d, after a Pad2d for asymmetric padding that does not keep the size."""
    it.only(auto_pad="NOTSET")
    weight, bias = _kernel(it), _bias(it)
    filters, kernel = weight.shape[0], (weight.shape[2], weight.shape[3])
    stride, dilation = it.pair("strides", 1), it.pair("dilations", 1)
    left, right, top, bottom = put = edges(it.take("pads", [0, 0, 0, 0]))
    settings = {"dilation": one(dilation), "groups": it.take("group", 1), "bias": bool(bias)}
    if (left, top) == (right, bottom):
        even = layers.Conv2d(filters, one(kernel), stride=one(stride), padding=one((top, left)), **settings)
        return it.found(even, weight=weight, **bias)
    if stride == (1, 1):
        same = layers.Conv2d(filters, one(kernel), stride=1, padding="same", **settings)
        if same.edges() == put:
            return it.found(same, weight=weight, **bias)
    layer = Sequential(
        pad=layers.Pad2d(put), conv=layers.Conv2d(filters, one(kernel), stride=one(stride), padding=0, **settings)
    )
    return it.found(layer, **{f"conv.{name}": tensor for name, tensor in {"weight": weight, **bias}.items()})


def conv_transpose(it: Reading) -> Found:
    """Read ConvTranspose as ConvTranspose2d."""
    it.only(auto_pad="NOTSET")
    weight, bias = _kernel(it), _bias(it)
    left, right, top, bottom = edges(it.take("pads", [0, 0, 0, 0]))
    if (left, top) != (right, bottom):
        raise Unreadable("has uneven pads")
    groups = it.take("group", 1)
    layer = layers.ConvTranspose2d(
        weight.shape[1] * groups,
        one((weight.shape[2], weight.shape[3])),
        stride=one(it.pair("strides", 1)),
        padding=one((top, left)),
        output_padding=one(it.pair("output_padding", 0)),
        dilation=one(it.pair("dilations", 1)),
        groups=groups,
        bias=bool(bias),
    )
    return it.found(layer, weight=weight, **bias)


def _kernel(it: Reading) -> Tensor:
    weight = it.param(1)
    if weight.dim() != 4:
        raise Unreadable(f"has a window of {weight.dim() - 2} axes, not of height and width")
    it.only(kernel_shape=[*weight.shape[2:]])
    return weight


def _bias(it: Reading) -> dict[str, Tensor]:
    return {"bias": it.param(2)} if it.given(2) else {}


def pool(it: Reading) -> Found:
    """Read MaxPool as MaxPool2d, AveragePool as AvgPool2d."""
    it.only(auto_pad="NOTSET", **({"storage_order": 0} if it.node.op == "MaxPool" else {}))
    kernel, stride, dilation = _window(it)
    padding, ceil_mode = even(it.take("pads", [0, 0, 0, 0])), bool(it.take("ceil_mode", 0))
    if it.node.op == "MaxPool":
        return it.found(layers.MaxPool2d(kernel, stride, padding, dilation, ceil_mode))
    return it.found(
        layers.AvgPool2d(kernel, stride, padding, ceil_mode, bool(it.take("count_include_pad", 0)), dilation)
    )


def lp_pool(it: Reading) -> Found:
    """Read LpPool as LpPool2d."""
    it.only(auto_pad="NOTSET", pads=[0, 0, 0, 0])
    kernel, stride, dilation = _window(it)
    return it.found(layers.LpPool2d(kernel, float(it.take("p", 2)), stride, bool(it.take("ceil_mode", 0)), dilation))


def _window(it: Reading) -> tuple[int | tuple[int, int], ...]:
    if "kernel_shape" not in it.attributes:
        raise Unreadable("has no kernel_shape")
    return one(it.pair("kernel_shape", 1)), one(it.pair("strides", 1)), one(it.pair("dilations", 1))


def clip(it: Reading) -> Found:
    """Read Clip from 0 to 6."""
    limits = it.number(1, float("-inf")), it.number(2, float("inf"))
    if limits != (0.0, 6.0):
        raise Unreadable(f"clips to {limits}, not to (0.0, 6.0)")
    return it.found(layers.ReLU6())


def dropout(it: Reading) -> Found:
    """Read Dropout that does not train."""
    it.take("seed", 0)
    if it.given(2) and bool(it.constant(2, torch.bool).any()):
        raise Unreadable("is told to train")
    return it.found(layers.Dropout(it.number(1, 0.5)))


def add(it: Reading) -> Found:
    """Read Add, with a constant for each channel as BatchNorm."""
    return it.merged(layers.Add()) if it.flowing == it.node.inputs else _by_channel(it, lambda c: {"bias": c})


def multiply(it: Reading) -> Found:
    """Read Mul, with a constant for each channel as BatchNorm."""
    return it.merged(layers.Multiply()) if it.flowing == it.node.inputs else _by_channel(it, lambda c: {"weight": c})


def _by_channel(it: Reading, part: Callable[[Tensor], dict[str, Tensor]]) -> Found:
    """Return a BatchNorm that changes nothing but what `part` makes of the constant."""
    shape, given = it.shape, it.constant(1)
    axes, channels = len(shape) + 1, shape[0] if shape else 0
    sizes = (1,) * (axes - given.dim()) + tuple(given.shape)
    if axes not in (2, 4) or sizes not in ((1, channels, *(1,) * (axes - 2)), (1,) * axes):
        raise Unreadable(f"takes a constant of shape {tuple(given.shape)}, not one number for each channel")
    zeros, ones = torch.zeros(channels), torch.ones(channels)
    params = {"weight": ones, "bias": zeros, "running_mean": zeros, "running_var": ones}
    return it.found(layers.BatchNorm(epsilon=0.0), **params | part(given.reshape(-1).expand(channels).contiguous()))


def _axis(it: Reading) -> int:
    axis = it.take("axis", -1)
    axis += len(it.shape) + 1 if axis < 0 else 0
    if axis < 1:
        raise Unreadable("works along the batch")
    return axis


def batch_normalization(it: Reading) -> Found:
    """Read BatchNormalization that does not train."""
    it.only(training_mode=0)
    momentum = round(1 - plain(it.take("momentum", 0.9)), 7)
    names = ("weight", "bias", "running_mean", "running_var")
    params = {name: it.param(place) for place, name in enumerate(names, start=1)}
    return it.found(layers.BatchNorm(momentum, _epsilon(it)), **params)


def group_normalization(it: Reading) -> Found:
    """Read GroupNormalization that scales each channel, as it does from version 21 on."""
    it.only(stash_type=1)
    return _scaled(it, layers.GroupNorm(it.take("num_groups", 0), _epsilon(it)))


def layer_normalization(it: Reading) -> Found:
    """Read LayerNormalization over all or some of the last axes."""
    it.only(stash_type=1)
    axis, axes = it.take("axis", -1), len(it.shape) + 1
    axis += axes if axis < 0 else 0
    if not 1 <= axis < axes:
        raise Unreadable("normalizes the batch")
    shape = it.shape[axis - 1 :]
    return _scaled(it, layers.LayerNorm(None if axis == 1 else shape, _epsilon(it)))


def lrn(it: Reading) -> Found:
    """Read LRN over an odd number of channels; for an even number, its window differs from ours."""
    size = it.take("size", 0)
    if size % 2 == 0:
        raise Unreadable(f"has size={size}, which is even")
    alpha, beta, k = (plain(it.take(name, value)) for name, value in (("alpha", 1e-4), ("beta", 0.75), ("bias", 1.0)))
    return it.found(layers.LocalResponseNorm(size, alpha, beta, k))


def _scaled(it: Reading, layer: Layer) -> Found:
    return it.found(layer, weight=it.param(1), bias=it.param(2))


def _epsilon(it: Reading) -> float:
    return plain(it.take("epsilon", 1e-5))


READERS: dict[str, Callable[[Reading], Found]] = {
    "Gemm": gemm,
    "Conv": conv,
    "ConvTranspose": conv_transpose,
    "MaxPool": pool,
    "AveragePool": pool,
    "LpPool": lp_pool,
    "GlobalAveragePool": lambda it: it.found(layers.AdaptiveAvgPool2d(1)),
    "Flatten": shapes.flatten,
    "Reshape": shapes.reshape,
    "Pad": shapes.pad,
    "Slice": shapes.cut,
    "Resize": shapes.resize,
    "Concat": shapes.concat,
    "Sigmoid": lambda it: it.found(layers.Sigmoid()),
    "Tanh": lambda it: it.found(layers.Tanh()),
    "Relu": lambda it: it.found(layers.ReLU()),
    "Identity": lambda it: it.found(layers.Identity()),
    "LeakyRelu": lambda it: it.found(layers.LeakyReLU(plain(it.take("alpha", 0.01)))),
    "Clip": clip,
    "Elu": lambda it: it.found(layers.ELU(plain(it.take("alpha", 1.0)))),
    "Gelu": lambda it: it.found(layers.GELU(it.take("approximate", "none"))),
    "Softmax": lambda it: it.found(layers.Softmax(_axis(it))),
    "LogSoftmax": lambda it: it.found(layers.LogSoftmax(_axis(it))),
    "Dropout": dropout,
    "Add": add,
    "Sum": add,
    "Mul": multiply,
    "Sub": lambda it: _by_channel(it, lambda c: {"running_mean": c}),
    "Div": lambda it: _by_channel(it, lambda c: {"weight": 1 / c}),
    "BatchNormalization": batch_normalization,
    "InstanceNormalization": lambda it: _scaled(it, layers.InstanceNorm2d(_epsilon(it), affine=True)),
    "GroupNormalization": group_normalization,
    "LayerNormalization": layer_normalization,
    "LRN": lrn,
}
