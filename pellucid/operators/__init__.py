"""Operators: layers without a fixed batch axis, for the graphs of opened PyTorch and ONNX networks."""

from pellucid.layers.base import Layer
from pellucid.operators.arithmetic import AffineMap, Clip, Exponential, Minus, Over, Plus, Power, Times, ToPower
from pellucid.operators.base import TensorLayer
from pellucid.operators.choices import AdaptiveMaxPool, LargestOne, MaskedFill, MaxPositions, Where
from pellucid.operators.convolution import Convolve
from pellucid.operators.functions import (
    Absolute,
    CosineFunction,
    Detach,
    ErrorFunction,
    KeepOutside,
    Logarithm,
    ParametricReLU,
    SineFunction,
    SoftPlus,
    StepFunction,
)
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
from pellucid.operators.norms import NormalizeChannels, NormalizeGroups, NormalizeLast
from pellucid.operators.patches import Fold, Repeat, Reverse, RunningSum, Unfold
from pellucid.operators.products import Attention, Einsum, LinearMap, MatMul
from pellucid.operators.reductions import Largest, Length, LogSumExp, Mean, Sum, Variance
from pellucid.operators.sampling import AffineGrid, GridSample
from pellucid.operators.sources import Fixed, Learned, ShiftMask

OPERATORS: tuple[type[Layer], ...] = (
    Absolute, AdaptiveMaxPool, AffineGrid, AffineMap, Attention, Clip, Convolve, CosineFunction, Detach, Einsum,
    ErrorFunction, Expand, Exponential, Fixed, Fold, GridSample, Index, Join, KeepOutside, Largest, LargestOne, Learned,
    Length, LinearMap, LogSumExp, Logarithm, MaskedFill, MatMul, MaxPositions, Mean, Minus, NormalizeChannels,
    NormalizeGroups, NormalizeLast, Over, Pad, ParametricReLU, Permute, Plus, Power, Repeat, ReplaceSelected,
    ReplaceSlice, Reverse, Roll, RunningSum, Select, ShiftMask, SineFunction, Slice, SoftPlus, Stack, StepFunction,
    Sum, Times, ToPower, ToShape, Unfold, Variance, Where,
)  # fmt: skip

__all__ = [
    "OPERATORS",
    "Absolute",
    "AdaptiveMaxPool",
    "AffineGrid",
    "AffineMap",
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
    "Over",
    "Pad",
    "ParametricReLU",
    "Permute",
    "Plus",
    "Power",
    "Repeat",
    "ReplaceSelected",
    "ReplaceSlice",
    "Reverse",
    "Roll",
    "RunningSum",
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
    "Variance",
    "Where",
]
