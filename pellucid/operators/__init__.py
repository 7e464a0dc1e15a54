"""Operators: layers that act on whole tensors, for the graphs of networks that other people wrote."""

from pellucid.layers.base import Layer
from pellucid.operators.arithmetic import AffineMap, Clip, Exponential, Minus, Over, Plus, Power, Times
from pellucid.operators.base import TensorLayer
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
from pellucid.operators.products import Attention, LinearMap, MatMul
from pellucid.operators.reductions import Largest, Length, Mean, Sum
from pellucid.operators.sources import Fixed, Learned

OPERATORS: tuple[type[Layer], ...] = (
    AffineMap, Attention, Clip, Expand, Exponential, Fixed, Index, Join, Largest, Learned, Length,
    LinearMap, MatMul, Mean, Minus, Over, Pad,
    Permute, Plus, Power, ReplaceSelected, ReplaceSlice, Roll, Select, Slice, Stack, Sum, Times, ToShape,
)  # fmt: skip

__all__ = [
    "OPERATORS",
    "AffineMap",
    "Attention",
    "Clip",
    "Expand",
    "Exponential",
    "Fixed",
    "Index",
    "Join",
    "Largest",
    "Learned",
    "Length",
    "LinearMap",
    "MatMul",
    "Mean",
    "Minus",
    "Over",
    "Pad",
    "Permute",
    "Plus",
    "Power",
    "ReplaceSelected",
    "ReplaceSlice",
    "Roll",
    "Select",
    "Slice",
    "Stack",
    "Sum",
    "TensorLayer",
    "Times",
    "ToShape",
]
