"""Conversion of ONNX operators to layers: sums, products, powers and reductions, with one function for each."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from pellucid import layers
from pellucid.opening.onnx.reading import NodeReading, Reader, shortest_decimal
from pellucid.opening.onnx.values import Unreadable, Value, broadcastable_tensor, constant
from pellucid.opening.onnx_nodes.operators import FUNCTION_OPS
from pellucid.operators import (
    Absolute,
    AffineMap,
    Clip,
    CosineFunction,
    Einsum,
    ErrorFunction,
    Exponential,
    GridSample,
    KeepOutside,
    Largest,
    Length,
    Logarithm,
    LogSumExp,
    MaskedFill,
    Mean,
    Minus,
    NumberFunction,
    Over,
    Plus,
    Power,
    Reverse,
    RunningSum,
    SineFunction,
    SoftPlus,
    Sum,
    Times,
    Where,
)


def _scalar_constant(value: Value, other: Value) -> float | None:
    """Return the number in a constant of one element that does not change the shape of `other`; else None."""
    tensor = value.constant
    if tensor is None or tensor.numel() != 1 or not tensor.is_floating_point() or tensor.dim() > other.rank:
        return None
    return shortest_decimal(tensor.item())


def _float_operands(r: NodeReading) -> tuple[Value, Value]:
    if len(r.inputs) != 2:
        raise Unreadable(f"has {len(r.inputs)} inputs, not two")
    for value in r.input_values:
        if not value.is_float:
            raise Unreadable("computes with other types than floats")
    r.attribute("axis", None)  # axis for broadcasting, before operator set 7
    r.check_attributes(broadcast=0)
    return r.value(0), r.value(1)


def add(r: NodeReading) -> Value:
    """Read Add and Sum as Add for equal shapes, as AffineMap for a constant number, else as Plus."""
    values = r.input_values
    if len(values) > 2 and len({value.sizes for value in values}) == 1 and all(value.has_batch for value in values):
        return r.layer(layers.Add(), *values)
    total = values[0]
    for index, value in enumerate(values[1:], start=2):
        is_last = index == len(values)
        total = _add_two(r, total, value, "" if is_last else f"sum{index}")
    return total


def _add_two(r: NodeReading, left: Value, right: Value, name_suffix: str) -> Value:
    for value, number in ((left, _scalar_constant(right, left)), (right, _scalar_constant(left, right))):
        if number is not None:
            return r.context.emit(AffineMap(1.0, number), [value], {}, name_suffix)
    for value, tensor in ((left, right.constant), (right, left.constant)):
        if tensor is not None and tensor.is_floating_point() and bool(torch.isneginf(tensor).any()):
            return _masked_sum(r, value, tensor, name_suffix)
    is_same_shape = left.sizes == right.sizes and left.has_batch and not (left.is_known or right.is_known)
    return r.context.emit(layers.Add() if is_same_shape else Plus(), [left, right], {}, name_suffix)


def _masked_sum(r: NodeReading, value: Value, masked_constant: Tensor, name_suffix: str) -> Value:
    """Return Plus and MaskedFill for the sum of a value and a constant with -inf, such as a mask before a softmax."""
    mask = torch.isneginf(masked_constant)
    finite = constant(masked_constant.masked_fill(mask, 0.0))
    total = r.context.emit(Plus(), [value, finite], {}, f"{name_suffix}finite")
    return r.context.emit(MaskedFill(-math.inf), [total, constant(mask)], {}, name_suffix)


def sub(r: NodeReading) -> Value:
    """Read Sub as Minus, or as AffineMap for a constant number."""
    left, right = _float_operands(r)
    number = _scalar_constant(right, left)
    if number is not None:
        return r.layer(AffineMap(1.0, -number), left)
    number = _scalar_constant(left, right)
    return r.layer(Minus(), left, _not_learned(right)) if number is None else r.layer(AffineMap(-1.0, number), right)


def mul(r: NodeReading) -> Value:
    """Read Mul as Multiply for two values with a batch axis, as AffineMap for a constant number, else as Times."""
    left, right = _float_operands(r)
    for value, number in ((left, _scalar_constant(right, left)), (right, _scalar_constant(left, right))):
        if number is not None:
            return r.layer(AffineMap(number), value)
    is_batched = left.rank == right.rank and left.has_batch and right.has_batch
    return r.layer(layers.Multiply() if is_batched else Times(), left, right)


def div(r: NodeReading) -> Value:
    """Read Div as Over, or as AffineMap for a constant divisor."""
    left, right = _float_operands(r)
    number = _scalar_constant(right, left)
    return r.layer(Over(), left, _not_learned(right)) if not number else r.layer(AffineMap(1 / number), left)


def _not_learned(value: Value) -> Value:
    """Return a constant as one that is not trained, such as the mean of the inputs; return other values unchanged."""
    return value if value.constant is None else constant(value.tensors[0])


def power(r: NodeReading) -> Value:
    """Read Pow with a constant exponent as Power."""
    exponent = r.value(1).constant
    if exponent is None or exponent.numel() != 1:
        raise Unreadable("has an exponent that is not one number")
    return r.layer(Power(shortest_decimal(exponent.double().item())))


def clip_reader(is_maximum: bool) -> Reader:
    """Return the reader of Max or Min of a value and a constant number, as Clip."""

    def read(r: NodeReading) -> Value:
        left, right = _float_operands(r)
        for value, number in ((left, _scalar_constant(right, left)), (right, _scalar_constant(left, right))):
            if number is not None:
                return r.layer(Clip(number, None) if is_maximum else Clip(None, number), value)
        raise Unreadable("compares two values, of which none is a number")

    return read


def where(r: NodeReading) -> Value:
    """Read Where with a known condition as MaskedFill, if it fills in a number, else as Where."""
    condition, if_true, if_false = r.value(0), r.value(1), r.value(2)
    if not condition.is_known or not (if_true.is_float and if_false.is_float):
        raise Unreadable("chooses by a computed condition, or among other values than floats")
    mask = broadcastable_tensor(condition)
    for unmasked, masked, fill_mask in ((if_true, if_false, ~mask), (if_false, if_true, mask)):
        number = _scalar_constant(masked, unmasked)
        if number is not None and fill_mask.dim() <= unmasked.rank and _is_broadcastable(fill_mask, unmasked):
            return r.layer(MaskedFill(number), unmasked, constant(fill_mask))
    return r.layer(Where(), constant(mask), if_true, if_false)


def _is_broadcastable(mask: Tensor, value: Value) -> bool:
    """Return whether a mask can be broadcast to the shape of a value."""
    return all(a in (1, b) for sizes in value.sizes for a, b in zip(mask.shape[::-1], sizes[::-1], strict=False))


def einsum(r: NodeReading) -> Value:
    """Read Einsum; without "->", the output has the indices that occur once, in alphabetical order."""
    equation = "".join(r.attribute("equation", "").split())
    if "->" not in equation:
        letters = equation.replace(",", "")
        equation += "->" + "".join(sorted(letter for letter in set(letters) if letters.count(letter) == 1))
    return r.layer(Einsum(equation), *r.input_values)


def running_sum(r: NodeReading) -> Value:
    """Read CumSum as RunningSum, between two Reverses if it starts at the end of the axis."""
    r.check_attributes(exclusive=0)
    (axis,) = r.axes([int(r.constant(1, r.value(1).tensors[0].dtype))])
    if not r.attribute("reverse", 0):
        return r.layer(RunningSum(axis))
    total = r.inner("sum", RunningSum(axis), r.inner("reversed", Reverse((axis,))))
    return r.layer(Reverse((axis,)), total)


def reduce(make_layer: Callable[[tuple[int, ...], bool], layers.Layer]) -> Reader:
    """Return the reader of an operator that reduces axes, as the layer that `make_layer` returns for (axes, keep)."""

    def read(r: NodeReading) -> Value:
        keep = bool(r.attribute("keepdims", 1))
        axes = r.integer_list("axes", 1)
        if r.attribute("noop_with_empty_axes", 0) and not axes:
            return r.x
        return r.layer(make_layer(r.axes(axes), keep))

    return read


def reduce_min(r: NodeReading) -> Value:
    """Read ReduceMin as the negative Largest of the negative values."""
    keep = bool(r.attribute("keepdims", 1))
    axes = r.axes(r.integer_list("axes", 1))
    largest = r.inner("largest", Largest(axes, keep), r.inner("negative", AffineMap(-1.0)))
    return r.layer(AffineMap(-1.0), largest)


def reduce_sum_square(r: NodeReading) -> Value:
    """Read ReduceSumSquare as Power and Sum."""
    keep = bool(r.attribute("keepdims", 1))
    axes = r.axes(r.integer_list("axes", 1))
    return r.layer(Sum(axes, keep), r.inner("square", Power(2.0)))


def lp_normalization(r: NodeReading) -> Value:
    """Read LpNormalization of p = 2 as Length and Over."""
    r.check_attributes(p=2)
    return r.layer(Over(), r.x, r.inner("length", Length((r.axis(-1),), keep=True)))


def shrink(r: NodeReading) -> Value:
    """Read Shrink as KeepOutside, or as a difference for a bias that moves the remaining values towards 0."""
    limit, bias = (shortest_decimal(r.attribute(name, default)) for name, default in (("lambd", 0.5), ("bias", 0.0)))
    if bias == limit:
        return r.layer(Minus(), r.x, r.inner("small", Clip(-limit, limit)))
    r.check_attributes(bias=0.0)
    return r.layer(KeepOutside(-limit, limit))


def celu(r: NodeReading) -> Value:
    """Read Celu as a scaled ELU."""
    alpha = shortest_decimal(r.attribute("alpha", 1.0))
    scaled = r.inner("scaled", AffineMap(1 / alpha))
    return r.layer(AffineMap(alpha), r.inner("elu", layers.ELU(1.0), scaled))


def grid_sample(r: NodeReading) -> Value:
    """Read GridSample of images."""
    kind = r.attribute("mode", "linear").replace("bilinear", "linear")
    outside = r.attribute("padding_mode", "zeros")
    if kind not in ("linear", "nearest") or outside not in ("zeros", "border") or r.x.rank != 4:
        raise Unreadable(f"samples {r.x.rank} axes with mode={kind}, padding_mode={outside}")
    kind = "bilinear" if kind == "linear" else "nearest"
    return r.layer(GridSample(kind, outside, bool(r.attribute("align_corners", 0))), r.value(0), r.value(1))


READERS: dict[str, Reader] = {
    "Add": add,
    "Sum": add,
    "Sub": sub,
    "Mul": mul,
    "Div": div,
    "Pow": power,
    "Max": clip_reader(is_maximum=True),
    "Min": clip_reader(is_maximum=False),
    "Neg": lambda r: r.layer(AffineMap(-1.0)),
    "Abs": lambda r: r.layer(Absolute()),
    "Sqrt": lambda r: r.layer(Power(0.5)),
    "Reciprocal": lambda r: r.layer(Power(-1.0)),
    "Exp": lambda r: r.layer(Exponential()),
    "Log": lambda r: r.layer(Logarithm()),
    "Sin": lambda r: r.layer(SineFunction()),
    "Cos": lambda r: r.layer(CosineFunction()),
    "Erf": lambda r: r.layer(ErrorFunction()),
    "Softplus": lambda r: r.layer(SoftPlus()),
    **{op: lambda r, name=name: r.layer(NumberFunction(name)) for name, op in FUNCTION_OPS.items()},
    "CumSum": running_sum,
    "Einsum": einsum,
    "Where": where,
    "ReduceMean": reduce(Mean),
    "ReduceSum": reduce(Sum),
    "ReduceMax": reduce(Largest),
    "ReduceMin": reduce_min,
    "ReduceLogSumExp": reduce(LogSumExp),
    "Shrink": shrink,
    "ThresholdedRelu": lambda r: r.layer(KeepOutside(None, shortest_decimal(r.attribute("alpha", 1.0)))),
    "Celu": celu,
    "GridSample": grid_sample,
    "ReduceL2": reduce(Length),
    "ReduceSumSquare": reduce_sum_square,
    "LpNormalization": lp_normalization,
}
