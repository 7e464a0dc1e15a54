"""Operators on whole tensors as Python expressions that create modules, or the parameters and constants themselves."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch

from pellucid import operators
from pellucid.export.torch_code.calls import Name, call, literal
from pellucid.layers.base import Layer
from pellucid.network.traced import TracedLayer

AFFINE = "x, weight=None, bias=None"  # arguments of normalizations and of convolutions
CONVOLVE, TRANSPOSED = "F.conv{}d", "F.conv_transpose{}d"

Coder = Callable[[Any, TracedLayer], str]


def function(name: str) -> Coder:
    """Return the function for operators without options, which applies the PyTorch function `name`."""
    return lambda layer, step: f"Apply({name})"


def applied(arguments: str, text: str) -> str:
    """Return the code that applies an expression of the arguments."""
    return f"Apply(lambda {arguments}: {text})"


def to_shape(layer: operators.ToShape, step: TracedLayer) -> str:
    """Return Tensor.reshape."""
    before = [f"*x.shape[:{layer.before}]"] if layer.before else []
    after = [f"*x.shape[-{layer.after}:]"] if layer.after else []
    return applied("x", f"x.reshape({', '.join([*before, *map(literal, layer.sizes), *after])})")


def slice_(layer: operators.Slice, step: TracedLayer) -> str:
    """Return the indexing of a slice."""
    stop = "" if layer.stop is None else layer.stop
    part = f"{layer.start or ''}:{stop}" + (f":{layer.step}" if layer.step != 1 else "")
    return applied("x", f"x[{':, ' * layer.axis}{part}]")


def replace_slice(layer: operators.ReplaceSlice, step: TracedLayer) -> str:
    """Return Tensor.slice_scatter."""
    return applied("x, part", call("x.slice_scatter", Name("part"), layer.axis, layer.start, layer.stop, layer.step))


def expand(layer: operators.Expand, step: TracedLayer) -> str:
    """Return Tensor.expand, to the length of the last argument for each size 0."""
    arguments = ("x", "examples")[: len(step.inputs)]
    sizes = [f"len({arguments[-1]})" if size == 0 else literal(size) for size in layer.sizes]
    return applied(", ".join(arguments), f"x.expand({', '.join(sizes)})")


def index(layer: operators.Index, step: TracedLayer) -> str:
    """Return the indexing by a tensor."""
    return applied("x, positions", f"x[{':, ' * layer.axis}positions]")


def reduced(name: str) -> Coder:
    """Return the function for reductions of axes, which calls the tensor's method `name`."""
    return lambda layer, step: applied("x", call(f"x.{name}", layer.axes, keepdim=layer.keep))


def convolve(layer: operators.Convolve, step: TracedLayer) -> str:
    """Return F.conv2d or F.conv_transpose2d, or those for another number of axes."""
    options: dict[str, Any] = {"padding": layer.padding, "dilation": layer.dilation, "groups": layer.groups}
    if layer.transposed and layer.output_padding:
        options["output_padding"] = layer.output_padding
    name = (TRANSPOSED if layer.transposed else CONVOLVE).format(len(layer.stride))
    values = Name("x"), Name("weight"), Name("bias")
    return applied("x, weight, bias=None", call(name, *values, stride=layer.stride, **options))


def attention(layer: operators.Attention, step: TracedLayer) -> str:
    """Return F.scaled_dot_product_attention, which takes either one mask or is causal."""
    options = {"scale": layer.scale}
    values = Name("q"), Name("k"), Name("v")
    name = "F.scaled_dot_product_attention"
    if len(step.inputs) < 4:
        options["is_causal"] = layer.causal
        return applied("q, k, v", call(name, *values, **options, defaults={"scale": None, "is_causal": False}))
    names = ["mask"] if len(step.inputs) == 4 else [f"mask{index}" for index in range(1, len(step.inputs) - 2)]
    given = list(zip(names, step.inputs[3:], strict=True))
    numbers = [name for name, value in given if value.dtype is not torch.bool]
    flags = [name for name, value in given if value.dtype is torch.bool]  # False for keys that are left out
    mask, hidden = (" + ".join(numbers), -math.inf) if numbers else (" & ".join(flags), False)
    later = "torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool, device=q.device).triu(1)"
    for left_out in [*(f"~{flag}" for flag in flags if numbers), *([later] if layer.causal else [])]:
        mask = f"({mask}).masked_fill({left_out}, {literal(hidden)})"
    return applied(f"q, k, v, {', '.join(names)}", call(name, *values, Name(mask), **options, defaults={"scale": None}))


def normalize(name: str, *options: str) -> Coder:
    """Return the function for normalizations, which calls the PyTorch function `name`."""

    def coder(layer: Any, step: TracedLayer) -> str:
        given = [literal(getattr(layer, option)) for option in options]
        return applied(AFFINE, f"{name}({', '.join(['x', *given, 'weight', 'bias', literal(layer.epsilon)])})")

    return coder


CODERS: Mapping[type[Layer], Coder] = {
    operators.Learned: lambda layer, step: f"nn.Parameter(torch.zeros({literal(layer.shape)}))",
    operators.Fixed: lambda layer, step: f"torch.zeros({literal(layer.shape)}, dtype=torch.{layer.dtype})",
    operators.ShiftMask: lambda layer, step: f"torch.zeros({literal(layer.shape)}, dtype=torch.bool)",
    operators.Plus: function("torch.add"),
    operators.Minus: function("torch.sub"),
    operators.Times: function("torch.mul"),
    operators.Over: function("torch.div"),
    operators.AffineMap: lambda layer, step: applied("x", f"{literal(layer.factor)} * x + {literal(layer.shift)}"),
    operators.Power: lambda layer, step: applied("x", f"x ** {literal(layer.exponent)}"),
    operators.Exponential: function("torch.exp"),
    operators.Clip: lambda layer, step: applied("x", call("x.clamp", layer.low, layer.high)),
    operators.Logarithm: function("torch.log"),
    operators.Absolute: function("torch.abs"),
    operators.SineFunction: function("torch.sin"),
    operators.CosineFunction: function("torch.cos"),
    operators.ErrorFunction: function("torch.erf"),
    operators.SoftPlus: lambda layer, step: call("nn.Softplus", layer.beta, layer.threshold),
    operators.ParametricReLU: function("F.prelu"),
    operators.MaskedFill: lambda layer, step: applied("x, mask", call("x.masked_fill", Name("mask"), layer.value)),
    operators.Where: function("torch.where"),
    operators.Mean: reduced("mean"),
    operators.Sum: reduced("sum"),
    operators.Largest: reduced("amax"),
    operators.Length: lambda layer, step: applied(
        "x", call("torch.linalg.vector_norm", Name("x"), dim=layer.axes, keepdim=layer.keep)
    ),
    operators.LargestOne: lambda layer, step: applied("x", call("x.amax", layer.axis, keepdim=layer.keep)),
    operators.Variance: lambda layer, step: applied(
        "x", call("x.var", layer.axes, correction=layer.correction, keepdim=layer.keep)
    ),
    operators.RunningSum: lambda layer, step: applied("x", f"x.cumsum({layer.axis})"),
    operators.MatMul: function("torch.matmul"),
    operators.LinearMap: function("F.linear"),
    operators.Attention: attention,
    operators.Einsum: lambda layer, step: applied("*xs", f"torch.einsum({literal(layer.equation)}, *xs)"),
    operators.Convolve: convolve,
    operators.NormalizeLast: normalize("F.layer_norm", "shape"),
    operators.NormalizeGroups: normalize("F.group_norm", "groups"),
    operators.NormalizeChannels: lambda layer, step: applied(
        AFFINE, f"F.batch_norm(x, None, None, weight, bias, True, eps={literal(layer.epsilon)})"
    ),
    operators.ToShape: to_shape,
    operators.Permute: lambda layer, step: applied("x", call("x.permute", *layer.axes)),
    operators.Slice: slice_,
    operators.Select: lambda layer, step: applied("x", call("x.select", layer.axis, layer.index)),
    operators.ReplaceSlice: replace_slice,
    operators.ReplaceSelected: lambda layer, step: applied(
        "x, part", call("x.select_scatter", Name("part"), layer.axis, layer.index)
    ),
    operators.Expand: expand,
    operators.Roll: lambda layer, step: applied("x", call("x.roll", layer.shifts, layer.axes)),
    operators.Pad: lambda layer, step: applied("x", call("F.pad", Name("x"), layer.padding, value=layer.value)),
    operators.Stack: lambda layer, step: applied("*xs", f"torch.stack(xs, {layer.axis})"),
    operators.Join: lambda layer, step: call("Concat", layer.axis),
    operators.Index: index,
    operators.Unfold: lambda layer, step: call("nn.Unfold", layer.kernel, layer.dilation, layer.padding, layer.stride),
    operators.Fold: lambda layer, step: call(
        "nn.Fold", layer.size, layer.kernel, layer.dilation, layer.padding, layer.stride
    ),
    operators.Repeat: lambda layer, step: applied("x", call("x.repeat", *layer.counts)),
    operators.Reverse: lambda layer, step: applied("x", call("x.flip", *layer.axes)),
}
