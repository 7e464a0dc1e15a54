"""Samples of PyTorch's changes of shape."""

from collections.abc import Callable, Sequence

from torch import Tensor

from conformance.case import SkipCase
from conformance.opinfo.operator import Operator
from conformance.trial import AS_IS, UNBATCHED, Trial, layer_trial
from pellucid.layers import Flatten, Reshape


def flatten(reference: Callable[[], Tensor], x: Tensor, start_dim: int = 0, end_dim: int = -1) -> Trial:
    """Put a sample of flatten to Flatten; from axis 0 on, all of x is one of a batch."""
    if end_dim not in (-1, x.dim() - 1):
        raise SkipCase("option end_dim")
    if start_dim not in (0, 1):
        raise SkipCase("option start_dim")
    return layer_trial(Flatten(), {}, x, reference, view=AS_IS if start_dim else UNBATCHED)


def reshape(reference: Callable[[], Tensor], x: Tensor, shape: Sequence[int]) -> Trial:
    """Put a sample of reshape to Reshape: all of x is one of a batch, for the sample changes every axis."""
    return layer_trial(Reshape(tuple(shape)), {}, x, reference, view=UNBATCHED)


def reshape_as(reference: Callable[[], Tensor], x: Tensor, other: Tensor) -> Trial:
    """Put a sample of reshape_as to Reshape."""
    return reshape(reference, x, other.shape)


def unflatten(reference: Callable[[], Tensor], x: Tensor, dim: int, sizes: Sequence[int]) -> Trial:
    """Put a sample of unflatten, which splits one axis into several, to Reshape."""
    if 0 in (*x.shape, *sizes):
        raise SkipCase("an axis of size 0")
    axis = dim % x.dim()
    return reshape(reference, x, (*x.shape[:axis], *sizes, *x.shape[axis + 1 :]))


def unit_axes(reference: Callable[[], Tensor], x: Tensor, *dims: int | Sequence[int]) -> Trial:
    """Put a sample of squeeze or unsqueeze, which take off or add axes of size 1, to Reshape."""
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
