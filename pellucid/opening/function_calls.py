"""Translation of PyTorch operators to layers: elementwise functions, masks, sums, windows and pixel shuffles.

In each translation, c is the `Context` of a call: c["NAME"] is an argument, and c.source("NAME") the name of the value
that an argument refers to (a Ref); c.first_source is that of the first. A Multiple is a size that depends on the number
of examples.
"""

import math
from collections.abc import Callable
from typing import Any

import torch

from pellucid import layers, operators
from pellucid.base.text import note_once, plural
from pellucid.layers.base import Layer
from pellucid.opening.exported import Multiple, Ref
from pellucid.opening.tensor_calls import expand, scaled
from pellucid.opening.values import CallLayer, Context, Unsupported, pair

LARGE_EXPONENT = 40.0  # above it, softplus(x) is x in float64


def layer_of_tensors(make_layer: Callable[[], Layer]) -> Callable[[Context], CallLayer]:
    """Return the translation of an operator whose tensors are the inputs of a layer without hyperparameters."""
    return lambda c: CallLayer(
        make_layer(), tuple(argument.name for argument in c.call.arguments.values() if isinstance(argument, Ref))
    )


def addcmul(c: Context) -> CallLayer:
    """Return self + value tensor1 tensor2."""
    product = CallLayer(operators.Times(), (c.source("tensor1"), c.source("tensor2")))
    return CallLayer(operators.Plus(), (c.source("self"), scaled(product, c.number("value"))))


def addmm(c: Context) -> CallLayer:
    """Return beta self + alpha A B, for matrices A and B."""
    left, right = ("batch1", "batch2") if c.call.op == "baddbmm" else ("mat1", "mat2")
    product = CallLayer(operators.MatMul(), (c.source(left), c.source(right)))
    shift = scaled(c.source("self"), c.number("beta"))
    return CallLayer(operators.Plus(), (shift, scaled(product, c.number("alpha"))))


def mish(c: Context) -> CallLayer:
    """Return x tanh(softplus(x)). Source: Misra 2019, equation 1."""
    bounded = CallLayer(layers.Tanh(), (CallLayer(operators.SoftPlus(), (c.first_source,)),))
    return CallLayer(operators.Times(), (c.first_source, bounded))


def glu(c: Context) -> CallLayer:
    """Return the first half times the sigmoid of the second half. Source: Dauphin et al. 2017, equation 1."""
    axis = c.axis()
    half = c.shape()[c.axis()] // 2
    first_half = CallLayer(operators.Slice(axis, 0, half), (c.first_source,))
    gate = CallLayer(layers.Sigmoid(), (CallLayer(operators.Slice(axis, half), (c.first_source,)),))
    return CallLayer(operators.Times(), (first_half, gate))


def selu(c: Context) -> CallLayer:
    """Return a scaled ELU. Source: Klambauer et al. 2017, equation 2."""
    return CallLayer(
        operators.AffineMap(1.0507009873554804934193349852946),
        (CallLayer(layers.ELU(1.6732632423543772848170429916717), (c.first_source,)),),
    )


def celu(c: Context) -> CallLayer:
    """Return α ELU(x / α). Source: Barron 2017, equation 2."""
    alpha = c.number("alpha")
    scaled_x = CallLayer(operators.AffineMap(1 / alpha), (c.first_source,))
    return CallLayer(operators.AffineMap(alpha), (CallLayer(layers.ELU(1.0), (scaled_x,)),))


def log_sigmoid(c: Context) -> CallLayer:
    """Return -log(1 + exp(-x))."""
    negative = CallLayer(operators.AffineMap(-1.0), (c.first_source,))
    softplus = CallLayer(operators.SoftPlus(threshold=LARGE_EXPONENT), (negative,))
    return CallLayer(operators.AffineMap(-1.0), (softplus,))


def rrelu(c: Context) -> CallLayer:
    """Return LeakyReLU with the mean slope, as in evaluation mode. Source: Xu et al. 2015, section 3.4."""
    note_once("open: RReLU has its mean slope in training too, where PyTorch draws the slopes at random")
    return CallLayer(layers.LeakyReLU((c.number("lower") + c.number("upper")) / 2), (c.first_source,))


def threshold(c: Context) -> CallLayer:
    """Return KeepOutside, which replaces what is not above the threshold."""
    layer = operators.KeepOutside(None, c.number("threshold"), c.number("value"))
    return CallLayer(layer, (c.first_source,))


def hardshrink(c: Context) -> CallLayer:
    """Return KeepOutside, which replaces what is between -λ and λ by 0."""
    limit = c.number("lambd")
    return CallLayer(operators.KeepOutside(-limit, limit), (c.first_source,))


def softshrink(c: Context) -> CallLayer:
    """Return x minus its part between -λ and λ."""
    limit = c.number("lambd")
    return CallLayer(operators.Minus(), (c.first_source, CallLayer(operators.Clip(-limit, limit), (c.first_source,))))


def weight_norm(c: Context) -> CallLayer:
    """Return g v / |v|, with the length of v over all axes but one. Source: Salimans and Kingma 2016, equation 2."""
    rank = len(c.shape("v"))
    axes = tuple(axis for axis in range(rank) if c["dim"] == -1 or axis != c["dim"])
    length = CallLayer(operators.Length(axes, keep=True), (c.source("v"),))
    scale = CallLayer(operators.Over(), (c.source("g"), length))
    return CallLayer(operators.Times(), (c.source("v"), scale))


def matrix_times_vector(c: Context) -> CallLayer:
    """Return the product of a matrix and a vector, as a column."""
    column = CallLayer(operators.ToShape((1,), 1, 0), (c.source("vec"),))
    product = CallLayer(operators.MatMul(), (c.source("self"), column))
    if "parametrizations" in c.call.module or "weight_u" in c.keys.get(c.source("vec"), ""):
        note_once("open: spectral normalization keeps its vectors u and v in training, where PyTorch updates them")
    return CallLayer(operators.ToShape((), 1, 0), (product,))


def vector_product(c: Context) -> CallLayer:
    """Return the sum of the products of two vectors' values."""
    other = "other" if "other" in c.call.arguments else "tensor"
    product = CallLayer(operators.Times(), (c.source("self"), c.source(other)))
    return CallLayer(operators.Sum((0,)), (product,))


def affine_grid(c: Context) -> CallLayer:
    """Return AffineGrid; raises Unsupported for volumes."""
    if len(c["size"]) != 4:
        raise Unsupported("grids of volumes")
    _, _, height, width = c["size"]
    return CallLayer(operators.AffineGrid((height, width), bool(c["align_corners"])), (c.source("theta"),))


def grid_sample(c: Context) -> CallLayer:
    """Return GridSample; raises Unsupported for volumes, bicubic interpolation and reflection."""
    # in the order in which PyTorch numbers them
    kinds, borders = ("bilinear", "nearest", "bicubic"), ("zeros", "border", "reflection")
    kind, outside = kinds[c["interpolation_mode"]], borders[c["padding_mode"]]
    if len(c.shape("input")) != 4 or kind == "bicubic" or outside == "reflection":
        raise Unsupported(f"{kind} interpolation with padding_mode={outside!r} of {len(c.shape('input'))} axes")
    layer = operators.GridSample(kind, outside, bool(c["align_corners"]))
    return CallLayer(layer, (c.source("input"), c.source("grid")))


def rms_norm(c: Context) -> CallLayer:
    """Return x / sqrt(mean(x²) + ε), scaled. Source: Zhang and Sennrich 2019, equation 4."""
    if c["eps"] is None:
        raise Unsupported("its epsilon depends on the precision")
    rank = len(c.shape("input"))
    axes = tuple(range(rank - len(c["normalized_shape"]), rank))
    square = CallLayer(operators.Mean(axes, keep=True), (CallLayer(operators.Power(2.0), (c.first_source,)),))
    factor = CallLayer(operators.Power(-0.5), (CallLayer(operators.AffineMap(1.0, c.number("eps")), (square,)),))
    y = CallLayer(operators.Times(), (c.first_source, factor))
    return y if c["weight"] is None else CallLayer(operators.Times(), (y, c.source("weight")))


def step(c: Context) -> CallLayer:
    """Return StepFunction, a comparison with a number or with another tensor, or a function without derivative."""
    is_bitwise = c.call.op.startswith(("bitwise", "__"))
    if (is_bitwise and c.call.dtype is not torch.bool) or c.call.arguments.get("decimals"):
        raise Unsupported
    function = "eq" if c.call.op == "ne" else c.call.op
    if is_bitwise:
        function = "logical_" + c.call.op.removeprefix("bitwise").strip("_")
    other = c.call.arguments.get("other")
    number = None if other is None or isinstance(other, Ref) else c.number("other")
    sources = tuple(value.name for value in c.call.arguments.values() if isinstance(value, Ref))
    result = CallLayer(operators.StepFunction(function, number), sources)
    return CallLayer(operators.StepFunction("logical_not"), (result,)) if c.call.op == "ne" else result


def masked_fill(c: Context) -> CallLayer:
    """Return MaskedFill."""
    if isinstance(c["value"], Ref):
        raise Unsupported("the value is a tensor")
    return CallLayer(operators.MaskedFill(c.number("value")), (c.source("self"), c.source("mask")))


def where(c: Context) -> CallLayer:
    """Return Where."""
    return CallLayer(operators.Where(), tuple(map(c.source, ("condition", "self", "other"))))


def maximum(c: Context) -> CallLayer:
    """Return LargestOne, the maximum along one axis, or Largest of all values; for two tensors, see `larger`."""
    if "other" in c.call.arguments:
        return larger(c)
    if "dim" not in c.call.arguments:
        return CallLayer(operators.Largest(tuple(range(len(c.shape())))), (c.source("self"),))
    return CallLayer(operators.LargestOne(c.axis(), bool(c["keepdim"])), (c.source("self"),))


def amin(c: Context) -> CallLayer:
    """Return the minimum, which is minus the maximum of -x."""
    negative = CallLayer(operators.AffineMap(-1.0), (c.source("self"),))
    largest = CallLayer(operators.Largest(c.axes(), bool(c["keepdim"])), (negative,))
    return CallLayer(operators.AffineMap(-1.0), (largest,))


def larger(c: Context) -> CallLayer:
    """Return the larger or the smaller values of two tensors; equal ones share the gradient, as in PyTorch."""
    a, b = c.source("self"), c.source("other")
    comparison = "lt" if c.call.op in ("minimum", "min") else "gt"
    chosen = CallLayer(operators.Where(), (CallLayer(operators.StepFunction(comparison), (a, b)), a, b))
    mean = CallLayer(operators.AffineMap(0.5), (CallLayer(operators.Plus(), (a, b)),))
    return CallLayer(operators.Where(), (CallLayer(operators.StepFunction("eq"), (a, b)), mean, chosen))


def running_sum(c: Context) -> CallLayer:
    """Return RunningSum."""
    if c["dtype"] not in (None, c.call.dtype):
        raise Unsupported(f"dtype={c['dtype']}")
    return CallLayer(operators.RunningSum(c.axis()), (c.source("self"),))


def repeat(c: Context) -> CallLayer | str:
    """Return Repeat, or Expand if only axes of size 1 are repeated."""
    counts = c["repeats" if "repeats" in c.call.arguments else "dims"]
    shape = c.shape()
    padded_shape = (1,) * (len(counts) - len(shape)) + shape
    if len(counts) < len(shape):
        counts = (1,) * (len(shape) - len(counts)) + counts
    if all(count == 1 or size == 1 for count, size in zip(counts, padded_shape, strict=True)):
        return expand(c)
    if any(type(count) is not int for count in counts):
        raise Unsupported("a count depends on the number of examples")
    return CallLayer(operators.Repeat(tuple(counts)), (c.source("self"),))


def _window_arguments(c: Context) -> tuple[tuple[int, int], ...]:
    return tuple(pair(c[name]) for name in ("kernel_size", "stride", "padding", "dilation"))


def einsum(c: Context) -> CallLayer:
    """Return Einsum."""
    equation = c["equation"].replace(" ", "")
    if "->" not in equation or "." in equation:
        raise Unsupported(f"equation {equation!r}")
    return CallLayer(operators.Einsum(equation), tuple(reference.name for reference in c["tensors"]))


def variance(c: Context) -> CallLayer:
    """Return Variance; for a standard deviation, the scaled Length of the deviations, whose gradient is 0 at 0."""
    correction = c.call.arguments.get("correction")
    if correction is None:
        correction = c.call.arguments.get("unbiased", True)
    axes = c.axes()
    keep = bool(c.call.arguments.get("keepdim", False))
    x = c.source("self")
    if c.call.op == "var":
        return CallLayer(operators.Variance(axes, keep, float(correction)), (x,))
    sizes = [c.shape()[axis] for axis in axes]
    if any(isinstance(size, Multiple) for size in sizes):
        raise Unsupported("over the examples")
    deviations = CallLayer(operators.Minus(), (x, CallLayer(operators.Mean(axes, True), (x,))))
    length = CallLayer(operators.Length(axes, keep), (deviations,))
    return CallLayer(operators.AffineMap((math.prod(sizes) - float(correction)) ** -0.5), (length,))


def image_sizes(c: Context) -> tuple[int, int, int]:
    """Return channels, height and width of the input; raises Unsupported unless it is (N, C, H, W)."""
    shape = c.shape()
    if len(shape) != 4 or any(isinstance(size, Multiple) for size in shape[1:]):
        raise Unsupported(f"an input of {plural(len(shape), 'axis', 'axes')}, not (N, C, H, W)")
    return shape[1], shape[2], shape[3]


def pixel_shuffle(c: Context) -> CallLayer:
    """Rearrange groups of r² channels as squares of r x r pixels. Source: Shi et al. 2016, equation 4."""
    r = c["upscale_factor"]
    channels, height, width = image_sizes(c)
    split = CallLayer(operators.ToShape((-1, channels // r**2, r, r, height, width)), (c.source("self"),))
    permuted = CallLayer(operators.Permute((0, 1, 4, 2, 5, 3)), (split,))
    return CallLayer(operators.ToShape((-1, channels // r**2, height * r, width * r)), (permuted,))


def pixel_unshuffle(c: Context) -> CallLayer:
    """Rearrange squares of r x r pixels as groups of r² channels."""
    r = c["downscale_factor"]
    channels, height, width = image_sizes(c)
    split = CallLayer(operators.ToShape((-1, channels, height // r, r, width // r, r)), (c.source("self"),))
    permuted = CallLayer(operators.Permute((0, 1, 3, 5, 2, 4)), (split,))
    return CallLayer(operators.ToShape((-1, channels * r**2, height // r, width // r)), (permuted,))


def channel_shuffle(c: Context) -> CallLayer:
    """Interleave the channels of all groups. Source: Zhang et al. 2018, figure 1."""
    groups = c["groups"]
    channels, height, width = image_sizes(c)
    split = CallLayer(operators.ToShape((-1, groups, channels // groups, height, width)), (c.first_source,))
    return CallLayer(
        operators.ToShape((-1, channels, height, width)), (CallLayer(operators.Permute((0, 2, 1, 3, 4)), (split,)),)
    )


TRANSLATIONS: dict[str, Callable[[Context], Any]] = {
    "log": layer_of_tensors(operators.Logarithm),
    "abs": layer_of_tensors(operators.Absolute),
    "sin": layer_of_tensors(operators.SineFunction),
    "cos": layer_of_tensors(operators.CosineFunction),
    "erf": layer_of_tensors(operators.ErrorFunction),
    "prelu": layer_of_tensors(operators.ParametricReLU),
    "reciprocal": layer_of_tensors(lambda: operators.Power(-1.0)),
    "softplus": lambda c: CallLayer(operators.SoftPlus(c.number("beta"), c.number("threshold")), (c.first_source,)),
    "flip": lambda c: CallLayer(operators.Reverse(c.axes("dims")), (c.first_source,)),
    "addcmul": addcmul,
    "addmm": addmm,
    "baddbmm": addmm,
    "mish": mish,
    "glu": glu,
    "selu": selu,
    "celu": celu,
    "log_sigmoid": log_sigmoid,
    "rrelu": rrelu,
    "threshold": threshold,
    "hardshrink": hardshrink,
    "softshrink": softshrink,
    "_weight_norm": weight_norm,
    "mv": matrix_times_vector,
    "dot": vector_product,
    "vdot": vector_product,
    "affine_grid_generator": affine_grid,
    "grid_sampler": grid_sample,
    "detach": layer_of_tensors(operators.Detach),
    "rms_norm": rms_norm,
    "masked_fill": masked_fill,
    "where": where,
    **dict.fromkeys(("sign", "floor", "ceil", "round", "eq", "ne", "gt", "ge", "lt", "le"), step),
    **dict.fromkeys(("trunc", "floor_divide", "isnan", "isposinf", "isneginf"), step),
    **dict.fromkeys(("logical_not", "logical_and", "logical_or", "logical_xor"), step),
    **dict.fromkeys(("bitwise_not", "bitwise_and", "bitwise_or", "bitwise_xor"), step),
    **dict.fromkeys(("__and_", "__or_", "__xor_"), step),
    "amin": amin,
    "max": maximum,
    "maximum": larger,
    "minimum": larger,
    "cumsum": running_sum,
    "repeat": repeat,
    "tile": repeat,
    "im2col": lambda c: CallLayer(operators.Unfold(*_window_arguments(c)), (c.source("self"),)),
    "col2im": lambda c: CallLayer(
        operators.Fold(pair(c.fixed_value("output_size")), *_window_arguments(c)), (c.source("self"),)
    ),
    "einsum": einsum,
    "var": variance,
    "std": variance,
    "pixel_shuffle": pixel_shuffle,
    "pixel_unshuffle": pixel_unshuffle,
    "channel_shuffle": channel_shuffle,
}
