"""Samples of PyTorch's changes of shape."""

from collections.abc import Callable, Sequence

from torch import Tensor

from pellucid.layers import Flatten, Reshape
from pellucid.scorecard.case import SkipCase
from pellucid.scorecard.opinfo.operator import Operator
from pellucid.scorecard.trial import AS_IS, UNBATCHED, Trial, layer_trial


def flatten(theirs: Callable[[], Tensor], x: Tensor, start_dim: int = 0, end_dim: int = -1) -> Trial:
    """Put a sample of flatten to Flatten; from axis 0 on, all of x is one of a batch."""
    if end_dim not in (-1, x.dim() - 1):
        raise SkipCase("option end_dim")
    if start_dim not in (0, 1):
        raise SkipCase("option start_dim")
    return layer_trial(Flatten(), {}, x, theirs, view=AS_IS if start_dim else UNBATCHED)


def reshape(theirs: Callable[[], Tensor], x: Tensor, shape: Sequence[int]) -> Trial:
    """Put a sample of reshape to Reshape: all of x is one of a batch, for the sample changes every axis."""
    return layer_trial(Reshape(tuple(shape)), {}, x, theirs, view=UNBATCHED)


OPERATORS = (
    Operator("flatten", Flatten, flatten),
    Operator("reshape", Reshape, reshape),
    Operator("view", Reshape, reshape),
)
