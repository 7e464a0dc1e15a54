"""Tensor operators as Python expressions that create modules, parameters or constant tensors."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch

from pellucid import operators
from pellucid.export.torch_code.calls import Name, call, literal
from pellucid.layers.base import Layer
from pellucid.network.traced import TracedLayer

NUMBER_DTYPES = ("float32", "float64", "int64", "int32")  # functions of StepFunction that convert to a dtype
AFFINE_ARGUMENTS = "x, weight=None, bias=None"  # arguments of normalizations and of convolutions
CONVOLUTION, TRANSPOSED_CONVOLUTION = "F.conv{}d", "F.conv_transpose{}d"

Coder = Callable[[Any, TracedLayer], str]


def apply_function(name: str) -> Coder:
    """Return the function for operators without options, which applies the PyTorch function `name`."""
    return lambda layer, step: f"Apply({name})"


def _numbers_code(values: float | tuple[float, ...]) -> str:
    """Return the code of one number, or of a tensor like x."""
    return f"x.new_tensor({literal(values)})" if isinstance(values, tuple) else literal(values)


def apply_code(arguments: str, text: str, rate: float = 0.0) -> str:
    """Return the code that applies an expression of the arguments, and of the rate of dropout if it is given."""
    if rate:
        return f"ApplyWithDropout(lambda {arguments}, rate: {text}, {rate})"
    return f"Apply(lambda {arguments}: {text})"


def to_shape(layer: operators.ToShape, step: TracedLayer) -> str:
    """Return Tensor.reshape."""
    before = [f"*x.shape[:{layer.before}]"] if layer.before else []
    after = [f"*x.shape[-{layer.after}:]"] if layer.after else []
    return apply_code("x", f"x.reshape({', '.join([*before, *map(literal, layer.sizes), *after])})")


def slice_(layer: operators.Slice, step: TracedLayer) -> str:
    """Return the indexing of a slice."""
    stop = "" if layer.stop is None else layer.stop
    slice_text = f"{layer.start or ''}:{stop}" + (f":{layer.step}" if layer.step != 1 else "")
    return apply_code("x", f"x[{':, ' * layer.axis}{slice_text}]")


def replace_slice(layer: operators.ReplaceSlice, step: TracedLayer) -> str:
    """Return Tensor.slice_scatter."""
    return apply_code("x, part", call("x.slice_scatter", Name("part"), layer.axis, layer.start, layer.stop, layer.step))


def expand(layer: operators.Expand, step: TracedLayer) -> str:
    """Return Tensor.expand; the size 0 means the length of the last argument."""
    arguments = ("x", "examples")[: len(step.inputs)]
    sizes = [f"len({arguments[-1]})" if size == 0 else literal(size) for size in layer.sizes]
    return apply_code(", ".join(arguments), f"x.expand({', '.join(sizes)})")


def index(layer: operators.Index, step: TracedLayer) -> str:
    """Return the indexing of an axis by a tensor of indices."""
    return apply_code("x, positions", f"x[{':, ' * layer.axis}positions.long()]")


def max_positions(layer: operators.MaxPositions, step: TracedLayer) -> str:
    """Return F.max_pool2d_with_indices, whose second output they are."""
    window = layer.kernel, layer.stride, layer.padding, layer.dilation, layer.ceil_mode
    return apply_code("x", call("F.max_pool2d_with_indices", Name("x"), *window) + "[1]")


def step_function(layer: operators.StepFunction, step: TracedLayer) -> str:
    """Return the function of PyTorch, or the conversion of a mask to numbers."""
    if layer.function in NUMBER_DTYPES:
        return apply_code("x", f"x.to(torch.{layer.function})")
    numbers = [] if layer.number is None else [layer.number]
    return apply_code("*xs", call(f"torch.{layer.function}", Name("*xs"), *numbers))


def batch_norm(layer: operators.UnscaledBatchNorm, step: TracedLayer) -> str:
    """Return nn.BatchNorm2d or nn.BatchNorm1d without weight and bias."""
    module = "nn.BatchNorm2d" if len(step.inputs[0].shape) == 4 else "nn.BatchNorm1d"
    return call(module, step.inputs[0].shape[1], layer.epsilon, layer.momentum, affine=False)


SEARCH_CODE = {
    "argmax": "x.argmax({axis}, keepdim=True)",
    "argmin": "x.argmin({axis}, keepdim=True)",
    "kthvalue": "x.kthvalue({count}, {axis}, keepdim=True).indices",
    "largest": "x.topk({count}, {axis}).indices",
    "smallest": "x.topk({count}, {axis}, largest=False).indices",
    "ascending": "x.sort({axis}).indices",
    "descending": "x.sort({axis}, descending=True).indices",
    "cummax": "x.cummax({axis}).indices",
    "cummin": "x.cummin({axis}).indices",
    **{name: f"x.{name}({{axis}}, keepdim=True).indices" for name in ("max", "min", "median")},
}


def scatter(layer: operators.Scatter, step: TracedLayer) -> str:
    """Return Tensor.scatter with a third input or a number."""
    values = "values" if layer.value is None else literal(layer.value)
    arguments = "x, positions" + (", values" if layer.value is None else "")
    return apply_code(arguments, f"x.scatter({layer.axis}, positions.long(), {values})")


def reduction(name: str) -> Coder:
    """Return the function for reductions over axes, which calls the tensor's method `name`."""
    return lambda layer, step: apply_code("x", call(f"x.{name}", layer.axes, keepdim=layer.keep))


def convolve(layer: operators.Convolve, step: TracedLayer) -> str:
    """Return F.conv2d or F.conv_transpose2d, or the same function for another number of axes."""
    options: dict[str, Any] = {
        "padding": layer.padding,
        "dilation": layer.dilation,
        "groups": layer.groups or Name("x.shape[1] // weight.shape[1]"),
    }
    if layer.transposed and layer.output_padding:
        options["output_padding"] = layer.output_padding
    name = (TRANSPOSED_CONVOLUTION if layer.transposed else CONVOLUTION).format(len(layer.stride))
    values = Name("x"), Name("weight"), Name("bias")
    return apply_code("x, weight, bias=None", call(name, *values, stride=layer.stride, **options))


def keep_outside(layer: operators.KeepOutside, step: TracedLayer) -> str:
    """Return torch.where with both limits."""
    lower = "" if layer.low is None else f"(x >= {literal(layer.low)}) & "
    condition = f"{lower}(x <= {literal(layer.high)})"
    return apply_code("x", f"torch.where({condition}, {literal(layer.value)}, x)")


def affine_grid(layer: operators.AffineGrid, step: TracedLayer) -> str:
    """Return F.affine_grid."""
    size = f"(len(x), 1, {layer.size[0]}, {layer.size[1]})"
    return apply_code("x", f"F.affine_grid(x, {size}, align_corners={layer.align_corners})")


def attention(layer: operators.Attention, step: TracedLayer) -> str:
    """Return F.scaled_dot_product_attention, which accepts either one mask or `is_causal`."""
    options: dict[str, Any] = {"scale": layer.scale}
    if layer.rate:
        options["dropout_p"] = Name("rate")
    values = Name("q"), Name("k"), Name("v")
    name = "F.scaled_dot_product_attention"
    if len(step.inputs) < 4:
        options["is_causal"] = layer.causal
        text = call(name, *values, **options, defaults={"scale": None, "is_causal": False})
        return apply_code("q, k, v", text, layer.rate)
    mask_names = ["mask"] if len(step.inputs) == 4 else [f"mask{index}" for index in range(1, len(step.inputs) - 2)]
    masks = list(zip(mask_names, step.inputs[3:], strict=True))
    additive_masks = [name for name, value in masks if value.dtype is not torch.bool]
    boolean_masks = [name for name, value in masks if value.dtype is torch.bool]  # False for masked keys
    mask, masked_value = (
        (" + ".join(additive_masks), -math.inf) if additive_masks else (" & ".join(boolean_masks), False)
    )
    causal_mask = "torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool, device=q.device).triu(1)"
    for excluded_mask in [
        *(f"~{flag}" for flag in boolean_masks if additive_masks),
        *([causal_mask] if layer.causal else []),
    ]:
        mask = f"({mask}).masked_fill({excluded_mask}, {literal(masked_value)})"
    text = call(name, *values, Name(mask), **options, defaults={"scale": None})
    return apply_code(f"q, k, v, {', '.join(mask_names)}", text, layer.rate)


def normalize(name: str, *options: str) -> Coder:
    """Return the function for normalizations, which calls the PyTorch function `name`."""

    def coder(layer: Any, step: TracedLayer) -> str:
        option_values = [literal(getattr(layer, option)) for option in options]
        return apply_code(
            AFFINE_ARGUMENTS, f"{name}({', '.join(['x', *option_values, 'weight', 'bias', literal(layer.epsilon)])})"
        )

    return coder


CODERS: Mapping[type[Layer], Coder] = {
    operators.Learned: lambda layer, step: f"nn.Parameter(torch.zeros({literal(layer.shape)}))",
    operators.Fixed: lambda layer, step: f"torch.zeros({literal(layer.shape)}, dtype=torch.{layer.dtype})",
    operators.ShiftMask: lambda layer, step: f"torch.zeros({literal(layer.shape)}, dtype=torch.bool)",
    operators.Plus: apply_function("torch.add"),
    operators.Minus: apply_function("torch.sub"),
    operators.Times: apply_function("torch.mul"),
    operators.Over: apply_function("torch.div"),
    operators.AffineMap: lambda layer, step: apply_code(
        "x", f"{_numbers_code(layer.factor)} * x + {_numbers_code(layer.shift)}"
    ),
    operators.Power: lambda layer, step: apply_code("x", f"x ** {literal(layer.exponent)}"),
    operators.ToPower: apply_function("torch.pow"),
    operators.Exponential: apply_function("torch.exp"),
    operators.Clip: lambda layer, step: apply_code("x", call("x.clamp", layer.low, layer.high)),
    operators.Logarithm: apply_function("torch.log"),
    operators.Absolute: apply_function("torch.abs"),
    operators.SineFunction: apply_function("torch.sin"),
    operators.CosineFunction: apply_function("torch.cos"),
    operators.ErrorFunction: apply_function("torch.erf"),
    operators.SoftPlus: lambda layer, step: call("nn.Softplus", layer.beta, layer.threshold),
    operators.ParametricReLU: apply_function("F.prelu"),
    operators.KeepOutside: keep_outside,
    operators.Detach: lambda layer, step: apply_code("x", "x.detach()"),
    operators.AffineGrid: affine_grid,
    operators.GridSample: lambda layer, step: apply_code(
        "x, grid", call("F.grid_sample", Name("x"), Name("grid"), layer.kind, layer.outside, layer.align_corners)
    ),
    operators.MaskedFill: lambda layer, step: apply_code("x, mask", call("x.masked_fill", Name("mask"), layer.value)),
    operators.Where: apply_function("torch.where"),
    operators.Mean: reduction("mean"),
    operators.Sum: reduction("sum"),
    operators.Largest: reduction("amax"),
    operators.LogSumExp: reduction("logsumexp"),
    operators.Length: lambda layer, step: apply_code(
        "x", call("torch.linalg.vector_norm", Name("x"), dim=layer.axes, keepdim=layer.keep)
    ),
    operators.LargestOne: lambda layer, step: apply_code("x", call("x.amax", layer.axis, keepdim=layer.keep)),
    operators.AdaptiveMaxPool: lambda layer, step: call(f"nn.AdaptiveMaxPool{len(layer.sizes)}d", layer.sizes),
    operators.MaxPositions: max_positions,
    operators.StepFunction: step_function,
    operators.Variance: lambda layer, step: apply_code(
        "x", call("x.var", layer.axes, correction=layer.correction, keepdim=layer.keep)
    ),
    operators.RunningSum: lambda layer, step: apply_code("x", f"x.cumsum({layer.axis})"),
    operators.MatMul: apply_function("torch.matmul"),
    operators.LinearMap: apply_function("F.linear"),
    operators.Attention: attention,
    operators.Einsum: lambda layer, step: apply_code("*xs", f"torch.einsum({literal(layer.equation)}, *xs)"),
    operators.Convolve: convolve,
    operators.NormalizeLast: normalize("F.layer_norm", "shape"),
    operators.NormalizeGroups: normalize("F.group_norm", "groups"),
    operators.NormalizeChannels: lambda layer, step: apply_code(
        AFFINE_ARGUMENTS, f"F.batch_norm(x, None, None, weight, bias, True, eps={literal(layer.epsilon)})"
    ),
    operators.ToShape: to_shape,
    operators.NumberFunction: lambda layer, step: f"Apply(torch.{layer.function})",
    operators.AngleOfPoint: apply_function("torch.atan2"),
    operators.UnscaledBatchNorm: batch_norm,
    operators.RunningProduct: lambda layer, step: apply_code("x", f"x.cumprod({layer.axis})"),
    operators.Positions: lambda layer, step: apply_code(
        "x", SEARCH_CODE[layer.search].format(axis=layer.axis, count=layer.count)
    ),
    operators.OneHot: lambda layer, step: apply_code("x", f"F.one_hot(x.long(), {layer.count})"),
    operators.Gather: lambda layer, step: apply_code("x, positions", f"x.gather({layer.axis}, positions.long())"),
    operators.Scatter: scatter,
    operators.Permute: lambda layer, step: apply_code("x", call("x.permute", *layer.axes)),
    operators.Slice: slice_,
    operators.Select: lambda layer, step: apply_code("x", call("x.select", layer.axis, layer.index)),
    operators.ReplaceSlice: replace_slice,
    operators.ReplaceSelected: lambda layer, step: apply_code(
        "x, part", call("x.select_scatter", Name("part"), layer.axis, layer.index)
    ),
    operators.Expand: expand,
    operators.Roll: lambda layer, step: apply_code("x", call("x.roll", layer.shifts, layer.axes)),
    operators.Pad: lambda layer, step: apply_code("x", call("F.pad", Name("x"), layer.padding, value=layer.value)),
    operators.Stack: lambda layer, step: apply_code("*xs", f"torch.stack(xs, {layer.axis})"),
    operators.Join: lambda layer, step: call("Concat", layer.axis),
    operators.Index: index,
    operators.Unfold: lambda layer, step: call("nn.Unfold", layer.kernel, layer.dilation, layer.padding, layer.stride),
    operators.Fold: lambda layer, step: call(
        "nn.Fold", layer.size, layer.kernel, layer.dilation, layer.padding, layer.stride
    ),
    operators.Repeat: lambda layer, step: apply_code("x", call("x.repeat", *layer.counts)),
    operators.Reverse: lambda layer, step: apply_code("x", call("x.flip", *layer.axes)),
}
