"""How PyTorch's one-dimensional and unbatched samples become images."""

from typing import Any

from torch import Tensor

from pellucid.scorecard.trial import AS_IS, ONE_ROW, UNBATCHED, View, both


def of_images(x: Tensor) -> View:
    """Return the view of (N, C, H, W), or of one image without the batch axis."""
    return AS_IS if x.dim() == 4 else UNBATCHED


def of_rows(x: Tensor) -> View:
    """Return the view of (N, C, L), or of one row without the batch axis, as images one row high."""
    return ONE_ROW if x.dim() == 3 else both(UNBATCHED, ONE_ROW)


def along(value: Any, across: Any) -> Any:
    """Return what a one-dimensional operator is told, a number or the only one of a list, as (across, value)."""
    return (across, value[0] if isinstance(value, (tuple, list)) else value)
