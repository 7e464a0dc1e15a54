"""Layers as Python expressions that create modules; layers that are not in CODERS have a method `torch_code`."""

from collections.abc import Callable
from typing import Any

from pellucid import layers
from pellucid.export.torch_code import operators
from pellucid.export.torch_code.calls import call, call_without_options
from pellucid.layers.base import Layer, pair
from pellucid.layers.recurrent import Recurrent
from pellucid.network.traced import TracedLayer

BATCH_NORM_MODULES = {1: "nn.BatchNorm1d", 3: "nn.BatchNorm2d"}  # by the number of axes without the batch axis
DROPOUT_MODULES = {2: "nn.Dropout1d", 3: "nn.Dropout2d", 4: "nn.Dropout3d"}  # drop whole channels
PADDING_MODULES = {
    "zero": "nn.ZeroPad2d",
    "constant": "nn.ConstantPad2d",
    "reflect": "nn.ReflectionPad2d",
    "replicate": "nn.ReplicationPad2d",
    "circular": "nn.CircularPad2d",
}


def dense(layer: layers.Dense, step: TracedLayer) -> str:
    """Return nn.Linear."""
    return call("nn.Linear", step.inputs[0].shape[-1], layer.units, bias=layer.bias, defaults={"bias": True})


def convolution(layer: layers.Conv2d | layers.ConvTranspose2d, step: TracedLayer) -> str:
    """Return nn.Conv2d or nn.ConvTranspose2d."""
    transposed_options = {"output_padding": layer.output_padding} if isinstance(layer, layers.ConvTranspose2d) else {}
    return call(
        f"nn.{type(layer).__name__}",
        step.inputs[0].shape[0],
        layer.filters,
        layer.kernel,
        stride=layer.stride,
        padding=layer.padding,
        **transposed_options,
        dilation=layer.dilation,
        groups=layer.groups,
        bias=layer.bias,
        defaults={"stride": 1, "padding": 0, "output_padding": 0, "dilation": 1, "groups": 1, "bias": True},
    )


def max_pool2d(layer: layers.MaxPool2d, step: TracedLayer) -> str:
    """Return nn.MaxPool2d."""
    return call(
        "nn.MaxPool2d",
        layer.kernel,
        stride=layer.step,
        padding=layer.padding,
        dilation=layer.dilation,
        ceil_mode=layer.ceil_mode,
        defaults={"padding": 0, "dilation": 1, "ceil_mode": False},
    )


def avg_pool2d(layer: layers.AvgPool2d, step: TracedLayer) -> str:
    """Return nn.AvgPool2d, or Pool for dilated windows."""
    if pair(layer.dilation) != (1, 1):
        window = pair(layer.kernel), pair(layer.step), pair(layer.padding), pair(layer.dilation)
        return call("Pool", *window, ceil_mode=layer.ceil_mode, count_include_pad=layer.count_include_pad)
    return call(
        "nn.AvgPool2d",
        layer.kernel,
        stride=layer.step,
        padding=layer.padding,
        ceil_mode=layer.ceil_mode,
        count_include_pad=layer.count_include_pad,
        defaults={"padding": 0, "ceil_mode": False, "count_include_pad": True},
    )


def lp_pool2d(layer: layers.LpPool2d, step: TracedLayer) -> str:
    """Return Pool, because nn.LPPool2d sums signed powers, without the absolute value."""
    window = pair(layer.kernel), pair(layer.step), (0, 0), pair(layer.dilation)
    return call("Pool", *window, ceil_mode=layer.ceil_mode, p=layer.p)


def flatten(layer: layers.Flatten, step: TracedLayer) -> str:
    """Return nn.Flatten, or Reshape for scalar samples, which nn.Flatten does not accept."""
    return "nn.Flatten()" if step.inputs[0].shape else "Reshape(1)"


def pad2d(layer: layers.Pad2d, step: TracedLayer) -> str:
    """Return the module for the kind of padding."""
    value = (layer.value,) if layer.kind == "constant" else ()
    return call(PADDING_MODULES[layer.kind], layer.padding, *value)


def upsample(layer: layers.Upsample, step: TracedLayer) -> str:
    """Return nn.Upsample, or ResizeAntialiased."""
    scale = layer.scale
    if scale is not None and not isinstance(scale, tuple):
        scale = (scale, scale)
    if layer.antialias:
        return call("ResizeAntialiased", step.output.shape[1:], layer.kind, scale)
    options: dict[str, Any] = {"size": layer.size} if scale is None else {"scale_factor": scale}
    options |= {"mode": layer.kind, "align_corners": layer.align_corners}
    return call("nn.Upsample", **options, defaults={"align_corners": False})


def dropout(layer: layers.Dropout, step: TracedLayer) -> str:
    """Return nn.Dropout, or nn.Dropout1d, 2d or 3d, which drop whole channels."""
    n_axes = len(step.inputs[0].shape)
    return call(DROPOUT_MODULES.get(n_axes, "nn.Dropout") if layer.channels else "nn.Dropout", layer.rate)


def batch_norm(layer: layers.BatchNorm, step: TracedLayer) -> str:
    """Return nn.BatchNorm2d, or nn.BatchNorm1d for vectors."""
    shape = step.inputs[0].shape
    defaults = {"eps": 1e-5, "momentum": 0.1}
    return call(BATCH_NORM_MODULES[len(shape)], shape[0], eps=layer.epsilon, momentum=layer.momentum, defaults=defaults)


def instance_norm2d(layer: layers.InstanceNorm2d, step: TracedLayer) -> str:
    """Return nn.InstanceNorm2d."""
    channels = step.inputs[0].shape[0]
    defaults = {"eps": 1e-5, "affine": False}
    return call("nn.InstanceNorm2d", channels, eps=layer.epsilon, affine=layer.affine, defaults=defaults)


def group_norm(layer: layers.GroupNorm, step: TracedLayer) -> str:
    """Return nn.GroupNorm."""
    return call("nn.GroupNorm", layer.groups, step.inputs[0].shape[0], eps=layer.epsilon, defaults={"eps": 1e-5})


def recurrent(layer: Recurrent, step: TracedLayer) -> str:
    """Return LSTM, GRU or RNN, whose output is one tensor."""
    name = type(layer).__name__
    sizes = step.inputs[0].shape[1], layer.units, layer.levels
    options = {"bias": layer.bias, "bidirectional": layer.bidirectional, "output": layer.output}
    defaults = {"bias": True, "bidirectional": False, "output": "sequence", "nonlinearity": "tanh"}
    if isinstance(layer, layers.RNN):
        options["nonlinearity"] = layer.nonlinearity
    return call(name, *sizes, **options, defaults=defaults)


def layer_norm(layer: layers.LayerNorm, step: TracedLayer) -> str:
    """Return nn.LayerNorm."""
    shape = step.inputs[0].shape if layer.shape is None else layer.shape
    return call("nn.LayerNorm", shape, eps=layer.epsilon, defaults={"eps": 1e-5})


CODERS: dict[type[Layer], Callable[[Any, TracedLayer], str]] = {
    layers.Dense: dense,
    layers.Conv2d: convolution,
    layers.ConvTranspose2d: convolution,
    layers.MaxPool2d: max_pool2d,
    layers.AvgPool2d: avg_pool2d,
    layers.LpPool2d: lp_pool2d,
    layers.AdaptiveAvgPool2d: lambda layer, step: call("nn.AdaptiveAvgPool2d", layer.size),
    layers.MaxUnpool2d: lambda layer, step: call("MaxUnpool2d", step.output.shape[1:]),
    layers.Flatten: flatten,
    layers.Reshape: lambda layer, step: call("Reshape", *step.output.shape),
    layers.Pad2d: pad2d,
    layers.PadChannels: lambda layer, step: call("nn.ZeroPad3d", (0, 0, 0, 0, layer.before, layer.after)),
    layers.Upsample: upsample,
    layers.Dropout: dropout,
    layers.BatchNorm: batch_norm,
    layers.InstanceNorm2d: instance_norm2d,
    layers.GroupNorm: group_norm,
    layers.LayerNorm: layer_norm,
    layers.LSTM: recurrent,
    layers.GRU: recurrent,
    layers.RNN: recurrent,
    layers.LocalResponseNorm: lambda layer, step: call(
        "nn.LocalResponseNorm", layer.size, alpha=layer.alpha, beta=layer.beta, k=layer.k
    ),
    layers.LocalContrastNorm: lambda layer, step: call("LocalContrastNorm", layer.size, layer.epsilon),
    layers.Add: call_without_options("Add"),
    layers.Crop: call_without_options("Crop"),
    layers.Concat: lambda layer, step: call("Concat", layer.axis),
    layers.Multiply: call_without_options("Multiply"),
    layers.SoftArgmax: call_without_options("SoftArgmax"),
    **operators.CODERS,
}


def is_writable(kind: type[Layer]) -> bool:
    """Return whether CODERS or a method `torch_code` can write layers of this type."""
    return kind in CODERS or kind.torch_code is not Layer.torch_code


def module_code(layer: Layer, step: TracedLayer) -> str:
    """Return the expression that creates the layer's module."""
    return CODERS[type(layer)](layer, step) if type(layer) in CODERS else layer.torch_code(step.inputs[0].shape)
