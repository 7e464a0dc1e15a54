"""Operators: layers without a fixed batch axis, for the graphs of opened PyTorch and ONNX networks.

To add an operator, import it here and add its name to `__all__`, which determines OPERATORS.
"""

from pellucid.layers.base import Layer
from pellucid.operators.arithmetic import AffineMap, Clip, Exponential, Minus, Over, Plus, Power, Times, ToPower
from pellucid.operators.base import TensorLayer
from pellucid.operators.choices import AdaptiveMaxPool, LargestOne, MaskedFill, MaxPositions, Where
from pellucid.operators.convolution import Convolve
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
from pellucid.operators.norms import NormalizeChannels, NormalizeGroups, NormalizeLast, UnscaledBatchNorm
from pellucid.operators.patches import Fold, Repeat, Reverse, RunningProduct, RunningSum, Unfold
from pellucid.operators.positions import Gather, OneHot, Positions, Scatter
from pellucid.operators.products import Attention, Einsum, LinearMap, MatMul
from pellucid.operators.reductions import Largest, Length, LogSumExp, Mean, Sum, Variance
from pellucid.operators.sampling import AffineGrid, GridSample
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
