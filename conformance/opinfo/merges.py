"""Samples of PyTorch's operators that combine several tensors into one."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from conformance.case import SkipCase
from conformance.opinfo.operator import Operator
from conformance.trial import ForwardPass, Trial
from pellucid.layers import Add, Concat, Layer, Mode, Multiply


def merge_trial(
    layer: Layer, xs: Sequence[Tensor], reference: Callable[[], Tensor], lifts: Sequence[Callable[[Tensor], Tensor]]
) -> Trial:
    """Return the trial of a merge of `xs`; each of `lifts` adds axes to its input and may expand them.

    The gradient of an input is summed over its expanded axes. Our output is reshaped to the shape of PyTorch's.
    """

    def forward() -> ForwardPass:
        lifted_xs = tuple(lift(x) for lift, x in zip(lifts, xs, strict=True))
        y, cache = layer.forward({}, lifted_xs, Mode())
        shape = reference().shape

        def backward(dy: Tensor) -> dict[str, Tensor]:
            dxs, _ = layer.backward({}, cache, dy.reshape(y.shape))
            return {f"x{i}": sum_repeated(dx, x) for i, (dx, x) in enumerate(zip(dxs, xs, strict=True))}

        return ForwardPass((y.reshape(shape),), backward)

    return Trial({f"x{i}": x for i, x in enumerate(xs)}, lambda: (reference(),), forward)


def sum_repeated(dx: Tensor, x: Tensor) -> Tensor:
    """Return dx summed over the axes along which x was expanded, in x's shape; axes of size 1 may be anywhere."""
    if dx.numel() == x.numel():
        return dx.reshape(x.shape)
    return dx.sum_to_size((1,) * (dx.dim() - x.dim()) + x.shape).reshape(x.shape)


def add(reference: Callable[[], Tensor], x: Tensor, other: Tensor, alpha: float = 1) -> Trial:
    """Return the trial of Add on a sample of add; the inputs are broadcast to one shape before the layer."""
    if alpha != 1:
        raise SkipCase("option alpha")
    shape = (1, *torch.broadcast_shapes(x.shape, other.shape))
    return merge_trial(Add(), (x, other), reference, (lambda x: x.expand(shape),) * 2)


def mul(reference: Callable[[], Tensor], x: Tensor, other: Tensor) -> Trial:
    """Return the trial of Multiply, which broadcasts axes of size 1, on a sample of mul."""
    axes = max(x.dim(), other.dim()) + 1
    return merge_trial(Multiply(), (x, other), reference, (lambda x: x[(None,) * (axes - x.dim())],) * 2)


def cat(reference: Callable[[], Tensor], xs: Sequence[Tensor], dim: int = 0) -> Trial:
    """Return the trial of Concat on a sample of cat; for axis 0, the inputs get an additional batch axis."""
    if len({x.dim() for x in xs}) > 1:
        raise SkipCase("an empty tensor of another number of axes")
    return concat_trial(reference, xs, lambda x: x, dim)


def concat_trial(
    reference: Callable[[], Tensor], xs: Sequence[Tensor], lift: Callable[[Tensor], Tensor], dim: int = 0
) -> Trial:
    """Return the trial of Concat on `lift(x)` for x in `xs`, along axis `dim` of these tensors."""
    axis = dim % lift(xs[0]).dim()
    batched = lift if axis else (lambda x: lift(x).unsqueeze(0))
    return merge_trial(Concat(axis or 1), tuple(xs), reference, (batched,) * len(xs))


def stack(reference: Callable[[], Tensor], xs: Sequence[Tensor], dim: int = 0) -> Trial:
    """Return the trial of Concat on a sample of stack, along a new axis."""
    return concat_trial(reference, xs, lambda x: x.unsqueeze(dim), dim)


def hstack(reference: Callable[[], Tensor], xs: Sequence[Tensor]) -> Trial:
    """Return the trial of Concat on a sample of hstack, along axis 1, or axis 0 for vectors."""
    return concat_trial(reference, xs, torch.atleast_1d, min(xs[0].dim() - 1, 1))


def vstack(reference: Callable[[], Tensor], xs: Sequence[Tensor]) -> Trial:
    """Return the trial of Concat on a sample of vstack."""
    return concat_trial(reference, xs, torch.atleast_2d, 0)


def dstack(reference: Callable[[], Tensor], xs: Sequence[Tensor]) -> Trial:
    """Return the trial of Concat on a sample of dstack."""
    return concat_trial(reference, xs, torch.atleast_3d, 2)


def column_stack(reference: Callable[[], Tensor], xs: Sequence[Tensor]) -> Trial:
    """Return the trial of Concat on a sample of column_stack, for which a vector is a column."""
    return concat_trial(reference, xs, lambda x: x if x.dim() > 1 else x.reshape(-1, 1), 1)


OPERATORS = (
    Operator("add", Add, add),
    Operator("__radd__", Add, add),
    Operator("mul", Multiply, mul),
    Operator("__rmul__", Multiply, mul),
    Operator("cat", Concat, cat),
    Operator("stack", Concat, stack),
    Operator("hstack", Concat, hstack),
    Operator("vstack", Concat, vstack),
    Operator("dstack", Concat, dstack),
    Operator("column_stack", Concat, column_stack),
)
