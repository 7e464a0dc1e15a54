"""Operators: layers without a fixed batch axis, for the graphs of opened PyTorch and ONNX networks.

To add an operator, import it here and add its name to `__all__`, which determines OPERATORS.
"""

from pellucid.layers.base import Layer

# AffineMap: factor x + shift, by numbers. Power: x ** number. ToPower: a ** b, by tensors. Over: a / b.
from pellucid.operators.arithmetic import AffineMap, Clip, Exponential, Minus, Over, Plus, Power, Times, ToPower
from pellucid.operators.base import TensorLayer

# LargestOne: the maximum, of which one of equal values receives the gradient. MaxPositions: those of max pooling.
from pellucid.operators.choices import AdaptiveMaxPool, LargestOne, MaskedFill, MaxPositions, Where
from pellucid.operators.convolution import Convolve

# FUNCTIONS: of single numbers, for NumberFunction. STEPS: constant between jumps, such as sign, for StepFunction.
# KeepOutside: threshold and hardshrink of PyTorch. AngleOfPoint: atan2.
from pellucid.operators.functions import (
    FUNCTIONS,
    STEPS,
    Absolute,
    AngleOfPoint,
    CosineFunction,
    Detach,
    ErrorFunction,
    KeepOutside,
    Logarithm,
    NumberFunction,
    ParametricReLU,
    SineFunction,
    SoftPlus,
    StepFunction,
)

# Join: concatenation along any axis. Index: indexing by a tensor. Select: one index of an axis. ToShape: a reshape.
from pellucid.operators.moves import (
    Expand,
    Index,
    Join,
    Pad,
    Permute,
    ReplaceSelected,
    ReplaceSlice,
    Roll,
    Select,
    Slice,
    Stack,
    ToShape,
)

# Normalizations whose scale and shift are inputs: of layers, of groups, and of batches.
from pellucid.operators.norms import NormalizeChannels, NormalizeGroups, NormalizeLast, UnscaledBatchNorm
from pellucid.operators.patches import Fold, Repeat, Reverse, RunningProduct, RunningSum, Unfold

# Positions: argmax, topk, argsort and other searches.
from pellucid.operators.positions import Gather, OneHot, Positions, Scatter

# LinearMap: x Wᵀ + b, whose weight and bias are inputs.
from pellucid.operators.products import Attention, Einsum, LinearMap, MatMul

# Largest: the maximum, whose equal values share the gradient. Length: the Euclidean norm.
from pellucid.operators.reductions import Largest, Length, LogSumExp, Mean, Sum, Variance
from pellucid.operators.sampling import AffineGrid, GridSample

# Nodes without inputs: constants, learned parameters and attention masks.
from pellucid.operators.sources import Fixed, Learned, ShiftMask

__all__ = [
    "FUNCTIONS",
    "OPERATORS",
    "STEPS",
    "Absolute",
    "AdaptiveMaxPool",
    "AffineGrid",
    "AffineMap",
    "AngleOfPoint",
    "Attention",
    "Clip",
    "Convolve",
    "CosineFunction",
    "Detach",
    "Einsum",
    "ErrorFunction",
    "Expand",
    "Exponential",
    "Fixed",
    "Fold",
    "Gather",
    "GridSample",
    "Index",
    "Join",
    "KeepOutside",
    "Largest",
    "LargestOne",
    "Learned",
    "Length",
    "LinearMap",
    "LogSumExp",
    "Logarithm",
    "MaskedFill",
    "MatMul",
    "MaxPositions",
    "Mean",
    "Minus",
    "NormalizeChannels",
    "NormalizeGroups",
    "NormalizeLast",
    "NumberFunction",
    "OneHot",
    "Over",
    "Pad",
    "ParametricReLU",
    "Permute",
    "Plus",
    "Positions",
    "Power",
    "Repeat",
    "ReplaceSelected",
    "ReplaceSlice",
    "Reverse",
    "Roll",
    "RunningProduct",
    "RunningSum",
    "Scatter",
    "Select",
    "ShiftMask",
    "SineFunction",
    "Slice",
    "SoftPlus",
    "Stack",
    "StepFunction",
    "Sum",
    "TensorLayer",
    "Times",
    "ToPower",
    "ToShape",
    "Unfold",
    "UnscaledBatchNorm",
    "Variance",
    "Where",
]

OPERATORS: tuple[type[Layer], ...] = tuple(
    value
    for value in map(globals().get, __all__)
    if isinstance(value, type) and issubclass(value, Layer) and value is not TensorLayer
)
