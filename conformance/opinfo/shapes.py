"""Samples of PyTorch's operators that change the shape."""

from collections.abc import Callable, Sequence

from torch import Tensor

from conformance.case import SkipCase
from conformance.opinfo.operator import Operator
from conformance.trial import AS_IS, UNBATCHED, Trial, layer_trial
from pellucid.layers import Flatten, Reshape


def flatten(reference: Callable[[], Tensor], x: Tensor, start_dim: int = 0, end_dim: int = -1) -> Trial:
    """Return the trial of Flatten on a sample of flatten; for `start_dim` 0, x is one example of a batch."""
    if end_dim not in (-1, x.dim() - 1):
        raise SkipCase("option end_dim")
    if start_dim not in (0, 1):
        raise SkipCase("option start_dim")
    return layer_trial(Flatten(), {}, x, reference, view=AS_IS if start_dim else UNBATCHED)


def reshape(reference: Callable[[], Tensor], x: Tensor, shape: Sequence[int]) -> Trial:
    """Return the trial of Reshape on a sample of reshape, which may change every axis: x is one example of a batch."""
    return layer_trial(Reshape(tuple(shape)), {}, x, reference, view=UNBATCHED)


def reshape_as(reference: Callable[[], Tensor], x: Tensor, other: Tensor) -> Trial:
    """Return the trial of Reshape on a sample of reshape_as."""
    return reshape(reference, x, other.shape)


def unflatten(reference: Callable[[], Tensor], x: Tensor, dim: int, sizes: Sequence[int]) -> Trial:
    """Return the trial of Reshape on a sample of unflatten, which splits one axis into several."""
    if 0 in (*x.shape, *sizes):
        raise SkipCase("an axis of size 0")
    axis = dim % x.dim()
    return reshape(reference, x, (*x.shape[:axis], *sizes, *x.shape[axis + 1 :]))


def unit_axes(reference: Callable[[], Tensor], x: Tensor, *dims: int | Sequence[int]) -> Trial:
    """Return the trial of Reshape on a sample of squeeze or unsqueeze, which remove or add axes of size 1."""
    if not x.numel():
        raise SkipCase("an axis of size 0")
    return reshape(reference, x, reference().shape)


OPERATORS = (
    Operator("flatten", Flatten, flatten),
    *(Operator(name, Reshape, reshape) for name in ("reshape", "view", "view_copy")),
    *(Operator(name, Reshape, reshape_as) for name in ("reshape_as", "view_as")),
    Operator("unflatten", Reshape, unflatten),
    *(Operator(name, Reshape, unit_axes) for name in ("squeeze", "squeeze_copy", "unsqueeze", "unsqueeze_copy")),
    Operator("squeeze", Reshape, unit_axes, "multiple"),
)
