"""ONNX operators on numbers: sums, products, powers and reductions, with one function for each."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from pellucid import layers
from pellucid.opening.onnx.reading import NodeReading, Reader, plain
from pellucid.opening.onnx.values import Unreadable, Value, constant, for_all_examples
from pellucid.operators import (
    Absolute,
    AffineMap,
    Clip,
    CosineFunction,
    Einsum,
    ErrorFunction,
    Exponential,
    Largest,
    Length,
    Logarithm,
    MaskedFill,
    Mean,
    Minus,
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


def _number(value: Value, other: Value) -> float | None:
    """Return a constant of one value that leaves the shape of the other input unchanged; None for other values."""
    found = value.constant
    if found is None or found.numel() != 1 or not found.is_floating_point() or found.dim() > other.rank:
        return None
    return plain(found.item())


def _pair(r: NodeReading) -> tuple[Value, Value]:
    if len(r.inputs) != 2:
        raise Unreadable(f"has {len(r.inputs)} inputs, not two")
    for value in r.given:
        if not value.is_float:
            raise Unreadable("computes with other types than floats")
    r.take("axis", None)  # before operator set 7
    r.only(broadcast=0)
    return r.value(0), r.value(1)


def add(r: NodeReading) -> Value:
    """Read Add and Sum as Add for equal shapes, as AffineMap for a number, else as Plus."""
    values = r.given
    if len(values) > 2 and len({value.sizes for value in values}) == 1 and all(one.has_batch for one in values):
        return r.layer(layers.Add(), *values)
    total = values[0]
    for index, value in enumerate(values[1:], start=2):
        last = index == len(values)
        total = _plus(r, total, value, "" if last else f"sum{index}")
    return total


def _plus(r: NodeReading, one: Value, other: Value, part: str) -> Value:
    for value, number in ((one, _number(other, one)), (other, _number(one, other))):
        if number is not None:
            return r.around.emit(AffineMap(1.0, number), [value], {}, part, False)
    for value, known in ((one, other.constant), (other, one.constant)):
        if known is not None and known.is_floating_point() and bool(torch.isneginf(known).any()):
            return _masked(r, value, known, part)
    equal = one.sizes == other.sizes and one.has_batch and not (one.is_known or other.is_known)
    return r.around.emit(layers.Add() if equal else Plus(), [one, other], {}, part, False)


def _masked(r: NodeReading, value: Value, known: Tensor, part: str) -> Value:
    """Return the sum of a value and a constant with -inf, as of scores before a softmax: Plus and MaskedFill."""
    mask = torch.isneginf(known)
    finite = constant(known.masked_fill(mask, 0.0))
    total = r.around.emit(Plus(), [value, finite], {}, f"{part}finite", False)
    return r.around.emit(MaskedFill(-math.inf), [total, constant(mask)], {}, part, False)


def sub(r: NodeReading) -> Value:
    """Read Sub as Minus, or as AffineMap for a number."""
    one, other = _pair(r)
    number = _number(other, one)
    if number is not None:
        return r.layer(AffineMap(1.0, -number), one)
    number = _number(one, other)
    return r.layer(Minus(), one, _fixed(other)) if number is None else r.layer(AffineMap(-1.0, number), other)


def mul(r: NodeReading) -> Value:
    """Read Mul as Multiply for two values of each example, as AffineMap for a number, else as Times."""
    one, other = _pair(r)
    for value, number in ((one, _number(other, one)), (other, _number(one, other))):
        if number is not None:
            return r.layer(AffineMap(number), value)
    gate = one.rank == other.rank and one.has_batch and other.has_batch
    return r.layer(layers.Multiply() if gate else Times(), one, other)


def div(r: NodeReading) -> Value:
    """Read Div as Over, or as AffineMap for a number."""
    one, other = _pair(r)
    number = _number(other, one)
    return r.layer(Over(), one, _fixed(other)) if not number else r.layer(AffineMap(1 / number), one)


def _fixed(value: Value) -> Value:
    """Return a constant as one that is not learned, such as the mean and the standard deviation of inputs."""
    return value if value.constant is None else constant(value.tensors[0])


def power(r: NodeReading) -> Value:
    """Read Pow by a number as Power."""
    exponent = r.value(1).constant
    if exponent is None or exponent.numel() != 1:
        raise Unreadable("has an exponent that is not one number")
    return r.layer(Power(plain(exponent.double().item())))


def limit(lowest: bool) -> Reader:
    """Return the reader of Max or Min of a value and a number."""

    def read(r: NodeReading) -> Value:
        one, other = _pair(r)
        for value, number in ((one, _number(other, one)), (other, _number(one, other))):
            if number is not None:
                return r.layer(Clip(number, None) if lowest else Clip(None, number), value)
        raise Unreadable("compares two values, of which none is a number")

    return read


def where(r: NodeReading) -> Value:
    """Read Where with a known condition as MaskedFill, if it fills in a number, else as Where."""
    condition, one, other = r.value(0), r.value(1), r.value(2)
    if not condition.is_known or not (one.is_float and other.is_float):
        raise Unreadable("chooses by a computed condition, or among other values than floats")
    mask = for_all_examples(condition)
    for kept, fill, filled in ((one, other, ~mask), (other, one, mask)):
        number = _number(fill, kept)
        if number is not None and filled.dim() <= kept.rank and _fits(filled, kept):
            return r.layer(MaskedFill(number), kept, constant(filled))
    return r.layer(Where(), constant(mask), one, other)


def _fits(mask: Tensor, value: Value) -> bool:
    """Return whether a mask is broadcast to the shape of a value."""
    return all(a in (1, b) for sizes in value.sizes for a, b in zip(mask.shape[::-1], sizes[::-1], strict=False))


def einsum(r: NodeReading) -> Value:
    """Read Einsum; without "->", the output has the indices that occur once, in alphabetical order."""
    equation = "".join(r.take("equation", "").split())
    if "->" not in equation:
        letters = equation.replace(",", "")
        equation += "->" + "".join(sorted(one for one in set(letters) if letters.count(one) == 1))
    return r.layer(Einsum(equation), *r.given)


def running_sum(r: NodeReading) -> Value:
    """Read CumSum as RunningSum, between two Reverses if it begins at the end."""
    r.only(exclusive=0)
    (axis,) = r.axes([int(r.constant(1, r.value(1).tensors[0].dtype))])
    if not r.take("reverse", 0):
        return r.layer(RunningSum(axis))
    total = r.inner("sum", RunningSum(axis), r.inner("reversed", Reverse((axis,))))
    return r.layer(Reverse((axis,)), total)


def reduce(make: Callable[[tuple[int, ...], bool], layers.Layer]) -> Reader:
    """Return the reader of an operator that reduces axes to one value."""

    def read(r: NodeReading) -> Value:
        keep, axes = bool(r.take("keepdims", 1)), r.listed("axes", 1)
        if r.take("noop_with_empty_axes", 0) and not axes:
            return r.x
        return r.layer(make(r.axes(axes), keep))

    return read


def reduce_min(r: NodeReading) -> Value:
    """Read ReduceMin as the negative Largest of the negative values."""
    keep, axes = bool(r.take("keepdims", 1)), r.axes(r.listed("axes", 1))
    largest = r.inner("largest", Largest(axes, keep), r.inner("negative", AffineMap(-1.0)))
    return r.layer(AffineMap(-1.0), largest)


def reduce_sum_square(r: NodeReading) -> Value:
    """Read ReduceSumSquare as Power and Sum."""
    keep, axes = bool(r.take("keepdims", 1)), r.axes(r.listed("axes", 1))
    return r.layer(Sum(axes, keep), r.inner("square", Power(2.0)))


def lp_normalization(r: NodeReading) -> Value:
    """Read LpNormalization of p = 2 as Length and Over."""
    r.only(p=2)
    return r.layer(Over(), r.x, r.inner("length", Length((r.axis(-1),), keep=True)))


READERS: dict[str, Reader] = {
    "Add": add,
    "Sum": add,
    "Sub": sub,
    "Mul": mul,
    "Div": div,
    "Pow": power,
    "Max": limit(lowest=True),
    "Min": limit(lowest=False),
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
    "CumSum": running_sum,
    "Einsum": einsum,
    "Where": where,
    "ReduceMean": reduce(Mean),
    "ReduceSum": reduce(Sum),
    "ReduceMax": reduce(Largest),
    "ReduceMin": reduce_min,
    "ReduceL2": reduce(Length),
    "ReduceSumSquare": reduce_sum_square,
    "LpNormalization": lp_normalization,
}
