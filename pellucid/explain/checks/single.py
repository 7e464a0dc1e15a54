"""One number for each pixel."""

from torch import Tensor

from pellucid.errors import PellucidError


def single(map_: Tensor) -> Tensor:
    """Return an explanation (N, C, H, W) as (N, H, W), the sum over the channels, whose signs count.

    Raises PellucidError for another shape.
    """
    if map_.dim() != 4:
        raise PellucidError(f"an explanation of shape {tuple(map_.shape)} is no picture; give (N, C, H, W)")
    return map_.sum(1)
