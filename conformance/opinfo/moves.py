"""Samples of PyTorch's operators that move values without changing them."""

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from conformance.case import SkipCase
from conformance.opinfo.operator import Operator
from conformance.opinfo.tensors import axes_of, whole_trial
from conformance.trial import Trial
from pellucid import operators
from pellucid.layers import Layer


def permute(theirs: Callable[[], Tensor], x: Tensor, dims: Sequence[int]) -> Trial:
    """Put a sample of permute to Permute."""
    return whole_trial(operators.Permute(tuple(axis % x.dim() for axis in dims)), (x,), theirs)


def along(make: Callable[..., Layer]) -> Callable[..., Trial]:
    """Return the adapter of an operator along one axis, with further hyperparameters."""

    def adapt(theirs: Callable[[], Tensor], x: Tensor, dim: int, *options: Any, dtype: Any = None) -> Trial:
        if not x.dim() or dtype is not None:
            raise SkipCase("a tensor without axes, or another dtype")
        return whole_trial(make(dim % x.dim(), *options), (x,), theirs)

    return adapt


def index_select(theirs: Callable[[], Tensor], x: Tensor, dim: int, indices: Tensor) -> Trial:
    """Put a sample of index_select to Index."""
    if not x.dim() or not indices.dim():
        raise SkipCase("a tensor without axes")
    return whole_trial(operators.Index(dim % x.dim()), (x, indices), theirs)


def repeat(theirs: Callable[[], Tensor], x: Tensor, counts: Sequence[int]) -> Trial:
    """Put a sample of repeat or tile to Repeat."""
    counts = (1,) * (x.dim() - len(counts)) + tuple(counts)
    return whole_trial(operators.Repeat(counts), (x,), theirs)


def flip(theirs: Callable[[], Tensor], x: Tensor, dims: Any) -> Trial:
    """Put a sample of flip to Reverse."""
    return whole_trial(operators.Reverse(axes_of(x, dims) if dims else ()), (x,), theirs)


def roll(theirs: Callable[[], Tensor], x: Tensor, shifts: Any, dims: Any = None) -> Trial:
    """Put a sample of roll to Roll."""
    if dims is None:
        raise SkipCase("a roll of the flattened tensor")
    shifts = (shifts,) if isinstance(shifts, int) else tuple(shifts)
    return whole_trial(operators.Roll(shifts, axes_of(x, dims)), (x,), theirs)


def to_shape(theirs: Callable[[], Tensor], x: Tensor, shape: Sequence[int]) -> Trial:
    """Put a sample of reshape to ToShape."""
    return whole_trial(operators.ToShape(tuple(shape)), (x,), theirs)


def expand(theirs: Callable[[], Tensor], x: Tensor, *sizes: Any) -> Trial:
    """Put a sample of expand to Expand."""
    shape = tuple(sizes[0] if isinstance(sizes[0], Sequence) else sizes)
    if 0 in shape:
        raise SkipCase("an axis of size 0, which means the number of examples")
    return whole_trial(operators.Expand(shape), (x,), theirs)


def pad(
    theirs: Callable[[], Tensor], x: Tensor, padding: Sequence[int], mode: str = "constant", value: Any = 0.0
) -> Trial:
    """Put a sample of pad with a constant to Pad."""
    return whole_trial(operators.Pad(tuple(padding), value or 0.0), (x,), theirs)


def joined(make: Callable[[int], Layer], new: int) -> Callable[..., Trial]:
    """Return the adapter of an operator that joins tensors along an axis, one of `new` more axes than they have."""

    def adapt(theirs: Callable[[], Tensor], xs: Sequence[Tensor], dim: int = 0) -> Trial:
        if len({x.dim() for x in xs}) > 1:
            raise SkipCase("an empty tensor of another number of axes")
        return whole_trial(make(dim % (xs[0].dim() + new)), tuple(xs), theirs)

    return adapt


def slice_scatter(theirs: Callable[[], Tensor], x: Tensor, part: Tensor, dim: int, *where: int) -> Trial:
    """Put a sample of slice_scatter to ReplaceSlice."""
    return whole_trial(operators.ReplaceSlice(dim % x.dim(), *where), (x, part), theirs)


def select_scatter(theirs: Callable[[], Tensor], x: Tensor, part: Tensor, dim: int, index: int) -> Trial:
    """Put a sample of select_scatter to ReplaceSelected."""
    return whole_trial(operators.ReplaceSelected(dim % x.dim(), index), (x, part), theirs)


OPERATORS = (
    Operator("permute", operators.Permute, permute),
    Operator("select", operators.Select, along(operators.Select)),
    Operator("narrow", operators.Slice, along(lambda axis, start, size: operators.Slice(axis, start, start + size))),
    Operator("index_select", operators.Index, index_select),
    Operator("cumsum", operators.RunningSum, along(operators.RunningSum)),
    Operator("flip", operators.Reverse, flip),
    Operator("roll", operators.Roll, roll),
    Operator("repeat", operators.Repeat, repeat),
    Operator("tile", operators.Repeat, repeat),
    *(Operator(name, operators.ToShape, to_shape) for name in ("reshape", "view", "view_copy")),
    *(Operator(name, operators.Expand, expand) for name in ("expand", "broadcast_to")),
    Operator("nn.functional.pad", operators.Pad, pad, "constant"),
    Operator("stack", operators.Stack, joined(operators.Stack, 1)),
    Operator("cat", operators.Join, joined(operators.Join, 0)),
    Operator("slice_scatter", operators.ReplaceSlice, slice_scatter),
    Operator("select_scatter", operators.ReplaceSelected, select_scatter),
)
