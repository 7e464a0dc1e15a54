"""Samples of PyTorch's operators that make one tensor of several."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from conformance.case import SkipCase
from conformance.opinfo.operator import Operator
from conformance.trial import Ours, Trial
from pellucid.layers import Add, Concat, Layer, Mode, Multiply


def merge_trial(
    layer: Layer, xs: Sequence[Tensor], theirs: Callable[[], Tensor], lifts: Sequence[Callable[[Tensor], Tensor]]
) -> Trial:
    """Return the trial of a merge of `xs`, each lifted by its own of `lifts`: new axes of size 1, repeated or not.

    What comes back for an input is summed over the repeated axes. The result has the shape of theirs.
    """

    def ours() -> Ours:
        lifted = tuple(lift(x) for lift, x in zip(lifts, xs, strict=True))
        y, cache = layer.forward({}, lifted, Mode())
        shape = theirs().shape

        def pull(dy: Tensor) -> dict[str, Tensor]:
            dxs, _ = layer.backward({}, cache, dy.reshape(y.shape))
            return {f"x{i}": summed(dx, x) for i, (dx, x) in enumerate(zip(dxs, xs, strict=True))}

        return Ours((y.reshape(shape),), pull)

    return Trial({f"x{i}": x for i, x in enumerate(xs)}, lambda: (theirs(),), ours)


def summed(dx: Tensor, x: Tensor) -> Tensor:
    """Undo the repetition of x in the gradient: sum over it. New axes of size 1 may stand anywhere."""
    if dx.numel() == x.numel():
        return dx.reshape(x.shape)
    return dx.sum_to_size((1,) * (dx.dim() - x.dim()) + x.shape).reshape(x.shape)


def add(theirs: Callable[[], Tensor], x: Tensor, other: Tensor, alpha: float = 1) -> Trial:
    """Put a sample of add to Add, which takes one shape: a smaller input is repeated first."""
    if alpha != 1:
        raise SkipCase("option alpha")
    shape = (1, *torch.broadcast_shapes(x.shape, other.shape))
    return merge_trial(Add(), (x, other), theirs, (lambda x: x.expand(shape),) * 2)


def mul(theirs: Callable[[], Tensor], x: Tensor, other: Tensor) -> Trial:
    """Put a sample of mul to Multiply, which repeats axes of size 1 itself."""
    axes = max(x.dim(), other.dim()) + 1
    return merge_trial(Multiply(), (x, other), theirs, (lambda x: x[(None,) * (axes - x.dim())],) * 2)


def cat(theirs: Callable[[], Tensor], xs: Sequence[Tensor], dim: int = 0) -> Trial:
    """Put a sample of cat to Concat, whose axis 0 is the batch: where theirs is the one, another comes before it."""
    if len({x.dim() for x in xs}) > 1:
        raise SkipCase("an empty tensor of another number of axes")
    return joined(theirs, xs, lambda x: x, dim)


def joined(theirs: Callable[[], Tensor], xs: Sequence[Tensor], lift: Callable[[Tensor], Tensor], dim: int = 0) -> Trial:
    """Put `xs`, each with the axes that `lift` adds, to Concat along axis `dim` of what it returns."""
    axis = dim % lift(xs[0]).dim()
    batched = lift if axis else (lambda x: lift(x).unsqueeze(0))
    return merge_trial(Concat(axis or 1), tuple(xs), theirs, (batched,) * len(xs))


def stack(theirs: Callable[[], Tensor], xs: Sequence[Tensor], dim: int = 0) -> Trial:
    """Put a sample of stack to Concat, along the new axis."""
    return joined(theirs, xs, lambda x: x.unsqueeze(dim), dim)


def hstack(theirs: Callable[[], Tensor], xs: Sequence[Tensor]) -> Trial:
    """Put a sample of hstack, which is along axis 1, or 0 for rows, to Concat."""
    return joined(theirs, xs, torch.atleast_1d, min(xs[0].dim() - 1, 1))


def vstack(theirs: Callable[[], Tensor], xs: Sequence[Tensor]) -> Trial:
    """Put a sample of vstack to Concat."""
    return joined(theirs, xs, torch.atleast_2d, 0)


def dstack(theirs: Callable[[], Tensor], xs: Sequence[Tensor]) -> Trial:
    """Put a sample of dstack to Concat."""
    return joined(theirs, xs, torch.atleast_3d, 2)


def column_stack(theirs: Callable[[], Tensor], xs: Sequence[Tensor]) -> Trial:
    """Put a sample of column_stack, for which a row is a column, to Concat."""
    return joined(theirs, xs, lambda x: x if x.dim() > 1 else x.reshape(-1, 1), 1)


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
