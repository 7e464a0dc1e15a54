"""ONNX operators on numbers: sums, products, powers and reductions, with one function for each."""

from collections.abc import Callable

import numpy as np
import torch

from pellucid import layers
from pellucid.opening.onnx.reading import NodeReading, Reader, plain
from pellucid.opening.onnx.values import Unreadable, Value, constant
from pellucid.operators import (
    AffineMap,
    Clip,
    Exponential,
    Largest,
    Length,
    Mean,
    Minus,
    Over,
    Plus,
    Power,
    Sum,
    Times,
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
    equal = one.sizes == other.sizes and one.has_batch and not (one.is_known or other.is_known)
    return r.around.emit(layers.Add() if equal else Plus(), [one, other], {}, part, False)


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


def absolute(r: NodeReading) -> Value:
    """Read Abs as the sum of the positive part and the positive part of the negative."""
    negative = r.inner("negative", layers.ReLU(), r.inner("sign", AffineMap(-1.0)))
    return r.layer(Plus(), r.inner("positive", layers.ReLU()), negative)


def where(r: NodeReading) -> Value:
    """Read Where with a constant condition as a sum of products.

    Values that are replaced by -inf, such as scores before a softmax, receive the lowest finite number as a summand.
    """
    condition, one, other = r.constant(0, torch.bool), r.value(1), r.value(2)
    for kept, fill, mask in ((one, other, condition), (other, one, ~condition)):
        number = _number(fill, kept)
        known = fill.constant
        if number is None and known is not None and known.numel() == 1 and torch.isinf(known).all():
            number = float(known)
        if number is not None and np.isinf(number):
            lowest = torch.finfo(torch.float32).max * np.sign(number)
            return r.layer(Plus(), kept, constant(torch.where(mask, 0.0, float(lowest))))
    for value in (one, other):
        if value.constant is not None and not bool(torch.isfinite(value.tensors[0]).all()):
            raise Unreadable("chooses values that are not finite")
    chosen = r.inner("chosen", Times(), one, constant(condition.float()))
    return r.layer(Plus(), chosen, r.inner("rest", Times(), other, constant((~condition).float())))


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
    "Abs": absolute,
    "Sqrt": lambda r: r.layer(Power(0.5)),
    "Reciprocal": lambda r: r.layer(Power(-1.0)),
    "Exp": lambda r: r.layer(Exponential()),
    "Where": where,
    "ReduceMean": reduce(Mean),
    "ReduceSum": reduce(Sum),
    "ReduceMax": reduce(Largest),
    "ReduceMin": reduce_min,
    "ReduceL2": reduce(Length),
    "ReduceSumSquare": reduce_sum_square,
    "LpNormalization": lp_normalization,
}
