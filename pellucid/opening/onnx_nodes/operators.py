"""Functions that write operators as ONNX nodes: arithmetic, reductions, products and normalizations."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch

from pellucid import operators
from pellucid.base.errors import PellucidError
from pellucid.layers.base import Layer
from pellucid.opening.onnx_nodes import moves
from pellucid.opening.onnx_nodes.node import Nodes

MIN_EXACT_THRESHOLD = 15.0  # above it, softplus(x) is x in float32


def single_node(op: str) -> Callable[[Any, Nodes], None]:
    """Return the function that writes one node with all inputs and without attributes."""
    return lambda layer, n: n.last(op, *n.sources)


def source(layer: operators.Learned | operators.Fixed | operators.ShiftMask, n: Nodes) -> None:
    """Write the value as a constant of the file, under the name of the parameter."""
    n.constants[n.layer_run.output.name] = n.layer_run.params[""]


def affine_map(layer: operators.AffineMap, n: Nodes) -> None:
    """Write Mul and Add, without Mul for the factor 1 and without Add for the shift 0."""

    def numbers(name: str, value: float | tuple[float, ...]) -> str:
        return n.constant(name, torch.tensor(value)) if isinstance(value, tuple) else n.number(name, value)

    if layer.factor == 1:
        n.last("Add", n.x, numbers("shift", layer.shift))
    elif layer.shift == 0:
        n.last("Mul", n.x, numbers("factor", layer.factor))
    else:
        n.last("Add", n.inner("Mul", n.x, numbers("factor", layer.factor)), numbers("shift", layer.shift))


def clip(layer: operators.Clip, n: Nodes) -> None:
    """Write Clip."""
    low = "" if layer.low is None else n.number("low", layer.low)
    high = () if layer.high is None else (n.number("high", layer.high),)
    n.last("Clip", n.x, low, *high)


def masked_fill(layer: operators.MaskedFill, n: Nodes) -> None:
    """Write Where."""
    x, mask = n.sources
    n.last("Where", mask, n.number("value", layer.value), x)


def reduce(op: str) -> Callable[[Any, Nodes], None]:
    """Return the function that writes a reduction over the layer's `axes`."""
    return lambda layer, n: n.last(op, n.x, n.integers("axes", *layer.axes), keepdims=int(layer.keep))


def largest_one(layer: operators.LargestOne, n: Nodes) -> None:
    """Write ReduceMax."""
    n.last("ReduceMax", n.x, n.integers("axes", layer.axis), keepdims=int(layer.keep))


def adaptive_max_pool(layer: operators.AdaptiveMaxPool, n: Nodes) -> None:
    """Write for each axis a Gather of the indices in each window, and ReduceMax; short windows repeat their end."""
    value = n.x
    for axis, size in enumerate(layer.sizes, start=2):
        length = n.size(axis)
        starts = torch.arange(size) * length // size
        ends = -(-(torch.arange(1, size + 1) * length) // size)
        longest = torch.arange(int((ends - starts).max()))
        positions = torch.minimum(starts[:, None] + longest, ends[:, None] - 1)
        value = n.inner("Gather", value, n.constant(f"windows{axis}", positions), axis=axis)
        write = n.last if axis == len(layer.sizes) + 1 else n.inner
        value = write("ReduceMax", value, n.integers(f"values{axis}", axis + 1), keepdims=0) or ""


def max_positions(layer: operators.MaxPositions, n: Nodes) -> None:
    """Write MaxPool's indices, which count over all images and channels, modulo the number of pixels of an image."""
    _, positions = n.inners(
        "MaxPool",
        2,
        n.x,
        kernel_shape=[*layer.kernel],
        strides=[*layer.stride],
        pads=[*layer.padding, *layer.padding],
        dilations=[*layer.dilation],
        ceil_mode=int(layer.ceil_mode),
    )
    n.last("Mod", positions, n.integers("pixels", n.size(2) * n.size(3)))


# TensorProto.DataType by the function's name; all numbers of the file are float32.
CASTS = {"float32": 1, "float64": 1, "int64": 7, "int32": 6}
STEP_OPS = {
    "sign": "Sign", "floor": "Floor", "ceil": "Ceil", "round": "Round", "eq": "Equal", "gt": "Greater",
    "ge": "GreaterOrEqual", "lt": "Less", "le": "LessOrEqual", "logical_not": "Not", "logical_and": "And",
    "logical_or": "Or", "logical_xor": "Xor", "isnan": "IsNaN",
}  # fmt: skip


def step(layer: operators.StepFunction, n: Nodes) -> None:
    """Write the operator, or Cast for numbers from a mask."""
    if layer.function in CASTS:
        n.last("Cast", n.x, to=CASTS[layer.function])
        return
    if layer.function == "floor_divide" and layer.number is not None:
        n.last("Floor", n.inner("Div", n.x, n.number("number", layer.number)))
        return
    if layer.function in ("isposinf", "isneginf"):
        is_positive = layer.function == "isposinf"
        n.last("IsInf", n.x, detect_positive=int(is_positive), detect_negative=int(not is_positive))
        return
    if layer.function not in STEP_OPS:
        raise PellucidError(f"to_onnx: {n.layer_run.name}: ONNX has no operator for {layer.function}")
    numbers = [] if layer.number is None else [n.number("number", layer.number)]
    n.last(STEP_OPS[layer.function], *n.sources, *numbers)


# ONNX's operators for names in `operators.FUNCTIONS`, by which functions are written and read; the others are composed.
FUNCTION_OPS = {"acos": "Acos", "asin": "Asin", "atan": "Atan", "asinh": "Asinh", "atanh": "Atanh", "tan": "Tan"}
COMPOSED_FUNCTIONS: dict[str, Callable[[Nodes], None]] = {
    "log1p": lambda n: n.last("Log", n.inner("Add", n.x, n.number("one", 1.0))),
    "expm1": lambda n: n.last("Sub", n.inner("Exp", n.x), n.number("one", 1.0)),
    "erfc": lambda n: n.last("Sub", n.number("one", 1.0), n.inner("Erf", n.x)),
    "exp2": lambda n: n.last("Exp", n.inner("Mul", n.x, n.number("scale", math.log(2)))),
    "log2": lambda n: n.last("Div", n.inner("Log", n.x), n.number("scale", math.log(2))),
    "log10": lambda n: n.last("Div", n.inner("Log", n.x), n.number("scale", math.log(10))),
}


def number_function(layer: operators.NumberFunction, n: Nodes) -> None:
    """Write the operator, or its composition of an exponential or a logarithm."""
    if layer.function in FUNCTION_OPS:
        n.last(FUNCTION_OPS[layer.function], n.x)
    elif layer.function in COMPOSED_FUNCTIONS:
        COMPOSED_FUNCTIONS[layer.function](n)
    else:
        raise PellucidError(f"to_onnx: {n.layer_run.name}: ONNX has no operator for {layer.function}")


def no_operator(layer: Layer, n: Nodes) -> None:
    """Raise PellucidError for a layer that ONNX cannot express."""
    raise PellucidError(f"to_onnx: {n.layer_run.name}: ONNX has no operator for {type(layer).__name__}")


def positions(layer: operators.Positions, n: Nodes) -> None:
    """Write ArgMax, ArgMin or TopK."""
    if layer.search in ("argmax", "max", "argmin", "min"):
        n.last("ArgMax" if "max" in layer.search else "ArgMin", n.x, axis=layer.axis, keepdims=1)
        return
    is_all = layer.search in ("ascending", "descending")
    if not is_all and layer.search not in ("largest", "smallest"):
        raise PellucidError(f"to_onnx: {n.layer_run.name}: ONNX has no operator for the positions of {layer.search!r}")
    count = n.integers("count", n.size(layer.axis) if is_all else layer.count)
    largest = int(layer.search in ("largest", "descending"))
    _, found_positions = n.inners("TopK", 2, n.x, count, axis=layer.axis, largest=largest)
    n.last("Identity", found_positions)


def one_hot(layer: operators.OneHot, n: Nodes) -> None:
    """Write OneHot."""
    values = n.integers("values", 0, 1)
    n.last("OneHot", n.inner("Cast", n.x, to=CASTS["int64"]), n.integers("count", layer.count), values)


def gather(layer: operators.Gather, n: Nodes) -> None:
    """Write GatherElements."""
    x, indices = n.sources
    n.last("GatherElements", x, n.inner("Cast", indices, to=CASTS["int64"]), axis=layer.axis)


def scatter(layer: operators.Scatter, n: Nodes) -> None:
    """Write ScatterElements."""
    x, indices, *values = n.sources
    if layer.value is not None:
        raise PellucidError(f"to_onnx: {n.layer_run.name}: Scatter of a number has no form in ONNX")
    n.last("ScatterElements", x, n.inner("Cast", indices, to=CASTS["int64"]), *values, axis=layer.axis)


def batch_norm(layer: operators.UnscaledBatchNorm, n: Nodes) -> None:
    """Write BatchNormalization with the scale 1 and the shift 0."""
    statistics = [n.constant(name, n.layer_run.params[name]) for name in layer.buffers]
    size = len(n.layer_run.params["running_mean"])
    affine = n.constant("scale", torch.ones(size)), n.constant("shift", torch.zeros(size))
    n.last("BatchNormalization", n.x, *affine, *statistics, epsilon=float(layer.epsilon))


def variance(layer: operators.Variance, n: Nodes) -> None:
    """Write the mean of squared deviations; with a correction, their sum divided by the corrected count."""
    axes = n.integers("axes", *layer.axes)
    centred = n.inner("Sub", n.x, n.inner("ReduceMean", n.x, axes, keepdims=1))
    squares = n.inner("Mul", centred, centred)
    if not layer.correction:
        n.last("ReduceMean", squares, axes, keepdims=int(layer.keep))
        return
    divisor = math.prod(n.size(axis) for axis in layer.axes) - layer.correction
    total = n.inner("ReduceSum", squares, axes, keepdims=int(layer.keep))
    n.last("Div", total, n.number("count", divisor))


def softplus(layer: operators.SoftPlus, n: Nodes) -> None:
    """Write Softplus; for other options than ONNX's, Softplus(β x) / β, and x if β x is above the threshold."""
    if layer.beta == 1 and layer.threshold >= MIN_EXACT_THRESHOLD:
        n.last("Softplus", n.x)
        return
    beta = n.number("beta", layer.beta)
    scaled = n.inner("Mul", n.x, beta)
    y = n.inner("Div", n.inner("Softplus", scaled), beta)
    n.last("Where", n.inner("Greater", scaled, n.number("threshold", layer.threshold)), n.x, y)


def keep_outside(layer: operators.KeepOutside, n: Nodes) -> None:
    """Write comparisons with the limits, and Where."""
    is_inside = n.inner("LessOrEqual", n.x, n.number("high", layer.high))
    if layer.low is not None:
        is_inside = n.inner("And", n.inner("GreaterOrEqual", n.x, n.number("low", layer.low)), is_inside)
    n.last("Where", is_inside, n.number("value", layer.value), n.x)


def affine_grid(layer: operators.AffineGrid, n: Nodes) -> None:
    """Write the product of the pixels' positions and the transposed maps."""
    pixels = n.constant("pixels", layer.pixels(torch.zeros(())))
    grid = n.inner("MatMul", pixels, n.inner("Transpose", n.x, perm=[0, 2, 1]))
    n.last("Reshape", grid, n.integers("size", -1, *layer.size, 2))


def grid_sample(layer: operators.GridSample, n: Nodes) -> None:
    """Write GridSample."""
    mode = "linear" if layer.kind == "bilinear" else layer.kind
    n.last("GridSample", *n.sources, mode=mode, padding_mode=layer.outside, align_corners=int(layer.align_corners))


def parametric_relu(layer: operators.ParametricReLU, n: Nodes) -> None:
    """Write PRelu, whose slopes have one axis for each axis of x after the channels."""
    x, slopes = n.sources
    n_later_axes = len(n.layer_run.inputs[0].sizes) - 2
    if n.layer_run.inputs[1].sizes != (1,) and n_later_axes > 0:
        slopes = n.inner("Reshape", slopes, n.integers("slopes", -1, *(1,) * n_later_axes))
    n.last("PRelu", x, slopes)


def linear_map(layer: operators.LinearMap, n: Nodes) -> None:
    """Write MatMul with the transposed weight, and Add."""
    x, weight, *bias = n.sources
    transposed = n.inner("Transpose", weight, perm=[1, 0])
    if bias:
        n.last("Add", n.inner("MatMul", x, transposed), *bias)
    else:
        n.last("MatMul", x, transposed)


def attention(layer: operators.Attention, n: Nodes) -> None:
    """Write scaled dot-product attention as matrix products, masks and Softmax."""
    q, k, v, *masks = n.sources
    order = list(range(len(n.layer_run.inputs[1].sizes)))
    order[-2:] = order[-1], order[-2]
    scale = 1 / math.sqrt(n.size(-1)) if layer.scale is None else layer.scale
    scores = n.inner("MatMul", n.inner("Mul", q, n.number("scale", scale)), n.inner("Transpose", k, perm=order))
    masked_value = n.number("hidden", -math.inf)
    if layer.causal:
        sizes = n.size(-2), n.size(-2, 1)
        scores = n.inner(
            "Where", n.constant("later", torch.ones(sizes, dtype=torch.bool).triu(1)), masked_value, scores
        )
    for mask, value in zip(masks, n.layer_run.inputs[3:], strict=True):
        is_choice = value.dtype is torch.bool
        scores = n.inner("Where", mask, scores, masked_value) if is_choice else n.inner("Add", scores, mask)
    n.last("MatMul", n.inner("Softmax", scores, axis=-1), v)


def convolve(layer: operators.Convolve, n: Nodes) -> None:
    """Write Conv or ConvTranspose, whose weights are an input.

    Raises PellucidError for output padding that onnxruntime does not support.
    """
    if not layer.groups:
        no_operator(layer, n)
    window = {"strides": [*layer.stride], "dilations": [*layer.dilation], "group": layer.groups}
    pads = [*layer.padding, *layer.padding]
    if not layer.transposed:
        n.last("Conv", *n.sources, **window, pads=pads)
        return
    output_padding = [*layer.output_padding] or [0] * len(layer.stride)
    if any(extra >= step for extra, step in zip(output_padding, layer.stride, strict=True)):
        raise PellucidError(
            f"{n.layer_run.name}: onnxruntime has no output padding of a stride or more, as {output_padding}"
        )
    n.last("ConvTranspose", *n.sources, **window, pads=pads, output_padding=output_padding)


def normalize_last(layer: operators.NormalizeLast, n: Nodes) -> None:
    """Write LayerNormalization, with a scale of 1 if the operator has no weight."""
    scale = () if len(n.sources) > 1 else (n.constant("scale", torch.ones(layer.shape)),)
    n.last("LayerNormalization", *n.sources, *scale, axis=-len(layer.shape), epsilon=float(layer.epsilon))


def normalize_groups(layer: operators.NormalizeGroups, n: Nodes) -> None:
    """Write GroupNormalization, with a scale of 1 and a bias of 0 if the operator has none."""
    n.last("GroupNormalization", n.x, *_affine(n), num_groups=layer.groups, epsilon=float(layer.epsilon))


def normalize_channels(layer: operators.NormalizeChannels, n: Nodes) -> None:
    """Write w (x - μ) / sqrt(σ² + ε) + b in primitive nodes; μ and σ² are over all axes except the channels."""
    rank = len(n.layer_run.inputs[0].sizes)
    axes = n.integers("axes", 0, *range(2, rank))
    centred = n.inner("Sub", n.x, n.inner("ReduceMean", n.x, axes, keepdims=1))
    mean_square = n.inner("ReduceMean", n.inner("Mul", centred, centred), axes, keepdims=1)
    deviation = n.inner("Sqrt", n.inner("Add", mean_square, n.number("epsilon", layer.epsilon)))
    shape = n.integers("channels", -1, *(1,) * (rank - 2))
    scale, shift = (n.inner("Reshape", name, shape) for name in _affine(n))
    n.last("Add", n.inner("Mul", n.inner("Div", centred, deviation), scale), shift)


def _affine(n: Nodes) -> tuple[str, str]:
    """Return the names of a normalization's scale and bias per channel: constants of 1 and 0 if they are not inputs."""
    _, *affine_inputs = n.sources
    scale = affine_inputs[0] if affine_inputs else n.constant("scale", torch.ones(n.size(1)))
    return scale, affine_inputs[1] if len(affine_inputs) > 1 else n.constant("shift", torch.zeros(n.size(1)))


WRITERS: Mapping[type[Layer], Callable[[Any, Nodes], None]] = {
    **moves.WRITERS,
    operators.Learned: source,
    operators.Fixed: source,
    operators.ShiftMask: source,
    operators.Plus: single_node("Add"),
    operators.Minus: single_node("Sub"),
    operators.Times: single_node("Mul"),
    operators.Over: single_node("Div"),
    operators.AffineMap: affine_map,
    operators.Power: lambda layer, n: n.last("Pow", n.x, n.number("exponent", layer.exponent)),
    operators.ToPower: single_node("Pow"),
    operators.Exponential: single_node("Exp"),
    operators.Clip: clip,
    operators.Logarithm: single_node("Log"),
    operators.Absolute: single_node("Abs"),
    operators.SineFunction: single_node("Sin"),
    operators.CosineFunction: single_node("Cos"),
    operators.ErrorFunction: single_node("Erf"),
    operators.SoftPlus: softplus,
    operators.ParametricReLU: parametric_relu,
    operators.KeepOutside: keep_outside,
    operators.Detach: single_node("Identity"),
    operators.AffineGrid: affine_grid,
    operators.GridSample: grid_sample,
    operators.MaskedFill: masked_fill,
    operators.Where: single_node("Where"),
    operators.Mean: reduce("ReduceMean"),
    operators.Sum: reduce("ReduceSum"),
    operators.Largest: reduce("ReduceMax"),
    operators.LogSumExp: reduce("ReduceLogSumExp"),
    operators.Length: reduce("ReduceL2"),
    operators.LargestOne: largest_one,
    operators.Variance: variance,
    operators.AdaptiveMaxPool: adaptive_max_pool,
    operators.MaxPositions: max_positions,
    operators.StepFunction: step,
    operators.NumberFunction: number_function,
    operators.AngleOfPoint: no_operator,
    operators.RunningProduct: no_operator,
    operators.Positions: positions,
    operators.OneHot: one_hot,
    operators.Gather: gather,
    operators.Scatter: scatter,
    operators.UnscaledBatchNorm: batch_norm,
    operators.RunningSum: lambda layer, n: n.last("CumSum", n.x, n.constant("axis", torch.tensor(layer.axis))),
    operators.MatMul: single_node("MatMul"),
    operators.LinearMap: linear_map,
    operators.Attention: attention,
    operators.Einsum: lambda layer, n: n.last("Einsum", *n.sources, equation=layer.equation),
    operators.Convolve: convolve,
    operators.NormalizeLast: normalize_last,
    operators.NormalizeGroups: normalize_groups,
    operators.NormalizeChannels: normalize_channels,
}
