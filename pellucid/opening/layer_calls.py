"""Translation of PyTorch operators to layers: layers with parameters, resizing, dropout and activations."""

from collections.abc import Callable
from typing import Any

from pellucid import layers, operators
from pellucid.layers.base import Layer
from pellucid.opening.exported import Multiple
from pellucid.opening.pooling_calls import affine_sources
from pellucid.opening.values import CallLayer, Context, Unsupported, pair, per_axis

Translate = Callable[[Context], CallLayer | str]  # the layer, or the name of the value that the call returns unchanged


def _window_axes(c: Context) -> int:
    """Return the number of axes of a convolution's windows; raise Unsupported for an input without a batch axis."""
    n_axes = len(c.shape("weight")) - 2
    if len(c.shape("input")) != n_axes + 2:
        raise Unsupported("its input has no batch axis")
    return n_axes


def convolution(c: Context) -> CallLayer:
    """Return Conv2d if the input is images and the calling module has the weight, else Convolve."""
    own_params = c.own_params(weight="weight", bias="bias")
    n_axes = _window_axes(c)
    if own_params is None or n_axes != 2:
        before, after = _paddings(c, n_axes)
        groups = 0 if isinstance(c["groups"], Multiple) else c["groups"]
        settings = per_axis(c["stride"], n_axes), before, per_axis(c["dilation"], n_axes), groups
        _, *weights = c.sources("input", "weight", "bias")
        x: str | CallLayer = c.source("input")
        if before != after:  # F.pad begins with the last axis
            widths = [width for low, high in zip(before[::-1], after[::-1], strict=True) for width in (0, high - low)]
            x = CallLayer(operators.Pad(tuple(widths)), (x,))
        return CallLayer(operators.Convolve(*settings), (x, *weights))
    filters, _, *kernel = c.shape("weight")
    padding = {"same": "same", "valid": 0}[c["padding"]] if isinstance(c["padding"], str) else pair(c["padding"])
    options = {"stride": pair(c["stride"]), "padding": padding, "dilation": pair(c["dilation"]), "groups": c["groups"]}
    layer = layers.Conv2d(filters, pair(kernel), **options, bias="bias" in own_params)
    return CallLayer(layer, (c.source("input"),), own_params)


def transposed_convolution(c: Context) -> CallLayer:
    """Return ConvTranspose2d if the input is images and the calling module has the weight, else Convolve."""
    own_params = c.own_params(weight="weight", bias="bias")
    n_axes = _window_axes(c)
    if own_params is None or n_axes != 2:
        stride, padding, dilation = (per_axis(c[name], n_axes) for name in ("stride", "padding", "dilation"))
        extra = per_axis(c["output_padding"], n_axes)
        c.fixed_value("groups")
        return CallLayer(
            operators.Convolve(stride, padding, dilation, c["groups"], transposed=True, output_padding=extra),
            c.sources("input", "weight", "bias"),
        )
    _, filters, *kernel = c.shape("weight")
    layer = layers.ConvTranspose2d(
        filters * c["groups"], pair(kernel), stride=pair(c["stride"]), padding=pair(c["padding"]),
        output_padding=pair(c["output_padding"]), dilation=pair(c["dilation"]), groups=c["groups"],
        bias="bias" in own_params,
    )  # fmt: skip
    return CallLayer(layer, (c.source("input"),), own_params)


def _paddings(c: Context, n_axes: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the padding before and after each axis; they differ for padding="same" with a kernel of an even size."""
    if c["padding"] != "same":
        widths = (0,) * n_axes if c["padding"] == "valid" else per_axis(c["padding"], n_axes)
        return widths, widths
    kernel, dilation = c.shape("weight")[2:], per_axis(c["dilation"], n_axes)
    totals = [step * (size - 1) for step, size in zip(dilation, kernel, strict=True)]
    before = tuple(total // 2 for total in totals)
    return before, tuple(total - low for total, low in zip(totals, before, strict=True))


def linear(c: Context) -> CallLayer:
    """Return Dense if the calling module has the weight, else LinearMap."""
    own_params = c.own_params(weight="weight", bias="bias")
    shape = c.shape("input")
    if len(c.shape("weight")) != 2:
        raise Unsupported("the weight is a vector")
    if own_params is None:
        return CallLayer(operators.LinearMap(), c.sources("input", "weight", "bias"))
    layer = layers.Dense(c.shape("weight")[0], bias="bias" in own_params, pixels=len(shape) == 4)
    return CallLayer(layer, (c.source("input"),), own_params)


def layer_norm(c: Context) -> CallLayer:
    """Return LayerNorm if the calling module has a weight and a bias, else NormalizeLast."""
    own_params = c.own_params(weight="weight", bias="bias")
    shape = c.fixed_value("normalized_shape")
    epsilon = c.number("eps")
    if own_params is None or len(own_params) < 2:
        return CallLayer(operators.NormalizeLast(shape, epsilon), affine_sources(c))
    return CallLayer(layers.LayerNorm(shape, epsilon), (c.source("input"),), own_params)


def group_norm(c: Context) -> CallLayer:
    """Return GroupNorm if the calling module has a weight and a bias, else NormalizeGroups."""
    own_params = c.own_params(weight="weight", bias="bias")
    if own_params is None or len(own_params) < 2 or len(c.shape("input")) not in (2, 4):
        return CallLayer(operators.NormalizeGroups(c["num_groups"], c.number("eps")), affine_sources(c))
    return CallLayer(layers.GroupNorm(c["num_groups"], c.number("eps")), (c.source("input"),), own_params)


def instance_norm(c: Context) -> CallLayer:
    """Return NormalizeGroups with a group for each channel."""
    if c["running_mean"] is not None and not c["use_input_stats"]:
        raise Unsupported("it uses running statistics")
    return CallLayer(operators.NormalizeGroups(c.shape("input")[1], c.number("eps")), affine_sources(c))


def dropout(c: Context) -> CallLayer | str:
    """Return Dropout, or the name of the input for p=0."""
    c.check_values(train=False)
    return CallLayer(layers.Dropout(c.number("p")), (c.first_source,)) if c["p"] else c.first_source


def feature_dropout(c: Context) -> CallLayer | str:
    """Return Dropout of whole channels, or the name of the input for p=0."""
    c.check_values(train=False)
    return CallLayer(layers.Dropout(c.number("p"), channels=True), (c.first_source,)) if c["p"] else c.first_source


def softmax(make_layer: Callable[[int], Layer]) -> Translate:
    """Return the translation to the layer that `make_layer` returns for an axis.

    For the first axis of a value without a batch axis, an axis is added before it. The softmax of nn.MultiheadAttention
    is followed by the dropout of the attention weights.
    """

    def translate(c: Context) -> CallLayer:
        axis = c.axis()
        shape = c.shape()
        if (axis == 0 and isinstance(shape[0], Multiple)) or c["dtype"] not in (None, c.call.dtype):
            raise Unsupported(f"dim={c['dim']}, dtype={c['dtype']}")
        if axis:
            result = CallLayer(make_layer(axis), (c.source("self"),))
            return CallLayer(layers.Dropout(c.attention_dropout), (result,)) if c.attention_dropout else result
        unsqueezed = CallLayer(operators.ToShape((-1,), 0, len(shape)), (c.source("self"),))
        return CallLayer(operators.Select(0, 0), (CallLayer(make_layer(1), (unsqueezed,)),))

    return translate


def upsample(kind: str) -> Translate:
    """Return the translation of an operator that resizes images."""

    def translate(c: Context) -> CallLayer:
        size = c.fixed_value("output_size")
        scale = c["scale_factors"]
        layer = layers.Upsample(
            None if size else (float(scale[0]), float(scale[-1])),
            pair(size) if size else None,
            kind,
            align_corners=bool(c.call.arguments.get("align_corners", False)),
            antialias=c.call.op.endswith("_aa"),
        )
        return CallLayer(layer, (c.source("input"),))

    return translate


def activation(make_layer: Callable[[Context], Layer]) -> Translate:
    """Return the translation of an elementwise operator with one input."""
    return lambda c: CallLayer(make_layer(c), (c.source("self"),))


def hardtanh(c: Context) -> CallLayer:
    """Return ReLU6 for the limits 0 and 6, else Clip."""
    low, high = c.number("min_val"), c.number("max_val")
    layer = layers.ReLU6() if (low, high) == (0, 6) else operators.Clip(low, high)
    return CallLayer(layer, (c.source("self"),))


def elu(c: Context) -> CallLayer:
    """Return ELU."""
    c.check_values(scale=1, input_scale=1)
    return CallLayer(layers.ELU(c.number("alpha")), (c.source("self"),))


TRANSLATIONS: dict[str, Callable[[Context], Any]] = {
    **dict.fromkeys(("conv1d", "conv2d", "conv3d"), convolution),
    **dict.fromkeys(("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"), transposed_convolution),
    "linear": linear,
    "layer_norm": layer_norm,
    "group_norm": group_norm,
    "instance_norm": instance_norm,
    "dropout": dropout,
    "feature_dropout": feature_dropout,
    "softmax": softmax(layers.Softmax),
    "log_softmax": softmax(layers.LogSoftmax),
    "upsample_nearest2d": upsample("nearest"),
    "upsample_bilinear2d": upsample("bilinear"),
    "_upsample_bilinear2d_aa": upsample("bilinear"),
    "upsample_bicubic2d": upsample("bicubic"),
    "_upsample_bicubic2d_aa": upsample("bicubic"),
    "relu": activation(lambda c: layers.ReLU()),
    "relu6": activation(lambda c: layers.ReLU6()),
    "hardtanh": hardtanh,
    "leaky_relu": activation(lambda c: layers.LeakyReLU(c.number("negative_slope"))),
    "elu": elu,
    "gelu": activation(lambda c: layers.GELU(c["approximate"])),
    "silu": activation(lambda c: layers.SiLU()),
    "sigmoid": activation(lambda c: layers.Sigmoid()),
    "tanh": activation(lambda c: layers.Tanh()),
    "hardswish": activation(lambda c: layers.HardSwish()),
    "hardsigmoid": activation(lambda c: layers.HardSigmoid()),
}
