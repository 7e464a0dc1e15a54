"""Where inputs vary: from example to example, and within each."""

from dataclasses import dataclass

import torch
from torch import Tensor

CHUNK = 4_096


@dataclass(frozen=True, eq=False)
class Spread:
    """low, high: the extremes of each value over all examples, of an input's shape; blank: (N,), which have one value.

    In images with channels an example is blank where each channel has one value.
    """

    low: Tensor
    high: Tensor
    blank: Tensor


def spread(x: Tensor) -> Spread:
    """Measure inputs (N, ...)."""
    low, high = torch.stack([part.amin(0) for part in x.split(CHUNK)]), [part.amax(0) for part in x.split(CHUNK)]
    start = 2 if x.dim() == 4 and x.shape[2] * x.shape[3] > 1 else 1
    flat = x.flatten(start)
    blank = flat.amin(-1) == flat.amax(-1)
    return Spread(low.amin(0), torch.stack(high).amax(0), blank.reshape(len(x), -1).all(1))
