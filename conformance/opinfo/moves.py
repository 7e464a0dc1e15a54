"""Samples of PyTorch's operators that move values without changing them."""

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from conformance.case import SkipCase
from conformance.opinfo.operator import Operator
from conformance.opinfo.tensors import axes_of, operator_trial
from conformance.trial import Trial
from pellucid import operators
from pellucid.layers import Layer


def permute(reference: Callable[[], Tensor], x: Tensor, dims: Sequence[int]) -> Trial:
    """Return the trial of Permute on a sample of permute."""
    return operator_trial(operators.Permute(tuple(axis % x.dim() for axis in dims)), (x,), reference)


def axis_adapter(make: Callable[..., Layer]) -> Callable[..., Trial]:
    """Return the adapter of an operator along one axis; `make` takes the axis and the sample's other arguments."""

    def adapt(reference: Callable[[], Tensor], x: Tensor, dim: int, *options: Any, dtype: Any = None) -> Trial:
        if not x.dim() or dtype is not None:
            raise SkipCase("a tensor without axes, or another dtype")
        return operator_trial(make(dim % x.dim(), *options), (x,), reference)

    return adapt


def index_select(reference: Callable[[], Tensor], x: Tensor, dim: int, indices: Tensor) -> Trial:
    """Return the trial of Index on a sample of index_select."""
    if not x.dim() or not indices.dim():
        raise SkipCase("a tensor without axes")
    return operator_trial(operators.Index(dim % x.dim()), (x, indices), reference)


def repeat(reference: Callable[[], Tensor], x: Tensor, counts: Sequence[int]) -> Trial:
    """Return the trial of Repeat on a sample of repeat or tile."""
    counts = (1,) * (x.dim() - len(counts)) + tuple(counts)
    return operator_trial(operators.Repeat(counts), (x,), reference)


def flip(reference: Callable[[], Tensor], x: Tensor, dims: Any) -> Trial:
    """Return the trial of Reverse on a sample of flip."""
    return operator_trial(operators.Reverse(axes_of(x, dims) if dims else ()), (x,), reference)


def roll(reference: Callable[[], Tensor], x: Tensor, shifts: Any, dims: Any = None) -> Trial:
    """Return the trial of Roll on a sample of roll."""
    if dims is None:
        raise SkipCase("a roll of the flattened tensor")
    shifts = (shifts,) if isinstance(shifts, int) else tuple(shifts)
    return operator_trial(operators.Roll(shifts, axes_of(x, dims)), (x,), reference)


def to_shape(reference: Callable[[], Tensor], x: Tensor, shape: Sequence[int]) -> Trial:
    """Return the trial of ToShape on a sample of reshape."""
    return operator_trial(operators.ToShape(tuple(shape)), (x,), reference)


def expand(reference: Callable[[], Tensor], x: Tensor, *sizes: Any) -> Trial:
    """Return the trial of Expand on a sample of expand."""
    shape = tuple(sizes[0] if isinstance(sizes[0], Sequence) else sizes)
    if 0 in shape:
        raise SkipCase("an axis of size 0, which means the number of examples")
    return operator_trial(operators.Expand(shape), (x,), reference)


def pad(
    reference: Callable[[], Tensor], x: Tensor, padding: Sequence[int], mode: str = "constant", value: Any = 0.0
) -> Trial:
    """Return the trial of Pad on a sample of pad in the mode "constant"."""
    return operator_trial(operators.Pad(tuple(padding), value or 0.0), (x,), reference)


def join_adapter(make: Callable[[int], Layer], n_new_axes: int) -> Callable[..., Trial]:
    """Return the adapter of an operator that joins tensors along an axis and adds `n_new_axes` axes."""

    def adapt(reference: Callable[[], Tensor], xs: Sequence[Tensor], dim: int = 0) -> Trial:
        if len({x.dim() for x in xs}) > 1:
            raise SkipCase("an empty tensor of another number of axes")
        return operator_trial(make(dim % (xs[0].dim() + n_new_axes)), tuple(xs), reference)

    return adapt


def slice_scatter(
    reference: Callable[[], Tensor], x: Tensor, replacement: Tensor, dim: int, *slice_arguments: int
) -> Trial:
    """Return the trial of ReplaceSlice on a sample of slice_scatter."""
    return operator_trial(operators.ReplaceSlice(dim % x.dim(), *slice_arguments), (x, replacement), reference)


def select_scatter(reference: Callable[[], Tensor], x: Tensor, replacement: Tensor, dim: int, index: int) -> Trial:
    """Return the trial of ReplaceSelected on a sample of select_scatter."""
    return operator_trial(operators.ReplaceSelected(dim % x.dim(), index), (x, replacement), reference)


OPERATORS = (
    Operator("permute", operators.Permute, permute),
    Operator("select", operators.Select, axis_adapter(operators.Select)),
    Operator(
        "narrow", operators.Slice, axis_adapter(lambda axis, start, size: operators.Slice(axis, start, start + size))
    ),
    Operator("index_select", operators.Index, index_select),
    Operator("cumsum", operators.RunningSum, axis_adapter(operators.RunningSum)),
    Operator("flip", operators.Reverse, flip),
    Operator("roll", operators.Roll, roll),
    Operator("repeat", operators.Repeat, repeat),
    Operator("tile", operators.Repeat, repeat),
    *(Operator(name, operators.ToShape, to_shape) for name in ("reshape", "view", "view_copy")),
    *(Operator(name, operators.Expand, expand) for name in ("expand", "broadcast_to")),
    Operator("nn.functional.pad", operators.Pad, pad, "constant"),
    Operator("stack", operators.Stack, join_adapter(operators.Stack, 1)),
    Operator("cat", operators.Join, join_adapter(operators.Join, 0)),
    Operator("slice_scatter", operators.ReplaceSlice, slice_scatter),
    Operator("select_scatter", operators.ReplaceSelected, select_scatter),
)
